"""A vector over the root of its variance or of its mean square, in 64-bit integers; the root as in `core/rsqrt.py`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bittailor.core.ops import forms
from bittailor.core.rsqrt import DROPPED_BITS, POWER_BITS, ROOT_BITS
from bittailor.engines.torch.kernels.base import Kernel, Member, R


class Normalise(Kernel[forms.Normalised, R]):
    """One operator: statistics run over all of its features."""

    def prepare(self, programs: Sequence[Sequence[Member[forms.Normalised]]]) -> None:
        members = [member for (member,) in programs]
        self.centred = members[0].constants.centred

        def column(values: Sequence[int]) -> Tensor:
            made = torch.tensor(values, dtype=torch.int64, device=self.device)
            return made[:, None] if self.stacked else made

        gains = [member.constants.gain for member in members]
        self.gain, self.t = column([g.multiplier for g in gains]), column([g.shift for g in gains])
        self.epsilon = column([g.epsilon for g in gains])
        self.lo, self.hi = column([g.lo - g.zero for g in gains]), column([g.hi - g.zero for g in gains])

    def forward(self, rows: R) -> None:
        kept = torch.clamp(self.raw(*self.statistics(rows)), self.lo, self.hi)
        rows.out.copy_(kept)
        if rows.real is not None:
            rows.real.copy_(kept)

    def statistics(self, rows: R) -> tuple[Tensor, Tensor]:
        """d [rows, (programs,) features] and N with one value of them."""
        u = rows.ins[0].to(torch.int64)
        power = (u * u).sum(dim=-1, keepdim=True)
        if self.centred:
            n, total = u.shape[-1], u.sum(dim=-1, keepdim=True)
            u, power = n * u - total, n * power - total * total
        return u, torch.clamp(power + self.epsilon, min=1)

    def raw(self, d: Tensor, power: Tensor) -> Tensor:
        """Rounded and not yet clamped, less the zero-point."""
        h = torch.zeros_like(power)
        for digits in (16, 8, 4, 2, 1):
            low = power < 1 << (POWER_BITS - 2 * digits)
            power = torch.where(low, power << 2 * digits, power)
            h += low * digits
        inverse = torch.div(torch.full_like(power, 1 << ROOT_BITS), integer_root(power), rounding_mode="floor")
        shift = self.t + DROPPED_BITS - h
        half = (torch.ones_like(shift) << shift) >> 1
        return (d * ((self.gain * inverse) >> DROPPED_BITS) + half) >> shift


def integer_root(v: Tensor) -> Tensor:
    """floor(sqrt(v)) of int64 below 2**62: that of float64, put right."""
    w = v.double().sqrt().to(torch.int64)
    w = w - (w * w > v).to(torch.int64)
    return w + ((w + 1) * (w + 1) <= v).to(torch.int64)
