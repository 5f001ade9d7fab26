"""Functions of one variable: the derivative by a table beside the operator's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from bittailor.core.arith import Floats, Lookup, knots
from bittailor.core.ops import forms
from bittailor.core.ops.functions import Function
from bittailor.core.qformat import QFormat
from bittailor.engines.torch.kernels import tables
from bittailor.engines.torch.kernels.base import Member
from bittailor.train import native
from bittailor.train.kernels.base import Trainable, TrainingRows
from bittailor.train.native import Op


class LookUp(Trainable[forms.Tabulated], tables.LookUp[TrainingRows]):
    """The derivative lies where the value lay."""

    arrays = ("slope",)

    def prepare(self, programs: Sequence[Sequence[Member[forms.Tabulated]]]) -> None:
        super().prepare(programs)
        slopes, errors = [], []
        for node, member in zip(self.group.nodes, programs[0], strict=True):
            function = node.operator
            assert isinstance(function, Function)
            slope, error = tangent(function, member.inputs[0], member.output, member.constants.lookup, self.learned)
            slopes.append(slope)
            errors.append(error)
        self.slopes = torch.from_numpy(np.concatenate(slopes).astype(np.float32))
        self.errors = torch.from_numpy(np.concatenate(errors).astype(np.float32))

    @property
    def native(self) -> bool:
        return True

    def describe(self, op: Op, backwards: bool) -> None:
        if backwards:
            op.kind = native.BACK_TABLE
            return
        op.constants(entries=self.entries, slopes=self.slopes, errors=self.errors)
        if self.full:
            op.kind = native.TABLE
            op.constants(base=self.base)
        else:
            op.kind = native.LINE
            op.constants(base=self.begin, shift=self.shift, step=self.step, down=self.down, half=self.half,
                         lo=self.lo, hi=self.hi, zero=self.zero)

    def forward(self, rows: TrainingRows) -> None:
        index = self.look_up(rows).view(-1)
        torch.index_select(self.slopes, 0, index, out=rows.slope.view(-1))
        if self.collects:
            torch.index_select(self.errors, 0, index, out=rows.error.view(-1))

    def backward(self, rows: TrainingRows) -> None:
        if self.collects:
            self.collect(rows)
        if not self.trainable[0]:
            return
        if self.group.writes[0]:
            torch.mul(rows.grad, rows.slope, out=rows.in_grads[0])
        else:
            rows.in_grads[0].addcmul_(rows.grad, rows.slope)


def tangent(
    function: Function, source: QFormat, out: QFormat, lookup: Lookup, learned: bool
) -> tuple[Floats, Floats]:
    """Per table entry: the function's derivative where its value is inside the output's range, else 0; and the
    answer of the output to a step of its scale (LSQ), zeros unless `learned`."""
    at = knots(source)
    value = function.f(at) / out.scale[0]
    low, high = out.qmin - out.zero_point, out.qmax - out.zero_point
    inside = (value >= low - 0.5) & (value < high + 0.5)
    if lookup.step:
        slope = np.append(np.diff(function.f(at)) / np.diff(at), 0.0)
    else:
        h = 1e-5 * np.maximum(1.0, np.abs(at))
        slope = (function.f(at + h) - function.f(at - h)) / (2 * h)
    error = np.zeros_like(value)
    if learned:
        error = np.where(inside, np.floor(value + 0.5) - value, np.clip(value, low, high))
    return slope * inside, error
