"""Forms that end in one rescaling per feature: sums, products, weights, and vectors laid side by side."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from bittailor.core import arith
from bittailor.core.ops import forms
from bittailor.engines.torch.kernels.base import C, Kernel, Member, R

EXACT = {torch.float32: 2.0**24, torch.float64: 2.0**53}
"""Integers of smaller magnitude are held exactly."""

F = TypeVar("F", bound=forms.Rescaling | forms.Accumulated)
W = TypeVar("W", bound=forms.Weighted)
P = TypeVar("P", bound=forms.MatrixProduct | forms.GroupedProduct)


class Part(NamedTuple):
    """Columns of a group's output that share a rescaling: it, the output's zero-point, how many."""

    rescale: arith.Rescale
    zero: int
    width: int


class Rescaled(Kernel[C, R]):
    """y = clamp((sum u_i M_i + c) >> S), less the zero-point. Subclasses form the sum."""

    signs: tuple[int, ...] = (1,)

    @abstractmethod
    def parts(self, members: Sequence[Member[C]]) -> list[Part]:
        """The parts of one program's output, in order."""

    def prepare(self, programs: Sequence[Sequence[Member[C]]]) -> None:
        parts = [self.parts(members) for members in programs]
        flat = [part for row in parts for part in row]
        self.wide = any(p.rescale.wide for p in flat)
        kind = self.kind = torch.int64 if self.wide else torch.int32
        self.M = [
            self.vector([[(sign * p.rescale.multipliers[i], p.width) for p in row] for row in parts], kind)
            for i, sign in enumerate(self.signs)
        ]
        self.S = self.vector([[(p.rescale.shift, p.width) for p in row] for row in parts], kind)
        # the zero-point leaves the constant, unless that makes it larger than what was proved to fit
        early = all(abs(p.rescale.offset - (p.zero << p.rescale.shift)) <= abs(p.rescale.offset) for p in flat)
        self.c = self.vector([
            [(p.rescale.offset - (p.zero << p.rescale.shift if early else 0), p.width) for p in row] for row in parts
        ], kind)
        self.zero = None if early else self.vector([[(p.zero, p.width) for p in row] for row in parts], kind)
        self.lo = self.vector([[(p.rescale.lo - p.zero, p.width) for p in row] for row in parts], kind)
        self.hi = self.vector([[(p.rescale.hi - p.zero, p.width) for p in row] for row in parts], kind)

    def raw(self, rows: R) -> Tensor:
        """Room for the sum."""
        return torch.empty(rows.raw.shape, dtype=torch.int64, device=self.device) if self.wide else rows.raw

    def finish_sum(self, raw: Tensor, rows: R) -> None:
        """From one exact operand to the output."""
        torch.addcmul(self.c, raw, self.M[0], out=raw)
        self.settle(raw, rows)

    def settle(self, raw: Tensor, rows: R) -> None:
        """Shift and clamp."""
        torch.bitwise_right_shift(raw, self.S, out=raw)
        if self.zero is not None:
            raw.sub_(self.zero)
        if self.wide:
            rows.out.copy_(torch.clamp(raw, self.lo, self.hi))
        else:
            torch.clamp(raw, self.lo, self.hi, out=rows.out)
        if rows.real is not None:
            rows.real.copy_(rows.out)


class Single(Rescaled[F, R]):
    """Every operator has one rescaling."""

    def parts(self, members: Sequence[Member[F]]) -> list[Part]:
        return [Part(m.constants.rescale, m.output.zero_point, w) for m, w in zip(members, self.widths, strict=True)]


class Affine(Single[forms.Affine, R]):
    """A sum of operands, each times its own multiplier."""

    def prepare(self, programs: Sequence[Sequence[Member[forms.Affine]]]) -> None:
        self.signs = programs[0][0].constants.signs
        self.rest = [i for i in range(len(self.signs)) if i not in self.group.hoisted]
        super().prepare(programs)

    def hoist(self, rows: R) -> None:
        if not self.group.hoisted:
            return
        kept = rows.workspace.partial(self.group, self.kind)
        total = self.c
        for i in self.group.hoisted:
            total = torch.addcmul(total, rows.ins[i].to(self.kind), self.M[i], out=kept)

    def forward(self, rows: R) -> None:
        raw = self.raw(rows)
        total = self.c if rows.partial is None else rows.partial
        for i in self.rest:
            u = rows.ins[i] if not self.wide else rows.ins[i].to(torch.int64)
            total = torch.addcmul(total, u, self.M[i], out=raw)
        if not self.rest:
            raw.copy_(total)
        self.settle(raw, rows)


