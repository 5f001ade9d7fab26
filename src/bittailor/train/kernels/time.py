"""Forms over time, and the turning of sequences: gradients go to the steps that were read."""

from __future__ import annotations

import torch

from bittailor.core.ops import forms
from bittailor.engines.torch.kernels import time
from bittailor.train.kernels.base import Trainable, TrainingRows
from bittailor.train.kernels.rescaling import Clamped


class OfSum(Clamped[time.A], time.OfSum[time.A, TrainingRows]):
    """Every step of an item gets its share."""

    def forward(self, rows: TrainingRows) -> None:
        quotient, total, unit = self.quotient(rows)
        kept = torch.clamp(quotient, self.lo, self.hi)
        rows.out.copy_(kept)
        if rows.real is not None:
            rows.real.copy_(kept)
        rows.mask.copy_(quotient == kept)
        if self.collects:
            rows.error.copy_(kept - rows.mask * (total.double() / unit))

    def backward(self, rows: TrainingRows) -> None:
        masked = self.masked(rows, rows.scratch)
        if not self.trainable[0]:
            return
        ws = rows.workspace
        spread = (masked / self.shares(ws)) * ws.valid
        target = ws.cube("grads", self.group.ins[0])
        if self.group.writes[0]:
            target.copy_(spread)
        else:
            target.add_(spread)


class Mean(OfSum[forms.Averaged], time.Mean[TrainingRows]):
    """One of so many."""


class Sum(OfSum[forms.Summed], time.Sum[TrainingRows]):
    """All of it."""


class Max(Trainable[forms.Largest], time.Max[TrainingRows]):
    """The step that has the largest value gets the gradient; of several the first."""

    arrays = ()

    def backward(self, rows: TrainingRows) -> None:
        if not self.trainable[0]:
            return
        target = self.gradient_of_all_steps(rows)
        largest = self.masked_input(rows)
        chosen = torch.zeros_like(largest, dtype=target.dtype)
        chosen.scatter_(0, largest.argmax(dim=0, keepdim=True), rows.grad[None])
        target.add_(chosen)


class Pick(Trainable[forms.Copied], time.Pick[TrainingRows]):
    """The step that was picked gets the gradient."""

    arrays = ()

    def backward(self, rows: TrainingRows) -> None:
        if not self.trainable[0]:
            return
        ws, target = rows.workspace, self.gradient_of_all_steps(rows)
        target[self.at(ws), ws.items] += rows.grad


class Turn(Trainable[forms.Copied], time.Turn[TrainingRows]):
    """Turned back."""

    arrays = ()

    def backward(self, rows: TrainingRows) -> None:
        if not self.trainable[0]:
            return
        ws = rows.workspace
        turned = ws.turn(ws.cube("grads", self.group.out))
        target = ws.cube("grads", self.group.ins[0])
        if self.group.writes[0]:
            target.copy_(turned)
        else:
            target.add_(turned)
