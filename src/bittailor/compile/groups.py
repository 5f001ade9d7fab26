"""From a graph to a schedule: what is computed once for all steps, what step by step, and what goes together.

Inside a recurrence only what depends on a state must wait for it. The rest runs before the loop over the steps, or
after it, for all steps at once. Operators of one kind on one level whose operands lie side by side become one *group*:
one call on a wider array. Everything follows from the graph; no cell is known by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bittailor.compile.dependencies import Hoisted
from bittailor.core.graph import Graph, Node, Recurrence
from bittailor.core.ops import Constants
from bittailor.core.ops.elementwise import AffineOp
from bittailor.core.ops.forms import (
    Affine,
    DiagonalProduct,
    GroupedProduct,
    MatrixProduct,
    Product,
    TableRows,
    Tabulated,
)

Phase = Literal["outer", "before", "loop", "after"]
Form = type[Constants]

FUSED: tuple[Form, ...] = (MatrixProduct, Affine, Tabulated, DiagonalProduct)
"""Forms whose members may share one group."""

PRODUCTS: tuple[Form, ...] = (MatrixProduct, GroupedProduct, DiagonalProduct)
"""Forms that multiply weights."""


@dataclass(frozen=True)
class Ref:
    """Where values lie: columns start .. start + width of a buffer; `shift` slots later than the step in a state's."""

    buffer: str
    start: int
    width: int
    shift: int = 0


@dataclass
class Buffer:
    """A place for the values of one group: [steps, items, width], or [items, width].

    sequence  has a value for every step
    layer     the recurrence whose loop writes it step by step, "" if it is written at once
    state     holds one more slot, the first of which is where the state starts
    shared    read outside of the loop that writes it (or kept): all steps are stored
    real      its values are read as float32 too: by a product, by a matrix product, for its weights' gradient
    sites     site -> columns
    zeroed    its gradient starts at zero and only accumulates
    trainable whether any parameter lies upstream
    """

    name: str
    width: int
    sequence: bool
    layer: str = ""
    state: bool = False
    shared: bool = False
    real: bool = False
    sites: dict[str, tuple[int, int]] = field(default_factory=dict)
    zeroed: bool = False
    trainable: bool = False


@dataclass
class Group:
    """Nodes computed in one call.

    form     of its operators; None turns a sequence for a reversed layer
    ins      per operand where all members' inputs lie, side by side; for matrices the one input they share
    out      where the results go
    writes   per operand: whether its gradient is written (True) or added to (False)
    hoisted  operands whose share of the sum is computed before the loop, for all steps
    late     how many of the input's first steps it does not see
    """

    form: Form | None
    nodes: tuple[Node, ...]
    phase: Phase
    layer: str
    ins: tuple[Ref, ...]
    out: Ref
    writes: list[bool] = field(default_factory=list)
    hoisted: tuple[int, ...] = ()
    late: int = 0

    @property
    def name(self) -> str:
        """Its buffer's name."""
        return self.out.buffer


@dataclass(frozen=True)
class Loop:
    """The groups that run step by step in one recurrence."""

    layer: str
    groups: tuple[Group, ...]

    @property
    def late(self) -> int:
        """How many of the input's first steps it does not see."""
        return self.groups[0].late if self.groups else 0


@dataclass(frozen=True)
class Schedule:
    """Buffers by name, and what is run, in order. `inside` finds a site where it is computed (reversed layers: in the
    order of processing); `outside` where later layers read it."""

    graph: Graph
    buffers: dict[str, Buffer]
    order: tuple[Group | Loop, ...]
    inside: dict[str, Ref]
    outside: dict[str, Ref]
    reversed_sites: frozenset[str]

    def groups(self) -> Iterator[Group]:
        """All groups, in order."""
        for step in self.order:
            if isinstance(step, Loop):
                yield from step.groups
            else:
                yield step


def make_schedule(graph: Graph, watched: Sequence[str] = ()) -> Schedule:
    """The schedule of a graph; gradients may be added from outside at the sites `watched`."""
    return _Maker(graph, watched).make()


