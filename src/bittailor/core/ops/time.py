"""Operators over time: the last or first step of a sequence, the mean over its steps.

They read only the steps that belong to an item, 0 .. length-1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bittailor.core.arith import Floats, Ints, make_rescale
from bittailor.core.ops.base import Bound, Constants, Op, centred, rescale_of, steps_mask
from bittailor.core.qformat import QFormat
from bittailor.errors import RangeError

MEAN_SUM_BITS = 46
MEAN_MOST_STEPS = 65535


class Last(Op):
    """y = x[length - 1]."""

    name = "last"
    over_time = True
    tied = True

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        return inputs[0]

    def real(self, *inputs: Floats, params: Mapping[str, Floats], options: Mapping[str, Any]) -> Floats:
        return np.asarray(self.pick(inputs[0], options["lengths"]))

    def bind(self, bound: Bound) -> Constants:
        return {}

    def integers(self, constants: Constants, formats: Sequence[QFormat], *inputs: Ints, **kwargs: Any) -> Ints:
        return np.asarray(self.pick(inputs[0], kwargs["lengths"]))

    def pick(self, x: Any, lengths: Ints) -> Any:
        """[items, steps, features] -> [items, features]."""
        return x[np.arange(len(x)), lengths - 1]

    def proven(self, inputs: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
        return inputs[0]


class First(Last):
    """y = x[0]: where a reversed layer ends."""

    name = "first"

    def pick(self, x: Any, lengths: Ints) -> Any:
        return x[:, 0]


class Mean(Op):
    """y = mean of x over its T steps, rounded once: floor((A M + T c) / (T 2**S)) with A the sum of x - z.

    M, S and c are those of a requantisation, with |u M + c| < 2**46, so that the sums over up to 65,535 steps
    stay below 2**62. One 64-bit division per feature and sequence.
    """

    name = "mean"
    over_time = True

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        return inputs[0]

    def real(self, *inputs: Floats, params: Mapping[str, Floats], options: Mapping[str, Any]) -> Floats:
        mask = steps_mask(options["lengths"], inputs[0].shape[1])
        return np.asarray((inputs[0] * mask[:, :, None]).sum(axis=1) / options["lengths"][:, None])

    def bind(self, bound: Bound) -> Constants:
        (x,) = bound.inputs
        return {"rescale": make_rescale(
            [x.scale[0] / bound.output.scale[0]], [x.reach], bound.output, sum_bits=MEAN_SUM_BITS
        )}

    def integers(self, constants: Constants, formats: Sequence[QFormat], *inputs: Ints, **kwargs: Any) -> Ints:
        lengths: Ints = kwargs["lengths"]
        if lengths.max() > MEAN_MOST_STEPS:
            raise RangeError(f"a mean over {lengths.max()} steps; at most {MEAN_MOST_STEPS} are proved")
        rescale = rescale_of(constants)
        mask = steps_mask(lengths, inputs[0].shape[1])
        total = np.where(mask[:, :, None], centred(inputs[0], formats[0]), 0).sum(axis=1)
        steps = lengths[:, None]
        y = (total * rescale.multipliers[0] + steps * rescale.offset) // (steps << rescale.shift)
        return np.asarray(np.clip(y, rescale.lo, rescale.hi))

    def proven(self, inputs: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
        return inputs[0]

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"add": output}
