"""Lowering: a `Program` -> the block of bytes that the C runtime runs (`runtime/bittailor.h` describes it).

What depends on the graph alone (which operators run together, in which order) is worked out once per graph; what
depends on widths only coarsely (bytes or int16, narrow or wide) once per such choice; the rest is filling in numbers,
remembered per operator. So a genome costs tens of microseconds once its operators have been seen.

Every operator works on integers q. Zero-points and biases are folded into constants here, modulo 2**32 for narrow
operators, whose true sums are proved to fit.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from bittailor.arith import Ints, Lookup, Rescale
from bittailor.graph import Graph, Node, Recurrence
from bittailor.ops import OPS, Constants, Packed
from bittailor.program import Program
from bittailor.qformat import QFormat

Bytes = NDArray[np.uint8]

MAGIC, VERSION, NONE = 0x4C54, 1, 0xFFFFFFFF
ALIGN = 64
GROUP = {8: 4, 16: 2}
"""Inputs that stand together in a dot product: 4 bytes or 2 int16."""

_HEADER = struct.Struct("<13I2i2I2i13I")
_BUFFER = struct.Struct("<HHIiI")
_SEGMENT = struct.Struct("<8I")
_PHASE = struct.Struct("<4I")
_INSTR = struct.Struct("<BBHIIIiiiiiiIIIIq")

SEQUENCE, STEP, STATE = range(3)
LOOP, ONCE, LAST, FIRST, MEAN = range(5)
(LOAD8, LOAD16, STORE8, STORE16, LINEAR8, LINEAR8W, LINEAR16, LINEAR16W, LINEAR64W, ADD, ADDW, SCALE, SCALEW, MUL,
 MULW, LOOKUP8, LOOKUP16, KNOTS) = range(18)

BOUND32 = 1 << 31


class NotLowered(Exception):
    """The runtime has no instruction for a part of the program; the reference engine runs it."""


@dataclass(frozen=True)
class Layout:
    """How a build of the runtime wants its data.

    lanes    output features per tile
    items    sequences per tile
    widths8  bytes by int8 is exact where the two widths add up to at most this
    split    knots of wide tables stand as low bytes, high bytes, last knot
    """

    lanes: int
    items: int
    widths8: int
    split: int


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """A dictionary that forgets what was not asked for the longest; safe between threads."""

    def __init__(self, most: int, weigh: Callable[[V], int] = lambda value: 1) -> None:
        self._most, self._weigh, self._total = most, weigh, 0
        self._items: OrderedDict[K, V] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """What is remembered, or None."""
        with self._lock:
            value = self._items.get(key)
            if value is not None:
                self._items.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> V:
        """Remember `value`; returns it."""
        with self._lock:
            old = self._items.pop(key, None)
            if old is not None:
                self._total -= self._weigh(old)
            self._items[key] = value
            self._total += self._weigh(value)
            while self._total > self._most and len(self._items) > 1:
                self._total -= self._weigh(self._items.popitem(last=False)[1])
        return value

    def __len__(self) -> int:
        return len(self._items)


# --- numbers of one operator ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Facts:
    """What lowering knows of one operator with its constants.

    kinds   per instruction: opcode; a concat has one per input. All that decides the structure of a program
    numbers per instruction: shift, step, m0, m1, lo, hi, za, zb, c
    parts   constants for the pool, each a multiple of 64 bytes
    anchor  what they were made from
    """

    kinds: tuple[int, ...]
    numbers: tuple[tuple[int, ...], ...]
    parts: tuple[Bytes, ...]
    anchor: Callable[[], object]


_NOTHING = Facts((), (), (), lambda: None)
_Made = tuple[tuple[int, ...], tuple[tuple[int, ...], ...], tuple[Bytes, ...]]


@dataclass(frozen=True, eq=False)
class _Weights:
    """Weights as the runtime reads them, the sum of every row, the largest sum of magnitudes, and whose they are."""

    packed: Bytes
    sums: Ints
    most: int
    anchor: Callable[[], object]


def _wrap(c: int, wide: bool) -> int:
    """c modulo 2**32 (or 2**64), as a signed number."""
    half = 1 << (63 if wide else 31)
    return (c + half) % (2 * half) - half


def _numbers(r: Rescale, m0: int, m1: int, c: int, za: int = 0, zb: int = 0) -> tuple[int, ...]:
    return (r.shift, 0, m0, m1, r.lo, r.hi, za, zb, _wrap(c, r.wide))


def _padded(array: NDArray[Any]) -> Bytes:
    """The array's bytes, up to a multiple of 64."""
    data = np.ascontiguousarray(array).view(np.uint8).ravel()
    room = np.zeros(-(-data.size // ALIGN) * ALIGN, np.uint8)
    room[:data.size] = data
    return room


def _round(n: int, to: int) -> int:
    return -(-n // to) * to


class Operators:
    """Facts per operator, for one layout."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        # keyed by identity, so each entry says (weakly) whose identity it means; shared weights weigh nothing here
        self._facts: Remembered[int, Facts] = Remembered(32 << 20, lambda f: 2048 + sum(p.nbytes for p in f.parts[1:]))
        self._weights: Remembered[tuple[int, int], _Weights] = Remembered(32 << 20, lambda w: 1024 + w.packed.nbytes)

    def facts(self, node: Node, constants: Constants, formats: Mapping[str, QFormat]) -> Facts:
        """The facts of a node. Constants are bound to the formats of the sites around them, so they are the key."""
        if not constants:
            return _NOTHING
        anchor = next((c for c in constants.values() if not isinstance(c, Packed)), None)
        if anchor is None:
            raise NotLowered(f"operator {node.op} of {node.output}")
        known = self._facts.get(id(anchor))
        if known is None or known.anchor() is not anchor:
            inputs = [formats[name] for name in node.inputs]
            kinds, numbers, parts = self._make(node, constants, inputs)
            known = self._facts.put(id(anchor), Facts(kinds, numbers, parts, ref(anchor)))
        return known

    def _make(self, node: Node, constants: Constants, inputs: list[QFormat]) -> _Made:
        lookup = constants.get("lookup")
        if isinstance(lookup, Lookup):
            return self._lookup(lookup)
        if node.op == "concat":
            rescales = [constants[f"rescale{i}"] for i in range(len(inputs))]
            rows = [_unary(r, f) for r, f in zip(rescales, inputs, strict=True)]  # type: ignore[arg-type]
            return tuple(kind for kind, _ in rows), tuple(row for _, row in rows), ()
        r = constants.get("rescale")
        if not isinstance(r, Rescale):
            raise NotLowered(f"operator {node.op} of {node.output}")
        if node.op == "linear":
            return self._linear(constants, r, inputs[0])
        if any(m.size != 1 for m in r.multipliers):
            raise NotLowered(f"per-row multipliers in {node.op}")
        m = [int(x[0]) for x in r.multipliers]
        z = [f.zero_point for f in inputs]
        if node.op in ("add", "sub"):
            m1 = m[1] if node.op == "add" else -m[1]
            row = _numbers(r, m[0], m1, r.offset - z[0] * m[0] - z[1] * m1)
            return (ADDW if r.wide else ADD,), (row,), ()
        if node.op == "mul":
            row = _numbers(r, m[0], 0, r.offset, z[0], z[1])
            return (MULW if r.wide else MUL,), (row,), ()
        if node.op == "one_minus":
            row = _numbers(r, -m[0], 0, r.offset + z[0] * m[0])
            return (SCALEW if r.wide else SCALE,), (row,), ()
        if node.op in ("relu", "requantise"):
            kind, row = _unary(r, inputs[0])
            return (kind,), (row,), ()
        if node.op == "mean":
            return (-1,), (_numbers(r, m[0], 0, r.offset),), ()
        raise NotLowered(f"operator {node.op} of {node.output}")

    def _lookup(self, t: Lookup) -> _Made:
        if t.step == 0:
            # the runtime indexes by q as an unsigned byte; a shorter table repeats
            bits = len(t.entries).bit_length() - 1
            table = t.entries[(np.arange(256) - t.qmin) & (len(t.entries) - 1)].astype(np.int16)
            small = t.lo >= -128 and t.hi <= 127
            row = (0, bits, 0, 0, t.lo, t.hi, 0, 0, 0)
            part = _padded(table.astype(np.int8) if small else table)
            return (LOOKUP8 if small else LOOKUP16,), (row,), (part,)
        row = (t.step + t.guard, t.step, 0, 0, t.lo, t.hi, t.qmin, 0, 0)
        knots = t.entries.astype("<i2").view(np.uint8)
        if self.layout.split:
            knots = np.concatenate((knots[0:-2:2], knots[1:-2:2], knots[-2:]))
        return (KNOTS,), (row,), (_padded(knots),)

    def _linear(self, constants: Constants, r: Rescale, x: QFormat) -> _Made:
        packed = constants["W"]
        assert isinstance(packed, Packed)
        W = packed.values
        bytes_ = (x.bits <= 8 and packed.bits <= 8 and x.bits + max(packed.bits, 2) <= self.layout.widths8)
        weights = self._pack(W, 8 if bytes_ else 16)
        step = 0
        bias = x.qmin if bytes_ else 0
        reach = x.qmax - x.qmin if bytes_ else max(-x.qmin, x.qmax)
        if weights.most * reach >= BOUND32:
            if bytes_ or not r.wide:
                raise NotLowered("sums beyond 32 bits of bytes")
            kind, step = LINEAR64W, _chunk(W)
        elif bytes_:
            kind = LINEAR8W if r.wide else LINEAR8
        else:
            kind = LINEAR16W if r.wide else LINEAR16
        rows = _round(len(W), self.layout.lanes)
        mult = np.zeros(rows, np.int64)
        mult[:len(W)] = r.multipliers[0]
        cons = np.zeros(rows, np.int64)
        offsets = constants.get("offsets")
        if bias:
            cons[:len(W)] = bias * weights.sums
        if isinstance(offsets, Packed):
            cons[:len(W)] += offsets.values
        cons = cons * mult + r.offset  # modulo 2**64; the low half is what narrow operators need
        narrow = cons.astype(np.int32) if not r.wide else cons
        row = (r.shift, step, 0, 0, r.lo, r.hi, 0, 0, 0)
        return (kind,), (row,), (weights.packed, _padded(mult.astype(np.int32)), _padded(narrow))

    def _pack(self, W: Ints, form: int) -> _Weights:
        """Weights as [block][group][lane][4 bytes]."""
        known = self._weights.get((id(W), form))
        if known is None or known.anchor() is not W:
            lanes, group = self.layout.lanes, GROUP[form]
            rows, columns = W.shape
            blocks, groups = -(-rows // lanes), -(-columns // group)
            room = np.zeros((blocks * lanes, groups * group), np.int8 if form == 8 else np.int16)
            room[:rows, :columns] = W
            tiled = room.reshape(blocks, lanes, groups, group).transpose(0, 2, 1, 3)
            most = int(np.abs(W).sum(axis=1).max())
            known = self._weights.put((id(W), form), _Weights(_padded(tiled), W.sum(axis=1), most, ref(W)))
        return known


def _chunk(W: Ints) -> int:
    """How many pairs of columns can be multiplied by any int16 and summed in 32 bits; a power of two, at least 1."""
    pairs = np.abs(np.pad(W, ((0, 0), (0, W.shape[1] % 2)))).reshape(len(W), -1, 2).sum(axis=2)
    count = 1
    while count < pairs.shape[1] and count < 1 << 14:
        sums = np.add.reduceat(pairs, np.arange(0, pairs.shape[1], 2 * count), axis=1)
        if int(sums.max()) << 15 >= BOUND32:
            break
        count *= 2
    return count


def _unary(r: Rescale, x: QFormat) -> tuple[int, tuple[int, ...]]:
    """requantise, relu and the parts of a concat: one operand, less its zero-point."""
    m = int(r.multipliers[0][0])
    return SCALEW if r.wide else SCALE, _numbers(r, m, 0, r.offset - x.zero_point * m)


# --- order: what a graph alone decides ------------------------------------------------------------------------------


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
            loop = Segment(LOOP, states=[(s.previous, s.update) for s in step.states], reverse=step.reverse)
            loop.tasks = [task for node in step.nodes for task in _tasks(graph, node)]
            if any(update not in loop.made for _, update in loop.states):
                raise NotLowered(f"a state of {step.name} that the step does not compute")
            segments.append(loop)
        elif OPS[step.op].over_time:
            if step.op not in ("last", "first", "mean") or not graph.sites[step.inputs[0]].sequence:
                raise NotLowered(f"operator {step.op}")
            kind = {"last": LAST, "first": FIRST, "mean": MEAN}[step.op]
            segments.append(Segment(kind, [Task(step, graph.sites[step.output].features, step.inputs)]))
        else:
            sequence = graph.sites[step.output].sequence
            if any(graph.sites[name].sequence != sequence for name in step.inputs):
                raise NotLowered(f"{step.output} joins a sequence and a single value")
            kind = LOOP if sequence else ONCE
            if not (segments and segments[-1].kind == kind and not segments[-1].states and not segments[-1].reverse):
                segments.append(Segment(kind))
            segments[-1].tasks += _tasks(graph, step)
    for segment in segments:
        if segment.kind in (LOOP, ONCE):
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


# --- structure: what coarse widths decide ---------------------------------------------------------------------------


@dataclass
class Buffer:
    """A row set of the runtime."""

    site: str
    form: int
    kind: int
    stride: int


@dataclass
class Slot:
    """One instruction before its numbers are known.

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

    def __init__(self, graph: Graph, segments: list[Segment], facts: list[Facts], formats: Mapping[str, QFormat],
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
        self.slots: list[Slot] = []
        self.tiles = 1
        self.tables = self._emit()

    def _without_aliases(self, segments: list[Segment]) -> list[Segment]:
        """The last step of a state's sequence is the state at the end: nothing to copy."""
        updates = {(update, s.reverse): previous for s in segments for previous, update in s.states}
        kept = []
        for segment in segments:
            if segment.kind in (LAST, FIRST):
                task = segment.tasks[0]
                previous = updates.get((task.lanes[0], segment.kind == FIRST))
                if previous is not None:
                    self._alias[task.node.output] = previous
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
            if segment.kind in (LAST, FIRST):
                task = segment.tasks[0]
                forms = needs.setdefault(task.node.output, set()) or {self._default[task.node.output]}
                needs[task.node.output] = forms
                needs.setdefault(self._home(task.lanes[0]), set()).update(forms)
                continue
            if segment.kind == MEAN:
                soft += [self._home(segment.tasks[0].lanes[0]), segment.tasks[0].node.output]
            for phase in segment.phases:
                inside = {task.node.output for task in phase}
                for task in phase:
                    if task.whole is not None:
                        kind = self._facts[self._index[task.node.output]].kinds[0]
                        form = 8 if kind in (LINEAR8, LINEAR8W) else 16
                        needs.setdefault(self._home(task.whole), set()).add(form)
                    if task.node.op == "concat":
                        soft += [self._home(task.lanes[0]), task.node.output]
                    else:
                        soft += [self._home(name) for name in task.lanes if name not in inside]
        for site in soft:
            if not needs.get(site):
                needs[site] = {self._default[site]}
        return needs

    def _make_buffers(self, needs: Mapping[str, set[int]]) -> None:
        lanes = self.layout.lanes
        outside = {self._home(self.graph.outputs[0])} | {
            self._home(name) for segment in self._segments for task in segment.tasks
            for name in (*task.lanes, *((task.whole,) if task.whole else ())) if name not in segment.made}
        joined = {node.output for node in self.nodes if node.op == "concat"}

        def add(site: str, kind: int) -> None:
            for form in sorted(needs.get(site, ())):
                stride = _round(self.graph.sites[site].features, max(lanes, GROUP[form]))
                self._place[site, form] = len(self.buffers)
                self.buffers.append(Buffer(site, form, kind, stride + (_round(lanes, ALIGN) if site in joined else 0)))

        for i, segment in enumerate(self._segments):
            first = len(self.buffers)
            for previous, _ in segment.states:
                add(previous, STATE)
            self._states[i] = (first, len(self.buffers) - first)
        states = {b.site for b in self.buffers}
        for site in needs:
            if site not in states:
                sequence = self.graph.sites[site].sequence and (site in outside or site in self.graph.inputs)
                add(site, SEQUENCE if sequence else STEP)

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
        """Segments and phases as bytes; fills `slots`."""
        segments: list[tuple[int, ...]] = []
        phases: list[tuple[int, ...]] = []
        for i, segment in enumerate(self._segments):
            first, count = self._states[i]
            if segment.kind in (LAST, FIRST):
                task = segment.tasks[0]
                source = self._home(task.lanes[0])
                for form in sorted(f for s, f in self._place if s == task.node.output):
                    segments.append((segment.kind, 0, 0, 0, self._place[source, form],
                                     self._place[task.node.output, form], 0, 0))
            elif segment.kind == MEAN:
                task = segment.tasks[0]
                source = self._home(task.lanes[0])
                a = min(at for (site, _), at in self._place.items() if site == source)
                for (site, _), out in self._place.items():
                    if site == task.node.output:
                        segments.append((MEAN, 0, len(self.slots), 0, 0, 0, 0, 0))
                        self.slots.append(Slot(0, out, a, 0, task.features, self._index[task.node.output]))
            else:
                segments.append((segment.kind, int(segment.reverse), len(phases), len(segment.phases), 0, 0,
                                 first, count))
                for phase in segment.phases:
                    start = len(self.slots)
                    self._emit_phase(segment, phase)
                    blocks = -(-phase[0].features // self.layout.lanes)
                    phases.append((start, len(self.slots) - start, blocks, 0))
        self.counts = (len(self.buffers), len(segments), len(phases), len(self.slots))
        return b"".join([_SEGMENT.pack(*s) for s in segments] + [_PHASE.pack(*p) for p in phases])

    def _emit_phase(self, segment: Segment, phase: list[Task]) -> None:
        """Loads, operators and stores of a phase; tiles are given out and taken back as sites live and die."""
        inside = {task.node.output for task in phase}
        use: dict[str, int] = {}
        for i, task in enumerate(phase):
            use |= dict.fromkeys((task.node.output, *task.lanes), i)
        free: list[int] = []
        tile: dict[str, int] = {}
        count = 0

        def take(site: str) -> int:
            nonlocal count
            if not free:
                free.append(count)
                count += 1
            tile[site] = free.pop()
            return tile[site]

        linear = [task for task in phase if task.whole]
        for i, task in enumerate(phase):
            for name in task.lanes:
                if name not in tile and (name not in inside or task.node.op == "concat"):
                    home = self._home(name)
                    form = min(f for s, f in self._place if s == home)
                    self.slots.append(Slot(LOAD8 if form == 8 else LOAD16, take(name), self._place[home, form], 0, 0,
                                           site=name))
            index = self._index[task.node.output]
            op = self._facts[index].kinds[task.part]
            lanes = [tile[name] for name in task.lanes]
            out = take(task.node.output)
            if task.whole is not None:
                form = 8 if op in (LINEAR8, LINEAR8W) else 16
                size = -(-self.graph.sites[task.whole].features // GROUP[form])
                lanes, out_size = [self._place[self._home(task.whole), form]], size
            else:
                out_size = 0
            a, b = (lanes[0], lanes[1] if len(lanes) > 1 else 0)
            self.slots.append(Slot(op, out, a, b, out_size, index, task.part, constant=self._offsets[index]))
            if task in linear:
                if i == len(linear) - 1:
                    for done in linear:
                        self._emit_stores(segment, done, tile[done.node.output])
            else:
                self._emit_stores(segment, task, out)
            if i >= len(linear) - 1:
                for name in [name for name in tile if use[name] <= i]:
                    free.append(tile.pop(name))
        self.tiles = max(self.tiles, count)

    def _emit_stores(self, segment: Segment, task: Task, tile: int) -> None:
        site = task.node.output
        targets = [site] + [previous for previous, update in segment.states if update == site]
        for target in targets:
            for form in (8, 16):
                place = self._place.get((target, form))
                if place is not None:
                    op = STORE8 if form == 8 else STORE16
                    self.slots.append(Slot(op, place, tile, 0, task.column, site=site))

    # --- filling in numbers ---

    def fill(self, facts: list[Facts], formats: Mapping[str, QFormat]) -> Bytes:
        """The program's bytes, aligned to 64."""
        site = self.graph.sites
        name, result = self.graph.inputs[0], self._home(self.graph.outputs[0])
        fmt, out = formats[name], formats[self.graph.outputs[0]]
        form = min(f for s, f in self._place if s == result)
        n_buffers, n_segments, n_phases, n_instrs = self.counts
        tables = _HEADER.size + n_buffers * _BUFFER.size + len(self.tables) + n_instrs * _INSTR.size
        start = _round(tables, ALIGN)
        total = start + self.pool_bytes
        rows = [
            _HEADER.pack(
                MAGIC, VERSION, self.layout.lanes, self.layout.items, total, n_buffers, n_segments, n_phases,
                n_instrs, self.tiles, site[name].features, self._place.get((name, 8), NONE),
                self._place.get((name, 16), NONE), fmt.qmin, fmt.qmax, site[self.graph.outputs[0]].features,
                self._place[result, form], out.qmin if form == 8 else 0, out.zero_point, *([0] * 13)),
        ]
        for b in self.buffers:
            f = formats[b.site]
            fill = f.zero_point - (f.qmin if b.form == 8 else 0)
            rows.append(_BUFFER.pack(b.kind, b.form // 8, b.stride, fill, 0))
        rows.append(self.tables)
        pack = _INSTR.pack
        for s in self.slots:
            if s.node is None:
                c = 0
                if s.op in (LOAD8, STORE8):
                    c = formats[s.site].qmin if s.op == LOAD8 else -formats[s.site].qmin
                rows.append(pack(s.op, 0, 0, s.out, s.a, s.b, 0, 0, 0, 0, 0, 0, s.size, 0, 0, 0, c))
                continue
            shift, step, m0, m1, lo, hi, za, zb, c = facts[s.node].numbers[s.part]
            if facts[s.node].kinds[s.part] < 0:
                za, zb = self._mean_zeros(s, formats)
            data, mult, cons = s.constant
            rows.append(pack(s.op, shift, step, s.out, s.a, s.b, m0, m1, lo, hi, za, zb, s.size,
                             start + data, start + mult, start + cons, c))
        room = np.empty(total + ALIGN, np.uint8)
        offset = -room.ctypes.data % ALIGN
        block = room[offset:offset + total]
        block[:tables] = np.frombuffer(b"".join(rows), np.uint8)
        block[tables:start] = 0
        parts = [part for f in facts for part in f.parts]
        if parts:
            np.concatenate(parts, out=block[start:])
        return block

    def _mean_zeros(self, s: Slot, formats: Mapping[str, QFormat]) -> tuple[int, int]:
        source, target = self.buffers[s.a], self.buffers[s.out]
        x, y = formats[source.site], formats[target.site]
        return (x.qmin if source.form == 8 else 0) - x.zero_point, -y.qmin if target.form == 8 else 0


class Lowering:
    """Lowers programs for one layout, remembering what it can. Memory is bounded."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._operators = Operators(layout)
        self._orders: Remembered[int, tuple[Graph, list[Segment], list[Node]]] = Remembered(64)
        self._structures: Remembered[tuple[Any, ...], tuple[Graph, Structure]] = Remembered(512)
        self._programs: Remembered[int, tuple[Callable[[], object], Bytes]] = Remembered(
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
            order = self._orders.put(id(graph), (graph, arrange(graph), list(graph.nodes())))
        _, segments, nodes = order
        facts = [self._operators.facts(node, program.constants[node.output], formats) for node in nodes]
        coarse = tuple([f.bits > 8 for f in formats.values()])
        key = (id(graph), coarse, tuple([f.kinds for f in facts]))
        known = self._structures.get(key)
        if known is None:
            known = self._structures.put(key, (graph, Structure(graph, segments, facts, formats, self.layout)))
        return known[1].fill(facts, formats)
