"""Operators over time: the last or first step of a sequence, the mean, sum or largest value over its steps.

They read only the steps that belong to an item, 0 .. length-1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from bittailor.core.arith import MEAN_SUM_BITS, Floats, Ints, Rescale, make_rescale
from bittailor.core.ops.base import NO_LENGTHS, Bound, Op, Range, centred, steps_mask
from bittailor.core.ops.forms import Accumulated, Averaged, Copied, Largest, Part, Summed, part
from bittailor.core.qformat import QFormat
from bittailor.errors import RangeError

MEAN_MOST_STEPS = 65535
"""Of a mean or a sum."""


class Pick(Op[Copied]):
    """y = x at one of an item's own steps: `step` is 0 for the first (where a reversed layer ends), -1 for the last."""

    form = Copied
    access = "time"
    tied = True

    def __init__(self, name: str, step: int) -> None:
        self.name, self.step = name, step

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        return inputs[0]

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return np.asarray(self._pick(inputs[0], lengths))

    def bind(self, bound: Bound) -> Copied:
        return Copied(self.step)

    def restore(self, parts: Mapping[str, Part]) -> Copied:
        return Copied(self.step)

    def integers(
        self, constants: Copied, formats: Sequence[QFormat], inputs: Sequence[Ints], lengths: Ints = NO_LENGTHS
    ) -> Ints:
        return np.asarray(self._pick(inputs[0], lengths))

    def _pick(self, x: Any, lengths: Ints) -> Any:
        """[items, steps, features] -> [items, features]."""
        return x[np.arange(len(x)), self.step % lengths]

    def proven(self, inputs: Sequence[Range]) -> Range:
        return inputs[0]


A = TypeVar("A", bound=Accumulated)


class OfSum(Op[A]):
    """A function of the sum of x over its T steps, rounded once.

    M, S and c are those of a requantisation, with |u M + c| < 2**46, so that the sums over up to 65,535 steps
    stay below 2**62; more steps are refused while running.
    """

    access = "time"

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        return inputs[0]

    def bind(self, bound: Bound) -> A:
        (x,) = bound.inputs
        ratio = x.scale[0] / bound.output.scale[0]
        return self.form(make_rescale([ratio], [x.reach], bound.output, sum_bits=MEAN_SUM_BITS))

    def restore(self, parts: Mapping[str, Part]) -> A:
        return self.form(part(parts, "rescale", Rescale))

    def integers(
        self, constants: A, formats: Sequence[QFormat], inputs: Sequence[Ints], lengths: Ints = NO_LENGTHS
    ) -> Ints:
        return accumulated(constants, step_sum(formats[0], inputs[0], lengths), lengths)

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"add": output}


class Mean(OfSum[Averaged]):
    """y = mean of x: floor((A M + T c) / (T 2**S)) with A the sum of x - z. One 64-bit division a feature."""

    name = "mean"
    form = Averaged

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        mask = steps_mask(lengths, inputs[0].shape[1])
        return np.asarray((inputs[0] * mask[:, :, None]).sum(axis=1) / lengths[:, None])

    def proven(self, inputs: Sequence[Range]) -> Range:
        return inputs[0]


class Sum(OfSum[Summed]):
    """y = sum of x: (A M + c) >> S with A the sum of x - z."""

    name = "sum"
    form = Summed

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        mask = steps_mask(lengths, inputs[0].shape[1])
        return np.asarray((inputs[0] * mask[:, :, None]).sum(axis=1))


class Max(Op[Largest]):
    """y = the largest x of an item's steps, in the format of x."""

    name = "max"
    form = Largest
    access = "time"
    tied = True

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        return inputs[0]

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        mask = steps_mask(lengths, inputs[0].shape[1])
        return np.asarray(np.where(mask[:, :, None], inputs[0], -np.inf).max(axis=1))

    def bind(self, bound: Bound) -> Largest:
        return Largest()

    def restore(self, parts: Mapping[str, Part]) -> Largest:
        return Largest()

    def integers(
        self, constants: Largest, formats: Sequence[QFormat], inputs: Sequence[Ints], lengths: Ints = NO_LENGTHS
    ) -> Ints:
        return step_max(formats[0], inputs[0], lengths)

    def proven(self, inputs: Sequence[Range]) -> Range:
        return inputs[0]

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"add": output}


def step_sum(fmt: QFormat, x: Ints, lengths: Ints) -> Ints:
    """The sum of u = x - z over an item's steps: [items, steps, features] -> [items, features]."""
    mask = steps_mask(lengths, x.shape[1])
    return np.asarray(np.where(mask[:, :, None], centred(x, fmt), 0).sum(axis=1))


def step_max(fmt: QFormat, x: Ints, lengths: Ints) -> Ints:
    """The largest x over an item's steps: [items, steps, features] -> [items, features]."""
    mask = steps_mask(lengths, x.shape[1])
    return np.asarray(np.where(mask[:, :, None], x, fmt.qmin).max(axis=1, initial=fmt.qmin))


def accumulated(constants: Accumulated, total: Ints, steps: Ints) -> Ints:
    """The output from the sums of so many steps; RangeError where they are more than is proved."""
    if steps.max() > MEAN_MOST_STEPS:
        raise RangeError(f"a mean or sum over {steps.max()} steps; at most {MEAN_MOST_STEPS} are proved")
    return constants.result(total, steps)
