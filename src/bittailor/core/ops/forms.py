"""Forms: what binding leaves of an operator, integers only. Engines and exporters know forms, not operators.

Several operators share a form (a difference is a sum with a sign), so a new operator of a known form runs everywhere at
once. u_i are the operands less their zero-points, M_i the multipliers, S the shift and c the offset of the rescaling
(docs/arithmetic.md, section 2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bittailor.common.cached import cached_property
from bittailor.core.arith import (
    KNOT_BITS,
    MEAN_SUM_BITS,
    MULTIPLIER_BITS,
    NARROW_BITS,
    TABLE_BITS,
    WIDE_BITS,
    WIDEST_SHIFT,
    Ints,
    Lookup,
    Rescale,
    signed_bits,
)
from bittailor.core.qformat import MOST_INDICES, QFormat
from bittailor.core.rsqrt import DEVIATION_BITS, GAIN_BITS, LEAST_GAIN, MOST_GAIN_SHIFT, POWER_BITS, Gain
from bittailor.errors import FormatError


@dataclass(frozen=True, eq=False)
class Packed:
    """An integer tensor that the device stores packed at `bits` bits."""

    values: Ints
    bits: int


Part = Rescale | Lookup | Packed | Gain
P = TypeVar("P", Rescale, Lookup, Packed, Gain)


@dataclass(frozen=True)
class Place:
    """Where an operator stands: formats and numbers of features of its inputs and of its output."""

    inputs: tuple[QFormat, ...]
    output: QFormat
    input_features: tuple[int, ...]
    features: int


class Constants(ABC):
    """The bound integers of one operator. Subclasses are the forms."""

    @abstractmethod
    def check(self, place: Place) -> None:
        """FormatError unless these are integers that binding could have made for such a place: shapes, ranges, and the
        bounds that the arithmetic relies on."""

    def parts(self) -> dict[str, Part]:
        """Role -> part, in the order in which program files and firmware hold them; what is None is left out."""
        return {}


@dataclass(frozen=True, eq=False)
class Rescaling(Constants):
    """A form that ends in one rescaling."""

    rescale: Rescale

    def parts(self) -> dict[str, Part]:
        return {"rescale": self.rescale}


@dataclass(frozen=True, eq=False)
class Affine(Rescaling):
    """y = clamp((sum_i s_i u_i M_i + c) >> S), feature by feature; `signs` are the s_i, 1 or -1."""

    signs: tuple[int, ...]

    def check(self, place: Place) -> None:
        _demand(len(self.signs) == len(place.inputs), f"{len(self.signs)} operands for {len(place.inputs)} inputs")
        _check_rescale(self.rescale, [np.array([fmt.reach]) for fmt in place.inputs], place)


@dataclass(frozen=True, eq=False)
class Product(Rescaling):
    """y = clamp((u_0 u_1 M + c) >> S), feature by feature."""

    def check(self, place: Place) -> None:
        reach = place.inputs[0].reach * place.inputs[1].reach
        _demand(self.rescale.wide or reach < 1 << NARROW_BITS, "a product that does not fit 32 bits")
        _check_rescale(self.rescale, [np.array([reach])], place)


@dataclass(frozen=True, eq=False)
class Weighted(Rescaling):
    """A weight times its input, plus an offset that holds bias and zero-point: a = W q + offsets.

    W        integers, see the subclasses
    offsets  [rows]; None where all are zero
    """

    W: Packed
    offsets: Packed | None

    def parts(self) -> dict[str, Part]:
        parts: dict[str, Part] = {"W": self.W, "rescale": self.rescale}
        return parts if self.offsets is None else {**parts, "offsets": self.offsets}

    def check(self, place: Place) -> None:
        q, (x,) = self.W.values, place.inputs
        most = max((1 << (self.W.bits - 1)) - 1, 1)
        _demand(q.shape == self._shape(place), f"weights of shape {q.shape}; expected {self._shape(place)}")
        _demand(1 <= self.W.bits <= 16 and bool((np.abs(q) <= most).all()) and (self.W.bits > 1 or bool(q.all())),
                f"weights that do not fit {self.W.bits} bits")
        offsets = np.zeros(len(q), np.int64)
        if self.offsets is not None:
            offsets = self.offsets.values
            _demand(offsets.shape == (len(q),), f"offsets of shape {offsets.shape}; expected {(len(q),)}")
            _demand(self.offsets.bits == signed_bits(offsets), f"offsets that are not {self.offsets.bits} bits wide")
            _demand(int(np.abs(offsets).max()) < 1 << 62, "an offset beyond 62 bits")
        raw = np.abs(q).sum(axis=1) * max(-x.qmin, x.qmax)
        # what is multiplied: the centred sum plus the bias
        reach = np.abs(q).sum(axis=1) * x.reach + np.abs(offsets + x.zero_point * q.sum(axis=1))
        word = WIDE_BITS if self.rescale.wide else NARROW_BITS
        _demand(max(int(raw.max()), int(reach.max())) < 1 << word, f"a sum that does not fit {word + 1} bits")
        _check_rescale(self.rescale, [reach], place)

    def _shape(self, place: Place) -> tuple[int, int]:
        return place.features, 1


@dataclass(frozen=True, eq=False)
class MatrixProduct(Weighted):
    """y_o = clamp((a_o M_o + c) >> S), a_o = sum_k W[o, k] q_k + offsets_o; W is [rows, columns]."""

    def _shape(self, place: Place) -> tuple[int, int]:
        return place.features, place.input_features[0]


@dataclass(frozen=True, eq=False)
class GroupedProduct(Weighted):
    """The same in groups: W is [rows, columns of a group], and the rows of group g read the columns of group g."""

    groups: int

    def _shape(self, place: Place) -> tuple[int, int]:
        return place.features, place.input_features[0] // self.groups


@dataclass(frozen=True, eq=False)
class TableRows(Rescaling):
    """y = clamp((W[x] M + c) >> S), row x of a table [rows, features]; M is one, or one per row of the table."""

    W: Packed

    def parts(self) -> dict[str, Part]:
        return {"W": self.W, "rescale": self.rescale}

    @cached_property
    def table(self) -> Ints:
        """What comes out for every index: [rows, features]."""
        r = self.rescale
        per_row = Rescale(tuple(m[:, None] for m in r.multipliers), r.shift, r.offset, r.wide, r.lo, r.hi)
        return per_row(self.W.values)

    def check(self, place: Place) -> None:
        q, most = self.W.values, max((1 << (self.W.bits - 1)) - 1, 1)
        _demand(q.ndim == 2 and q.shape[1] == place.features and 0 < len(q) <= MOST_INDICES,
                f"a table of shape {q.shape} for {place.features} features")
        _demand(1 <= self.W.bits <= 16 and bool((np.abs(q) <= most).all()) and (self.W.bits > 1 or bool(q.all())),
                f"weights that do not fit {self.W.bits} bits")
        _check_rescale(self.rescale, [np.abs(q).max(axis=1)], place)


@dataclass(frozen=True, eq=False)
class DiagonalProduct(Weighted):
    """y_i = clamp((a_i M_i + c) >> S), a_i = W[i, 0] q_i + offsets_i; W is [features, 1]."""


@dataclass(frozen=True, eq=False)
class Tabulated(Constants):
    """y = table[q], or between two of its knots."""

    lookup: Lookup

    def parts(self) -> dict[str, Part]:
        return {"lookup": self.lookup}

    def check(self, place: Place) -> None:
        t, (x,), y = self.lookup, place.inputs, place.output
        step = max(0, x.bits - TABLE_BITS)
        guard = KNOT_BITS - y.bits if step else 0
        count = (1 << TABLE_BITS) + 1 if step else 1 << x.bits
        _demand((t.qmin, t.step, t.guard, t.lo, t.hi) == (x.qmin, step, guard, y.qmin, y.qmax),
                "a table for other formats")
        _demand(t.entries.shape == (count,), f"a table of {t.entries.size} entries; expected {count}")
        _demand(bool(((y.qmin << guard <= t.entries) & (t.entries <= y.qmax << guard)).all()),
                "a table with entries outside its range")


@dataclass(frozen=True, eq=False)
class Joined(Constants):
    """y = (y_0, y_1, …), y_i = clamp((u_i M_i + c_i) >> S_i): every input rescaled, side by side."""

    rescales: tuple[Rescale, ...]

    def check(self, place: Place) -> None:
        _demand(len(self.rescales) == len(place.inputs), f"{len(self.rescales)} parts for {len(place.inputs)} inputs")
        for rescale, fmt in zip(self.rescales, place.inputs, strict=True):
            _check_rescale(rescale, [np.array([fmt.reach])], place)

    def parts(self) -> dict[str, Part]:
        return {f"rescale{i}": rescale for i, rescale in enumerate(self.rescales)}


@dataclass(frozen=True, eq=False)
class Accumulated(Constants):
    """A form of A, the sum of u over an item's T steps."""

    rescale: Rescale

    @abstractmethod
    def result(self, total: Ints, steps: Ints) -> Ints:
        """The output from the sums [items, features] of so many steps [items]."""

    def parts(self) -> dict[str, Part]:
        return {"rescale": self.rescale}

    def check(self, place: Place) -> None:
        _demand(self.rescale.wide, "a sum over steps in 32 bits")
        _check_rescale(self.rescale, [np.array([place.inputs[0].reach])], place, MEAN_SUM_BITS)


