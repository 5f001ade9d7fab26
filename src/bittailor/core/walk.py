"""The order in which a network is computed, written once: for floats, for integers, for anything like them.

What differs (what an operator does, where a state starts, what fills the steps beyond a sequence's end) is handed
in; what is the same (steps, states, directions, ragged lengths) stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.core.graph import Graph, Node, Recurrence
from bittailor.core.ops.base import steps_mask

Array = NDArray[Any]
Apply = Callable[[Node, list[Array], NDArray[np.int64]], Array]


def walk(
    graph: Graph,
    inputs: Mapping[str, Array],
    lengths: NDArray[np.int64],
    apply: Apply,
    rest: Callable[[str], float],
    starts: Mapping[str, Array],
    keep: bool = False,
    carried: dict[str, Array] | None = None,
    late: Mapping[str, int] | None = None,
) -> dict[str, Array]:
    """Compute every site outside of recurrences (with `keep`, inside too).

    inputs   per input site: [items, steps, features]
    lengths  [items], 1..steps
    apply    (node, input arrays, lengths of its first input) -> output array
    rest     site -> the value that stands for 0.0 there: what fills beyond a length
    starts   state -> [features], what it is before the first step; `rest` where not given
    carried  site of a previous state -> [items, features]: where layers start in place of that; afterwards, where they
             ended
    late     site -> how many of the first steps it lacks; the graph's own where not given
    Returns site -> [items, steps, features] for sequences, [items, features] for the rest.
    """
    values: dict[str, Array] = dict(inputs)
    late = graph.late if late is None else late
    steps = next(iter(inputs.values())).shape[1]
    ragged = bool((lengths < steps).any())

    def own(name: str) -> NDArray[np.int64]:
        return np.maximum(lengths - late[name], 0) if late[name] else lengths

    def filled(name: str, y: Array) -> Array:
        mask = steps_mask(own(name), y.shape[1])
        return np.where(mask[:, :, None], y, np.asarray(rest(name), y.dtype))

    for name in inputs:
        if ragged:
            values[name] = filled(name, values[name])
    for step in graph.steps:
        sizes = own(step.inputs[0])
        if isinstance(step, Recurrence):
            values.update(_recur(graph, step, values, sizes, apply, rest, starts, keep, carried))
        else:
            y = apply(step, [values[name] for name in step.inputs], sizes)
            values[step.output] = filled(step.output, y) if ragged and graph.sites[step.output].sequence else y
    return values


def _recur(
    graph: Graph,
    layer: Recurrence,
    values: Mapping[str, Array],
    lengths: NDArray[np.int64],
    apply: Apply,
    rest: Callable[[str], float],
    starts: Mapping[str, Array],
    keep: bool,
    carried: dict[str, Array] | None,
) -> dict[str, Array]:
    source = values[layer.inputs[0]]
    items, steps = source.shape[:2]
    rows = np.arange(items)
    visible = [node.output for node in layer.nodes] if keep else list(layer.outputs)
    # what does not depend on a state is computed for all steps at once
    whole = {name: values[name] for name in layer.inputs}
    inner: list[Node] = []
    for node in layer.nodes:
        if all(name in whole for name in node.inputs):
            whole[node.output] = apply(node, [whole[name] for name in node.inputs], lengths)
        else:
            inner.append(node)
    read = {name for node in inner for name in node.inputs} | {state.update for state in layer.states}
    fed = [name for name in whole if name in read]
    now: dict[str, Array] = {}
    for state in layer.states:
        shape = (items, graph.sites[state.update].features)
        now[state.previous] = np.empty(shape, source.dtype)
        now[state.previous][:] = starts.get(state.update, rest(state.update))
        if carried is not None:
            now[state.previous] = carried.get(state.previous, now[state.previous])
    mask = steps_mask(lengths, steps)[:, :, None]
    out = {
        name: np.where(mask, whole[name], np.asarray(rest(name), whole[name].dtype)) if name in whole
        else np.full((items, steps, graph.sites[name].features), rest(name), source.dtype)
        for name in visible
    }
    shown = [name for name in visible if name not in whole]
    shortest = int(lengths.min())
    for t in range(int(lengths.max())):
        # a reversed layer meets each item's own last step first
        at = (rows, np.maximum(lengths - 1 - t, 0)) if layer.reverse else (slice(None), t)
        now.update({name: whole[name][at] for name in fed})
        for node in inner:
            now[node.output] = apply(node, [now[name] for name in node.inputs], lengths)
        if t < shortest:
            for name in shown:
                out[name][at] = now[name]
            now.update({state.previous: now[state.update] for state in layer.states})
            continue
        alive = t < lengths
        still = rows[alive], (lengths[alive] - 1 - t if layer.reverse else t)
        for name in shown:
            out[name][still] = now[name][alive]
        now.update({state.previous: np.where(alive[:, None], now[state.update], now[state.previous])
                    for state in layer.states})
    if carried is not None:
        carried.update({state.previous: now[state.previous] for state in layer.states})
    return out
