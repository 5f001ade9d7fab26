"""The order in which a network is computed, written once: for floats, for integers, for anything like them.

What differs (what an operator does, where a state starts, what fills the steps beyond a sequence's end) is handed
in; what is the same (steps, states, directions, ragged lengths) stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.graph import Graph, Node, Recurrence
from bittailor.ops.base import steps_mask

Array = NDArray[Any]
Apply = Callable[[Node, list[Array]], Array]


def walk(
    graph: Graph,
    inputs: Mapping[str, Array],
    lengths: NDArray[np.int64],
    apply: Apply,
    rest: Callable[[str], float],
    keep: bool = False,
) -> dict[str, Array]:
    """Compute every site outside of recurrences (with `keep`, inside too).

    inputs   per input site: [items, steps, features]
    lengths  [items], 1..steps
    apply    (node, input arrays) -> output array
    rest     site -> the value that stands for 0.0 there: where states start, what fills beyond a length
    Returns site -> [items, steps, features] for sequences, [items, features] for the rest.
    """
    values: dict[str, Array] = dict(inputs)
    steps = next(iter(inputs.values())).shape[1]
    mask = steps_mask(lengths, steps)
    ragged = not mask.all()
    for name in inputs:
        if ragged:
            values[name] = np.where(mask[:, :, None], values[name], rest(name))
    for step in graph.steps:
        if isinstance(step, Recurrence):
            values.update(_recur(graph, step, values, lengths, apply, rest, keep))
        else:
            y = apply(step, [values[name] for name in step.inputs])
            if ragged and graph.sites[step.output].sequence:
                y = np.where(mask[:, :, None], y, np.asarray(rest(step.output), y.dtype))
            values[step.output] = y
    return values


def _recur(
    graph: Graph,
    layer: Recurrence,
    values: Mapping[str, Array],
    lengths: NDArray[np.int64],
    apply: Apply,
    rest: Callable[[str], float],
    keep: bool,
) -> dict[str, Array]:
    source = values[layer.inputs[0]]
    items, steps = source.shape[:2]
    rows = np.arange(items)
    visible = [node.output for node in layer.nodes] if keep else list(layer.outputs)
    now: dict[str, Array] = {}
    for state in layer.states:
        shape = (items, graph.sites[state.update].features)
        now[state.previous] = np.full(shape, rest(state.update), source.dtype)
    out = {
        name: np.full((items, steps, graph.sites[name].features), rest(name), source.dtype) for name in visible
    }
    for t in range(int(lengths.max())):
        alive = t < lengths
        # a reversed layer meets each item's own last step first
        at: Sequence[Any] | Array = np.maximum(lengths - 1 - t, 0) if layer.reverse else np.full(items, t)
        now.update({name: values[name][rows, at] for name in layer.inputs})
        for node in layer.nodes:
            now[node.output] = apply(node, [now[name] for name in node.inputs])
        for name in visible:
            out[name][rows[alive], np.asarray(at)[alive]] = now[name][alive]
        for state in layer.states:
            now[state.previous] = np.where(alive[:, None], now[state.update], now[state.previous])
    return out
