"""Room for one batch: the arrays that are touched, allocated once, and the views that kernels work on.

What is only used within one step of a loop has room for one step, so that it stays in the processor's cache. Integers
are kept centred, u = q - zero_point, so that 0 stands for 0.0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from bittailor.compile.groups import Buffer, Group, Loop, Ref, Schedule

NOTHING = torch.empty(0)
"""Stands where an operand has no such array; nobody reads it."""

PREPARED_STEPS = 1024
"""Views of so many steps of a loop are made once; those of longer ones anew in every pass: they would fill memory."""


@dataclass(slots=True, eq=False)
class Rows:
    """The views of one kernel on the rows it computes together, all [rows, features] or [rows, programs, features].

    ins, in_reals  the operands' integers (int32), the same as float32 where they are wanted
    out, real      the same of the output
    partial        what of the sum was computed before the loop
    raw, product   room
    """

    workspace: Workspace[Any]
    ins: list[Tensor]
    in_reals: list[Tensor]
    out: Tensor
    real: Tensor | None
    partial: Tensor | None
    raw: Tensor
    product: Tensor


R = TypeVar("R", bound=Rows)


@dataclass(frozen=True, slots=True, eq=False)
class _Extent:
    """What a batch is from one of its steps on; see `Workspace.settle`. `order` turns its items' own steps."""

    late: int
    steps: int
    lengths: Tensor
    valid: Tensor
    order: Tensor | None


