"""Forms: what binding leaves of an operator, integers only. Engines and exporters know forms, not operators.

Several operators share a form (a difference is a sum with a sign), so a new operator of a known form runs everywhere at
once. u_i are the operands less their zero-points, M_i the multipliers, S the shift and c the offset of the rescaling
(docs/arithmetic.md, section 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from bittailor.core.arith import Ints, Lookup, Rescale


@dataclass(frozen=True, eq=False)
class Packed:
    """An integer tensor that the device stores packed at `bits` bits."""

    values: Ints
    bits: int


Part = Rescale | Lookup | Packed
P = TypeVar("P", Rescale, Lookup, Packed)

ROLES = ("W", "rescale", "offsets", "lookup")
"""The order in which files and firmware hold the parts of an operator."""


class Constants:
    """The bound integers of one operator. Subclasses are the forms."""

    def parts(self) -> dict[str, Part]:
        """Role -> part, as program files and firmware hold them; what a form lacks is left out."""
        return {role: part for role in ROLES if (part := getattr(self, role, None)) is not None}


@dataclass(frozen=True, eq=False)
class Rescaling(Constants):
    """A form that ends in one rescaling."""

    rescale: Rescale


@dataclass(frozen=True, eq=False)
class Affine(Rescaling):
    """y = clamp((sum_i s_i u_i M_i + c) >> S), feature by feature; `signs` are the s_i, 1 or -1."""

    signs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Product(Rescaling):
    """y = clamp((u_0 u_1 M + c) >> S), feature by feature."""


@dataclass(frozen=True, eq=False)
class Weighted(Rescaling):
    """A weight times its input, plus an offset that holds bias and zero-point: a = W q + offsets.

    W        integers, see the subclasses
    offsets  [rows]; None where all are zero
    """

    W: Packed
    offsets: Packed | None


@dataclass(frozen=True, eq=False)
class MatrixProduct(Weighted):
    """y_o = clamp((a_o M_o + c) >> S), a_o = sum_k W[o, k] q_k + offsets_o; W is [rows, columns]."""


@dataclass(frozen=True, eq=False)
class DiagonalProduct(Weighted):
    """y_i = clamp((a_i M_i + c) >> S), a_i = W[i, 0] q_i + offsets_i; W is [features, 1]."""


@dataclass(frozen=True, eq=False)
class Tabulated(Constants):
    """y = table[q], or between two of its knots."""

    lookup: Lookup


@dataclass(frozen=True, eq=False)
class Joined(Constants):
    """y = (y_0, y_1, …), y_i = clamp((u_i M_i + c_i) >> S_i): every input rescaled, side by side."""

    rescales: tuple[Rescale, ...]

    def parts(self) -> dict[str, Part]:
        return {f"rescale{i}": rescale for i, rescale in enumerate(self.rescales)}


@dataclass(frozen=True, eq=False)
class Averaged(Constants):
    """y = clamp(floor((A M + T c) / (T 2**S))), A the sum of u over an item's T steps."""

    rescale: Rescale


@dataclass(frozen=True, eq=False)
class Copied(Constants):
    """y = q at one of an item's steps: `step` is 0 for the first, -1 for its own last. Nothing is computed."""

    step: int


def part(parts: Mapping[str, Part], role: str, kind: type[P]) -> P:
    """The part of this role; KeyError where it is missing, TypeError where it is of another kind."""
    found = parts[role]
    if not isinstance(found, kind):
        raise TypeError(f"'{role}' is a {type(found).__name__}, not a {kind.__name__}")
    return found
