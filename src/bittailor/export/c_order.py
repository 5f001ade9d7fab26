"""When and where: the order in which exported C computes a network, and which values need memory.

Decided by the graph alone. Operators run in *phases*, each one loop over features (`compile.segments`); what an
operator of the same loop reads feature by feature stays in a register. A *pass* is one run over the steps, forward or
backward; layers of one direction share a pass, so a network without reversed layers has one and can stream. Operators
on single values are the *head*; it follows the passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bittailor.common.lru import LruCache
from bittailor.compile.segments import Instruction, Kind, NotLowered, Segment, arrange
from bittailor.core.graph import Graph, Recurrence
from bittailor.errors import UnsupportedNetwork

Interval = tuple[int, int]
"""First and last phase, by number, in which a vector holds something."""


@dataclass(frozen=True)
class Phase:
    """One loop over features. `layer` names the recurrence it belongs to, if any."""

    number: int
    body: tuple[Instruction, ...]
    layer: str = ""

    @property
    def features(self) -> int:
        """Iterations of the loop."""
        return self.body[0].features

    @property
    def made(self) -> set[str]:
        """The sites that it computes (a part of, for a concat)."""
        return {ins.node.output for ins in self.body}


@dataclass
class Pass:
    """A run over the steps."""

    reverse: bool
    segments: list[Segment] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)


@dataclass(frozen=True)
class Read:
    """Somebody reads a site from memory or a register: in which phase, as a whole or feature by feature."""

    phase: int
    whole: bool


class Order:
    """The order of one graph, and where its values live.

    passes     runs over the steps; one of them, forward, if the network can stream
    head       phases on single values
    states     update site -> its previous-value site
    in_place   states that are written where they are read
    commits    update site -> the phase after which the new state is copied over the old
    kept       output of a last/first that must be caught when it passes by -> its source
    means      output of a mean -> its source
    alias      output of a last/first -> the site whose memory still holds it
    vectors    site -> when its vector in scratch memory is in use
    sequences  site -> when its rows for all steps are in use
    pass_of    site over steps -> the pass that makes it
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.input, self.output = graph.inputs[0], graph.outputs[0]
        self.passes: list[Pass] = []
        self.head: list[Phase] = []
        self.kept: dict[str, str] = {}
        self.means: dict[str, str] = {}
        self.alias: dict[str, str] = {}
        self.pass_of: dict[str, int] = {self.input: 0}
        self.states: dict[str, str] = {}
        try:
            segments = arrange(graph)
        except NotLowered as error:
            raise UnsupportedNetwork(f"this network cannot be exported to C: {error}") from None
        loops = [s for s in segments if s.kind == Kind.LOOP]
        for segment in loops:
            self._join(segment)
        if not self.passes:
            self.passes.append(Pass(False))
        self._number([s for s in segments if s.kind != Kind.LOOP])
        self._end(segments)
        self._reads = self._collect()
        self._place_states()
        self._place_rest()

    @property
    def streaming(self) -> bool:
        """Whether one frame can be computed at a time."""
        return len(self.passes) == 1 and not self.passes[0].reverse

    @property
    def phases(self) -> list[Phase]:
        """All phases in order."""
        return [phase for p in self.passes for phase in p.phases] + self.head

    @property
    def traced(self) -> list[str]:
        """The sites that a trace reports, in the graph's order."""
        return [node.output for node in self.graph.nodes()]

    def counts_steps(self) -> bool:
        """Whether the state must know which step it is."""
        return self.streaming and bool(self.kept or self.means)

    # --- passes and phases ---

    def _join(self, segment: Segment) -> None:
        """Give a loop over steps to the earliest pass it can share."""
        outside = {name for ins in segment.body for name in (*ins.lanes, *((ins.whole,) if ins.whole else ()))}
        outside -= segment.made | {previous for previous, _ in segment.states}
        at = max((self.pass_of[name] for name in outside if name != self.input), default=0)
        if segment.states:
            while at < len(self.passes) and self.passes[at].reverse != segment.reverse:
                at += 1
        if at == len(self.passes):
            self.passes.append(Pass(segment.reverse))
        self.passes[at].segments.append(segment)
        self.pass_of.update(dict.fromkeys(segment.made, at))
        self.states.update({update: previous for previous, update in segment.states})

    def _number(self, values: list[Segment]) -> None:
        layer = {node.output: step.name for step in self.graph.steps if isinstance(step, Recurrence)
                 for node in step.nodes}
        number = 0

        def phases(segment: Segment) -> Iterator[Phase]:
            nonlocal number
            for body in segment.phases if segment.kind != Kind.MEAN else [segment.body]:
                yield Phase(number, tuple(body), layer.get(body[0].node.output, ""))
                number += 1

        for p in self.passes:
            for segment in p.segments:
                p.phases += phases(segment)
        for segment in values:
            self.head += phases(segment)

    def _end(self, segments: list[Segment]) -> None:
        """What becomes of operators over time: an alias of what is still there, or something to catch."""
        for segment in segments:
            if segment.kind not in (Kind.LAST, Kind.FIRST, Kind.MEAN):
                continue
            (ins,) = segment.body
            source, target = ins.lanes[0], ins.node.output
            if segment.kind == Kind.MEAN:
                self.means[target] = source
            elif source == self.input and not self.streaming:
                self.alias[target] = source  # the caller's array holds every step
            elif (segment.kind == Kind.FIRST) == self.passes[self.pass_of[source]].reverse:
                self.alias[target] = source
            else:
                self.kept[target] = source

    # --- memory ---

    def _collect(self) -> dict[str, list[Read]]:
        reads: dict[str, list[Read]] = {}
        for phase in self.phases:
            for ins in phase.body:
                if ins.node.output in self.means:
                    continue
                for name in ins.lanes:
                    reads.setdefault(self.alias.get(name, name), []).append(Read(phase.number, False))
                if ins.whole is not None:
                    reads.setdefault(self.alias.get(ins.whole, ins.whole), []).append(Read(phase.number, True))
        end = self.phases[-1].number + 1 if self.phases else 0
        if self.output in self.alias:
            reads.setdefault(self.alias[self.output], []).append(Read(end, True))
        return reads

    def _made(self, site: str) -> Interval:
        numbers = [phase.number for phase in self.phases if site in phase.made]
        return numbers[0], numbers[-1]

    def _place_states(self) -> None:
        self.in_place: set[str] = set()
        self.commits: dict[str, int] = {}
        self.vectors: dict[str, Interval] = {}
        self.sequences: dict[str, Interval] = {}
        joined = {node.output for node in self.graph.nodes() if node.op == "concat"}
        for update, previous in self.states.items():
            first, last = self._made(update)
            old = self._reads.get(previous, [])
            # the loop that writes feature i may still have read the old feature i, but nothing else of the old state
            latest = first - 1 if update in joined else first
            if all(r.phase <= (latest if not r.whole else first - 1) for r in old):
                self.in_place.add(update)
            else:
                self.commits[update] = max(last, *(r.phase for r in old))
                self.vectors[update] = (first, self.commits[update])

    def _place_rest(self) -> None:
        pass_at = {phase.number: i for i, p in enumerate(self.passes) for phase in p.phases}
        for site, reads in self._reads.items():
            if site == self.input or site in self.states.values() or site in self.kept or site in self.alias:
                continue
            first, last = self._made(site)
            own = self.pass_of.get(site)
            later = [r.phase for r in reads if own is not None and pass_at.get(r.phase, own) != own]
            if later:
                start, ends = self.passes[own or 0].phases[0].number, [
                    self.passes[pass_at[number]].phases[-1].number for number in later]
                self.sequences[site] = (start, max(*ends, *(r.phase for r in reads), last))
            if site in self.states or site in self.sequences:
                continue
            if any(r.whole or r.phase != first for r in reads):
                self.vectors[site] = (first, max(last, *(r.phase for r in reads)))


_ORDERS: LruCache[int, tuple[Graph, Order]] = LruCache(64)


def order_of(graph: Graph) -> Order:
    """The order of a graph, remembered."""
    known = _ORDERS.get(id(graph))
    if known is None or known[0] is not graph:
        known = _ORDERS.put(id(graph), (graph, Order(graph)))
    return known[1]
