"""Operators over time: mean, last, first; and the turning of sequences for reversed layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from bittailor.core.ops.forms import Copied
from bittailor.train.kernels.base import Kernel, Prepared
from bittailor.train.kernels.rescaling import Rescaling
from bittailor.train.workspace import Rows, Workspace


class Mean(Rescaling):
    """mean over each item's own steps: floor((A M + T c) / (T 2**S))."""

    def forward(self, rows: Rows) -> None:
        ws = rows.workspace
        x = ws.cube("ints", self.group.ins[0])
        total = (x * ws.valid.to(torch.int32)).sum(dim=0, dtype=torch.int64)
        steps = ws.lengths[:, None]
        # the rescaling's own constants, less the zero-point, as everywhere here
        quotient = torch.div(total * self.M[0] + steps * self.c, steps << self.S, rounding_mode="floor")
        if self.zero is not None:
            quotient -= self.zero
        kept = torch.clamp(quotient, self.lo, self.hi)
        rows.out.copy_(kept)
        if rows.real is not None:
            rows.real.copy_(kept)
        if rows.mask is not None:
            rows.mask.copy_(quotient == kept)
        if self.collects:
            exact = (total * self.M[0]).double() / (steps << self.S)
            assert rows.mask is not None
            rows.error.copy_(kept - rows.mask * exact)

    def backward(self, rows: Rows) -> None:
        masked = self.masked(rows, rows.scratch)
        if not self.trainable[0]:
            return
        ws = rows.workspace
        spread = (masked / ws.lengths[:, None]) * ws.valid
        target = ws.cube("grads", self.group.ins[0])
        if self.group.writes[0]:
            target.copy_(spread)
        else:
            target.add_(spread)


class Pick(Kernel):
    """last, first: one step of each item, unchanged."""

    def prepare(self, nodes: Sequence[Prepared]) -> None:
        self.step = cast(Copied, nodes[0].constants).step

    def _at(self, ws: Workspace) -> Tensor:
        return self.step % ws.lengths

    def forward(self, rows: Rows) -> None:
        ws = rows.workspace
        picked = ws.cube("ints", self.group.ins[0])[self._at(ws), ws.items]
        rows.out.copy_(picked)
        if rows.real is not None:
            rows.real.copy_(picked)

    def backward(self, rows: Rows) -> None:
        if not self.trainable[0]:
            return
        ws = rows.workspace
        target = ws.cube("grads", self.group.ins[0])
        if self.group.writes[0]:
            target.zero_()
        target[self._at(ws), ws.items] += rows.grad


class Turn(Kernel):
    """A sequence with each item's own steps in the other order: its own inverse."""

    def forward(self, rows: Rows) -> None:
        ws = rows.workspace
        turned = ws.turn(ws.cube("ints", self.group.ins[0]))
        ws.cube("ints", self.group.out).copy_(turned)
        if rows.real is not None:
            rows.real.copy_(rows.out)

    def backward(self, rows: Rows) -> None:
        if not self.trainable[0]:
            return
        ws = rows.workspace
        turned = ws.turn(ws.cube("grads", self.group.out))
        target = ws.cube("grads", self.group.ins[0])
        if self.group.writes[0]:
            target.copy_(turned)
        else:
            target.add_(turned)
