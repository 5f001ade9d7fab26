"""Forms over time: a mean, a sum, a maximum, a step picked; and the turning of sequences for reversed layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from bittailor.core.ops import forms
from bittailor.core.ops.time import MEAN_MOST_STEPS
from bittailor.engines.torch.kernels.base import Kernel, Member, R
from bittailor.engines.torch.kernels.rescaling import Single
from bittailor.engines.torch.workspace import Workspace
from bittailor.errors import RangeError

A = TypeVar("A", bound=forms.Accumulated)


class OfSum(Single[A, R]):
    """What an operator makes of the sums over each item's own steps."""

    def forward(self, rows: R) -> None:
        rows.out.copy_(torch.clamp(self.quotient(rows)[0], self.lo, self.hi))
        if rows.real is not None:
            rows.real.copy_(rows.out)

    def shares(self, ws: Workspace[R]) -> Tensor:
        """What a sum is divided by, [items, 1] or a single number."""
        return torch.ones((), dtype=torch.int64, device=self.device)

    def quotient(self, rows: R) -> tuple[Tensor, Tensor, Tensor]:
        """floor((A M + T c) / (T 2**S)) before saturation, less the zero-point; A M and T 2**S. T are the shares."""
        ws = rows.workspace
        if ws.steps > MEAN_MOST_STEPS:
            raise RangeError(f"a mean or sum over {ws.steps} steps; at most {MEAN_MOST_STEPS} are proved")
        x = ws.cube("ints", self.group.ins[0])
        total = (x * ws.valid.to(torch.int32)).sum(dim=0, dtype=torch.int64) * self.M[0]
        shares = self.shares(ws)
        # the rescaling's own constants, less the zero-point, as everywhere here
        quotient = torch.div(total + shares * self.c, shares << self.S, rounding_mode="floor")
        if self.zero is not None:
            quotient -= self.zero
        return quotient, total, shares << self.S


class Mean(OfSum[forms.Averaged, R]):
    """The mean: the sum is divided by the item's number of steps."""

    def shares(self, ws: Workspace[R]) -> Tensor:
        return ws.column(ws.lengths)


class Sum(OfSum[forms.Summed, R]):
    """The sum itself."""


class Max(Kernel[forms.Largest, R]):
    """The largest value of each item's own steps."""

    def forward(self, rows: R) -> None:
        rows.out.copy_(self.masked_input(rows).amax(dim=0))
        if rows.real is not None:
            rows.real.copy_(rows.out)

    def masked_input(self, rows: R) -> Tensor:
        """[steps, items, features]: below every integer where a step is not the item's own."""
        ws = rows.workspace
        x = ws.cube("ints", self.group.ins[0])
        return torch.where(ws.valid.to(torch.bool), x, torch.iinfo(x.dtype).min)


class Pick(Kernel[forms.Copied, R]):
    """One step of each item, unchanged."""

    def prepare(self, programs: Sequence[Sequence[Member[forms.Copied]]]) -> None:
        self.step = programs[0][0].constants.step

    def at(self, ws: Workspace[R]) -> Tensor:
        """[items]: which step."""
        return self.step % ws.lengths

    def forward(self, rows: R) -> None:
        ws = rows.workspace
        rows.out.copy_(ws.cube("ints", self.group.ins[0])[self.at(ws), ws.items])
        if rows.real is not None:
            rows.real.copy_(rows.out)


class Turn(Kernel[forms.Copied, R]):
    """A sequence with each item's own steps in the other order: its own inverse."""

    def forward(self, rows: R) -> None:
        ws = rows.workspace
        ws.cube("ints", self.group.out).copy_(ws.turn(ws.cube("ints", self.group.ins[0])))
        if rows.real is not None:
            rows.real.copy_(rows.out)
