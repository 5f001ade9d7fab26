"""Room for one batch: every array that training touches, allocated once, and the views that kernels work on.

What is only used within one step of a loop has room for one step, so that it stays in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bittailor.compile.groups import Buffer, Group, Loop, Ref, Schedule

if TYPE_CHECKING:
    from bittailor.train.kernels import Kernel


@dataclass(slots=True, eq=False)
class Rows:
    """The views of one kernel on the rows it computes together, all [rows, features].

    ins, in_reals, in_grads  the operands' integers (int32), the same as float32, their gradients
    out, real, grad          the same of the output
    mask       1 where the clamp did not bind
    error      the answer of the output to its scale, and `gathered`, the sum of its gradient over a loop
    kept       the gradient behind the clamp, of all steps: the weights' gradient needs it
    partial    what of the sum was computed before the loop
    slope      derivative of a function at its input
    raw, product, index, scratch, zeros  room
    """

    workspace: Workspace
    ins: list[Tensor]
    in_reals: list[Tensor]
    in_grads: list[Tensor]
    out: Tensor
    real: Tensor
    grad: Tensor
    mask: Tensor | None
    error: Tensor
    gathered: Tensor | None
    kept: Tensor
    partial: Tensor | None
    slope: Tensor
    raw: Tensor
    product: Tensor
    index: Tensor
    scratch: Tensor
    zeros: Tensor




class Workspace:
    """Arrays for batches of `items` sequences of up to `steps` steps.

    training  whether a backward pass will follow
    keep      whether every site's integers are kept for all steps, for a trace
    """

    def __init__(
        self, schedule: Schedule, kernels: Mapping[str, Kernel], items: int, steps: int, training: bool, keep: bool
    ) -> None:
        self.schedule, self.kernels = schedule, kernels
        self.count, self.most, self.training, self.keep = items, steps, training, keep
        self._arrays: dict[tuple[str, str], Tensor] = {}
        self._pools: dict[tuple[str, bool], Tensor] = {}
        self.items = torch.arange(items)
        self.lengths = torch.full((items,), steps)
        self.steps = self.given = steps
        self.ragged = False
        self.valid = torch.ones(steps, items, 1)
        self._order: Tensor | None = None
        for buffer in schedule.buffers.values():
            self._allocate(buffer)
        self._loops = {
            step.layer: [[self._rows(g, t) for g in step.groups] for t in range(steps)]
            for step in schedule.order if isinstance(step, Loop)
        }
        self._whole: dict[tuple[str, int], Rows] = {}

    def begin(self, lengths: Tensor, given: int) -> None:
        """Set the lengths of the next batch, int64 [items]; `steps` is the largest of them, `given` what its arrays
        have."""
        self.lengths, self.given = lengths, given
        self.steps = int(lengths.max())
        self.ragged = bool((lengths != self.steps).any())
        at = torch.arange(self.steps)[:, None]
        self.valid = (at < lengths).to(torch.float32)[:, :, None]
        self._order = None
        if self.ragged:
            self._order = torch.where(at < lengths, lengths - 1 - at, at)[:, :, None]

    def close(self) -> None:
        """Let go of everything now: rows know their workspace, so it would stay until the next search for cycles."""
        for held in (self._arrays, self._pools, self._loops, self._whole):
            held.clear()

    def turn(self, x: Tensor) -> Tensor:
        """[steps, items, features] with each item's own steps reversed; what lies beyond stays."""
        if self._order is None:
            return x.flip(0)
        return x.gather(0, self._order.expand(-1, -1, x.shape[2]))

    def loop(self, layer: str) -> list[list[Rows]]:
        """Per step, the rows of the loop's groups in order."""
        return self._loops[layer]

    def whole(self, group: Group) -> Rows:
        """The rows of all steps together."""
        key = group.name, self.steps
        if key not in self._whole:
            self._whole[key] = self._rows(group, None)
        return self._whole[key]

    def cube(self, kind: str, ref: Ref) -> Tensor:
        """[steps, items, features] of a sequence."""
        array = self._arrays[kind, ref.buffer]
        return array[ref.shift : ref.shift + self.steps, :, ref.start : ref.start + ref.width]

    def array(self, kind: str, name: str) -> Tensor:
        """A whole array."""
        return self._arrays[kind, name]

    def has(self, kind: str, name: str) -> bool:
        """Whether there is such an array."""
        return (kind, name) in self._arrays

    def _allocate(self, b: Buffer) -> None:
        slots = self.most + 1 if b.state else self.most
        full = (slots, self.count, b.width) if b.sequence else (self.count, b.width)
        brief = full if b.shared or not b.layer else (self.count, b.width)
        self._arrays["ints", b.name] = torch.zeros(full if self.keep else brief, dtype=torch.int32)
        kernel = self.kernels.get(b.name)
        learned = kernel is not None and kernel.learned and self.training
        if b.real or learned:
            # the backward pass of a loop reads every step's
            self._arrays["reals", b.name] = torch.zeros(full if self.training or self.keep else brief)
        if not self.training or (kernel is None and not b.trainable):
            return
        if b.trainable:
            self._arrays["grads", b.name] = torch.zeros(brief)
        if kernel is None:
            return
        steps = (self.most, self.count, b.width) if b.sequence else (self.count, b.width)
        kind = kernel.group.kind
        if kind == "lookup":
            self._arrays["slope", b.name] = torch.zeros(steps)
        elif kind not in ("pick", "turn"):
            self._arrays["mask", b.name] = torch.zeros(steps)
        if kind in ("matmul", "diagonal"):
            self._arrays["kept", b.name] = torch.zeros(steps)
        if learned:
            self._arrays["error", b.name] = torch.zeros(steps)
            if b.layer:
                self._arrays["gathered", b.name] = torch.zeros(self.count, b.width)

    def partial(self, group: Group, kind: torch.dtype) -> Tensor:
        """Room for what of a loop's sum is computed before it, [rows, features] of the present steps."""
        key = "partial", group.name
        kept = self._arrays.get(key)
        if kept is None or kept.dtype != kind:
            kept = self._arrays[key] = torch.zeros(self.most, self.count, group.out.width, dtype=kind)
            for rows, t in self._rows_of(group.name):
                rows.partial = kept[t]
        return kept[: self.steps].flatten(0, 1)

    def _rows_of(self, name: str) -> list[tuple[Rows, int]]:
        for step in self.schedule.order:
            if isinstance(step, Loop):
                for i, group in enumerate(step.groups):
                    if group.name == name:
                        return [(rows[i], t) for t, rows in enumerate(self._loops[step.layer])]
        return []

    def _view(self, kind: str, ref: Ref, t: int | None, per_step: bool = False) -> Tensor | None:
        """[rows, features]; `per_step` arrays have no extra slot of a state."""
        array = self._arrays.get((kind, ref.buffer))
        if array is None:
            return None
        if array.dim() == 3:
            shift = 0 if per_step else ref.shift
            array = array[shift : shift + self.steps].flatten(0, 1) if t is None else array[t + shift]
        return array[:, ref.start : ref.start + ref.width]

    def _room(self, name: str, kind: torch.dtype, rows: int, width: int, whole: bool) -> Tensor:
        """Room that all kernels share, for what is used up at once."""
        key = f"{name}{kind}", whole
        size = rows * width
        if key not in self._pools or self._pools[key].numel() < size:
            most = (self.most if whole else 1) * self.count
            widest = max(b.width for b in self.schedule.buffers.values())
            self._pools[key] = torch.zeros(max(size, most * widest), dtype=kind)
        return self._pools[key][:size].view(rows, width)

    def _rows(self, group: Group, t: int | None) -> Rows:
        out = self._view("ints", group.out, t)
        assert out is not None
        rows, width = out.shape
        whole = t is None

        def room(name: str, kind: torch.dtype = torch.float32) -> Tensor:
            return self._room(name, kind, rows, width, whole)

        def views(kind: str) -> list[Tensor]:
            return [self._view(kind, ref, t) for ref in group.ins]  # type: ignore[misc]

        def own(kind: str) -> Tensor | None:
            return self._view(kind, group.out, t, per_step=True)

        # a product's gradient starts from zeros of its operand's width, which is the output's
        return Rows(
            self, views("ints"), views("reals"), views("grads"), out,
            self._view("reals", group.out, t), self._view("grads", group.out, t),  # type: ignore[arg-type]
            own("mask"), own("error"), self._arrays.get(("gathered", group.name)),  # type: ignore[arg-type]
            own("kept"), None, own("slope"),  # type: ignore[arg-type]
            room("raw", torch.int32), room("product"), room("index", torch.int32), room("scratch"), room("zeros"),
        )