@dataclass(frozen=True, eq=False)
class Averaged(Accumulated):
    """y = clamp(floor((A M + T c) / (T 2**S)))."""

    def result(self, total: Ints, steps: Ints) -> Ints:
        rescale, count = self.rescale, steps[:, None]
        y = (total * rescale.multipliers[0] + count * rescale.offset) // (count << rescale.shift)
        return np.asarray(np.clip(y, rescale.lo, rescale.hi))


@dataclass(frozen=True, eq=False)
class Summed(Accumulated):
    """y = clamp((A M + c) >> S)."""

    def result(self, total: Ints, steps: Ints) -> Ints:
        return self.rescale(total)


@dataclass(frozen=True, eq=False)
class Largest(Constants):
    """y = the largest q of an item's steps, feature by feature. Nothing is computed but comparisons."""

    def check(self, place: Place) -> None:
        _demand(place.inputs[0] == place.output, "another format than what it compares")


@dataclass(frozen=True, eq=False)
class Copied(Constants):
    """y = q at one of an item's steps: `step` is 0 for the first, -1 for its own last. Nothing is computed."""

    step: int

    def check(self, place: Place) -> None:
        _demand(place.inputs[0] == place.output, "another format than what it copies")


@dataclass(frozen=True, eq=False)
class Normalised(Constants):
    """y_i = clamp(floor(d_i G / (2**t sqrt(N)) + 1/2) + z), by an integer root; N = max(V + E, 1).

    centred  d_i = n u_i - sum u and V = n sum u^2 - (sum u)^2; otherwise d = u and V = sum u^2
    """

    gain: Gain
    centred: bool

    def parts(self) -> dict[str, Part]:
        return {"gain": self.gain}

    def check(self, place: Place) -> None:
        g, (x,), y, n = self.gain, place.inputs, place.output, place.features
        _demand((g.lo, g.hi, g.zero) == (y.qmin, y.qmax, y.zero_point), "a clamp to another range than its format's")
        _demand(LEAST_GAIN <= g.multiplier < 1 << GAIN_BITS and 0 <= g.shift <= MOST_GAIN_SHIFT, "a gain out of range")
        _demand(deviation_bound(n, x, self.centred) < 1 << DEVIATION_BITS, "deviations that do not fit 32 bits")
        _demand(g.epsilon >= 0 and power_bound(n, x, self.centred) + g.epsilon < 1 << POWER_BITS,
                "a power beyond 62 bits")