class Workspace(ABC, Generic[R]):
    """Arrays for batches of `items` sequences of up to `steps` steps.

    programs  how many at once; None for one, without an axis for them
    keep      whether every site's integers are kept for all steps, for a trace
    """

    def __init__(self, schedule: Schedule, items: int, steps: int, programs: int | None = None,
                 device: torch.device | None = None, keep: bool = False) -> None:
        self.schedule, self.count, self.most, self.keep = schedule, items, steps, keep
        self.lead = () if programs is None else (programs,)
        self.device = device or torch.device("cpu")
        self._arrays: dict[tuple[str, str], Tensor] = {}
        self._pools: dict[tuple[str, bool], Tensor] = {}
        self._whole: dict[tuple[str, int], R] = {}
        self._loops: dict[str, list[list[R]]] = {}
        self._partials: dict[str, Tensor] = {}
        self.items = torch.arange(items, device=self.device)
        self.given = steps
        self._extents: dict[int, _Extent] = {}
        self._all = torch.full((items,), steps)
        self.settle(0)
        for buffer in schedule.buffers.values():
            self.allocate(buffer)

    def begin(self, lengths: Tensor, given: int) -> None:
        """Set the lengths of the next batch, int64 [items]; `given` is how many steps its arrays have."""
        self._all, self.given = lengths, given
        self._extents.clear()
        self.settle(0)

    def settle(self, late: int) -> None:
        """Have everything below see sequences without so many of the first steps, until the next call.

        steps    of the longest item
        lengths  [items], of each
        valid    1.0 where a step is the item's own, [steps, items] and as `column` has it
        """
        if late not in self._extents:
            lengths = self._all - late
            steps = int(lengths.max())
            ragged = bool((lengths != steps).any())
            lengths = lengths.to(self.device)
            at = torch.arange(steps, device=self.device)[:, None]
            valid = self.column((at < lengths).to(torch.float32))
            order = self.column(torch.where(at < lengths, lengths - 1 - at, at)) if ragged else None
            self._extents[late] = _Extent(late, steps, lengths, valid, order)
        found = self._extents[late]
        self.late, self.steps, self.lengths, self.valid, self._order = (
            found.late, found.steps, found.lengths, found.valid, found.order)

    def close(self) -> None:
        """Let go of everything now: rows know their workspace, so it would stay until the next search for cycles."""
        for held in (self._arrays, self._pools, self._loops, self._whole, self._partials):
            held.clear()

    @property
    def bytes(self) -> int:
        """What the arrays take; not counted is the room that operators over all steps share."""
        return sum(array.numel() * array.element_size() for array in self._arrays.values())

    def column(self, x: Tensor) -> Tensor:
        """With axes of one program and one feature behind those it has."""
        return x[..., None, None] if self.lead else x[..., None]

    def turn(self, x: Tensor) -> Tensor:
        """A sequence, time first, with each item's own steps reversed; what lies beyond stays."""
        return x.flip(0) if self._order is None else x.gather(0, self._order.expand_as(x))

    def loop(self, step: Loop) -> Sequence[list[R]]:
        """Per step of time, the rows of the loop's groups in order."""
        if self.most > PREPARED_STEPS:
            late = self.late
            return _Made(self.steps, lambda t: [self.rows(group, late + t) for group in step.groups])
        if step.layer not in self._loops:
            self._loops[step.layer] = [[self.rows(group, t) for group in step.groups] for t in range(self.most)]
        return self._loops[step.layer][self.late : self.late + self.steps]

    def whole(self, group: Group) -> R:
        """The rows of all steps together."""
        key = group.name, self.steps
        if key not in self._whole:
            self._whole[key] = self.rows(group, None)
        return self._whole[key]

    def cube(self, kind: str, ref: Ref) -> Tensor:
        """[steps, items, (programs,) features] of a sequence."""
        first = self.late + ref.shift
        steps = self._arrays[kind, ref.buffer][first : first + self.steps]
        return steps[..., ref.start : ref.start + ref.width]

    def array(self, kind: str, name: str) -> Tensor:
        """A whole array."""
        return self._arrays[kind, name]

    def has(self, kind: str, name: str) -> bool:
        """Whether there is such an array."""
        return (kind, name) in self._arrays

    def partial(self, group: Group, kind: torch.dtype) -> Tensor:
        """Room for what of a loop's sum is computed before it, [rows, features] of the present steps."""
        kept = self._partials.get(group.name)
        if kept is None or kept.dtype != kind:
            kept = self._partials[group.name] = self.zeros((self.most, self.count, *self.lead, group.out.width), kind)
            (at,) = [i for step in self.schedule.order if isinstance(step, Loop)
                     for i, other in enumerate(step.groups) if other is group]
            for t, made in enumerate(self._loops.get(group.layer, ())):
                made[at].partial = kept[t]
        return kept[self.late : self.late + self.steps].flatten(0, 1)

    # --- how it is made -------------------------------------------------------------------------------------------

    def zeros(self, shape: Sequence[int], kind: torch.dtype = torch.float32) -> Tensor:
        """A new array on the device."""
        return torch.zeros(tuple(shape), dtype=kind, device=self.device)

    def shapes(self, b: Buffer) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of a buffer: its shape with every step, and with what is kept of it at least."""
        one = (self.count, *self.lead, b.width)
        full = (self.most + 1 if b.state else self.most, *one) if b.sequence else one
        return full, full if b.shared or not b.layer else one

    def allocate(self, b: Buffer) -> None:
        """Make the arrays of a buffer."""
        full, brief = self.shapes(b)
        self._arrays["ints", b.name] = self.zeros(full if self.keep else brief, torch.int32)
        if b.real:
            self._arrays["reals", b.name] = self.zeros(full if self.keep else brief)

    @abstractmethod
    def rows(self, group: Group, t: int | None) -> R:
        """The views of a group on one step of time, or on all."""

    def view(self, kind: str, ref: Ref, t: int | None, per_step: bool = False) -> Tensor | None:
        """[rows, features]; `t` counts from the input's first step; `per_step` arrays have no extra slot of a state."""
        array = self._arrays.get((kind, ref.buffer))
        if array is None:
            return None
        if array.dim() == 3 + len(self.lead):
            shift = 0 if per_step else ref.shift
            first = self.late + shift
            array = array[first : first + self.steps].flatten(0, 1) if t is None else array[t + shift]
        return array[..., ref.start : ref.start + ref.width]

    def views(self, kind: str, group: Group, t: int | None) -> list[Tensor]:
        """Of every operand."""
        return [NOTHING if (found := self.view(kind, ref, t)) is None else found for ref in group.ins]

    def partial_of(self, group: Group, t: int | None) -> Tensor | None:
        """What was computed before the loop for this step, if anything."""
        kept = self._partials.get(group.name)
        return None if kept is None or t is None else kept[t]

    def room(self, name: str, kind: torch.dtype, like: Tensor, whole: bool) -> Tensor:
        """Room that all kernels share, for what is used up at once."""
        key = f"{name}{kind}", whole
        if key not in self._pools or self._pools[key].numel() < like.numel():
            widest = max(b.width for b in self.schedule.buffers.values())
            most = (self.most if whole else 1) * self.count * widest
            for programs in self.lead:
                most *= programs
            self._pools[key] = self.zeros((max(like.numel(), most),), kind)
        return self._pools[key][: like.numel()].view(like.shape)


class _Made(Sequence[list[R]]):
    """Views of the steps of a loop, made when they are asked for."""

    def __init__(self, steps: int, make: Callable[[int], list[R]]) -> None:
        self._steps, self._make = steps, make

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, t: Any) -> Any:
        if not -self._steps <= t < self._steps:
            raise IndexError(t)
        return self._make(t % self._steps)


class EngineWorkspace(Workspace[Rows]):
    """What an engine needs: no gradients."""

    def rows(self, group: Group, t: int | None) -> Rows:
        out = self.view("ints", group.out, t)
        assert out is not None
        return Rows(
            self, self.views("ints", group, t), self.views("reals", group, t), out, self.view("reals", group.out, t),
            self.partial_of(group, t), self.room("raw", torch.int32, out, t is None),
            NOTHING if self.lead else self.room("product", torch.float32, out, t is None),
        )
