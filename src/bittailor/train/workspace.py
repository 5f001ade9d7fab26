"""Room for one batch in training: the engine's arrays, and those of the way back."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bittailor.compile.groups import Buffer, Group, Loop, Schedule
from bittailor.engines.torch.workspace import NOTHING, Workspace
from bittailor.train.kernels.base import Trainable, TrainingRows
from bittailor.train.tape import Tape


class TrainingWorkspace(Workspace[TrainingRows]):
    """Arrays for batches of `items` sequences of up to `steps` steps, forward and backward."""

    def __init__(
        self, schedule: Schedule, kernels: Mapping[str, Trainable[Any]], items: int, steps: int, keep: bool,
        device: torch.device | None = None,
    ) -> None:
        self.kernels = kernels
        self._tapes: dict[tuple[str, int, bool], Tape] = {}
        super().__init__(schedule, items, steps, device=device, keep=keep)

    def allocate(self, b: Buffer) -> None:
        full, brief = self.shapes(b)
        kernel = self.kernels.get(b.name)
        learned = kernel is not None and kernel.learned
        self._arrays["ints", b.name] = self.zeros(full if self.keep else brief, torch.int32)
        if b.real or learned:
            # the backward pass of a loop reads every step's
            self._arrays["reals", b.name] = self.zeros(full)
        if b.trainable:
            self._arrays["grads", b.name] = self.zeros(brief)
        if kernel is None:
            return
        one = (self.count, b.width)
        steps = (self.most, *one) if b.sequence else one
        for name in (*kernel.arrays, *(("error",) if learned else ())):
            self._arrays[name, b.name] = self.zeros(steps)
        if learned and b.layer:
            self._arrays["gathered", b.name] = self.zeros(one)

    def close(self) -> None:
        self._tapes.clear()
        super().close()

    def loop_tape(self, c: ctypes.CDLL, loop: Loop, backwards: bool) -> Tape:
        """Of the groups of a loop; on the way back their gradients of one step start with zeros."""
        key = loop.layer, 0, backwards
        if key not in self._tapes:
            rows = [[self.rows(group, t) for group in loop.groups] for t in range(min(2, self.most))]
            self._tapes[key] = Tape(c, [self.kernels[group.name] for group in loop.groups], rows, backwards,
                                    self.cleared(loop) if backwards else ())
        return self._tapes[key]

    def cleared(self, loop: Loop) -> list[Tensor]:
        """The gradients of one step of a loop that start with zeros."""
        buffers = [self.schedule.buffers[group.name] for group in loop.groups]
        return [self.array("grads", b.name) for b in buffers if b.zeroed and not b.shared]

    def whole_tape(self, c: ctypes.CDLL, group: Group, backwards: bool) -> Tape:
        """Of a group over all steps at once."""
        key = group.name, self.steps, backwards
        if key not in self._tapes:
            self._tapes[key] = Tape(c, [self.kernels[group.name]], [[self.whole(group)]], backwards)
        return self._tapes[key]

    def rows(self, group: Group, t: int | None) -> TrainingRows:
        out = self.view("ints", group.out, t)
        assert out is not None
        whole = t is None

        def own(kind: str) -> Tensor:
            found = self.view(kind, group.out, t, per_step=True)
            return NOTHING if found is None else found

        grad = self.view("grads", group.out, t)
        # a product's gradient starts from zeros of its operand's width, which is the output's
        scratch, zeros = (self.room(name, torch.float32, out, whole) for name in ("scratch", "zeros"))
        return TrainingRows(
            self, self.views("ints", group, t), self.views("reals", group, t), out, self.view("reals", group.out, t),
            self.partial_of(group, t), self.room("raw", torch.int32, out, whole),
            self.room("product", torch.float32, out, whole),
            self.views("grads", group, t), NOTHING if grad is None else grad, own("mask"), own("error"),
            self._arrays.get(("gathered", group.name)), own("kept"), own("slope"), scratch, zeros, whole,
        )


__all__ = ["TrainingRows", "TrainingWorkspace"]
