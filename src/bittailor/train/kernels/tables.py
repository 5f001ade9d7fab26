"""Functions of one variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from bittailor.core.arith import Floats, Lookup, knots
from bittailor.core.ops import OPS
from bittailor.core.ops.forms import Tabulated
from bittailor.core.ops.functions import Function
from bittailor.core.qformat import QFormat
from bittailor.train.kernels.base import Kernel, Prepared, vector
from bittailor.train.workspace import Rows


class LookUp(Kernel):
    """Functions of one variable, by the operator's own table; the derivative by a table beside it."""

    def prepare(self, nodes: Sequence[Prepared]) -> None:
        self.lookups = [cast(Tabulated, node.constants).lookup for node in nodes]
        widths = [self.buffer_sites[node.output][1] for node in self.group.nodes]
        entries, slopes, errors, bases, start = [], [], [], [], 0
        self.full = all(lookup.step == 0 for lookup in self.lookups)
        self.spans: list[slice] = []
        column = 0
        for node, source, lookup, width in zip(nodes, self.group.nodes, self.lookups, widths, strict=True):
            slope, error = tangent(cast(Function, OPS[source.op]), node.inputs[0], node.output, lookup, self.learned)
            entries.append(lookup.entries - (node.output.zero_point if self.full else 0))
            slopes.append(slope)
            errors.append(error)
            bases.append((start + node.inputs[0].zero_point - lookup.qmin, width))
            start += len(lookup.entries)
            self.spans.append(slice(column, column + width))
            column += width
        self.base = vector(bases, torch.int32)
        self.entries = torch.from_numpy(np.concatenate(entries).astype(np.int32))
        self.slopes = torch.from_numpy(np.concatenate(slopes).astype(np.float32))
        self.errors = torch.from_numpy(np.concatenate(errors).astype(np.float32))
        self.zeros = [node.output.zero_point for node in nodes]
        self.starts = np.cumsum([0, *(len(lookup.entries) for lookup in self.lookups)])

    def forward(self, rows: Rows) -> None:
        index = torch.add(rows.ins[0], self.base, out=rows.index)
        if self.full:
            torch.index_select(self.entries, 0, index.view(-1), out=rows.out.view(-1))
        else:
            index = self._interpolate(index, rows.out)
        if rows.real is not None:
            rows.real.copy_(rows.out)
        if rows.slope is not None:
            torch.index_select(self.slopes, 0, index.view(-1), out=rows.slope.view(-1))
            if self.collects:
                torch.index_select(self.errors, 0, index.view(-1), out=rows.error.view(-1))

    def _interpolate(self, index: Tensor, out: Tensor) -> Tensor:
        """Between knots, member by member; returns the index of the knot below."""
        below = torch.empty_like(index)
        for lookup, span, zero, start in zip(self.lookups, self.spans, self.zeros, self.starts, strict=False):
            place = index[:, span] - int(start)
            i = place >> lookup.step
            below[:, span] = i + int(start)
            entries = self.entries[int(start) :]
            if lookup.step == 0:
                out[:, span] = entries[i] - zero
                continue
            k = place & ((1 << lookup.step) - 1)
            shift = lookup.step + lookup.guard
            total = entries[i] * ((1 << lookup.step) - k) + entries[i + 1] * k
            out[:, span] = ((total + (1 << (shift - 1))) >> shift).clamp_(lookup.lo, lookup.hi) - zero
        return below

    def backward(self, rows: Rows) -> None:
        assert rows.slope is not None
        if self.collects:
            self.collect(rows)
        if not self.trainable[0]:
            return
        if self.group.writes[0]:
            torch.mul(rows.grad, rows.slope, out=rows.in_grads[0])
        else:
            rows.in_grads[0].addcmul_(rows.grad, rows.slope)


def tangent(
    function: Function, source: QFormat, out: QFormat, lookup: Lookup, learned: bool
) -> tuple[Floats, Floats]:
    """Per table entry: the function's derivative where its value is inside the output's range, else 0; and the
    answer of the output to a step of its scale (LSQ), zeros unless `learned`."""
    at = knots(source)
    value = function.f(at) / out.scale[0]
    low, high = out.qmin - out.zero_point, out.qmax - out.zero_point
    inside = (value >= low - 0.5) & (value < high + 0.5)
    if lookup.step:
        slope = np.append(np.diff(function.f(at)) / np.diff(at), 0.0)
    else:
        h = 1e-5 * np.maximum(1.0, np.abs(at))
        slope = (function.f(at + h) - function.f(at - h)) / (2 * h)
    error = np.zeros_like(value)
    if learned:
        error = np.where(inside, np.floor(value + 0.5) - value, np.clip(value, low, high))
    return slope * inside, error
