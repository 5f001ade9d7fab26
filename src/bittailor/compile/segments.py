"""Which operators run together, feature by feature, and in which order. Decided by the graph alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import groupby

from bittailor.common.cached import cached_property
from bittailor.compile.memory import first_fit
from bittailor.core.graph import Graph, Node, Recurrence
from bittailor.core.ops.forms import Averaged, Constants, Cropped, Largest, Summed, Windowed
from bittailor.core.ops.time import Pick
from bittailor.errors import UnsupportedNetwork


class NotLowered(UnsupportedNetwork):
    """Phases have no form for a part of the network; the reference engine runs it."""


class Kind(Enum):
    """What a segment is: a loop over steps, operators on single values, one operator over time, a window, or a sequence
    that begins later."""

    LOOP = auto()
    ONCE = auto()
    LAST = auto()
    FIRST = auto()
    MEAN = auto()
    WINDOW = auto()
    SUM = auto()
    MAX = auto()
    CROP = auto()


@dataclass(frozen=True)
class Instruction:
    """One operator of a phase; a concat is one instruction for each of its inputs.

    lanes   the sites it reads feature by feature
    whole   the site that it reads as a whole: a linear operator's input, an index, or that of which it needs statistics
    joined  it writes a part of its site only: of a concat
    part    which input of a concat; `column`: where its features go; `last`: whether it completes the site
    """

    node: Node
    features: int
    lanes: tuple[str, ...]
    whole: str | None = None
    joined: bool = False
    part: int = 0
    column: int = 0
    last: bool = True

    @property
    def output(self) -> str:
        """The site that it writes."""
        return self.node.output

    @property
    def matrix(self) -> str | None:
        """The site that it multiplies with a matrix."""
        return self.whole if self.node.operator.product else None

    @property
    def reads(self) -> tuple[str, ...]:
        """All sites that it reads."""
        return self.lanes if self.whole is None else (*self.lanes, self.whole)


@dataclass(frozen=True)
class Registers:
    """Where the values of one feature are while a phase computes it.

    number  site -> its register; sites that are never needed together share one
    loads   per instruction: the sites that must be loaded for it
    count   registers in all
    """

    number: Mapping[str, int]
    loads: tuple[tuple[str, ...], ...]
    count: int


@dataclass(frozen=True)
class Phase:
    """One loop over features. A joined instruction stands alone in its phase.

    layer   the recurrence that it belongs to, "" for none
    number  its place in an order
    late    how many of the first steps it is not run for
    """

    body: tuple[Instruction, ...]
    layer: str = ""
    number: int = 0
    late: int = 0

    @property
    def features(self) -> int:
        """Iterations of the loop."""
        return self.body[0].features

    @cached_property
    def made(self) -> frozenset[str]:
        """The sites that it computes, whole or in part."""
        return frozenset(ins.output for ins in self.body)

    @cached_property
    def loads(self) -> tuple[str, ...]:
        """The sites that it reads feature by feature from memory: what it did not itself compute of that feature."""
        inside = frozenset[str]() if self.body[0].joined else self.made
        return tuple(dict.fromkeys(name for ins in self.body for name in ins.lanes if name not in inside))

    @cached_property
    def matrices(self) -> int:
        """How many instructions read whole inputs: they come first, and their results are stored together."""
        return sum(ins.whole is not None for ins in self.body)

    @cached_property
    def registers(self) -> Registers:
        """The registers of its sites, each in use from its load or result to its last reading or store."""
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for i, ins in enumerate(self.body):
            for name in (*ins.lanes, ins.output):
                first.setdefault(name, i)
                last[name] = max(i, self.matrices - 1)
        slots = first_fit([(i, last[name]) for name, i in first.items()])
        names = list(first)
        loads = (tuple(name for name in self.loads if first[name] == i) for i in range(len(self.body)))
        return Registers({names[value]: i for i, slot in enumerate(slots) for value in slot}, tuple(loads), len(slots))


@dataclass(frozen=True)
class Segment:
    """A recurrence, a chain of operators over steps or on single values, or one operator over time.

    phases  in order; none for the last or first step or a crop, which are only places
    states  (previous, update)
    late    how many of the input's first steps what it reads lacks
    """

    kind: Kind
    body: tuple[Instruction, ...]
    phases: tuple[Phase, ...] = ()
    states: tuple[tuple[str, str], ...] = ()
    reverse: bool = False
    late: int = 0

    @cached_property
    def made(self) -> frozenset[str]:
        """The sites that it computes."""
        return frozenset(ins.output for ins in self.body)

    @cached_property
    def outside(self) -> frozenset[str]:
        """The sites that it reads and others compute."""
        own = self.made | {previous for previous, _ in self.states}
        return frozenset(name for ins in self.body for name in ins.reads) - own


def arrange(graph: Graph) -> tuple[Segment, ...]:
    """The graph's segments, each with its phases. Raises NotLowered for what phases have no form for."""
    if len(graph.inputs) != 1:
        raise NotLowered("there is no compiled form of networks with more than one input")
    segments: list[Segment] = []
    for (late, kind), steps in groupby(_by_beginning(graph), lambda pair: (pair[0], _chained(graph, pair[1]))):
        if kind is None:
            segments += (replace(_recurrence(graph, step) if isinstance(step, Recurrence) else _over_time(graph, step),
                                 late=late) for _, step in steps)
        else:
            nodes = [step for _, step in steps if isinstance(step, Node)]
            segments.append(replace(_chain(graph, kind, nodes), late=late))
    return tuple(segments)