def _alike(node: Node) -> tuple[Form, tuple[float, ...]]:
    """What the members of a group have in common: their form, and the factors of a sum."""
    op = node.operator
    return op.form, op.gains if isinstance(op, AffineOp) else ()


class _Maker:
    def __init__(self, graph: Graph, watched: Sequence[str]) -> None:
        self.graph, self.watched = graph, watched
        self.buffers: dict[str, Buffer] = {}
        self.order: list[Group | Loop] = []
        self.inside: dict[str, Ref] = {}
        self.outside: dict[str, Ref] = {}
        self.backwards: set[str] = set()

    def make(self) -> Schedule:
        for name in self.graph.inputs:
            self.outside[name] = self.inside[name] = self._buffer(name, [name])
            self.buffers[name].shared = True
        for step in self.graph.steps:
            if isinstance(step, Recurrence):
                self._recurrence(step)
            else:
                self.order += self._groups([step], "outer", "", self.outside)
                self.outside[step.output] = self.inside[step.output]
        self._mark_use()
        self._mark_gradients()
        return Schedule(self.graph, self.buffers, tuple(self.order), self.inside, self.outside,
                        frozenset(self.backwards))

    def _buffer(self, name: str, sites: Sequence[str], layer: str = "", state: bool = False) -> Ref:
        widths = [self.graph.sites[site].features for site in sites]
        buffer = Buffer(name, sum(widths), self.graph.sites[sites[0]].sequence, layer, state, shared=not layer)
        start = 0
        for site, width in zip(sites, widths, strict=True):
            buffer.sites[site] = (start, width)
            start += width
        self.buffers[name] = buffer
        return Ref(name, 0, start, 1 if state else 0)

    # --- recurrences -----------------------------------------------------------------------------------------

    def _recurrence(self, layer: Recurrence) -> None:
        local = dict(self.outside)
        if layer.reverse:
            for site in layer.inputs:
                local[site] = self._turn(f"{layer.name}<{site}", self.outside[site], site)
        for state in layer.states:
            name = f"{state.update}|"
            ref = self._buffer(name, [state.update], layer.name, state=True)
            self.buffers[name].trainable = self.buffers[name].shared = True
            self.inside[state.update] = ref
            local[state.previous] = self.inside[state.previous] = Ref(name, 0, ref.width, 0)
        parts = Hoisted.of(layer)
        self.order += self._groups(parts.before, "before", "", local)
        self.order.append(Loop(layer.name, tuple(self._groups(parts.loop, "loop", layer.name, local))))
        self.order += self._groups(parts.after, "after", "", local)
        for site in layer.outputs:
            ref = self.inside[site]
            self.outside[site] = self._turn(f"{layer.name}>{site}", ref, site) if layer.reverse else ref
        if layer.reverse:
            self.backwards |= {node.output for node in layer.nodes} | {s.previous for s in layer.states}

    def _turn(self, name: str, source: Ref, site: str) -> Ref:
        """A copy in the other order of time."""
        out = self._buffer(name, [site])
        self.order.append(Group(None, (), "outer", "", (source,), out, late=self.graph.late[site]))
        return out

    # --- groups ------------------------------------------------------------------------------------------------

    def _groups(self, nodes: Sequence[Node], phase: Phase, layer: str, local: dict[str, Ref]) -> list[Group]:
        level: dict[str, int] = {}
        for node in nodes:
            level[node.output] = 1 + max((level.get(name, 0) for name in node.inputs), default=0)
        made: list[Group] = []
        for depth in sorted(set(level.values())):
            now = [node for node in nodes if level[node.output] == depth]
            for kind in dict.fromkeys(_alike(node) for node in now):
                members = [node for node in now if _alike(node) == kind]
                made += [self._group(kind[0], part, phase, layer, local)
                         for part in self._split(kind[0], members, local)]
        return made

    def _split(self, form: Form, members: list[Node], local: dict[str, Ref]) -> Iterator[list[Node]]:
        """Runs of members that can be computed in one call."""
        if form is not MatrixProduct:
            members = sorted(members, key=lambda n: [(local[i].buffer, local[i].start) for i in reversed(n.inputs)])
        run: list[Node] = []
        for node in members:
            if run and not self._joins(form, run[-1], node, local):
                yield run
                run = []
            run.append(node)
        if run:
            yield run

    def _joins(self, form: Form, last: Node, node: Node, local: dict[str, Ref]) -> bool:
        states = [s.update for step in self.graph.steps if isinstance(step, Recurrence) for s in step.states]
        if form not in FUSED or last.output in states or node.output in states:
            return False
        if len(last.inputs) != len(node.inputs):
            return False
        if form is MatrixProduct:
            return local[last.inputs[0]] == local[node.inputs[0]]
        pairs = [(local[a], local[b]) for a, b in zip(last.inputs, node.inputs, strict=True)]
        return all(
            a.buffer == b.buffer and a.shift == b.shift and a.start + a.width == b.start for a, b in pairs
        )

    def _group(self, form: Form, nodes: list[Node], phase: Phase, layer: str, local: dict[str, Ref]) -> Group:
        ins = []
        for i in range(len(nodes[0].inputs)):
            first = local[nodes[0].inputs[i]]
            width = first.width if form is MatrixProduct else sum(local[n.inputs[i]].width for n in nodes)
            ins.append(Ref(first.buffer, first.start, width, first.shift))
        sites = [node.output for node in nodes]
        if sites[0] in self.inside:  # a state's update: its buffer is there already
            out = self.inside[sites[0]]
            self.buffers[out.buffer].layer = layer
        else:
            out = self._buffer("|".join(sites), sites, layer)
            for site, (start, width) in self.buffers[out.buffer].sites.items():
                self.inside[site] = Ref(out.buffer, start, width)
        for site in sites:
            local[site] = self.inside[site]
        hoisted: tuple[int, ...] = ()
        if phase == "loop" and form is Affine:
            hoisted = tuple(i for i, ref in enumerate(ins) if not self.buffers[ref.buffer].layer)
        over_time = nodes[0].operator.over_time
        late = self.graph.late[nodes[0].inputs[0] if over_time else sites[0]]
        return Group(form, tuple(nodes), phase, layer, tuple(ins), out, hoisted=hoisted, late=late)

    # --- what is needed of every buffer -------------------------------------------------------------------------

    def _all(self) -> list[tuple[Group, bool]]:
        return [(g, isinstance(step, Loop)) for step in self.order
                for g in (step.groups if isinstance(step, Loop) else (step,))]

    def _mark_use(self) -> None:
        for group, inside in self._all():
            for ref in group.ins:
                buffer = self.buffers[ref.buffer]
                if not inside or buffer.layer != group.layer:
                    buffer.shared = True
                if group.form in (*PRODUCTS, Product):
                    buffer.real = True
                if group.form in (*PRODUCTS, TableRows) or buffer.trainable:
                    self.buffers[group.out.buffer].trainable = True
        for site in self.graph.outputs:
            buffer = self.buffers[self.outside[site].buffer]
            buffer.shared = buffer.real = True

    def _mark_gradients(self) -> None:
        """Who writes a gradient first, in the order of the backward pass."""
        written: dict[str, set[str]] = {name: set() for name in self.buffers}
        mixed: set[str] = {b.name for b in self.buffers.values() if b.state}
        backwards = list(reversed(self._all()))
        for group, _ in backwards:
            for i, ref in enumerate(group.ins):
                buffer = self.buffers[ref.buffer]
                covered = {s for s, (start, width) in buffer.sites.items()
                           if start < ref.start + ref.width and ref.start < start + width}
                known = written[ref.buffer] & covered
                if known and known != covered:
                    mixed.add(ref.buffer)
                again = any(other == ref for other in group.ins[:i])
                group.writes.append(not known and not again)
                written[ref.buffer] |= covered
        outs = {self.outside[site].buffer for site in (*self.graph.outputs, *self.watched)}
        for buffer in self.buffers.values():
            if buffer.name in mixed or buffer.name in outs or written[buffer.name] != set(buffer.sites):
                buffer.zeroed = True
        for group, _ in backwards:
            group.writes = [w and not self.buffers[r.buffer].zeroed for w, r in zip(group.writes, group.ins,
                                                                                     strict=True)]
