"""layer_norm and rms_norm: a vector over the root of its variance, or of its mean square (arithmetic.md, section 3).

Weight and bias of such a layer are a `diagonal` that follows: its result has a format of its own.

layer_norm: Ba, Kiros and Hinton, arXiv 1607.06450; rms_norm: Zhang and Sennrich, arXiv 1910.07467.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from bittailor.core.arith import Floats, Ints
from bittailor.core.ops.base import NO_LENGTHS, Bound, Op
from bittailor.core.ops.forms import Normalised, Part, deviation_bound, part, power_bound
from bittailor.core.qformat import QFormat
from bittailor.core.rsqrt import DEVIATION_BITS, Gain, make_gain
from bittailor.errors import RangeError, UnsupportedNetwork

MOST_EPS = 1e6


class Normalisation(Op[Normalised]):
    """y = deviation(x) / sqrt(power(x) + eps), over the features of one step.

    Its options are `features`, as many as it has, and `eps`, which is added to the mean of squares.
    """

    form = Normalised
    access = "statistics"
    centred: ClassVar[bool]
    """Whether the mean is taken off."""

    def __init__(self, count: int = 1, eps: float = 1e-5) -> None:
        self.count, self.eps = count, eps

    def of(self, options: Mapping[str, Any]) -> Self:
        return type(self)(options["features"], options["eps"])

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        eps = options.get("eps")
        if len(inputs) != 1 or options.get("features") != inputs[0]:
            raise UnsupportedNetwork(f"'{self.name}' over {options.get('features')} features is given {inputs}")
        if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 <= eps <= MOST_EPS:
            raise UnsupportedNetwork(f"'{self.name}' has eps {eps}; it is a number, 0 to {MOST_EPS:g}")
        return inputs[0]

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return (f"{self.name}({inputs[0]})",)

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        (x,) = inputs
        if self.centred:
            x = x - x.mean(axis=-1, keepdims=True)
        power = (x * x).mean(axis=-1, keepdims=True) + self.eps
        return np.asarray(x / np.sqrt(np.maximum(power, np.finfo(np.float64).tiny)))

    def bind(self, bound: Bound) -> Normalised:
        (x,), out = bound.inputs, bound.output
        if deviation_bound(self.count, x, self.centred) >= 1 << DEVIATION_BITS:
            raise RangeError(f"{self.count} features of {x.bits} bits are too many for an integer normalisation")
        gain = make_gain(*self.scaled(x, out), power_bound(self.count, x, self.centred), out)
        return Normalised(gain, self.centred)

    @abstractmethod
    def scaled(self, x: QFormat, out: QFormat) -> tuple[float, float]:
        """The gain and epsilon of `make_gain`."""

    def restore(self, parts: Mapping[str, Part]) -> Normalised:
        return Normalised(part(parts, "gain", Gain), self.centred)

    def integers(
        self, constants: Normalised, formats: Sequence[QFormat], inputs: Sequence[Ints], lengths: Ints = NO_LENGTHS
    ) -> Ints:
        return constants.gain(*deviations(inputs[0] - formats[0].zero_point, self.centred))

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"mul": 2 * output, "add": 2 * output}


class LayerNorm(Normalisation):
    """(x - mean) / sqrt(variance + eps)."""

    name = "layer_norm"
    centred = True

    def scaled(self, x: QFormat, out: QFormat) -> tuple[float, float]:
        return 1.0 / out.scale[0], float(self.count) ** 2 * self.eps / x.scale[0] ** 2


class RMSNorm(Normalisation):
    """x / sqrt(mean of squares + eps)."""

    name = "rms_norm"
    centred = False

    def scaled(self, x: QFormat, out: QFormat) -> tuple[float, float]:
        return math.sqrt(self.count) / out.scale[0], self.count * self.eps / x.scale[0] ** 2


def deviations(u: Ints, centred: bool) -> tuple[Ints, Ints]:
    """(d [..., n], V [...]) of u: u and the sum of its squares; centred n u - sum u, and n sum u^2 - (sum u)^2."""
    squares = (u * u).sum(axis=-1)
    if not centred:
        return u, squares
    n, total = u.shape[-1], u.sum(axis=-1)
    return n * u - total[..., None], n * squares - total * total
