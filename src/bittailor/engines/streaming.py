"""Programs that are given their sequence piece by piece: what they carry from one piece to the next.

The arithmetic is the reference engine's; whatever way a sequence is cut, the integers are those of the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bittailor.core.arith import Ints
from bittailor.core.graph import Graph, Node, Recurrence, State
from bittailor.core.ops.forms import Accumulated, Constants, Copied, Cropped, Largest, Windowed
from bittailor.core.ops.time import accumulated, step_max, step_sum
from bittailor.core.ops.window import Window, windowed
from bittailor.core.program import Program
from bittailor.core.qformat import QFormat
from bittailor.core.walk import walk
from bittailor.engines.reference import check_integers
from bittailor.errors import DataError, UnsupportedNetwork

STEPS, SUM, FIRST, PAST, MAX = "steps", ".sum", ".first", ".past", ".max"
"""The number of steps so far, and what names end in: of a sum, a caught first step, past frames, a maximum."""


@dataclass(frozen=True)
class Carried:
    """One thing that lives from piece to piece, [items, features].

    name      a previous state's site; NAME.sum, NAME.first, NAME.max of an operator over time; NAME.past of a window,
              frame by frame, the oldest first; "steps"
    features  how many integers for each item
    start     each integer before the first step: a state's start, a frame's zero-point, a maximum's least integer, or 0
    """

    name: str
    features: int
    start: tuple[int, ...]

    @property
    def words(self) -> str:
        """Its start for people: one number where all are the same."""
        return str(self.start[0]) if len(set(self.start)) == 1 else ", ".join(map(str, self.start))


def reversed_layers(graph: Graph) -> list[str]:
    """The layers that run backwards: they need the end of a sequence before its beginning."""
    return [step.name for step in graph.steps if isinstance(step, Recurrence) and step.reverse]


def needs_the_end(graph: Graph) -> str:
    """Why a sequence cannot be given piece by piece, in a few words; "" where it can."""
    for name in reversed_layers(graph):
        return f"the layer {name} runs backwards"
    for step in graph.steps:
        if isinstance(step, Node) and isinstance(op := step.operator, Window) and op.constants.ahead:
            return f"{step.output} looks {op.constants.ahead} steps ahead"
    return ""


def carried(program: Program) -> tuple[Carried, ...]:
    """What a program carries, in the graph's order; UnsupportedNetwork where it needs later steps."""
    graph, found = program.graph, list[Carried]()
    if why := needs_the_end(graph):
        raise UnsupportedNetwork(f"{why}, so the network cannot be given its sequence piece by piece; give it whole")
    for step in graph.steps:
        if isinstance(step, Recurrence):
            found += [_state(program, s) for s in step.states]
        elif isinstance(window := program.constants[step.output], Windowed):
            (source,) = step.inputs
            found.append(_alike(step.output + PAST, window.span * graph.sites[source].features,
                                program.formats[source].zero_point))
        elif ending := _ending(program, step):
            least = program.formats[step.output].qmin if ending == MAX else 0
            found.append(_alike(step.output + ending, graph.sites[step.output].features, least))
    if any(item.name.endswith((SUM, FIRST)) for item in found) or graph.least_steps > 1:
        found.append(_alike(STEPS, 1, 0))
    return tuple(found)


def _alike(name: str, features: int, start: int) -> Carried:
    return Carried(name, features, (start,) * features)


def _state(program: Program, state: State) -> Carried:
    count = program.graph.sites[state.update].features
    if (start := program.starts.get(state.update)) is None:
        return _alike(state.previous, count, program.formats[state.update].zero_point)
    return Carried(state.previous, count, tuple(start.tolist()))


def _ending(program: Program, node: Node) -> str:
    """What an operator over time carries; "" for none: the last step is the last one so far."""
    constants = program.constants[node.output]
    if isinstance(constants, Accumulated | Largest):
        return SUM if isinstance(constants, Accumulated) else MAX
    return FIRST if isinstance(constants, Copied) and constants.step == 0 else ""


def start(program: Program, items: int) -> list[Ints]:
    """What is carried into the first piece, int64 [items, features] each, in the order of `carried`."""
    return [np.tile(np.asarray(item.start, np.int64), (items, 1)) for item in carried(program)]


