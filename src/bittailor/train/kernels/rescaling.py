"""Forms that end in one rescaling: a clamp stops the gradient where it binds, and a scale learns from both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bittailor.core.ops import forms
from bittailor.core.ops.elementwise import AffineOp
from bittailor.core.qformat import QFormat
from bittailor.engines.torch.kernels import rescaling
from bittailor.engines.torch.kernels.base import C, Member
from bittailor.engines.torch.kernels.rescaling import P
from bittailor.train import native
from bittailor.train.kernels.base import Trainable, TrainingRows
from bittailor.train.native import OPERANDS, Op, View


class Clamped(Trainable[C], rescaling.Rescaled[C, TrainingRows]):
    """Notes where the clamp did not bind, and what the rounding answers to the output's scale."""

    def prepare(self, programs: Sequence[Sequence[Member[C]]]) -> None:
        super().prepare(programs)
        if self.learned:
            self.unit = torch.exp2(-self.S.to(torch.float32))
            half = torch.full_like(self.unit, -0.5)

            self.middle = half if self.zero is None else half - self.zero

    def describe(self, op: Op, backwards: bool) -> None:
        op.wide = self.wide
        op.constants(S=self.S, c=self.c, zero=self.zero, lo=self.lo, hi=self.hi)
        for i, M in enumerate(self.M):
            op.M[i] = M.data_ptr()
        if self.learned:
            op.constants(unit=self.unit, middle=self.middle)

    def settle(self, raw: Tensor, rows: TrainingRows) -> None:
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
            mask.copy_(raw == kept)
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
            assert real is not None
            torch.addcmul(self.middle, rows.error, self.unit, out=rows.error)
            torch.addcmul(real, mask, rows.error, value=-1, out=rows.error)

    def masked(self, rows: TrainingRows, out: Tensor) -> Tensor:
        """The gradient behind the clamp."""
        if self.collects:
            self.collect(rows)
        return torch.mul(rows.grad, rows.mask, out=out)


class Affine(Clamped[forms.Affine], rescaling.Affine[TrainingRows]):
    """A sum hands its gradient to every operand, times the operand's factor."""

    def prepare(self, programs: Sequence[Sequence[Member[forms.Affine]]]) -> None:
        super().prepare(programs)
        op = self.group.nodes[0].operator
        assert isinstance(op, AffineOp)
        self.gains = op.gains  # those of all members

    @property
    def native(self) -> bool:
        return len(self.gains) <= OPERANDS

    def describe(self, op: Op, backwards: bool) -> None:
        if backwards:
            op.kind, op.gain = native.BACK_SUM, (*self.gains, *[0.0] * (OPERANDS - len(self.gains)))
            return
        super().describe(op, backwards)
        op.kind = native.SUM
        for i in self.group.hoisted:
            op.operand[i] = View()  # in the sum already

    def backward(self, rows: TrainingRows) -> None:
        masked: Tensor | None = None
        for i, (gain, write) in enumerate(zip(self.gains, self.group.writes, strict=True)):
            if not self.trainable[i]:
                continue
            target = rows.in_grads[i]
            if masked is None:
                masked = self.masked(rows, target if write and gain == 1 else rows.scratch)
                if masked is target:
                    continue
            if write:
                torch.mul(masked, gain, out=target)
            else:
                target.add_(masked, alpha=gain)


class Product(Clamped[forms.Product], rescaling.Product[TrainingRows]):
    """Each operand's gradient is the other's value."""

    def prepare(self, programs: Sequence[Sequence[Member[forms.Product]]]) -> None:
        super().prepare(programs)
        self.scales = [fmt.scale[0] for fmt in programs[0][0].inputs]

    @property
    def native(self) -> bool:
        return True

    def describe(self, op: Op, backwards: bool) -> None:
        super().describe(op, backwards)
        op.kind = native.BACK_PRODUCT if backwards else native.PRODUCT
        op.gain[0], op.gain[1] = self.scales

    def backward(self, rows: TrainingRows) -> None:
        masked = self.masked(rows, rows.scratch)
        for i, write in enumerate(self.group.writes):
            if self.trainable[i]:
                target = rows.in_grads[i]
                base = rows.zeros if write else target
                torch.addcmul(base, masked, rows.in_reals[1 - i], value=self.scales[1 - i], out=target)


