"""Room for one batch in training: the engine's arrays, and those of the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bittailor.compile.groups import Buffer, Group, Schedule
from bittailor.engines.torch.workspace import NOTHING, Workspace
from bittailor.train.kernels.base import Trainable, TrainingRows


class TrainingWorkspace(Workspace[TrainingRows]):
    """Arrays for batches of `items` sequences of up to `steps` steps, forward and backward."""

    def __init__(
        self, schedule: Schedule, kernels: Mapping[str, Trainable[Any]], items: int, steps: int, keep: bool,
        device: torch.device | None = None,
    ) -> None:
        self.kernels = kernels
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
            self._arrays.get(("gathered", group.name)), own("kept"), own("slope"), scratch, zeros,
        )


__all__ = ["TrainingRows", "TrainingWorkspace"]
