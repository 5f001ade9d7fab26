"""Functions of one variable, by the operator's own table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bittailor.core.ops import forms
from bittailor.engines.torch.kernels.base import Kernel, Member, R


class LookUp(Kernel[forms.Tabulated, R]):
    """All tables in one array, one after the other; between knots by a line."""

    def prepare(self, programs: Sequence[Sequence[Member[forms.Tabulated]]]) -> None:
        flat = [m for members in programs for m in members]
        tables = [m.constants.lookup for m in flat]
        self.full = all(t.step == 0 for t in tables)
        starts = iter(np.cumsum([0, *(len(t.entries) for t in tables)]).tolist())
        whole = np.concatenate([
            t.entries - (m.output.zero_point if self.full else 0) for m, t in zip(flat, tables, strict=True)
        ] + [np.zeros(1, np.int64)])  # a full table has no knot after its last
        self.entries = torch.from_numpy(whole.astype(np.int32)).to(self.device)
        shifts = [[m.inputs[0].zero_point - m.constants.lookup.qmin for m in members] for members in programs]
        self.begin = self._per_member([[next(starts) for _ in members] for members in programs])
        self.shift = self._per_member(shifts)
        self.base = self.begin + self.shift
        if not self.full:
            self._prepare_lines(programs)

    def _prepare_lines(self, programs: Sequence[Sequence[Member[forms.Tabulated]]]) -> None:
        lookups = [[m.constants.lookup for m in members] for members in programs]
        self.step = self._per_member([[t.step for t in row] for row in lookups])
        self.scale = torch.ones_like(self.step) << self.step
        self.down = self._per_member([[t.step + t.guard for t in row] for row in lookups])
        self.half = (torch.ones_like(self.down) << self.down) >> 1
        self.lo = self._per_member([[t.lo for t in row] for row in lookups])
        self.hi = self._per_member([[t.hi for t in row] for row in lookups])
        self.zero = self._per_member([[m.output.zero_point for m in members] for members in programs])

    def _per_member(self, values: Sequence[Sequence[int]]) -> Tensor:
        return self.vector([list(zip(row, self.widths, strict=True)) for row in values], torch.int32)

    def forward(self, rows: R) -> None:
        self.look_up(rows)

    def look_up(self, rows: R) -> Tensor:
        """Forward; returns the entry of every value, or the knot below it."""
        if self.full:
            index = torch.add(rows.ins[0], self.base, out=rows.raw)
            torch.index_select(self.entries, 0, index.view(-1), out=rows.out.view(-1))
        else:
            index = self._interpolate(rows)
        if rows.real is not None:
            rows.real.copy_(rows.out)
        return index

    def _interpolate(self, rows: R) -> Tensor:
        place = torch.add(rows.ins[0], self.shift, out=rows.raw)
        part = torch.bitwise_and(place, self.scale - 1)
        below = torch.bitwise_right_shift(place, self.step, out=place).add_(self.begin)
        low = torch.index_select(self.entries, 0, below.view(-1)).view(below.shape)
        high = torch.index_select(self.entries, 0, (below + 1).view(-1)).view(below.shape)
        total = torch.addcmul(low * (self.scale - part), high, part).add_(self.half)
        torch.clamp(total >> self.down, self.lo, self.hi, out=rows.out)
        rows.out.sub_(self.zero)
        return below
