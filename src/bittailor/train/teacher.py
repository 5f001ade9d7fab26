"""The teacher of a retraining: the float network, asked for its outputs and its hidden states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bittailor.common.data import Data
from bittailor.core.graph import Graph, Node, Recurrence
from bittailor.core.network import Network
from bittailor.core.ops.forms import MatrixProduct
from bittailor.core.walk import walk

ASKED = 512
"""Items that it is asked about at a time: what a step costs hardly depends on their number."""


def item_bytes(graph: Graph, steps: int) -> int:
    """Bytes that an item takes in a float pass at most: what stays, of the widest recurrence everything, and a copy of
    each where steps beyond a length are filled."""
    def values(names: Iterable[str]) -> int:
        return sum(graph.sites[name].features for name in names)

    stays = values(graph.inputs) + sum(values(s.outputs) if isinstance(s, Recurrence) else values([s.output])
                                       for s in graph.steps)
    inside = max((values(node.output for node in s.nodes) for s in graph.steps if isinstance(s, Recurrence)), default=0)
    return 2 * np.dtype(np.float32).itemsize * steps * (stays + inside)


def padded(parts: Sequence[Tensor], steps: int) -> Tensor:
    """Parts joined; of values per step, a part has as many steps as its longest item, and gets `steps`."""
    if parts[0].dim() == 3:
        parts = [torch.nn.functional.pad(part, (0, 0, 0, steps - part.shape[1])) for part in parts]
    return torch.cat(list(parts))


@dataclass(frozen=True)
class Batch:
    """What an update meets.

    items            places of the items in the training data
    x                [items, steps, features], with noise
    outputs, hidden  the teacher's on that; None where they are not asked for
    """

    items: Tensor
    x: Tensor
    outputs: Tensor | None
    hidden: Tensor | None

    def __len__(self) -> int:
        return len(self.items)

    def part(self, some: slice | Tensor) -> Batch:
        """Some of its items."""
        return Batch(self.items[some], self.x[some], None if self.outputs is None else self.outputs[some],
                     None if self.hidden is None else self.hidden[some])


class Teacher:
    """A float network that is asked.

    outputs  whether its outputs are wanted
    hidden   the site of the hidden states that are wanted; "": none
    room     bytes that it may take at a time
    """

    def __init__(self, network: Network, outputs: bool, hidden: str, room: float) -> None:
        self.outputs, self.hidden, self.room = outputs, hidden, room
        self._graph = network.graph
        self._floats = {name: np.asarray(value, np.float32) for name, value in network.parameters.items()}

    def batch(self, items: Tensor, x: Tensor, lengths: Tensor) -> Batch:
        """Items [items, steps, features] with what the teacher makes of them, in float32."""
        if not (self.outputs or self.hidden):
            return Batch(items, x, None, None)
        most = max(1, min(ASKED, int(self.room / item_bytes(self._graph, x.shape[1]))))
        parts = [self._asked(x[i : i + most], lengths[i : i + most]) for i in range(0, len(x), most)]
        outputs, hidden = ([p for p in of if p is not None] for of in zip(*parts, strict=True))
        late = self._graph.late
        return Batch(items, x, padded(outputs, x.shape[1] - late[self._graph.outputs[0]]) if outputs else None,
                     padded(hidden, x.shape[1] - late[self.hidden]) if hidden else None)

    def about(self, data: Data) -> Batch:
        """The same of whole data."""
        return self.batch(torch.arange(len(data)), torch.from_numpy(data.x), torch.from_numpy(data.lengths))

    def _asked(self, x: Tensor, lengths: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Outputs and hidden states, up to the longest of these items."""
        sizes = lengths.numpy()

        def apply(node: Node, inputs: list[Any], own: NDArray[np.int64]) -> Any:
            op = node.operator
            params: Any = {role: self._floats[name] for role, name in zip(op.roles, node.params, strict=False)}
            if op.form is not MatrixProduct:
                return op.real(inputs, params, own)
            # all steps of all items as one product; NumPy would make one for every item
            shape = inputs[0].shape[:-1]
            return op.real([inputs[0].reshape(-1, inputs[0].shape[-1])], params, own).reshape(*shape, -1)

        values: NDArray[np.float32] = x.numpy()[:, : int(sizes.max())]
        found = walk(self._graph, {self._graph.inputs[0]: values}, sizes, apply, lambda site: 0.0,
                     self._graph.starts)
        outputs = torch.from_numpy(np.asarray(found[self._graph.outputs[0]], np.float32)) if self.outputs else None
        return outputs, torch.from_numpy(found[self.hidden]) if self.hidden else None
