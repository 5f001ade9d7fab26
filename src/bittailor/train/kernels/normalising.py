"""A normalisation in training: the gradient of the real one, at the integers' values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from bittailor.core.ops import forms
from bittailor.engines.torch.kernels import normalising
from bittailor.engines.torch.kernels.base import Member
from bittailor.train.kernels.base import Trainable, TrainingRows


class Normalise(Trainable[forms.Normalised], normalising.Normalise[TrainingRows]):
    """dx = (g - mean g - y mean(g y)) / root; without the mean of g where none was taken off.

    Notes y and 1 / root, both real.
    """

    arrays = ("mask", "kept", "slope")

    def prepare(self, programs: Sequence[Sequence[Member[forms.Normalised]]]) -> None:
        super().prepare(programs)
        ((member,),) = programs
        count = self.widths[0]
        self.unit = 1.0 if self.centred else math.sqrt(count)
        self.inverse = (count if self.centred else math.sqrt(count)) / member.inputs[0].scale[0]
        self.step = member.output.scale[0]

    def forward(self, rows: TrainingRows) -> None:
        d, power = self.statistics(rows)
        raw = self.raw(d, power)
        kept = torch.clamp(raw, self.lo, self.hi)
        rows.out.copy_(kept)
        if rows.real is not None:
            rows.real.copy_(kept)
        rows.mask.copy_(raw == kept)
        root = power.double().rsqrt()
        rows.kept.copy_(d * root * self.unit)
        rows.slope.copy_(root * self.inverse)
        if self.collects:
            # the rounding inside, the clamp outside: LSQ, arXiv 1902.08153
            rows.error.copy_(kept - rows.mask * (rows.kept / self.step))

    def backward(self, rows: TrainingRows) -> None:
        if self.collects:
            self.collect(rows)
        if not self.trainable[0]:
            return
        g, y = rows.grad * rows.mask, rows.kept
        back = g - y * (g * y).mean(dim=-1, keepdim=True)
        if self.centred:
            back -= g.mean(dim=-1, keepdim=True)
        back *= rows.slope
        if self.group.writes[0]:
            rows.in_grads[0].copy_(back)
        else:
            rows.in_grads[0].add_(back)
