"""What an operator is: one equation, told four ways (shape, float, binding, integers), plus its work.

Implementations stay silent; this page is the contract. Operators that work feature by feature see arrays whose last
axis is the features; what stands before it (items, or items and steps) is none of their business. Operators over time
see [items, steps, features] and the items' lengths.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from bittailor.common.records import shown
from bittailor.core.arith import Floats, Ints
from bittailor.core.ops.forms import Constants, Part, Rescaling
from bittailor.core.qformat import QFormat
from bittailor.errors import UnsupportedNetwork

Access = Literal["feature", "whole", "joined", "statistics", "grouped", "index", "window", "time"]
Range = tuple[float, float] | None
"""Real numbers that a value cannot leave, whatever the data; None where there is no such bound."""

NO_LENGTHS: Ints = np.empty(0, np.int64)


@dataclass(frozen=True)
class Bound:
    """What an operator is bound with.

    inputs   formats of its input sites
    output   format of its output site
    params   per role ("W", "b"): the integers of that parameter and their format
    """

    inputs: tuple[QFormat, ...]
    output: QFormat
    params: Mapping[str, tuple[Ints, QFormat]] = field(default_factory=dict)


C = TypeVar("C", bound=Constants)
R = TypeVar("R", bound=Rescaling)


class Op(ABC, Generic[C]):
    """An operator. Stateless; one instance stands in `OPS`."""

    name: str
    form: type[C]
    """What binding leaves of it."""
    access: Access = "feature"
    """How it reads: output feature i from input features i; from the whole vector; inputs laid side by side; from input
    feature i and statistics of the whole vector; from the features of a group; from a table, by an index; a step from
    those around it or a later one; or from a whole sequence and its lengths."""
    roles: tuple[str, ...] = ()
    """Names of its parameters, in order; the last may be left out."""
    tied: bool = False
    """The output has the format of the first input; nothing is computed, nothing is rounded."""
    clips_below: bool = False
    """Cutting off low values is what it is for, so it is not counted as saturation."""

    @property
    def drops(self) -> int:
        """How many of its input's first steps its output lacks."""
        return 0

    @property
    def over_time(self) -> bool:
        """Whether it takes a whole sequence and its lengths."""
        return self.access == "time"

    @property
    def product(self) -> bool:
        """Whether it multiplies a vector with a matrix."""
        return self.access in ("whole", "grouped")

    def of(self, options: Mapping[str, Any]) -> Op[C]:
        """The operator of a node with these options: itself, unless they say what it computes."""
        return self

    @abstractmethod
    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        """The number of output features, from the numbers of input features and the node's options."""

    @abstractmethod
    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        """The float meaning, float64. Only operators over time look at `lengths`, int64 [items]."""

    @abstractmethod
    def bind(self, bound: Bound) -> C:
        """The integers that the operator needs at run time."""

    @abstractmethod
    def integers(
        self, constants: C, formats: Sequence[QFormat], inputs: Sequence[Ints], lengths: Ints = NO_LENGTHS
    ) -> Ints:
        """The reference arithmetic, int64, saturated; `formats` are those of the inputs (for their zero-points)."""

    def shapes(self, inputs: Sequence[int], output: int) -> dict[str, tuple[int, ...]]:
        """Role -> shape of that parameter, from numbers of features."""
        return {}

    @abstractmethod
    def restore(self, parts: Mapping[str, Part]) -> C:
        """The inverse of `Constants.parts`; KeyError or TypeError for parts that are not this operator's."""

    def proven(self, inputs: Sequence[Range]) -> Range:
        """A real range that the output cannot leave whatever the data, or None."""
        return None

    def given_format(self, bits: int, inputs: Sequence[Range]) -> QFormat | None:
        """The output format that needs no calibration (a sigmoid's, a tanh's), or None; `inputs` are proven ranges."""
        return None

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        """The right side of its equation, word by word, for people; of a joined operator that of one input's part."""
        return (f"{self.name}({', '.join(inputs)})",)

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        """Counts per application, from feature counts: "mac", "add", "mul", "lookup"."""
        return {}


class RescaledOp(Op[R]):
    """An operator that ends in one rescaling of operands that it forms exactly."""

    @abstractmethod
    def operands(self, constants: R, formats: Sequence[QFormat], inputs: Sequence[Ints]) -> tuple[Ints, ...]:
        """What the rescaling multiplies, int64."""

    def integers(
        self, constants: R, formats: Sequence[QFormat], inputs: Sequence[Ints], lengths: Ints = NO_LENGTHS
    ) -> Ints:
        return constants.rescale(*self.operands(constants, formats, inputs))


def chosen(name: str, options: Mapping[str, Any], known: Collection[str]) -> dict[str, float]:
    """The options of an operator that are numbers; UnsupportedNetwork for one that it does not have or that is none."""
    for option, value in options.items():
        if option not in known:
            raise UnsupportedNetwork(f"'{name}' has no option '{option}'; it has: {', '.join(known) or 'none'}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UnsupportedNetwork(f"{option} of '{name}' must be a finite number; got {shown(value)}")
    return {option: float(value) for option, value in options.items()}


def centred(q: Ints, fmt: QFormat) -> Ints:
    """q - zero_point."""
    return q - fmt.zero_point


def steps_mask(lengths: Ints, steps: int) -> NDArray[np.bool_]:
    """[items, steps]: True where a step belongs to its item."""
    return np.asarray(np.arange(steps)[None, :] < lengths[:, None])
