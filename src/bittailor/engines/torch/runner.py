"""A graph made ready to run: its groups' kernels, and the pass over them. Training adds gradients to the same pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bittailor.compile.groups import Group, Loop, Schedule, make_schedule
from bittailor.core.arith import Ints
from bittailor.core.graph import Graph, Node, Recurrence
from bittailor.core.ops.base import steps_mask
from bittailor.core.program import Program
from bittailor.core.qformat import QFormat
from bittailor.engines.torch.kernels import KERNELS, Kernel, Member, Turn
from bittailor.engines.torch.workspace import EngineWorkspace, R, Rows, Workspace

STEPS = 64
"""Room that turned out too small grows to a multiple of so many steps."""

WORKSPACES = 4
"""Rooms for batches of different sizes that are kept."""


class Forward(ABC, Generic[R]):
    """Runs the integers of a graph, at every site those of the reference engine.

    stacked  whether several programs run at once, on an axis of their own before the features
    """

    def __init__(self, graph: Graph, watched: tuple[str, ...] = (), stacked: bool = False,
                 device: torch.device | None = None) -> None:
        """`watched`: see `make_schedule`."""
        self.graph, self.stacked, self.device = graph, stacked, device or torch.device("cpu")
        self.schedule: Schedule = make_schedule(graph, watched)
        self._begun = {state.previous: state.update for step in graph.steps if isinstance(step, Recurrence)
                       for state in step.states if state.start}
        self.kernels: dict[str, Kernel[Any, R]] = {}
        for group in self.schedule.groups():
            self.kernels[group.name] = self.make_kernel(group)
        self.formats: Mapping[str, QFormat] = {}
        self._inputs: list[QFormat] = []
        self._starts: dict[str, Tensor] = {}
        self._workspaces: OrderedDict[tuple[int, int, bool], Workspace[R]] = OrderedDict()
        self.ws: Workspace[R] | None = None

    @abstractmethod
    def make_kernel(self, group: Group) -> Kernel[Any, R]:
        """The kernel of a group."""

    @abstractmethod
    def make_workspace(self, items: int, steps: int, programs: int | None, keep: bool) -> Workspace[R]:
        """Room for a batch."""

    def member(self, program: Program, node: Node) -> Member[Any]:
        """What a kernel is given of an operator."""
        return Member(program.constants[node.output], tuple(program.formats[name] for name in node.inputs),
                      program.formats[node.output])

    def take(self, programs: Sequence[Program]) -> None:
        """Set the constants; one program unless stacked."""
        self.formats = programs[0].formats
        self._inputs = [program.input_format for program in programs]
        self._starts = {previous: self._start(programs, update) for previous, update in self._begun.items()}
        for group in self.schedule.groups():
            if group.nodes:
                self.kernels[group.name].take([[self.member(p, node) for node in group.nodes] for p in programs])

    def forward(self, inputs: Sequence[Tensor], lengths: Tensor, keep: bool = False) -> Tensor:
        """Integers of the output, centred, float32, [items, outputs], or [steps, items, outputs] of a sequence;
        with an axis of programs before the last if stacked.

        inputs   per program: integers [items, steps, features]
        lengths  [items]; steps beyond the longest are not computed
        keep     whether every site's integers shall be there for `trace`
        """
        items, steps = inputs[0].shape[:2]
        ws = self.ws = self._workspace(items, steps, len(inputs), keep)
        ws.begin(lengths, steps)
        with _full_precision():
            self._load(ws, inputs)
            self._begin(ws)
            for step in self.schedule.order:
                ws.settle(step.late)
                if isinstance(step, Loop):
                    self._loop(ws, step)
                else:
                    self._whole(ws, step)
        return self.output(ws, "reals")

    def _whole(self, ws: Workspace[R], group: Group) -> None:
        self.kernels[group.name].forward(ws.whole(group))

    def _load(self, ws: Workspace[R], inputs: Sequence[Tensor]) -> None:
        ref = self.schedule.outside[self.graph.inputs[0]]
        cube = ws.cube("ints", ref)
        for place, values, fmt in zip(cube.unbind(2) if self.stacked else [cube], inputs, self._inputs, strict=True):
            place.copy_(values[:, : ws.steps].transpose(0, 1))
            if fmt.zero_point:
                place.sub_(fmt.zero_point)
        if ws.has("reals", ref.buffer):
            ws.cube("reals", ref).copy_(cube)

    def output(self, ws: Workspace[R], kind: str) -> Tensor:
        """Where the output lies, or its gradient."""
        (name,) = self.graph.outputs
        ws.settle(self.graph.late[name])
        ref = self.schedule.outside[name]
        if self.schedule.buffers[ref.buffer].sequence:
            return ws.cube(kind, ref)
        return ws.array(kind, ref.buffer)[..., ref.start : ref.start + ref.width]

    def _start(self, programs: Sequence[Program], state: str) -> Tensor:
        """What a state is before the first step, centred, int32 [features] or [programs, features]."""
        zeros = [program.formats[state].zero_point for program in programs]
        rows = np.stack([np.zeros(self.graph.sites[state].features, np.int32) if state not in program.starts
                         else (program.starts[state] - zero).astype(np.int32)
                         for program, zero in zip(programs, zeros, strict=True)])
        return torch.from_numpy(rows if self.stacked else rows[0]).to(self.device)

    def _begin(self, ws: Workspace[R]) -> None:
        """States that do not start at 0.0 into the slot that the first step reads."""
        for previous, start in self._starts.items():
            ref, at = self.schedule.inside[previous], self.graph.late[previous]
            for kind in ("ints", "reals"):
                if ws.has(kind, ref.buffer):
                    ws.array(kind, ref.buffer)[at, ..., ref.start : ref.start + ref.width].copy_(start)

    def _loop(self, ws: Workspace[R], loop: Loop) -> None:
        for group in loop.groups:
            if group.hoisted:
                self.kernels[group.name].hoist(ws.whole(group))
        self._steps(ws, loop)

    def _steps(self, ws: Workspace[R], loop: Loop) -> None:
        runs = [self.kernels[group.name].forward for group in loop.groups]
        for rows in ws.loop(loop):
            for run, row in zip(runs, rows, strict=True):
                run(row)

    def release(self) -> None:
        """Give back the room of all batches; the next one makes its own."""
        for ws in self._workspaces.values():
            ws.close()
        self._workspaces.clear()
        self.ws = None

    def trace(self) -> dict[str, Ints]:
        """After `forward(..., keep=True)` of one program: the integers of every activation site as the reference
        engine gives them."""
        ws = self.ws
        assert ws is not None
        assert ws.keep
        found = {}
        copies = {state.previous for step in self.graph.steps if isinstance(step, Recurrence) for state in step.states}
        for name, ref in self.schedule.inside.items():
            if name in copies:
                continue
            zero = self.formats[name].zero_point
            if not self.schedule.buffers[ref.buffer].sequence:
                found[name] = ws.array("ints", ref.buffer)[:, ref.start : ref.start + ref.width].cpu().numpy() + zero
                continue
            ws.settle(late := self.graph.late[name])
            mask = steps_mask(ws.lengths.cpu().numpy(), ws.given - late)
            cube = ws.cube("ints", ref)
            if name in self.schedule.reversed_sites:
                cube = ws.turn(cube)
            whole = np.full((ws.count, ws.given - late, ref.width), zero, np.int64)
            whole[:, : ws.steps] = cube.transpose(0, 1).cpu().numpy() + zero
            found[name] = np.where(mask[:, :, None], whole, zero)
        return found

    def _workspace(self, items: int, steps: int, programs: int, keep: bool) -> Workspace[R]:
        """Room for so many items and steps or more; batches of ragged sequences differ in their longest."""
        key = items, programs, keep
        found = self._workspaces.pop(key, None)
        if found is None or found.most < steps:
            most = steps
            if found is not None:
                most = -(-steps // STEPS) * STEPS
                found.close()
            found = self.make_workspace(items, most, programs if self.stacked else None, keep)
        self._workspaces[key] = found
        if len(self._workspaces) > WORKSPACES:
            self._workspaces.popitem(last=False)[1].close()
        return found


class Runner(Forward[Rows]):
    """The forward pass alone, of one program or of several."""

    def make_kernel(self, group: Group) -> Kernel[Any, Rows]:
        kernel = Turn if group.form is None else KERNELS[group.form]
        return kernel(group, self.schedule.buffers[group.name].sites, self.stacked, self.device)

    def make_workspace(self, items: int, steps: int, programs: int | None, keep: bool) -> Workspace[Rows]:
        return EngineWorkspace(self.schedule, items, steps, programs, self.device, keep)

    def room(self, steps: int) -> int:
        """Bytes that an item of one program takes, about."""
        total = 0
        for b in self.schedule.buffers.values():
            kept = steps if b.sequence and (b.shared or not b.layer) else 1
            total += kept * b.width * (8 if b.real else 4)
        widest = max(b.width for b in self.schedule.buffers.values())
        return total + 3 * 8 * steps * widest  # what operators over all steps hold at a time

    def run(self, programs: Sequence[Program], inputs: Sequence[NDArray[Any]], lengths: Ints) -> list[Ints]:
        """Output integers of every program, as an engine gives them."""
        self.take(programs)
        steps = inputs[0].shape[1]
        out = self.forward([torch.from_numpy(q) for q in inputs], torch.from_numpy(lengths))
        valid = self.ws.valid if self.ws is not None else out
        if not self.graph.sites[self.graph.outputs[0]].sequence:
            values = out.to("cpu", torch.int64).numpy()
            return [values[:, i] + p.output_format.zero_point for i, p in enumerate(programs)]
        values = (out * valid).to("cpu", torch.int64).permute(2, 1, 0, 3).numpy()
        steps -= self.graph.late[self.graph.outputs[0]]
        whole = np.zeros((len(programs), len(lengths), steps, values.shape[3]), np.int64)
        whole[:, :, : values.shape[2]] = values
        return [whole[i] + p.output_format.zero_point for i, p in enumerate(programs)]


@contextmanager
def _full_precision() -> Iterator[None]:
    """Products of float32 in float32: a caller who allows less (TF32, bfloat16) would get other integers."""
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


__all__ = ["Forward", "Runner"]
