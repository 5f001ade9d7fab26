"""The order of instructions: which operators run together, feature by feature. Decided by the graph alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from bittailor.core.graph import Graph, Node, Recurrence
from bittailor.core.ops import OPS


class NotLowered(Exception):
    """Compiled code has no form for a part of the program; the reference engine runs it."""


class Kind(Enum):
    """What a segment is: a loop over steps, operators on single values, or one operator over time."""

    LOOP = auto()
    ONCE = auto()
    LAST = auto()
    FIRST = auto()
    MEAN = auto()


@dataclass(frozen=True)
class Instruction:
    """One operator of a phase; a concat is one instruction for each of its inputs.

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

    kind: Kind
    body: list[Instruction] = field(default_factory=list)
    states: list[tuple[str, str]] = field(default_factory=list)
    reverse: bool = False
    phases: list[list[Instruction]] = field(default_factory=list)

    @property
    def made(self) -> set[str]:
        """The sites that it computes."""
        return {ins.node.output for ins in self.body}


def _instructions(graph: Graph, node: Node) -> Iterator[Instruction]:
    features = graph.sites[node.output].features
    if node.op == "linear":
        yield Instruction(node, features, (), node.inputs[0])
    elif node.op == "concat":
        column = 0
        for i, name in enumerate(node.inputs):
            width = graph.sites[name].features
            yield Instruction(node, width, (name,), None, i, column, i == len(node.inputs) - 1)
            column += width
    else:
        if any(graph.sites[name].features != features for name in node.inputs):
            raise NotLowered(f"{node.output} joins sites of different features")
        yield Instruction(node, features, node.inputs)


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
            loop = Segment(Kind.LOOP, states=[(s.previous, s.update) for s in step.states], reverse=step.reverse)
            loop.body = [ins for node in step.nodes for ins in _instructions(graph, node)]
            if any(update not in loop.made for _, update in loop.states):
                raise NotLowered(f"a state of {step.name} that the step does not compute")
            segments.append(loop)
        elif OPS[step.op].over_time:
            if step.op not in ("last", "first", "mean") or not graph.sites[step.inputs[0]].sequence:
                raise NotLowered(f"operator {step.op}")
            kind = {"last": Kind.LAST, "first": Kind.FIRST, "mean": Kind.MEAN}[step.op]
            segments.append(Segment(kind, [Instruction(step, graph.sites[step.output].features, step.inputs)]))
        else:
            sequence = graph.sites[step.output].sequence
            if any(graph.sites[name].sequence != sequence for name in step.inputs):
                raise NotLowered(f"{step.output} joins a sequence and a single value")
            kind = Kind.LOOP if sequence else Kind.ONCE
            if not (segments and segments[-1].kind == kind and not segments[-1].states and not segments[-1].reverse):
                segments.append(Segment(kind))
            segments[-1].body += _instructions(graph, step)
    for segment in segments:
        if segment.kind in (Kind.LOOP, Kind.ONCE):
            segment.phases = _phases(segment)
    return segments


def _phases(segment: Segment) -> list[list[Instruction]]:
    """Group operators that can run lane block by lane block; what one reads as a whole must be complete before."""
    made, done = segment.made, set[str]()
    left, phases = list(segment.body), []
    while left:
        phase: list[Instruction] = []
        inside: set[str] = set()
        grown = True
        while grown:
            grown = False
            for ins in list(left):
                concat = ins.node.op == "concat"
                whole = (ins.whole,) if ins.whole else ins.lanes if concat else ()
                lanes = () if concat else ins.lanes
                if ((phase and (concat or phase[0].node.op == "concat" or phase[0].features != ins.features))
                        or any(name in made and name not in done for name in whole)
                        or any(name in made and name not in done | inside for name in lanes)):
                    continue
                phase.append(ins)
                left.remove(ins)
                inside.add(ins.node.output)
                grown = True
        if not phase:
            raise NotLowered("operators that wait for each other")
        done |= {ins.node.output for ins in phase if ins.last}
        # linear operators first, those with the same input together: they share its loads
        order = {name: i for i, name in enumerate(dict.fromkeys(t.whole for t in phase if t.whole))}
        linear = sorted((t for t in phase if t.whole), key=lambda t: order[t.whole or ""])
        phases.append(linear + [t for t in phase if not t.whole])
    return phases


