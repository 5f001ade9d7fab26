"""Operators that end in one rescaling: sums, products and concatenations of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from bittailor.core.arith import Rescale
from bittailor.core.ops import forms as ops
from bittailor.train.kernels.base import Kernel, Prepared, vector
from bittailor.train.workspace import Rows


class Rescaling(Kernel):
    """y = clamp((sum u_i M_i + c) >> S), less the zero-point. Subclasses form the sum."""

    signs: tuple[int, ...] = (1,)

    def prepare(self, nodes: Sequence[Prepared]) -> None:
        rescales = [self.rescale_of(node, i) for i, node in enumerate(nodes)]
        widths = self.widths()
        self.wide = any(r.wide for r in rescales)
        kind = torch.int64 if self.wide else torch.int32
        self.kind = kind
        parts = list(zip(rescales, widths, strict=True))
        zeros = [node.output.zero_point for node in nodes] if len(nodes) == len(rescales) else (
            [nodes[0].output.zero_point] * len(rescales))
        self.M = [
            vector([(sign * r.multipliers[i], w) for r, w in parts], kind)
            for i, sign in enumerate(self.signs)
        ]
        self.S = vector([(r.shift, w) for r, w in parts], kind)
        # the zero-point leaves the constant, unless that makes it larger than what was proved to fit
        early = all(abs(r.offset - (z << r.shift)) <= abs(r.offset) for r, z in zip(rescales, zeros, strict=True))
        self.c = vector([
            (r.offset - (z << r.shift if early else 0), w) for (r, w), z in zip(parts, zeros, strict=True)
        ], kind)
        self.zero = None if early else vector([(z, w) for (_, w), z in zip(parts, zeros, strict=True)], kind)
        self.lo = vector([(r.lo - z, w) for (r, w), z in zip(parts, zeros, strict=True)], kind)
        self.hi = vector([(r.hi - z, w) for (r, w), z in zip(parts, zeros, strict=True)], kind)
        if self.learned:
            self.unit = torch.exp2(-self.S.to(torch.float32))
            self.half = torch.full_like(self.unit, -0.5)

    def rescale_of(self, node: Prepared, i: int) -> Rescale:
        """The rescaling of one member."""
        return cast(ops.Rescaling, node.constants).rescale

    def widths(self) -> list[int]:
        """Features per member."""
        return [self.buffer_sites[node.output][1] for node in self.group.nodes]

    def settle(self, raw: Tensor, rows: Rows) -> None:
        """Shift, clamp, and note where the clamp did not bind."""
        if self.collects:
            rows.error.copy_(raw)
        torch.bitwise_right_shift(raw, self.S, out=raw)
        if self.zero is not None:
            raw.sub_(self.zero)
        mask, real = rows.mask, rows.real
        if self.wide:
            kept = torch.clamp(raw, self.lo, self.hi)
            rows.out.copy_(kept)
            if real is not None:
                real.copy_(kept)
            if mask is not None:
                mask.copy_(raw == kept)
        elif mask is None:
            torch.clamp(raw, self.lo, self.hi, out=rows.out)
            if real is not None:
                real.copy_(rows.out)
        elif real is not None:
            mask.copy_(raw)
            torch.clamp(raw, self.lo, self.hi, out=rows.out)
            real.copy_(rows.out)
            mask.eq_(real)
        else:
            torch.clamp(raw, self.lo, self.hi, out=rows.out)
            raw.eq_(rows.out)
            mask.copy_(raw)
        if self.collects:
            # what the rounding (inside) or the clamp (outside) answers per step of scale: LSQ, arXiv 1902.08153
            assert mask is not None
            assert real is not None
            torch.addcmul(self.half if self.zero is None else self.half - self.zero, rows.error, self.unit,
                          out=rows.error)
            torch.addcmul(real, mask, rows.error, value=-1, out=rows.error)

    def raw(self, rows: Rows) -> Tensor:
        """Room for the sum."""
        return rows.raw if not self.wide else torch.empty(rows.raw.shape, dtype=torch.int64)

    def masked(self, rows: Rows, out: Tensor) -> Tensor:
        """The gradient behind the clamp."""
        assert rows.mask is not None
        if self.collects:
            self.collect(rows)
        return torch.mul(rows.grad, rows.mask, out=out)


class Affine(Rescaling):
    """add, sub, one_minus, relu, requantise: a sum of operands, each times its own multiplier."""

    def __init__(self, *args: Any, signs: tuple[int, ...] = (1,)) -> None:
        super().__init__(*args)
        self.signs = signs
        self.rest = [i for i in range(len(signs)) if i not in self.group.hoisted]

    def hoist(self, rows: Rows) -> None:
        if not self.group.hoisted:
            return
        kept = rows.workspace.partial(self.group, self.kind)
        total = self.c
        for i in self.group.hoisted:
            total = torch.addcmul(total, rows.ins[i].to(self.kind), self.M[i], out=kept)

    def forward(self, rows: Rows) -> None:
        raw = self.raw(rows)
        total = self.c if rows.partial is None else rows.partial
        for i in self.rest:
            u = rows.ins[i] if not self.wide else rows.ins[i].to(torch.int64)
            total = torch.addcmul(total, u, self.M[i], out=raw)
        if not self.rest:
            raw.copy_(total)
        self.settle(raw, rows)

    def backward(self, rows: Rows) -> None:
        masked: Tensor | None = None
        for i, (sign, write) in enumerate(zip(self.signs, self.group.writes, strict=True)):
            if not self.trainable[i]:
                continue
            target = rows.in_grads[i]
            if masked is None:
                masked = self.masked(rows, target if write and sign == 1 else rows.scratch)
                if masked is target:
                    continue
            if write:
                torch.mul(masked, sign, out=target)
            else:
                target.add_(masked, alpha=sign)


class Product(Rescaling):
    """mul: (a)(b), one multiplier."""

    def prepare(self, nodes: Sequence[Prepared]) -> None:
        super().prepare(nodes)
        self.scales = [fmt.scale[0] for fmt in nodes[0].inputs]

    def forward(self, rows: Rows) -> None:
        a, b = rows.ins
        raw = self.raw(rows)
        if self.wide:
            a, b = a.to(torch.int64), b.to(torch.int64)
        torch.mul(a, b, out=raw)
        torch.addcmul(self.c, raw, self.M[0], out=raw)
        self.settle(raw, rows)

    def backward(self, rows: Rows) -> None:
        masked = self.masked(rows, rows.scratch)
        for i, write in enumerate(self.group.writes):
            if self.trainable[i]:
                target = rows.in_grads[i]
                base = rows.zeros if write else target
                torch.addcmul(base, masked, rows.in_reals[1 - i], value=self.scales[1 - i], out=target)


class Concat(Rescaling):
    """concat: every operand rescaled to the common format, side by side."""

    def rescale_of(self, node: Prepared, i: int) -> Rescale:
        return cast(ops.Joined, node.constants).rescales[i]

    def prepare(self, nodes: Sequence[Prepared]) -> None:
        super().prepare([nodes[0]] * len(self.group.ins))

    def widths(self) -> list[int]:
        return [ref.width for ref in self.group.ins]

    def forward(self, rows: Rows) -> None:
        raw = self.raw(rows)
        start = 0
        for u, width in zip(rows.ins, self.widths(), strict=True):
            raw[:, start : start + width] = u
            start += width
        torch.addcmul(self.c, raw, self.M[0], out=raw)
        self.settle(raw, rows)

    def backward(self, rows: Rows) -> None:
        masked = self.masked(rows, rows.scratch)
        start = 0
        for i, width in enumerate(self.widths()):
            part = masked[:, start : start + width]
            start += width
            if not self.trainable[i]:
                continue
            if self.group.writes[i]:
                rows.in_grads[i].copy_(part)
            else:
                rows.in_grads[i].add_(part)
