"""When: the order in which a network is computed frame by frame, in as few runs over the steps as it can be.

Decided by the graph alone. A *pass* is one run over the steps, forward or backward; layers of one direction share a
pass, so a network without reversed layers has one and can stream. Operators on single values are the *head*; it follows
the passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bittailor.common.cached import cached_property
from bittailor.common.lru import LruCache
from bittailor.compile.segments import Kind, Phase, Segment, arrange
from bittailor.core.graph import Graph
from bittailor.core.ops.forms import Windowed
from bittailor.core.ops.window import Window as WindowOp


@dataclass(frozen=True)
class Pass:
    """A run over the steps."""

    reverse: bool
    phases: tuple[Phase, ...]


@dataclass(frozen=True)
class Window:
    """The frames around each step of a site, side by side."""

    source: str
    of: Windowed


@dataclass(frozen=True)
class Order:
    """The order of one graph. Phases are numbered through.

    passes     runs over the steps; one of them, forward, if the network can stream
    head       phases on single values
    pass_of    site over steps -> the pass that makes it
    states     update site -> its previous-value site
    kept       output of a last/first/max that must be caught when it passes by -> its source
    sums       output of a mean or sum -> its source, whose values are added up
    alias      output of a last/first -> the site whose memory still holds it
    windows    output of a window -> its phase's instruction
    crops      output of a crop -> the site whose memory it is
    """

    graph: Graph
    passes: tuple[Pass, ...]
    head: tuple[Phase, ...]
    pass_of: Mapping[str, int]
    states: Mapping[str, str]
    kept: Mapping[str, str]
    sums: Mapping[str, str]
    alias: Mapping[str, str]
    windows: Mapping[str, Window]
    crops: Mapping[str, str]

    def home(self, site: str) -> str:
        """The site whose memory holds it: its own, or that of an alias or a crop."""
        return self.crops.get(home := self.alias.get(site, site), home)

    @property
    def input(self) -> str:
        """The site that enters."""
        return self.graph.inputs[0]

    @property
    def output(self) -> str:
        """The site that leaves."""
        return self.graph.outputs[0]

    @property
    def streaming(self) -> bool:
        """Whether one frame can be computed at a time."""
        return (len(self.passes) == 1 and not self.passes[0].reverse
                and not any(window.of.ahead for window in self.windows.values()))

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """All phases in order."""
        return tuple(phase for run in self.passes for phase in run.phases) + self.head

    @property
    def traced(self) -> list[str]:
        """The sites that a trace reports, in the graph's order."""
        return [node.output for node in self.graph.nodes()]

    @property
    def counts_steps(self) -> bool:
        """Whether the state must know which step it is."""
        return self.streaming and bool(self.kept or self.sums or self.graph.least_steps > 1)


def order_of(graph: Graph) -> Order:
    """The order of a graph, remembered. Raises NotLowered for what phases have no form for."""
    known = _ORDERS.get(id(graph))
    if known is None or known.graph is not graph:
        known = _ORDERS.put(id(graph), _ordered(graph))
    return known


_ORDERS: LruCache[int, Order] = LruCache(64)


def _ordered(graph: Graph) -> Order:
    segments = arrange(graph)
    windows = {s.body[0].output: _window(s) for s in segments if s.kind is Kind.WINDOW}
    crops = dict[str, str]()
    for segment in segments:
        if segment.kind is Kind.CROP:
            source = segment.body[0].lanes[0]
            crops[segment.body[0].output] = crops.get(source, source)
    runs, pass_of = _joined(graph.inputs[0], [s for s in segments if s.kind in STEPWISE], windows)
    passes = []
    count = 0
    for reverse, members in runs:
        phases = _numbered(members, count)
        passes.append(Pass(reverse, phases))
        count += len(phases)
    head = _numbered([s for s in segments if s.kind not in STEPWISE], count)
    states = {update: previous for segment in segments for previous, update in segment.states}
    order = Order(graph, tuple(passes), head, pass_of, states, {}, {}, {}, windows, crops)
    kept, sums, alias = _ends(order, segments)
    return replace(order, kept=kept, sums=sums, alias=alias)


STEPWISE = (Kind.LOOP, Kind.WINDOW, Kind.CROP)
"""Kinds of segments that run over the steps."""


def _window(segment: Segment) -> Window:
    node = segment.body[0].node
    op = node.operator
    assert isinstance(op, WindowOp)
    return Window(node.inputs[0], op.constants)


def _joined(
    start: str, loops: Sequence[Segment], windows: Mapping[str, Window]
) -> tuple[list[tuple[bool, list[Segment]]], dict[str, int]]:
    """Give each loop over steps to the earliest pass it can share: (reverse, its loops) of every pass; site -> pass.

    A window runs forward, and after the pass that makes the frames it looks ahead to.
    """
    runs: list[tuple[bool, list[Segment]]] = []
    pass_of = {start: 0}
    for loop in loops:
        window = windows.get(loop.body[0].output) if loop.kind is Kind.WINDOW else None
        later = 1 if window is not None and window.of.ahead else 0
        at = max((pass_of[name] + later for name in loop.outside if name != start), default=0)
        if loop.states or window is not None:
            while at < len(runs) and runs[at][0] != loop.reverse:
                at += 1
        if at == len(runs):
            runs.append((loop.reverse, []))
        runs[at][1].append(loop)
        pass_of.update(dict.fromkeys(loop.made, at))
    return runs or [(False, [])], pass_of


def _numbered(segments: Sequence[Segment], first: int) -> tuple[Phase, ...]:
    phases = [replace(phase, late=segment.late) for segment in segments for phase in segment.phases]
    return tuple(replace(phase, number=first + i) for i, phase in enumerate(phases))


def _ends(order: Order, segments: Sequence[Segment]) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """What becomes of operators over time, `Order`'s kept, sums and alias."""
    kept, sums, alias = dict[str, str](), dict[str, str](), dict[str, str]()
    for segment in segments:
        if segment.kind in (*STEPWISE, Kind.ONCE):
            continue
        source, target = segment.body[0].lanes[0], segment.body[0].output
        if segment.kind in (Kind.MEAN, Kind.SUM):
            sums[target] = source
        elif segment.kind is Kind.MAX:
            kept[target] = source
        elif order.home(source) == order.input and not order.streaming:
            alias[target] = source  # the caller's array holds every step
        elif (segment.kind is Kind.FIRST) == order.passes[order.pass_of[source]].reverse:
            alias[target] = source
        else:
            kept[target] = source
    return kept, sums, alias
