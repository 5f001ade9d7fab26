"""Forms over time: a mean, a step picked; and the turning of sequences for reversed layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bittailor.core.ops import forms
from bittailor.core.ops.time import MEAN_MOST_STEPS
from bittailor.engines.torch.kernels.base import Kernel, Member, R
from bittailor.engines.torch.kernels.rescaling import Single
from bittailor.engines.torch.workspace import Workspace
from bittailor.errors import RangeError


class Mean(Single[forms.Averaged, R]):
    """The mean over each item's own steps: floor((A M + T c) / (T 2**S))."""

    def forward(self, rows: R) -> None:
        rows.out.copy_(torch.clamp(self.quotient(rows)[0], self.lo, self.hi))
        if rows.real is not None:
            rows.real.copy_(rows.out)

    def quotient(self, rows: R) -> tuple[Tensor, Tensor, Tensor]:
        """The rounded means before saturation, less the zero-point; A M and T 2**S."""
        ws = rows.workspace
        if ws.steps > MEAN_MOST_STEPS:
            raise RangeError(f"a mean over {ws.steps} steps; at most {MEAN_MOST_STEPS} are proved")
        x = ws.cube("ints", self.group.ins[0])
        total = (x * ws.valid.to(torch.int32)).sum(dim=0, dtype=torch.int64) * self.M[0]
        steps = ws.column(ws.lengths)
        # the rescaling's own constants, less the zero-point, as everywhere here
        quotient = torch.div(total + steps * self.c, steps << self.S, rounding_mode="floor")
        if self.zero is not None:
            quotient -= self.zero
        return quotient, total, steps << self.S


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
