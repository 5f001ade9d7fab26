"""Training's element-wise work in C: groups of operators described by numbers, run over a step or over a whole loop.

A tape lists the groups of a loop, or one group over all steps, in the order in which they run. Neighbours that have a
native form (`Trainable.native`) are one call of `runtime/bt_train.c`; what has none runs its torch kernel in between,
and so do matrix products. Both work on the same arrays, so a loop may be half of each. Where there is no library
(`native.library`), there are no tapes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from bittailor.train.kernels.base import Trainable, TrainingRows
from bittailor.train.native import CLEAR, OPERANDS, Op, View

Piece = Callable[[int, Sequence[Any]], None]
"""Something to run: of a step, with the rows of its groups."""


class Tape:
    """Groups to run in one direction, over arrays that stay where they are."""

    def __init__(self, c: ctypes.CDLL, kernels: Sequence[Trainable[Any]], rows: Sequence[Sequence[TrainingRows]],
                 backwards: bool, cleared: Sequence[Tensor] = ()) -> None:
        """
        kernels  in the order of the forward pass
        rows     of the groups in that order, of step 0 and, if there is one, of step 1
        cleared  gradients that every step starts with zeros, [items, features]
        """
        order = slice(None, None, -1 if backwards else 1)
        self._run, self.kernels, self.backwards = c.bt_train, kernels[order], backwards
        self._rows, self._cleared = [step[order] for step in rows], len(cleared)
        self._items = rows[0][0].out.shape[0]
        self._ops = (Op * (len(cleared) + len(kernels)))()
        self._sums: dict[int, Tensor] = {}
        self._known: list[tuple[int, bool]] = [(-1, False)] * len(kernels)
        self._pieces: list[Piece] = []
        self._whole: tuple[int, int] | None = None
        for op, array in zip(self._ops, cleared, strict=False):
            op.kind, op.width, op.grad = CLEAR, array.shape[1], _view([array])
        for i in range(len(kernels)):
            self._place(i)

    def run(self, first: int, steps: int, rows: Callable[[], Sequence[Sequence[TrainingRows]]]) -> None:
        """Run so many steps from a first one on; `rows` gives those of each step, where they are needed."""
        self._refresh()
        for i, sums in self._sums.items():
            self.kernels[i].scale_gradient = sums.zero_()
        if self._whole is not None:  # nothing but native forms
            begin = first + steps - 1 if self.backwards else first
            self._run(*self._whole, self._items, begin, steps, -1 if self.backwards else 1)
            return
        each = rows()
        for t in reversed(range(steps)) if self.backwards else range(steps):
            now = each[t]
            for piece in self._pieces:
                piece(first + t, now)

    # --- how it is made -----------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Take over the kernels' present constants."""
        known = [(kernel.version, kernel.collects) for kernel in self.kernels]
        if known == self._known:
            return
        for i, (now, before) in enumerate(zip(known, self._known, strict=True)):
            if now != before and self.kernels[i].native:
                self._describe(i)
        self._known = known
        self._arrange()

    def _describe(self, i: int) -> None:
        kernel, op = self.kernels[i], self._ops[self._cleared + i]
        kernel.describe(op, self.backwards)
        if self.backwards:
            op.gathered = self._gathered(i) if kernel.collects else View()
            return
        op.error = self._view(i, "error") if kernel.collects else View()
        if kernel.multiplies:
            op.partial = _view([kernel.product(rows[i]) for rows in self._rows])
        elif kernel.group.hoisted:  # it may have moved
            op.partial = _view([rows[i].workspace.partial_of(kernel.group, t) for t, rows in enumerate(self._rows)])

    def _arrange(self) -> None:
        """The pieces of a step: calls over neighbours that are native, and torch kernels."""
        self._pieces = []
        begin = 0
        for i, kernel in enumerate(self.kernels):
            at = self._cleared + i
            if kernel.native and not kernel.multiplies:
                continue
            # a product comes before its own rescaling, and after its own masking
            end = at + 1 if kernel.native and self.backwards else at
            self._add_native(begin, end)
            self._pieces.append(_torch(kernel, len(self.kernels) - 1 - i if self.backwards else i, self.backwards))
            begin = at if kernel.native and not self.backwards else at + 1
        only = not self._pieces
        self._add_native(begin, len(self._ops))
        self._whole = (ctypes.addressof(self._ops), len(self._ops)) if only else None

    def _add_native(self, begin: int, end: int) -> None:
        if begin == end:
            return
        run, items = self._run, self._items
        at, count = ctypes.addressof(self._ops) + begin * ctypes.sizeof(Op), end - begin
        self._pieces.append(lambda t, rows: run(at, count, items, t, 1, 1))

    def _place(self, i: int) -> None:
        """Where a group's arrays lie."""
        kernel, op, row = self.kernels[i], self._ops[self._cleared + i], self._rows[0][i]
        op.width, op.operands = row.out.shape[1], min(len(row.ins), OPERANDS)
        names = ("grad", "mask", "error", "kept", "slope") if self.backwards else ("out", "real", "mask", "slope")
        for name in names:
            setattr(op, name, self._view(i, name))
        for n in range(op.operands):
            if not self.backwards:
                op.operand[n] = self._view(i, "ins", n)
            elif kernel.trainable[n]:
                op.operand[n] = self._view(i, "in_grads", n)
            op.writes[n] = kernel.group.writes[n]
            if self.backwards and n < len(op.value):
                op.value[n] = self._view(i, "in_reals", n)

    def _view(self, i: int, name: str, operand: int | None = None) -> View:
        found = [getattr(rows[i], name) for rows in self._rows]
        return _view(found if operand is None else [views[operand] for views in found])

    def _gathered(self, i: int) -> View:
        """Where the gradients of a scale add up: per item in a loop, over all rows otherwise."""
        if self._rows[0][i].gathered is not None:
            return self._view(i, "gathered")
        if i not in self._sums:
            self._sums[i] = self._rows[0][i].grad.new_zeros(self._ops[self._cleared + i].width)
        return View(self._sums[i].data_ptr(), 0, 0)


def _view(steps: Sequence[Tensor | None]) -> View:
    first = steps[0]
    if first is None or not first.numel():
        return View()
    apart = 0 if len(steps) == 1 or steps[1] is None else steps[1].data_ptr() - first.data_ptr()
    return View(first.data_ptr(), first.stride(0) * first.element_size(), apart)


def _torch(kernel: Trainable[Any], i: int, backwards: bool) -> Piece:
    if kernel.native:
        run = kernel.multiply_back if backwards else kernel.multiply
    else:
        run = kernel.backward if backwards else kernel.forward
    return lambda t, rows: run(rows[i])


__all__ = ["Tape"]