def _by_beginning(graph: Graph) -> list[tuple[int, Node | Recurrence]]:
    """The steps in an order in which none follows one that begins later, each with how many of the input's first steps
    it lacks: what it reads never begins later than it does itself. Operators on single values have them all behind."""
    last = graph.least_steps - 1

    def late(step: Node | Recurrence) -> int:
        if isinstance(step, Recurrence) or step.operator.over_time:
            return graph.late[step.inputs[0]]
        return graph.late[step.output] if graph.sites[step.output].sequence else last

    return sorted(((late(step), step) for step in graph.steps), key=lambda pair: pair[0])


def _chained(graph: Graph, step: Node | Recurrence) -> Kind | None:
    """The kind of segment that an operator shares with its like; None for what is a segment of its own."""
    if isinstance(step, Recurrence) or step.operator.access in ("time", "window"):
        return None
    return Kind.LOOP if graph.sites[step.output].sequence else Kind.ONCE


def _chain(graph: Graph, kind: Kind, nodes: Sequence[Node]) -> Segment:
    """Operators between recurrences, all over steps or all on single values."""
    for node in nodes:
        if any(graph.sites[name].sequence != graph.sites[node.output].sequence for name in node.inputs):
            raise NotLowered(f"there is no compiled form of {node.output}, which joins a sequence and a single value")
    body = tuple(ins for node in nodes for ins in _instructions(graph, node))
    return Segment(kind, body, _phases(body))


def _recurrence(graph: Graph, layer: Recurrence) -> Segment:
    body = tuple(ins for node in layer.nodes for ins in _instructions(graph, node))
    made = {ins.output for ins in body}
    if (any(not graph.sites[name].sequence for name in layer.inputs)
            or any(node.operator.access in ("time", "window") for node in layer.nodes)
            or any(state.update not in made for state in layer.states)):
        raise NotLowered(f"there is no compiled form of the recurrence {layer.name}: it reads a single value, works "
                         "over time within a step, or does not compute one of its states")
    states = tuple((s.previous, s.update) for s in layer.states)
    return Segment(Kind.LOOP, body, _phases(body, layer.name), states, layer.reverse)


OVER_TIME: dict[type[Constants], Kind] = {Averaged: Kind.MEAN, Summed: Kind.SUM, Largest: Kind.MAX}
"""By the form of an operator over time; that of a copy depends on its step."""


def _over_time(graph: Graph, node: Node) -> Segment:
    op = node.operator
    if op.form is Windowed:
        body = (Instruction(node, graph.sites[node.output].features, (), node.inputs[0]),)
        return Segment(Kind.WINDOW, body, (Phase(body),))
    if op.form is Cropped:
        body = (Instruction(node, graph.sites[node.output].features, node.inputs),)
        return Segment(Kind.CROP, body, (Phase(body),))
    kind = OVER_TIME.get(op.form)
    if isinstance(op, Pick):
        kind = Kind.FIRST if op.step == 0 else Kind.LAST
    if kind is None or not graph.sites[node.inputs[0]].sequence:
        raise NotLowered(f"there is no compiled form of operator {node.op} of {node.output}")
    body = (Instruction(node, graph.sites[node.output].features, node.inputs),)
    return Segment(kind, body, (Phase(body),) if kind in (Kind.MEAN, Kind.SUM) else ())


def _instructions(graph: Graph, node: Node) -> Iterator[Instruction]:
    features = graph.sites[node.output].features
    access = node.operator.access
    if node.operator.product or access == "index":
        yield Instruction(node, features, (), node.inputs[0])
    elif access == "statistics":
        yield Instruction(node, features, node.inputs, node.inputs[0])
    elif access == "joined":
        column = 0
        for i, name in enumerate(node.inputs):
            width = graph.sites[name].features
            yield Instruction(node, width, (name,), None, True, i, column, i == len(node.inputs) - 1)
            column += width
    else:
        if any(graph.sites[name].features != features for name in node.inputs):
            raise NotLowered(f"there is no compiled form of {node.output}, which joins sites of different features")
        yield Instruction(node, features, node.inputs)


def _phases(body: Iterable[Instruction], layer: str = "") -> tuple[Phase, ...]:
    """Group instructions into loops over features, each as large as it can be; what one reads as a whole, or lays side
    by side, must be complete before its loop begins."""
    left, phases = list(body), list[Phase]()
    waiting = {ins.output for ins in left}
    while left:
        phase = _grown(left, waiting)
        if not phase:
            raise NotLowered("there is no compiled form of operators that wait for each other")
        waiting -= {ins.output for ins in phase if ins.last}
        # linear operators first, those with the same input together: they share its loads
        order = {name: i for i, name in enumerate(dict.fromkeys(ins.whole for ins in phase if ins.whole))}
        phase.sort(key=lambda ins: order[ins.whole] if ins.whole else len(order))
        phases.append(Phase(tuple(phase), layer))
    return tuple(phases)


def _grown(left: list[Instruction], waiting: set[str]) -> list[Instruction]:
    """A loop of all that can run now, taken out of `left`."""
    phase, inside, before = list[Instruction](), set[str](), -1
    while before < len(phase):
        before = len(phase)
        for ins in list(left):
            alone = phase and (ins.joined or phase[0].joined or ins.features != phase[0].features)
            unread = ins.reads if ins.joined or ins.whole else [name for name in ins.lanes if name not in inside]
            if not alone and waiting.isdisjoint(unread):
                phase.append(ins)
                left.remove(ins)
                inside.add(ins.output)
    return phase