class Joined(Clamped[forms.Joined], rescaling.Joined[TrainingRows]):
    """Every operand gets its columns."""

    def backward(self, rows: TrainingRows) -> None:
        masked = self.masked(rows, rows.scratch)
        start = 0
        for i, ref in enumerate(self.group.ins):
            part = masked[:, start : start + ref.width]
            start += ref.width
            if not self.trainable[i]:
                continue
            if self.group.writes[i]:
                rows.in_grads[i].copy_(part)
            else:
                rows.in_grads[i].add_(part)


def _scale_of(member: Member[Any]) -> QFormat:
    assert member.weight is not None
    return member.weight


class MatMul(Clamped[P], rescaling.MatMul[P, TrainingRows]):
    """Gradients of a matrix and of its input, through the dequantised values of the other."""

    arrays = ("mask", "kept")
    multiplies = True

    def prepare(self, programs: Sequence[Sequence[Member[P]]]) -> None:
        super().prepare(programs)
        (members,) = programs
        self.x_scale = members[0].inputs[0].scale[0]
        self.real_W = torch.from_numpy(np.concatenate([
            self.weights_of(m) * np.asarray(_scale_of(m).scale)[:, None] for m in members
        ]).astype(np.float32))

    @property
    def native(self) -> bool:
        return not self.late

    def describe(self, op: Op, backwards: bool) -> None:
        super().describe(op, backwards)
        op.kind, op.doubled = native.BACK_KEPT if backwards else native.DOT, self.float == torch.float64

    def product(self, rows: TrainingRows) -> Tensor:
        return rows.doubles() if self.float == torch.float64 else super().product(rows)

    def multiply(self, rows: TrainingRows) -> None:
        torch.addmm(self.bias, rows.in_reals[0].to(self.float), self.W, out=self.product(rows))

    def backward(self, rows: TrainingRows) -> None:
        self.masked(rows, rows.kept)
        self.multiply_back(rows)

    def multiply_back(self, rows: TrainingRows) -> None:
        masked = rows.kept
        if self.trainable[0]:
            target = rows.in_grads[0]
            if self.group.writes[0]:
                torch.mm(masked, self.real_W, out=target)
            else:
                target.addmm_(masked, self.real_W)

    def finish(self, rows: TrainingRows) -> None:
        W = (rows.kept.T @ rows.in_reals[0]).mul_(self.x_scale)
        self.parameter_gradients |= _by_site(self, self.cut(W), rows.kept.sum(dim=0))

    def cut(self, W: Tensor) -> Tensor:
        """Of a whole matrix's gradient that of the weights that there are."""
        return W


class Diagonal(Clamped[forms.DiagonalProduct], rescaling.Diagonal[TrainingRows]):
    """The same, feature by feature."""

    arrays = ("mask", "kept")

    def prepare(self, programs: Sequence[Sequence[Member[forms.DiagonalProduct]]]) -> None:
        super().prepare(programs)
        (members,) = programs
        self.real_W = torch.from_numpy(np.concatenate([
            m.constants.W.values[:, 0] * np.asarray(_scale_of(m).scale) for m in members
        ]).astype(np.float32))
        self.x_scales = torch.from_numpy(np.concatenate([
            np.full(w, m.inputs[0].scale[0]) for m, w in zip(members, self.widths, strict=True)
        ]).astype(np.float32))

    @property
    def native(self) -> bool:
        return True

    def describe(self, op: Op, backwards: bool) -> None:
        super().describe(op, backwards)
        op.kind = native.BACK_DIAGONAL if backwards else native.DIAGONAL
        op.constants(weight=self.W, offset=self.offsets, factor=self.real_W)

    def backward(self, rows: TrainingRows) -> None:
        masked = self.masked(rows, rows.kept)
        if self.trainable[0]:
            base = rows.zeros if self.group.writes[0] else rows.in_grads[0]
            torch.addcmul(base, masked, self.real_W, out=rows.in_grads[0])

    def finish(self, rows: TrainingRows) -> None:
        W = (rows.kept * rows.in_reals[0]).sum(dim=0).mul_(self.x_scales)
        self.parameter_gradients |= _by_site(self, W[:, None], rows.kept.sum(dim=0))


def _by_site(kernel: Trainable[Any], W: Tensor, b: Tensor) -> dict[str, Tensor]:
    """The gradients of a group's parameters, cut where its members meet."""
    found: dict[str, Tensor] = {}
    start = 0
    for node, width in zip(kernel.group.nodes, kernel.widths, strict=True):
        part = slice(start, start + width)
        found |= zip(node.params, (W[part], b[part]), strict=False)
        start += width
    return found