def stream(
    program: Program, q: ArrayLike, before: Sequence[ArrayLike], lengths: ArrayLike | None = None
) -> tuple[Ints, list[Ints]]:
    """The outputs for one more piece of every item's sequence, and what is carried on.

    q        input integers [items, steps, features]
    before   from `start`, or from the piece before
    lengths  [items], 1..steps: how many of the piece's steps belong to an item; an item whose piece is not full ends
    Returns an output for every step of the piece, or, if the network ends in one value for each item, that of the
    sequence so far. Where the network drops first steps, what it says of them, or of nothing else yet, is the
    zero-point; then all items have had as many steps before. DataError for what does not fit.
    """
    values, sizes = check_integers(program, q, lengths, whole=False)
    things = carried(program)
    held = _checked(program, things, before, len(values))
    before_it = _before(program, held)
    late = {name: max(0, min(steps - before_it, values.shape[1])) for name, steps in program.graph.late.items()}

    def apply(node: Node, inputs: list[Ints], own: Ints) -> Ints:
        op, constants = node.operator, program.constants[node.output]
        formats = [program.formats[name] for name in node.inputs]
        if isinstance(constants, Cropped):
            return inputs[0][:, late[node.output] - late[node.inputs[0]] :]
        if isinstance(constants, Windowed):
            y, held[node.output + PAST] = _after(constants, held[node.output + PAST], inputs[0], own)
            return y
        if op.over_time:
            gone = program.graph.late[node.inputs[0]]
            return _so_far(node, constants, formats[0], inputs[0], own, held, gone)
        return op.integers(constants, formats, inputs, own)

    def rest(site: str) -> int:
        return program.formats[site].zero_point

    output = program.graph.outputs[0]
    y = walk(program.graph, {program.graph.inputs[0]: values}, sizes, apply, rest, program.starts, carried=held,
             late=late)[output]
    if program.graph.sites[output].sequence and late[output]:
        y = np.concatenate([np.full((len(y), late[output], y.shape[2]), rest(output)), y], axis=1)
    if STEPS in held:
        held[STEPS] = held[STEPS] + sizes[:, None]
    return y, [held[item.name] for item in things]


def _before(program: Program, held: Mapping[str, Ints]) -> int:
    """How many steps came before a piece, where the network drops any."""
    if program.graph.least_steps == 1:
        return 0
    steps = np.unique(held[STEPS])
    if len(steps) > 1 or steps[0] < 0:
        raise DataError(f"the network drops first steps, so all items of a piece have had as many before; these "
                        f"had {steps.min()}..{steps.max()}")
    return int(steps[0])


def _so_far(
    node: Node, constants: Constants, fmt: QFormat, x: Ints, own: Ints, held: dict[str, Ints], late: int
) -> Ints:
    """An operator over time, of all steps so far; `late` is how many of the first do not count."""
    name = node.output
    if isinstance(constants, Largest):
        held[name + MAX] = np.maximum(held[name + MAX], step_max(fmt, x, own))
        return held[name + MAX]
    if isinstance(constants, Accumulated):
        held[name + SUM] = held[name + SUM] + step_sum(fmt, x, own)
        count = np.maximum(held[STEPS][:, 0] - late, 0) + own
        return accumulated(constants, held[name + SUM], np.maximum(count, 1))
    if name + FIRST in held:
        if x.shape[1]:
            held[name + FIRST] = np.where(held[STEPS] > late, held[name + FIRST], x[:, 0])
        return held[name + FIRST]
    if not x.shape[1]:
        return np.full((len(x), x.shape[2]), fmt.zero_point)
    return np.asarray(node.operator.integers(constants, [fmt], [x], np.maximum(own, 1)))


def _after(window: Windowed, past: Ints, x: Ints, sizes: Ints) -> tuple[Ints, Ints]:
    """The windows of a piece [items, steps, features] after past frames, and the frames that are past then."""
    items, span = len(x), window.span
    whole = np.concatenate([past.reshape(items, span, x.shape[2]), x], axis=1)
    y = np.asarray(windowed(window, whole, 0)[:, span:])
    ends = sizes[:, None] + np.arange(span)
    return y, whole[np.arange(items)[:, None], ends].reshape(items, -1)


def _checked(
    program: Program, things: Sequence[Carried], before: Sequence[ArrayLike], items: int
) -> dict[str, Ints]:
    """Name -> what is carried, int64; DataError for other shapes, or integers that the arithmetic is not proved for."""
    if len(before) != len(things):
        raise DataError(f"the program carries {len(things)} things ({', '.join(t.name for t in things)}); "
                        f"got {len(before)}")
    held = {}
    for thing, given in zip(things, before, strict=True):
        value = np.asarray(given)
        if value.shape != (items, thing.features) or value.dtype.kind not in "iu":
            raise DataError(f"{thing.name} has shape {(items, thing.features)}, integers; "
                            f"got {value.shape} of {value.dtype}")
        fmt = program.formats.get(thing.name.removesuffix(FIRST).removesuffix(PAST).removesuffix(MAX))
        if fmt is not None and value.size and not (fmt.qmin <= value.min() and value.max() <= fmt.qmax):
            raise DataError(f"{thing.name} holds integers outside {fmt.qmin}..{fmt.qmax}")
        held[thing.name] = value.astype(np.int64)
    return held


__all__ = ["Carried", "carried", "needs_the_end", "start", "stream"]
