"""A network in training: integers forward, gradients backward, for any graph.

`bind` takes the weights' integers and the formats of a training step and lets the operators bind themselves, as they do
for a program; `forward` then gives the integers that every engine gives, at every site; `backward` straight-through
gradients. There is no graph of small operations for automatic differentiation: the two passes are written out over
arrays that are allocated once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bittailor.compile.groups import Loop, make_schedule
from bittailor.core.arith import Floats, Ints
from bittailor.core.graph import Graph, Node, Recurrence
from bittailor.core.ops import OPS, Bound, Constants
from bittailor.core.ops.base import steps_mask
from bittailor.core.ops.linear import quantise_bias
from bittailor.core.plan import Plan
from bittailor.core.qformat import QFormat
from bittailor.errors import RangeError
from bittailor.train.kernels import RULES, Kernel, Prepared, rule_of
from bittailor.train.workspace import Workspace

STEPS = 64
"""Room that turned out too small grows to a multiple of so many steps."""


class IntegerNetwork:
    """The training form of a graph.

    learned  activation sites whose scales want gradients
    watched  sequence sites, visible outside of their recurrence, that get a gradient of their own
    """

    def __init__(
        self, graph: Graph, learned: frozenset[str] = frozenset(), watched: tuple[str, ...] = ()
    ) -> None:
        self.graph = graph
        self.schedule = make_schedule(graph, lambda node: rule_of(node).kind, watched)
        self.roots = {name: graph.root(name).name for name in graph.sites}
        self.kernels: dict[str, Kernel] = {}
        for group in self.schedule.groups():
            buffer = self.schedule.buffers[group.name]
            wanted = any(node.output in learned for node in group.nodes)
            trainable = [self.schedule.buffers[ref.buffer].trainable for ref in group.ins]
            rule = rule_of(group.nodes[0]) if group.nodes else RULES["turn"]
            kernel = rule.make(group, wanted, trainable, **rule.options)
            kernel.buffer_sites = buffer.sites
            self.kernels[group.name] = kernel
        self.learned = learned
        self._bound: dict[str, tuple[object, Constants]] = {}
        self._workspaces: dict[tuple[int, bool, bool], Workspace] = {}
        self.formats: dict[str, QFormat] = {}
        self.ws: Workspace | None = None

    @property
    def trainable(self) -> bool:
        """Whether the output depends on any parameter."""
        return self.schedule.buffers[self.schedule.outside[self.graph.outputs[0]].buffer].trainable

    # --- binding -------------------------------------------------------------------------------------------------

    def bind(self, plan: Plan, integers: Mapping[str, Ints], biases: Mapping[str, Floats]) -> None:
        """Set the constants of a training step.

        plan      formats of all free sites
        integers  weight site -> integers
        biases    bias site -> real values
        Raises RangeError as binding a program does.
        """
        self.formats = {name: plan.formats[root] for name, root in self.roots.items() if root in plan.formats}
        for group in self.schedule.groups():
            if group.nodes:
                self.kernels[group.name].take([self._prepare(node, integers, biases) for node in group.nodes])

    def _prepare(self, node: Node, integers: Mapping[str, Ints], biases: Mapping[str, Floats]) -> Prepared:
        op = OPS[node.op]
        inputs = tuple(self.formats[name] for name in node.inputs)
        output = self.formats[node.output]
        weight = self.formats[node.params[0]] if node.params else None
        if weight is None:
            # without parameters only the formats matter, and most of them stay
            key = inputs, output
            kept = self._bound.get(node.output)
            if kept is not None and kept[0] == key:
                return Prepared(kept[1], inputs, output)
        params: dict[str, tuple[Ints, QFormat]] = {}
        for role, name in zip(op.roles, node.params, strict=False):
            fmt = self.formats[name]
            values = integers[name] if fmt.kind == "weight" else (
                quantise_bias(biases[name], fmt.bits, self.formats[node.params[0]], inputs[0]))
            params[role] = values, fmt
        try:
            constants = op.bind(Bound(inputs, output, params))
        except RangeError as error:
            raise RangeError(f"{node.output}: {error}") from None
        if weight is None:
            self._bound[node.output] = key, constants
        return Prepared(constants, inputs, output, weight)

    # --- running -------------------------------------------------------------------------------------------------

    def forward(
        self, q: NDArray[np.integer] | Tensor, lengths: NDArray[np.int64] | Tensor, training: bool = True,
        keep: bool = False, scales: bool = False,
    ) -> Tensor:
        """Integers of the output, centred, float32 [items, outputs] (or [steps, items, outputs] of a sequence).

        q        input integers [items, steps, features]
        lengths  [items]; steps beyond the longest are not computed
        scales   whether `backward` shall give the gradients of learned scales
        """
        values, sizes = torch.as_tensor(q), torch.as_tensor(lengths)
        items, steps = values.shape[:2]
        ws = self._workspace(items, steps, training, keep)
        ws.begin(sizes, steps)
        for kernel in self.kernels.values():
            kernel.collects = kernel.learned and scales and training
        self.ws = ws
        name = self.graph.inputs[0]
        ref = self.schedule.outside[name]
        fmt = self.formats[name]
        cube = ws.cube("ints", ref)
        cube.copy_(values[:, : ws.steps].transpose(0, 1))
        if fmt.zero_point:
            cube.sub_(fmt.zero_point)
        if ws.has("reals", ref.buffer):
            ws.cube("reals", ref).copy_(cube)
        for step in self.schedule.order:
            if isinstance(step, Loop):
                self._forward_loop(ws, step)
            else:
                self.kernels[step.name].forward(ws.whole(step))
        return self._end(ws, "reals")

    def _end(self, ws: Workspace, kind: str) -> Tensor:
        ref = self.schedule.outside[self.graph.outputs[0]]
        if self.schedule.buffers[ref.buffer].sequence:
            return ws.cube(kind, ref)
        return ws.array(kind, ref.buffer)[:, ref.start : ref.start + ref.width]

    def _forward_loop(self, ws: Workspace, loop: Loop) -> None:
        kernels = [self.kernels[group.name] for group in loop.groups]
        for kernel, group in zip(kernels, loop.groups, strict=True):
            if group.hoisted:
                kernel.hoist(ws.whole(group))
        runs = [kernel.forward for kernel in kernels]
        for rows in ws.loop(loop.layer)[: ws.steps]:
            for run, row in zip(runs, rows, strict=True):
                run(row)

    def backward(
        self, gradient: Tensor, hidden: Mapping[str, Tensor] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Gradients after a `forward` in training: of parameters by site, of learned scales by site.

        gradient  of the loss by the real outputs, in the shape `forward` gave
        hidden    further gradients by real values of the watched sites, [steps, items, features]
        """
        ws = self.ws
        assert ws is not None
        if not self.trainable:
            return {}, {}
        for buffer in self.schedule.buffers.values():
            if buffer.zeroed and ws.has("grads", buffer.name) and (buffer.shared or not buffer.layer):
                ws.array("grads", buffer.name).zero_()
        self._end(ws, "grads").add_(gradient)
        for site, extra in (hidden or {}).items():
            ws.cube("grads", self.schedule.outside[site]).add_(extra)
        for step in reversed(self.schedule.order):
            if isinstance(step, Loop):
                self._backward_loop(ws, step)
            elif self.schedule.buffers[step.name].trainable:
                kernel = self.kernels[step.name]
                kernel.backward(ws.whole(step))
                kernel.finish(ws.whole(step))
        parameters: dict[str, Tensor] = {}
        steps: dict[str, Tensor] = {}
        for kernel in self.kernels.values():
            parameters |= kernel.parameter_gradients
            if kernel.collects and kernel.scale_gradient is not None:
                for site, (start, width) in kernel.buffer_sites.items():
                    steps[site] = kernel.scale_gradient[start : start + width].sum()
        return parameters, steps

    def _backward_loop(self, ws: Workspace, loop: Loop) -> None:
        kernels = [self.kernels[group.name] for group in reversed(loop.groups)]
        buffers = [self.schedule.buffers[group.name] for group in reversed(loop.groups)]
        zeroed = [
            ws.array("grads", b.name) if b.zeroed and not b.shared else None for b in buffers
        ]
        for kernel, buffer in zip(kernels, buffers, strict=True):
            if kernel.collects:
                ws.array("gathered", buffer.name).zero_()
        runs = [kernel.backward for kernel in kernels]
        brief = [array for array in zeroed if array is not None]
        for rows in reversed(ws.loop(loop.layer)[: ws.steps]):
            for array in brief:
                array.zero_()
            for run, row in zip(runs, reversed(rows), strict=True):
                run(row)
        for kernel, group in zip(kernels, reversed(loop.groups), strict=True):
            kernel.finish(ws.whole(group))
            if kernel.collects:
                kernel.scale_gradient = ws.array("gathered", group.name).sum(dim=0)

    def release(self) -> None:
        """Give back the room of all batches; the next one makes its own."""
        for ws in self._workspaces.values():
            ws.close()
        self._workspaces.clear()
        self.ws = None

    def trace(self) -> dict[str, Ints]:
        """After `forward(..., keep=True)`: the integers of every activation site as the reference engine gives them."""
        ws = self.ws
        assert ws is not None
        assert ws.keep
        mask = steps_mask(ws.lengths.numpy(), ws.given)
        found = {}
        copies = {state.previous for step in self.graph.steps if isinstance(step, Recurrence) for state in step.states}
        for name, ref in self.schedule.inside.items():
            if name in copies:
                continue
            zero = self.formats[name].zero_point
            if not self.schedule.buffers[ref.buffer].sequence:
                found[name] = ws.array("ints", ref.buffer)[:, ref.start : ref.start + ref.width].numpy() + zero
                continue
            cube = ws.cube("ints", ref)
            if name in self.schedule.reversed_sites:
                cube = ws.turn(cube)
            whole = np.full((ws.count, ws.given, ref.width), zero, np.int64)
            whole[:, : ws.steps] = cube.transpose(0, 1).numpy() + zero
            found[name] = np.where(mask[:, :, None], whole, zero)
        return found

    def _workspace(self, items: int, steps: int, training: bool, keep: bool) -> Workspace:
        """Room for so many items and steps or more; batches of ragged sequences differ in their longest."""
        key = items, training, keep
        found = self._workspaces.get(key)
        if found is not None and found.most < steps:
            found.close()
            found = None
        if found is None:
            most = -(-steps // STEPS) * STEPS if key in self._workspaces else steps
            found = self._workspaces[key] = Workspace(self.schedule, self.kernels, items, most, training, keep)
        return found


__all__ = ["IntegerNetwork"]