class Product(Single[forms.Product, R]):
    """Two operands multiplied, one multiplier."""

    def forward(self, rows: R) -> None:
        a, b = rows.ins
        raw = self.raw(rows)
        if self.wide:
            a, b = a.to(torch.int64), b.to(torch.int64)
        self.finish_sum(torch.mul(a, b, out=raw), rows)


class Joined(Rescaled[forms.Joined, R]):
    """Every operand rescaled to the common format, side by side."""

    def parts(self, members: Sequence[Member[forms.Joined]]) -> list[Part]:
        (member,) = members
        return [Part(rescale, member.output.zero_point, ref.width)
                for rescale, ref in zip(member.constants.rescales, self.group.ins, strict=True)]

    def forward(self, rows: R) -> None:
        raw = self.raw(rows)
        start = 0
        for u in rows.ins:
            raw[..., start : start + u.shape[-1]] = u
            start += u.shape[-1]
        self.finish_sum(raw, rows)


def offsets_of(member: Member[W]) -> arith.Ints:
    """[rows]: what is added to W u, u centred."""
    W, zero = member.constants.W.values, member.inputs[0].zero_point  # of a group as of the whole: the rest is zero
    given = member.constants.offsets
    return np.asarray((0 if given is None else given.values) + zero * W.sum(axis=1))


class MatMul(Single[P, R]):
    """Matrices of one input: W u + offsets as one product, in floats that hold every partial sum exactly."""

    def prepare(self, programs: Sequence[Sequence[Member[P]]]) -> None:
        super().prepare(programs)
        W = np.stack([np.concatenate([self.weights_of(m) for m in members]) for members in programs])
        offsets = np.stack([np.concatenate([offsets_of(m) for m in members]) for members in programs])
        reach = np.array([members[0].inputs[0].reach for members in programs])[:, None]
        bound = float((np.abs(W).sum(axis=2) * reach + np.abs(offsets)).max())
        self.float = torch.float32 if bound < EXACT[torch.float32] else torch.float64
        # a bias of 32 exact bits at a tiny scale is added as the integer it is
        self.late = bound >= EXACT[torch.float64]
        kind = np.float32 if self.float == torch.float32 else np.float64
        self.W = self.tensor(W.swapaxes(1, 2).astype(kind))
        self.offsets = self.tensor(offsets[:, None] if self.stacked else offsets)
        self.bias = self.offsets.to(self.float)

    def forward(self, rows: R) -> None:
        raw = self.raw(rows)
        x = rows.in_reals[0] if self.float == torch.float32 else rows.in_reals[0].double()
        if self.stacked:
            raw.copy_(self._product(x.transpose(0, 1)).transpose(0, 1))
        elif self.float == torch.float32:
            raw.copy_(torch.addmm(self.bias, x, self.W, out=rows.product))
        else:
            raw.copy_(self._product(x))
        self.finish_sum(raw, rows)

    def weights_of(self, member: Member[P]) -> arith.Ints:
        """[rows, columns] of one member."""
        return member.constants.W.values

    def _product(self, x: Tensor) -> Tensor:
        if self.late:
            return (x @ self.W).to(torch.int64) + self.offsets
        return torch.baddbmm(self.bias, x, self.W) if self.stacked else torch.addmm(self.bias, x, self.W)


class Diagonal(Single[forms.DiagonalProduct, R]):
    """A weight per feature, W u + offset."""

    def prepare(self, programs: Sequence[Sequence[Member[forms.DiagonalProduct]]]) -> None:
        super().prepare(programs)
        self.W = self.vector([[(m.constants.W.values[:, 0], w) for m, w in zip(members, self.widths, strict=True)]
                              for members in programs], self.kind)
        self.offsets = self.vector([[(offsets_of(m), w) for m, w in zip(members, self.widths, strict=True)]
                                    for members in programs], self.kind)

    def forward(self, rows: R) -> None:
        raw = self.raw(rows)
        x = rows.ins[0] if not self.wide else rows.ins[0].to(torch.int64)
        self.finish_sum(torch.addcmul(self.offsets, x, self.W, out=raw), rows)
