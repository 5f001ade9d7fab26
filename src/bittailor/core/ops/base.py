"""What an operator is: one equation, told four ways (shape, float, binding, integers), plus its work.

Implementations stay silent; this page is the contract. Pointwise operators see arrays whose last axis is the
features; what stands before it (items, or items and steps) is none of their business. Operators over time see
[items, steps, features] and the items' lengths.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bittailor.core.arith import Floats, Ints, Lookup, Rescale
from bittailor.core.qformat import QFormat


@dataclass(frozen=True, eq=False)
class Packed:
    """An integer tensor that the device stores packed at `bits` bits."""

    values: Ints
    bits: int


Constant = Rescale | Lookup | Packed
Constants = Mapping[str, Constant]
"""What binding leaves of an operator: integers only."""


@dataclass(frozen=True)
class Bound:
    """What an operator is bound with.

    inputs   formats of its input sites
    output   format of its output site
    params   per role ("W", "b"): the integers of that parameter and their format
    options  the node's options
    """

    inputs: tuple[QFormat, ...]
    output: QFormat
    params: Mapping[str, tuple[Ints, QFormat]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


class Op(ABC):
    """An operator. Stateless; one instance stands in `OPS`."""

    name: str
    roles: tuple[str, ...] = ()
    """Names of its parameters, in order; the last may be left out."""
    over_time: bool = False
    """Takes a whole sequence and its lengths."""
    tied: bool = False
    """The output has the format of the first input; nothing is computed, nothing is rounded."""
    clips_below: bool = False
    """Cutting off low values is what it is for, so it is not counted as saturation."""

    @abstractmethod
    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        """The number of output features, from the numbers of input features."""

    @abstractmethod
    def real(self, *inputs: Floats, params: Mapping[str, Floats], options: Mapping[str, Any]) -> Floats:
        """The float meaning, float64. Operators over time are given `options["lengths"]`."""

    @abstractmethod
    def bind(self, bound: Bound) -> Constants:
        """The integers that the operator needs at run time."""

    @abstractmethod
    def integers(self, constants: Constants, formats: Sequence[QFormat], *inputs: Ints, **kwargs: Any) -> Ints:
        """The reference arithmetic, int64, saturated; `formats` are those of the inputs (for their zero-points).
        Operators over time are given `lengths`."""

    def proven(self, inputs: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
        """A real range that the output cannot leave whatever the data, or None."""
        return None

    def given_format(self, bits: int) -> QFormat | None:
        """The output format that needs no calibration (a sigmoid's, a tanh's), or None."""
        return None

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        """Counts per application, from feature counts: "mac", "add", "mul", "lookup"."""
        return {}


def rescale_of(constants: Constants, role: str = "rescale") -> Rescale:
    """The rescaling among an operator's constants."""
    return cast(Rescale, constants[role])


def packed_of(constants: Constants, role: str) -> Packed:
    """A packed tensor among an operator's constants."""
    return cast(Packed, constants[role])


def centred(q: Ints, fmt: QFormat) -> Ints:
    """q - zero_point."""
    return q - fmt.zero_point


def steps_mask(lengths: Ints, steps: int) -> NDArray[np.bool_]:
    """[items, steps]: True where a step belongs to its item."""
    return np.asarray(np.arange(steps)[None, :] < lengths[:, None])
