"""A network in training: the torch engine's integers forward, gradients backward, for any graph.

`bind` takes the weights' integers and the formats of a training step and binds the operators as a program's are;
`forward` then gives the integers that every engine gives, at every site; `backward` straight-through gradients. There
is no graph of small operations for automatic differentiation: the two passes are written out over arrays that are
allocated once. On the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bittailor.compile.groups import Group, Loop
from bittailor.core.arith import Floats, Ints
from bittailor.core.graph import Graph, Node
from bittailor.core.ops.forms import Constants
from bittailor.core.plan import Plan
from bittailor.core.program import Program, bind_operator
from bittailor.core.qformat import QFormat
from bittailor.engines.torch.kernels import Kernel, Member
from bittailor.engines.torch.runner import Forward
from bittailor.engines.torch.workspace import Workspace
from bittailor.train.kernels import Trainable, trainable
from bittailor.train.kernels.base import TrainingRows
from bittailor.train.native import library
from bittailor.train.workspace import TrainingWorkspace


class IntegerNetwork(Forward[TrainingRows]):
    """The training form of a graph.

    learned  activation sites whose scales want gradients
    watched  sequence sites, visible outside of their recurrence, that get a gradient of their own
    native   whether the compiled kernels are used, where there are some
    """

    def __init__(
        self, graph: Graph, learned: frozenset[str] = frozenset(), watched: tuple[str, ...] = (), native: bool = True
    ) -> None:
        self.native = library() if native else None
        self.learned = learned
        self.gradients: dict[str, Trainable[Any]] = {}
        self._plan: Mapping[str, QFormat] = {}
        self._bound: dict[str, tuple[object, Constants]] = {}
        self._item_bytes: dict[int, float] = {}
        self._roots = {s.name: graph.root(s.name).name for s in graph.sites.values() if s.kind == "activation"}
        super().__init__(graph, watched)

    def make_kernel(self, group: Group) -> Kernel[Any, TrainingRows]:
        buffers = self.schedule.buffers
        learned = any(node.output in self.learned for node in group.nodes)
        made = trainable(group)(group, buffers[group.name].sites, learned,
                                [buffers[ref.buffer].trainable for ref in group.ins])
        self.gradients[group.name] = made
        return made

    def make_workspace(self, items: int, steps: int, programs: int | None, keep: bool) -> Workspace[TrainingRows]:
        return TrainingWorkspace(self.schedule, self.gradients, items, steps, keep)

    def item_bytes(self, steps: int) -> float:
        """Bytes that an item of a batch takes in training, about."""
        if steps not in self._item_bytes:
            one = TrainingWorkspace(self.schedule, self.gradients, 1, steps, False, torch.device("meta"))
            self._item_bytes[steps] = one.bytes
        return self._item_bytes[steps]

    @property
    def trainable(self) -> bool:
        """Whether the output depends on any parameter."""
        return self.schedule.buffers[self.schedule.outside[self.graph.outputs[0]].buffer].trainable

    # --- binding -------------------------------------------------------------------------------------------------

    def bind(self, plan: Plan, integers: Mapping[str, Ints], biases: Mapping[str, Floats]) -> Program:
        """Set the constants of a training step; returns them, as the program that any engine runs.

        plan      formats of all free sites
        integers  weight site -> integers
        biases    bias site -> real values
        Raises RangeError as binding a program does.
        """
        self._plan = plan.formats
        formats = {name: plan.formats[root] for name, root in self._roots.items()}
        constants = {node.output: self._constants(node, formats, integers, biases) for node in self.graph.nodes()}
        program = Program(self.graph, formats, constants)
        self.take([program])
        return program

    def _constants(self, node: Node, formats: Mapping[str, QFormat], integers: Mapping[str, Ints],
                   biases: Mapping[str, Floats]) -> Constants:
        touched = tuple(formats[name] for name in node.inputs), formats[node.output]
        kept = self._bound.get(node.output)
        # without parameters only the formats matter, and most of them stay
        if kept is not None and not node.params and kept[0] == touched:
            return kept[1]
        constants = bind_operator(node, *touched, tuple(self._plan[name] for name in node.params),
                                  lambda site, fmt: integers[site], biases)
        self._bound[node.output] = touched, constants
        return constants

    def member(self, program: Program, node: Node) -> Member[Any]:
        weight = self._plan[node.params[0]] if node.params else None
        return Member(program.constants[node.output], tuple(program.formats[name] for name in node.inputs),
                      program.formats[node.output], weight)

    # --- running -------------------------------------------------------------------------------------------------

    def step(self, q: Tensor, lengths: Tensor, scales: bool = False, keep: bool = False) -> Tensor:
        """Integers of the output, centred, float32 [items, outputs] (or [steps, items, outputs] of a sequence).

        q        input integers [items, steps, features]
        lengths  [items]; steps beyond the longest are not computed
        scales   whether `backward` shall give the gradients of learned scales
        """
        for kernel in self.gradients.values():
            kernel.collects = kernel.learned and scales
        return self.forward([q], lengths, keep)

    def backward(
        self, gradient: Tensor, hidden: Mapping[str, Tensor] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Gradients after a `step`: of parameters by site, of learned scales by site.

        gradient  of the loss by the real outputs, in the shape `step` gave
        hidden    further gradients by real values of the watched sites, [its steps, items, features]
        """
        ws = self.ws
        assert ws is not None
        if not self.trainable:
            return {}, {}
        for buffer in self.schedule.buffers.values():
            if buffer.zeroed and ws.has("grads", buffer.name) and (buffer.shared or not buffer.layer):
                ws.array("grads", buffer.name).zero_()
        self.output(ws, "grads").add_(gradient)
        for site, extra in (hidden or {}).items():
            ws.settle(self.graph.late[site])
            ws.cube("grads", self.schedule.outside[site]).add_(extra)
        for step in reversed(self.schedule.order):
            ws.settle(step.late)
            if isinstance(step, Loop):
                self._backward_loop(ws, step)
            elif self.schedule.buffers[step.name].trainable:
                self._backward_whole(ws, step)
        return self._gathered()

    def _whole(self, ws: Workspace[TrainingRows], group: Group) -> None:
        if self.native is not None and self.gradients[group.name].native:
            _own(ws).whole_tape(self.native, group, False).run(0, 1, lambda: [[ws.whole(group)]])
        else:
            super()._whole(ws, group)

    def _steps(self, ws: Workspace[TrainingRows], loop: Loop) -> None:
        if self.native is not None:
            _own(ws).loop_tape(self.native, loop, False).run(ws.late, ws.steps, lambda: ws.loop(loop))
        else:
            super()._steps(ws, loop)

    def _gathered(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        parameters: dict[str, Tensor] = {}
        steps: dict[str, Tensor] = {}
        for kernel in self.gradients.values():
            parameters |= kernel.parameter_gradients
            if kernel.collects and kernel.scale_gradient is not None:
                for site, (start, width) in kernel.sites.items():
                    steps[site] = kernel.scale_gradient[start : start + width].sum()
        return parameters, steps

    def _backward_whole(self, ws: Workspace[TrainingRows], group: Group) -> None:
        kernel = self.gradients[group.name]
        if self.native is not None and kernel.native:
            _own(ws).whole_tape(self.native, group, True).run(0, 1, lambda: [[ws.whole(group)]])
        else:
            kernel.backward(ws.whole(group))
        kernel.finish(ws.whole(group))

    def _backward_loop(self, ws: Workspace[TrainingRows], loop: Loop) -> None:
        kernels = [(self.gradients[group.name], group) for group in reversed(loop.groups)]
        for kernel, group in kernels:
            if kernel.collects:
                ws.array("gathered", group.name).zero_()
        if self.native is not None:
            _own(ws).loop_tape(self.native, loop, True).run(ws.late, ws.steps, lambda: ws.loop(loop))
        else:
            self._steps_back(ws, loop)
        for kernel, group in kernels:
            kernel.finish(ws.whole(group))
            if kernel.collects:
                kernel.scale_gradient = ws.array("gathered", group.name).sum(dim=0)

    def _steps_back(self, ws: Workspace[TrainingRows], loop: Loop) -> None:
        brief = _own(ws).cleared(loop)
        runs = [self.gradients[group.name].backward for group in reversed(loop.groups)]
        for rows in reversed(ws.loop(loop)):
            for array in brief:
                array.zero_()
            for run, row in zip(runs, reversed(rows), strict=True):
                run(row)


def _own(ws: Workspace[TrainingRows]) -> TrainingWorkspace:
    assert isinstance(ws, TrainingWorkspace)
    return ws


__all__ = ["IntegerNetwork"]
