"""Operators with weights: linear and diagonal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch

from bittailor.core.arith import Ints
from bittailor.core.ops.forms import Weighted
from bittailor.core.qformat import QFormat
from bittailor.train.kernels.base import Prepared, vector
from bittailor.train.kernels.rescaling import Rescaling
from bittailor.train.workspace import Rows

EXACT = {torch.float32: 2.0**24, torch.float64: 2.0**53}
"""Integers of smaller magnitude are held exactly."""


def offsets_of(node: Prepared) -> Ints:
    """Offsets of the rows of a bound node."""
    constants = cast(Weighted, node.constants)
    return np.zeros(len(constants.W.values), np.int64) if constants.offsets is None else constants.offsets.values


class MatMul(Rescaling):
    """linear operators of one input: W u + offsets as one matrix product."""

    def prepare(self, nodes: Sequence[Prepared]) -> None:
        super().prepare(nodes)
        self.x_scale = nodes[0].inputs[0].scale[0]
        zero = nodes[0].inputs[0].zero_point
        reach = nodes[0].inputs[0].reach
        integers = [cast(Weighted, node.constants).W.values for node in nodes]
        W = np.concatenate(integers)
        offsets = np.concatenate([
            offsets_of(node) for node in nodes
        ]) + zero * W.sum(axis=1)  # for centred inputs
        bound = float((np.abs(W).sum(axis=1) * reach + np.abs(offsets)).max())
        self.float = torch.float32 if bound < EXACT[torch.float32] else torch.float64
        # a bias of 32 exact bits at a tiny scale is added as the integer it is
        self.late = bound >= EXACT[torch.float64]
        self.W = torch.from_numpy(W.T.astype(np.float32 if self.float == torch.float32 else np.float64))
        self.offsets = torch.from_numpy(offsets)
        self.bias = self.offsets.to(self.float)
        scales = np.concatenate([
            np.broadcast_to(np.asarray(cast(QFormat, node.weight).scale), (len(q),))
            for node, q in zip(nodes, integers, strict=True)
        ])
        self.real_W = torch.from_numpy((W * scales[:, None]).astype(np.float32))

    def forward(self, rows: Rows) -> None:
        raw = self.raw(rows)
        x = rows.in_reals[0]
        if self.late:
            raw.copy_((x.double() @ self.W).to(torch.int64) + self.offsets)
        elif self.float == torch.float32:
            raw.copy_(torch.addmm(self.bias, x, self.W, out=rows.product))
        else:
            raw.copy_(torch.addmm(self.bias, x.double(), self.W))
        torch.addcmul(self.c, raw, self.M[0], out=raw)
        self.settle(raw, rows)

    def backward(self, rows: Rows) -> None:
        masked = self.masked(rows, rows.kept)
        if self.trainable[0]:
            target = rows.in_grads[0]
            if self.group.writes[0]:
                torch.mm(masked, self.real_W, out=target)
            else:
                target.addmm_(masked, self.real_W)

    def finish(self, rows: Rows) -> None:
        gradient = rows.kept
        W = (gradient.T @ rows.in_reals[0]).mul_(self.x_scale)
        b = gradient.sum(dim=0)
        start = 0
        for node, width in zip(self.group.nodes, self.widths(), strict=True):
            part = slice(start, start + width)
            for name, value in zip(node.params, (W[part], b[part]), strict=False):
                self.parameter_gradients[name] = value
            start += width


class Diagonal(Rescaling):
    """diagonal: a weight per feature, W u + offset."""

    def prepare(self, nodes: Sequence[Prepared]) -> None:
        super().prepare(nodes)
        weights, offsets, reals, scales = [], [], [], []
        for node in nodes:
            q = cast(Weighted, node.constants).W.values.reshape(-1)
            x, fmt = node.inputs[0], cast(QFormat, node.weight)
            weights.append((q, len(q)))
            offsets.append((offsets_of(node) + x.zero_point * q, len(q)))
            reals.append(q * np.asarray(fmt.scale))
            scales.append(np.full(len(q), x.scale[0]))
        self.W, self.offsets = vector(weights, self.kind), vector(offsets, self.kind)
        self.real_W = torch.from_numpy(np.concatenate(reals).astype(np.float32))
        self.x_scales = torch.from_numpy(np.concatenate(scales).astype(np.float32))

    def forward(self, rows: Rows) -> None:
        raw = self.raw(rows)
        x = rows.ins[0] if not self.wide else rows.ins[0].to(torch.int64)
        torch.addcmul(self.offsets, x, self.W, out=raw)
        torch.addcmul(self.c, raw, self.M[0], out=raw)
        self.settle(raw, rows)

    def backward(self, rows: Rows) -> None:
        masked = self.masked(rows, rows.kept)
        if self.trainable[0]:
            base = rows.zeros if self.group.writes[0] else rows.in_grads[0]
            torch.addcmul(base, masked, self.real_W, out=rows.in_grads[0])

    def finish(self, rows: Rows) -> None:
        W = (rows.kept * rows.in_reals[0]).sum(dim=0).mul_(self.x_scales)
        b = rows.kept.sum(dim=0)
        start = 0
        for node, width in zip(self.group.nodes, self.widths(), strict=True):
            part = slice(start, start + width)
            for name, value in zip(node.params, (W[part, None], b[part]), strict=False):
                self.parameter_gradients[name] = value
            start += width
