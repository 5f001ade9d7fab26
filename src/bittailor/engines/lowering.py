"""Lowering: a `Program` -> the block of bytes that the C runtime runs (`runtime/bittailor.h` describes it).

What depends on the graph alone (which operators run together, in which order) is worked out once per graph; what
depends on widths only coarsely (bytes or int16, narrow or wide) once per such choice; the rest is filling in numbers,
remembered per operator. So a genome costs tens of microseconds once its operators have been seen.

Every operator works on integers q. Zero-points and biases are folded into constants here, modulo 2**32 for narrow
operators, whose true sums are proved to fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import ref

import numpy as np

from bittailor.common.lru import LruCache
from bittailor.compile.segments import Instruction, Kind, Phase, Segment, arrange
from bittailor.core.arith import Ints
from bittailor.core.graph import Graph, Node
from bittailor.core.ops.window import Window
from bittailor.core.program import Program
from bittailor.core.qformat import QFormat
from bittailor.engines import bytecode as bc
from bittailor.engines.lowering_numbers import Bytes, Facts, Layout, Operators, _round

SEGMENTS = {Kind.LOOP: bc.LOOP, Kind.ONCE: bc.ONCE, Kind.LAST: bc.LAST, Kind.FIRST: bc.FIRST, Kind.MEAN: bc.MEAN,
            Kind.WINDOW: bc.WINDOW, Kind.SUM: bc.SUM, Kind.MAX: bc.MAX, Kind.CROP: bc.CROP}
"""What the runtime calls the kinds of segments."""
PICKS, SUMS = (Kind.LAST, Kind.FIRST, Kind.MAX), (Kind.MEAN, Kind.SUM)
"""Segments whose output is like its input, and those of a sum over steps."""


@dataclass
class Buffer:
    """A row set of the runtime."""

    site: str
    form: int
    kind: int
    stride: int


@dataclass
class Blank:
    """An instruction whose numbers are not filled in yet.

    node      index into the program's operators, or None for a load or store
    part      which of the operator's instructions
    site      of a load or store, for its qmin
    constant  offset of the operator's constants in the pool: weights or table, multipliers, constants
    """

    op: int
    out: int
    a: int
    b: int
    size: int
    node: int | None = None
    part: int = 0
    site: str = ""
    constant: tuple[int, int, int] = (0, 0, 0)


class Structure:
    """The tables of a program, up to the numbers in them. One per graph and coarse choice of widths."""

    def __init__(self, graph: Graph, segments: Sequence[Segment], facts: list[Facts], formats: Mapping[str, QFormat],
                 layout: Layout) -> None:
        self.graph, self.layout = graph, layout
        self.nodes = list(graph.nodes())
        self._index = {node.output: i for i, node in enumerate(self.nodes)}
        self._facts = facts
        self._default = {name: 8 if fmt.bits <= 8 else 16 for name, fmt in formats.items()}
        self._alias: dict[str, str] = {}
        self._segments = self._without_aliases(segments)
        needs = self._needs()
        self.buffers: list[Buffer] = []
        self._place: dict[tuple[str, int], int] = {}
        self._states: dict[int, tuple[int, int]] = {}
        self._make_buffers(needs)
        self._pool()
        self.blanks: list[Blank] = []
        self.tiles = 1
        self.tables = self._emit()

    def _without_aliases(self, segments: Sequence[Segment]) -> list[Segment]:
        """The last step of a state's sequence is the state at the end, and a sequence that begins later has the same
        rows: nothing to copy."""
        updates = {(update, s.reverse): previous for s in segments for previous, update in s.states}
        kept = []
        for segment in segments:
            if segment.kind is Kind.CROP:
                self._alias[segment.body[0].output] = self._home(segment.body[0].lanes[0])
                continue
            if segment.kind in (Kind.LAST, Kind.FIRST):
                ins = segment.body[0]
                previous = updates.get((ins.lanes[0], segment.kind is Kind.FIRST))
                if previous is not None:
                    self._alias[ins.output] = previous
                    continue
            kept.append(segment)
        return kept

    def _home(self, site: str) -> str:
        return self._alias.get(site, site)

    def _needs(self) -> dict[str, set[int]]:
        """Site -> the forms in which something reads it from memory."""
        needs: dict[str, set[int]] = {}
        soft = [self._home(self.graph.outputs[0])]
        for segment in reversed(self._segments):
            if segment.kind in (*PICKS, Kind.WINDOW):
                ins = segment.body[0]
                forms = needs.setdefault(ins.output, set()) or {self._default[ins.output]}
                needs[ins.output] = forms
                needs.setdefault(self._home(ins.reads[0]), set()).update(forms)
                continue
            for phase in segment.phases:
                soft += [self._home(name) for name in phase.loads]
                if phase.body[0].joined or segment.kind in SUMS:
                    soft.append(phase.body[0].output)
                for ins in phase.body:
                    if ins.whole is not None and ins.matrix is None:
                        soft.append(self._home(ins.whole))
                    if ins.matrix is not None:
                        kind = self._facts[self._index[ins.output]].kinds[0]
                        form = 8 if kind in (bc.LINEAR8, bc.LINEAR8W) else 16
                        needs.setdefault(self._home(ins.matrix), set()).add(form)
        for site in soft:
            if not needs.get(site):
                needs[site] = {self._default[site]}
        return needs

    def _make_buffers(self, needs: Mapping[str, set[int]]) -> None:
        lanes = self.layout.lanes
        outside = {self._home(self.graph.outputs[0])} | {
            self._home(name) for segment in self._segments for name in segment.outside}
        joined = {ins.output for segment in self._segments for ins in segment.body if ins.joined}

        def add(site: str, kind: int) -> None:
            for form in sorted(needs.get(site, ())):
                stride = _round(self.graph.sites[site].features, max(lanes, bc.GROUP[form]))
                self._place[site, form] = len(self.buffers)
                room = _round(lanes, bc.ALIGN) if site in joined else 0
                self.buffers.append(Buffer(site, form, kind, stride + room))

        for i, segment in enumerate(self._segments):
            first = len(self.buffers)
            for previous, _ in segment.states:
                add(previous, bc.STATE)
            self._states[i] = (first, len(self.buffers) - first)
        states = {b.site for b in self.buffers}
        for site in needs:
            if site not in states:
                sequence = self.graph.sites[site].sequence and (site in outside or site in self.graph.inputs)
                add(site, bc.SEQUENCE if sequence else bc.STEP)

    def _pool(self) -> None:
        """Offsets of every operator's constants, from the pool's start."""
        self._offsets: list[tuple[int, int, int]] = []
        at = 0
        for facts in self._facts:
            places = [0, 0, 0]
            for i, part in enumerate(facts.parts):
                places[i] = at
                at += part.nbytes
            self._offsets.append((places[0], places[1], places[2]))
        self.pool_bytes = at

    def _emit(self) -> bytes:
        """Segments and phases as bytes; fills `blanks`."""
        segments: list[tuple[int, ...]] = []
        phases: list[tuple[int, ...]] = []
        late = 0
        for i, segment in enumerate(self._segments):
            if segment.late > late:
                segments.append((bc.CROP, 0, 0, segment.late - late, 0, 0, 0, 0))
                late = segment.late
            first, count = self._states[i]
            if segment.kind in PICKS:
                ins = segment.body[0]
                source = self._home(ins.lanes[0])
                for form in sorted(f for s, f in self._place if s == ins.output):
                    segments.append((SEGMENTS[segment.kind], 0, 0, 0, self._place[source, form],
                                     self._place[ins.output, form], 0, 0))
            elif segment.kind is Kind.WINDOW:
                segments += self._windows(segment.body[0])
            elif segment.kind in SUMS:
                ins = segment.body[0]
                source = self._home(ins.lanes[0])
                a = min(at for (site, _), at in self._place.items() if site == source)
                for (site, _), out in self._place.items():
                    if site == ins.output:
                        segments.append((SEGMENTS[segment.kind], 0, len(self.blanks), 0, 0, 0, 0, 0))
                        self.blanks.append(Blank(0, out, a, 0, ins.features, self._index[ins.output]))
            else:
                segments.append((SEGMENTS[segment.kind], int(segment.reverse), len(phases), len(segment.phases), 0, 0,
                                 first, count))
                for phase in segment.phases:
                    start = len(self.blanks)
                    self._emit_phase(segment, phase)
                    blocks = -(-phase.features // self.layout.lanes)
                    phases.append((start, len(self.blanks) - start, blocks, 0))
        self.counts = (len(self.buffers), len(segments), len(phases), len(self.blanks))
        return b"".join([bc.SEGMENT.pack(*s) for s in segments] + [bc.PHASE.pack(*p) for p in phases])

    def _windows(self, ins: Instruction) -> Iterator[tuple[int, ...]]:
        """The segments of a window, one for each form of its rows."""
        op = ins.node.operator
        assert isinstance(op, Window)
        of, source = op.constants, self._home(ins.reads[0])
        for form in sorted(f for s, f in self._place if s == ins.output):
            yield (bc.WINDOW, 0, of.taps, of.dilation, self._place[source, form], self._place[ins.output, form],
                   of.ahead, self.graph.sites[source].features)

    def _emit_phase(self, segment: Segment, phase: Phase) -> None:
        """Loads, operators and stores of a phase; results of matrix products are stored together, after the last."""
        tile = phase.registers.number
        self.tiles = max(self.tiles, phase.registers.count)
        for i, ins in enumerate(phase.body):
            for name in phase.registers.loads[i]:
                home = self._home(name)
                form = min(f for s, f in self._place if s == home)
                load = bc.LOAD8 if form == 8 else bc.LOAD16
                self.blanks.append(Blank(load, tile[name], self._place[home, form], 0, 0, site=name))
            self._emit_operator(ins, tile)
            last = phase.matrices - 1
            for done in phase.body[:i + 1] if i == last else () if i < last else (ins,):
                self._emit_stores(segment, done, tile[done.output])

    def _emit_operator(self, ins: Instruction, tile: Mapping[str, int]) -> None:
        index = self._index[ins.output]
        op, constant, out = self._facts[index].kinds[ins.part], self._offsets[index], tile[ins.output]
        if ins.matrix is not None:
            form = 8 if op in (bc.LINEAR8, bc.LINEAR8W) else 16
            size = -(-self.graph.sites[ins.matrix].features // bc.GROUP[form])
            source = self._place[self._home(ins.matrix), form]
            self.blanks.append(Blank(op, out, source, 0, size, index, constant=constant))
            return
        if ins.whole is not None:
            source = min(at for (site, _), at in self._place.items() if site == self._home(ins.whole))
            a = tile[ins.lanes[0]] if ins.lanes else 0
            size = ins.features if ins.lanes else self.graph.sites[ins.node.params[0]].features
            self.blanks.append(Blank(op, out, a, source, size, index, constant=constant))
            return
        a, b = (*(tile[name] for name in ins.lanes), 0)[:2]
        self.blanks.append(Blank(op, out, a, b, 0, index, ins.part, constant=constant))

    def _emit_stores(self, segment: Segment, ins: Instruction, tile: int) -> None:
        site = ins.output
        targets = [site] + [previous for previous, update in segment.states if update == site]
        for target in targets:
            for form in (8, 16):
                place = self._place.get((target, form))
                if place is not None:
                    op = bc.STORE8 if form == 8 else bc.STORE16
                    self.blanks.append(Blank(op, place, tile, 0, ins.column, site=site))

    # --- filling in numbers ---

    def fill(self, facts: list[Facts], formats: Mapping[str, QFormat], starts: Mapping[str, Ints]) -> Bytes:
        """The program's bytes, aligned to 64; `starts` as a program has them."""
        site = self.graph.sites
        name, result = self.graph.inputs[0], self._home(self.graph.outputs[0])
        fmt, out = formats[name], formats[self.graph.outputs[0]]
        form = min(f for s, f in self._place if s == result)
        n_buffers, n_segments, n_phases, n_instrs = self.counts
        tables = bc.HEADER.size + n_buffers * bc.BUFFER.size + len(self.tables) + n_instrs * bc.INSTR.size
        start = _round(tables, bc.ALIGN)
        begun = self._start_rows(formats, starts)
        first = start + _round(self.pool_bytes, bc.ALIGN)
        total = first + sum(row.nbytes for row in begun.values()) if begun else start + self.pool_bytes
        rows = [
            bc.HEADER.pack(
                bc.MAGIC, bc.VERSION, self.layout.lanes, self.layout.items, total, n_buffers, n_segments, n_phases,
                n_instrs, self.tiles, site[name].features, self._place.get((name, 8), bc.NONE),
                self._place.get((name, 16), bc.NONE), *self._range(fmt), site[self.graph.outputs[0]].features,
                self._place[result, form], out.qmin if form == 8 else 0, out.zero_point, *([0] * 13)),
        ]
        at = first
        for i, b in enumerate(self.buffers):
            rows.append(bc.BUFFER.pack(b.kind, b.form // 8, b.stride, _fill_value(b, formats), at if i in begun else 0))
            at += begun[i].nbytes if i in begun else 0
        rows.append(self.tables)
        pack = bc.INSTR.pack
        for s in self.blanks:
            if s.node is None:
                c = 0
                if s.op in (bc.LOAD8, bc.STORE8):
                    c = formats[s.site].qmin if s.op == bc.LOAD8 else -formats[s.site].qmin
                rows.append(pack(s.op, 0, 0, s.out, s.a, s.b, 0, 0, 0, 0, 0, 0, s.size, 0, 0, 0, c))
                continue
            shift, step, m0, m1, lo, hi, za, zb, c = facts[s.node].numbers[s.part]
            if facts[s.node].kinds[s.part] < 0:
                za, zb = self._mean_zeros(s, formats)
            elif s.op in (bc.LAYER_NORM, bc.RMS_NORM):
                za = self._zero_in(s.b, formats)
            data, mult, cons = s.constant
            rows.append(pack(s.op, shift, step, s.out, s.a, s.b, m0, m1, lo, hi, za, zb, s.size,
                             start + data, start + mult, start + cons, c))
        room = np.empty(total + bc.ALIGN, np.uint8)
        offset = -room.ctypes.data % bc.ALIGN
        block = room[offset:offset + total]
        block[:tables] = np.frombuffer(b"".join(rows), np.uint8)
        block[tables:start] = 0
        parts = [part for f in facts for part in f.parts]
        if parts:
            np.concatenate(parts, out=block[start:start + self.pool_bytes])
        if begun:
            block[start + self.pool_bytes:first] = 0
            np.concatenate(list(begun.values()), out=block[first:])
        return block

    def _start_rows(self, formats: Mapping[str, QFormat], starts: Mapping[str, Ints]) -> dict[int, Bytes]:
        """Buffer of a state that does not start at 0.0 -> the bytes of its row, a multiple of ALIGN."""
        found = dict[int, Bytes]()
        for i, b in enumerate(self.buffers if starts else ()):
            q = starts.get(self.graph.root(b.site).name) if b.kind == bc.STATE else None
            if q is None:
                continue
            size = b.form // 8
            row = np.full(_round(b.stride * size, bc.ALIGN) // size, _fill_value(b, formats),
                          np.uint8 if size == 1 else np.int16)
            row[:len(q)] = q - formats[b.site].qmin if size == 1 else q
            found[i] = row.view(np.uint8)
        return found

    def _mean_zeros(self, s: Blank, formats: Mapping[str, QFormat]) -> tuple[int, int]:
        target = self.buffers[s.out]
        y = formats[target.site]
        return self._zero_in(s.a, formats), -y.qmin if target.form == 8 else 0

    def _range(self, fmt: QFormat) -> tuple[int, int]:
        """What input integers may be."""
        site = self.graph.sites[self.graph.inputs[0]]
        return (0, int(site.proven[1])) if site.role == "index" and site.proven else (fmt.qmin, fmt.qmax)

    def _zero_in(self, buffer: int, formats: Mapping[str, QFormat]) -> int:
        """What is added to the values of a buffer to make them q - zero_point."""
        held = self.buffers[buffer]
        x = formats[held.site]
        return (x.qmin if held.form == 8 else 0) - x.zero_point


def _fill_value(b: Buffer, formats: Mapping[str, QFormat]) -> int:
    """What stands for 0.0 in a buffer."""
    fmt = formats[b.site]
    return fmt.zero_point - (fmt.qmin if b.form == 8 else 0)


def _needed(graph: Graph) -> tuple[Segment, ...]:
    """The segments without those that begin later than a sequence that leaves: it does not depend on them, and it would
    have lost the steps that they drop."""
    site = graph.sites[graph.outputs[0]]
    segments = arrange(graph)
    return tuple(s for s in segments if s.late <= graph.late[site.name]) if site.sequence else segments


class Lowering:
    """Lowers programs for one layout, remembering what it can. Memory is bounded."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._operators = Operators(layout)
        self._orders: LruCache[int, tuple[Graph, tuple[Segment, ...], list[Node]]] = LruCache(64)
        self._structures: LruCache[tuple[Any, ...], tuple[Graph, Structure]] = LruCache(512)
        self._programs: LruCache[int, tuple[Callable[[], object], Bytes]] = LruCache(
            16 << 20, lambda entry: 1024 + entry[1].nbytes)

    def __call__(self, program: Program) -> Bytes:
        """The bytes of a program; raises NotLowered where the runtime has no instruction for something."""
        done = self._programs.get(id(program))
        if done is None or done[0]() is not program:
            done = self._programs.put(id(program), (ref(program), self._lower(program)))
        return done[1]

    def _lower(self, program: Program) -> Bytes:
        graph, formats = program.graph, program.formats
        order = self._orders.get(id(graph))
        if order is None:
            order = self._orders.put(id(graph), (graph, _needed(graph), list(graph.nodes())))
        _, segments, nodes = order
        facts = [self._operators.facts(node, program.constants[node.output], formats) for node in nodes]
        coarse = tuple([f.bits > 8 for f in formats.values()])
        key = (id(graph), coarse, tuple([f.kinds for f in facts]))
        known = self._structures.get(key)
        if known is None:
            known = self._structures.put(key, (graph, Structure(graph, segments, facts, formats, self.layout)))
        return known[1].fill(facts, formats, program.starts)