def deviation_bound(features: int, x: QFormat, centred: bool) -> int:
    """No |d| of a normalisation and no sum of its u is larger, whatever the data."""
    return features * (x.qmax - x.qmin if centred else x.reach)


def power_bound(features: int, x: QFormat, centred: bool) -> int:
    """V, and what it is the difference of, are no larger."""
    return (features if centred else 1) * features * x.reach**2


@dataclass(frozen=True, eq=False)
class Windowed(Constants):
    """y[t, c taps + k] = q[t + ahead - (taps - 1 - k) dilation, c]; the zero-point beyond the ends."""

    taps: int
    dilation: int
    ahead: int

    @property
    def span(self) -> int:
        """Steps from the first to the last frame."""
        return (self.taps - 1) * self.dilation

    @property
    def past(self) -> int:
        """Frames before the step at hand."""
        return self.span - self.ahead

    def check(self, place: Place) -> None:
        _demand(place.inputs[0] == place.output, "another format than what it copies")


@dataclass(frozen=True, eq=False)
class Cropped(Constants):
    """y[t] = q[t + steps]. Nothing is computed, and nothing is moved where steps are counted from the input's first."""

    steps: int

    def check(self, place: Place) -> None:
        _demand(place.inputs[0] == place.output, "another format than what it copies")


def part(parts: Mapping[str, Part], role: str, kind: type[P]) -> P:
    """The part of this role; KeyError where it is missing, TypeError where it is of another kind."""
    found = parts[role]
    if not isinstance(found, kind):
        raise TypeError(f"'{role}' is a {type(found).__name__}, not a {kind.__name__}")
    return found


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise FormatError(f"it has {otherwise}")


def _check_rescale(r: Rescale, reaches: Sequence[NDArray[np.int64]], place: Place, bits: int | None = None) -> None:
    """FormatError unless |sum u M + c| < 2**bits is proved for operands of these reaches, one or one per row each."""
    out = place.output
    limit = bits or (WIDE_BITS if r.wide else NARROW_BITS)
    _demand(len(r.multipliers) == len(reaches), f"{len(r.multipliers)} multipliers for {len(reaches)} operands")
    _demand(0 <= r.shift <= WIDEST_SHIFT[r.wide], f"a shift of {r.shift}")
    _demand(r.lo in (out.qmin, out.zero_point) and r.hi == out.qmax, f"a clamp to {r.lo}..{r.hi}")
    most = 0
    for m, reach in zip(r.multipliers, reaches, strict=True):
        _demand(m.shape in ((1,), reach.shape), f"{m.size} multipliers for {reach.size} rows")
        _demand(int(m.min()) >= 0 and int(m.max()) < 1 << MULTIPLIER_BITS, "a multiplier outside 0 .. 2**31 - 1")
        pairs = zip(*(a.tolist() for a in np.broadcast_arrays(m, reach)), strict=True)
        most += max(a * b for a, b in pairs)
    _demand(abs(r.offset) + most < 1 << limit, f"sums that are not proved to fit {limit} bits")
