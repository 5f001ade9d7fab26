"""The order of instructions: which operators run together over the same lanes. Decided by the graph alone.

Part of `lowering`, which says what this is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bittailor.core.graph import Graph, Node, Recurrence
from bittailor.core.ops import OPS
from bittailor.engines import bytecode as bc
from bittailor.engines.lowering_numbers import NotLowered


@dataclass(frozen=True)
class Task:
    """One operator of a phase.

    lanes   the sites it reads feature by feature
    whole   the site a linear operator reads as a whole
    part    of a concat: which input; column: where it goes
    """

    node: Node
    features: int
    lanes: tuple[str, ...]
    whole: str | None = None
    part: int = 0
    column: int = 0
    last: bool = True


@dataclass
class Segment:
    """A recurrence, a chain of operators over steps or on single values, or one operator over time."""

    kind: int
    tasks: list[Task] = field(default_factory=list)
    states: list[tuple[str, str]] = field(default_factory=list)
    reverse: bool = False
    phases: list[list[Task]] = field(default_factory=list)

    @property
    def made(self) -> set[str]:
        """The sites that it computes."""
        return {task.node.output for task in self.tasks}


def _tasks(graph: Graph, node: Node) -> Iterator[Task]:
    features = graph.sites[node.output].features
    if node.op == "linear":
        yield Task(node, features, (), node.inputs[0])
    elif node.op == "concat":
        column = 0
        for i, name in enumerate(node.inputs):
            width = graph.sites[name].features
            yield Task(node, width, (name,), None, i, column, i == len(node.inputs) - 1)
            column += width
    else:
        if any(graph.sites[name].features != features for name in node.inputs):
            raise NotLowered(f"{node.output} joins sites of different features")
        yield Task(node, features, node.inputs)


def arrange(graph: Graph) -> list[Segment]:
    """The graph's segments, each with its phases. Raises NotLowered for what the runtime has no form for."""
    if len(graph.inputs) != 1:
        raise NotLowered("more than one input")
    segments: list[Segment] = []
    for step in graph.steps:
        if isinstance(step, Recurrence):
            if (any(not graph.sites[name].sequence for name in step.inputs)
                    or any(OPS[node.op].over_time for node in step.nodes)):
                raise NotLowered(f"recurrence {step.name}")
            loop = Segment(bc.LOOP, states=[(s.previous, s.update) for s in step.states], reverse=step.reverse)
            loop.tasks = [task for node in step.nodes for task in _tasks(graph, node)]
            if any(update not in loop.made for _, update in loop.states):
                raise NotLowered(f"a state of {step.name} that the step does not compute")
            segments.append(loop)
        elif OPS[step.op].over_time:
            if step.op not in ("last", "first", "mean") or not graph.sites[step.inputs[0]].sequence:
                raise NotLowered(f"operator {step.op}")
            kind = {"last": bc.LAST, "first": bc.FIRST, "mean": bc.MEAN}[step.op]
            segments.append(Segment(kind, [Task(step, graph.sites[step.output].features, step.inputs)]))
        else:
            sequence = graph.sites[step.output].sequence
            if any(graph.sites[name].sequence != sequence for name in step.inputs):
                raise NotLowered(f"{step.output} joins a sequence and a single value")
            kind = bc.LOOP if sequence else bc.ONCE
            if not (segments and segments[-1].kind == kind and not segments[-1].states and not segments[-1].reverse):
                segments.append(Segment(kind))
            segments[-1].tasks += _tasks(graph, step)
    for segment in segments:
        if segment.kind in (bc.LOOP, bc.ONCE):
            segment.phases = _phases(segment)
    return segments


def _phases(segment: Segment) -> list[list[Task]]:
    """Group operators that can run lane block by lane block; what one reads as a whole must be complete before."""
    made, done = segment.made, set[str]()
    left, phases = list(segment.tasks), []
    while left:
        phase: list[Task] = []
        inside: set[str] = set()
        grown = True
        while grown:
            grown = False
            for task in list(left):
                concat = task.node.op == "concat"
                whole = (task.whole,) if task.whole else task.lanes if concat else ()
                lanes = () if concat else task.lanes
                if ((phase and (concat or phase[0].node.op == "concat" or phase[0].features != task.features))
                        or any(name in made and name not in done for name in whole)
                        or any(name in made and name not in done | inside for name in lanes)):
                    continue
                phase.append(task)
                left.remove(task)
                inside.add(task.node.output)
                grown = True
        if not phase:
            raise NotLowered("operators that wait for each other")
        done |= {task.node.output for task in phase if task.last}
        # linear operators first, those with the same input together: they share its loads
        order = {name: i for i, name in enumerate(dict.fromkeys(t.whole for t in phase if t.whole))}
        linear = sorted((t for t in phase if t.whole), key=lambda t: order[t.whole or ""])
        phases.append(linear + [t for t in phase if not t.whole])
    return phases


