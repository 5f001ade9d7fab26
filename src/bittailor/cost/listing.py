"""What the generated C of a program holds: the features that the cost models of cores are linear in.

Counted in phases and bound instructions, which the C exporter prints. What belongs to the graph is worked out once per
graph, an instruction's share once per binding of its operator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bittailor.common.lru import LruCache
from bittailor.compile.blocks import Blocks, blocks_of, bound_of
from bittailor.compile.bound import window_function
from bittailor.compile.device import DeviceCall
from bittailor.compile.image import SIZES, ctype_of
from bittailor.compile.layouts import DEFAULT_CORE, Laid
from bittailor.compile.liveness import Liveness, liveness_of
from bittailor.compile.order import Order, Window
from bittailor.compile.segments import Instruction, Phase
from bittailor.core.graph import Graph
from bittailor.core.ops import Constants
from bittailor.core.program import Program


@dataclass(frozen=True)
class Work:
    """What is computed.

    amounts  features
    dots     (function, columns) -> how many dot products, blocks of rows and preparations of vectors
    """

    amounts: Counter[str] = field(default_factory=Counter)
    dots: Counter[tuple[str, int]] = field(default_factory=Counter)


@dataclass(frozen=True)
class Listing:
    """What a program's C is made of.

    code     features of the machine code of the network's object
    step     work of one step
    head     work of reading the output, where that is something of its own
    runtime  the runtime's functions that it calls
    """

    code: Mapping[str, int]
    step: Work
    head: Work
    runtime: frozenset[str]


@dataclass(frozen=True)
class _Piece:
    """One instruction: features of its code, work per value computed, dot products of `rows` rows, the runtime's
    functions it calls; the function that looks at its vector before the loop; the widths of packed integers that it
    reads inline."""

    constants: Constants
    laid: Laid | None
    code: Mapping[str, int]
    run: Mapping[str, int]
    dots: tuple[tuple[str, int], ...]
    rows: int
    calls: frozenset[str]
    before: str
    elements: frozenset[int]


_PIECES: LruCache[tuple[int, int, int], _Piece] = LruCache(1 << 14)
_LOOPS: LruCache[int, tuple[Graph, list[tuple[bool, Phase, Mapping[str, int]]], _Once]] = LruCache(64)


def describe(program: Program, core: str = DEFAULT_CORE) -> Listing:
    """What the C of a program is made of, with the layouts of a core. NotLowered for what phases and instructions have
    no form for."""
    loops, once = _loops(program.graph)
    order = liveness_of(program.graph).order
    blocks = blocks_of(program, order, core)
    code, step, head = Counter(once.code), Work(), Work()
    step.amounts.update(once.step)
    head.amounts.update(once.head)
    for site, features in once.committed.items():
        # the C library may copy byte by byte
        step.amounts["committed byte"] += features * SIZES[ctype_of(program.formats[site])]
    runtime: set[str] = set()
    windows = order.windows
    for reading, phase, moves in loops:
        work, n = head if reading else step, phase.features
        if phase.made & windows.keys():
            runtime.add(_add_window(program, phase, windows[phase.body[0].output], code, work))
            continue
        if phase.made & order.crops.keys():  # nothing is computed, nothing is moved
            continue
        code["loop"] += 1
        work.amounts["start"] += 1
        for name, amount in moves.items():
            code[name] += amount
            work.amounts[name] += amount * n
        elements = set[int]()
        for ins in phase.body:
            piece = _piece(program, ins, blocks)
            elements |= piece.elements
            for name, amount in piece.code.items():
                code[name] += amount
            for name, amount in piece.run.items():
                work.amounts[name] += amount * n
            if piece.before:
                code["preparation"] += 1
                work.amounts["preparation"] += 1
                work.dots[piece.before, n] += 1
            for dot in piece.dots:
                work.dots[dot] += piece.rows
            runtime |= piece.calls
        # arrays of integers of one width share their place
        code["element place"] += len(elements)
        work.amounts["element place"] += len(elements) * n
        runtime |= _add_blocks(blocks, phase, code, work)
    return Listing(code, step, head, frozenset(runtime))


def _add_window(program: Program, phase: Phase, window: Window, code: Counter[str], work: Work) -> str:
    """The call that lays the frames of a window side by side."""
    function = window_function(window.of, program.formats[window.source])
    code["preparation"] += 1
    work.amounts["preparation"] += 1
    work.dots[function, phase.features] += 1
    return function


def _add_blocks(blocks: Blocks, phase: Phase, code: Counter[str], work: Work) -> set[str]:
    """What a loop takes for the blocks of its matrices; the functions of the runtime that it calls for them."""
    calls = set[str]()
    for ready in blocks.begins.get(phase.number, ()):
        code["preparation"] += 1
        work.amounts["preparation"] += 1
        work.dots[ready.preparation.function, ready.stop - ready.start] += 1
        calls.add(ready.preparation.function)
    laid = [found for ins in phase.body if (found := blocks.laid.get(ins.output)) is not None]
    for rows, most in {(one.layout.rows, one.rows) for one in laid}:
        code["block test"] += 1
        work.amounts["block test"] += phase.features
        work.amounts["block begun"] += -(-phase.features // rows)
        code["rows left over"] += most < phase.features
    for one in laid:
        left = phase.features - one.rows
        code["row left over"] += left > 0
        work.amounts["row left over"] += left
    for one in laid:
        for part in one.parts:
            code["block"] += 1
            work.amounts["block"] += one.blocks
            work.amounts["block round"] += one.blocks * (one.layout.rounds(part.literals) - 1)
            work.dots[one.layout.kernel, part.stop - part.start] += one.blocks
        calls.add(one.layout.kernel)
    return calls


@dataclass(frozen=True)
class _Once:
    """What there is outside of loops over features. `committed`: new states that are copied over the old, features."""

    code: Mapping[str, int]
    step: Mapping[str, int]
    head: Mapping[str, int]
    committed: Mapping[str, int]


def _loops(graph: Graph) -> tuple[list[tuple[bool, Phase, Mapping[str, int]]], _Once]:
    """(whether it belongs to the head, the loop, what it moves per value), and what there is once."""
    known = _LOOPS.get(id(graph))
    if known is None or known[0] is not graph:
        live = liveness_of(graph)
        order = live.order
        loops = [(reading, phase, _moves(live, phase)) for reading, phase in _phases(order)]
        copied = order.output not in {s for phase in order.phases for s in phase.made}
        copies = graph.sites[order.output].features if copied else 0
        committed = {site: graph.sites[site].features for site in live.commits}
        code = {"network": 1, "pass": len(order.passes) - 1, "counter": order.counts_steps, "copy": copied,
                "state": len(order.states) + len(order.sums) + len(order.kept), "commit": len(live.commits),
                "head": bool(order.head or copied)}
        step = {"call": 1, "commit": len(live.commits), "counter": order.counts_steps}
        known = _LOOPS.put(id(graph), (graph, loops, _Once(code, step, {"copied": copies}, committed)))
    return known[1], known[2]


def _phases(order: Order) -> Iterator[tuple[bool, Phase]]:
    for run in order.passes:
        yield from ((False, phase) for phase in run.phases)
    yield from ((True, phase) for phase in order.head)


def _moves(live: Liveness, phase: Phase) -> Mapping[str, int]:
    """Loads and stores of a loop, per value."""
    order = live.order
    loads = phase.loads if phase.made.isdisjoint(order.sums) else ()
    sites = [ins.output for ins in phase.body]
    stores = sum((site in live.in_place) + (site in live.sequences) + (site in live.vectors)
                 + (site == order.output) for site in sites)
    kept = sum(order.home(site) in live.sequences for site in (*loads, *sites))
    return {"iteration": 1, "load": len(loads), "store": stores, "kept step": kept,
            "sum": sum(source in sites for source in order.sums.values()),
            "keep": sum(source in sites for source in order.kept.values())}


def _piece(program: Program, ins: Instruction, blocks: Blocks) -> _Piece:
    constants, laid = program.constants[ins.output], blocks.laid.get(ins.output)
    key = id(constants), ins.part, id(laid)
    known = _PIECES.get(key)
    if known is None or known.constants is not constants or known.laid is not laid:
        known = _PIECES.put(key, _counted(constants, bound_of(program, ins, blocks).device, laid, ins.features))
    return known


def _counted(constants: Constants, device: DeviceCall, laid: Laid | None, features: int) -> _Piece:
    """What an instruction is charged for; dot products of the rows that lie in blocks are not its own."""
    run = Counter({device.function: 1, "product": device.products})
    single = features if laid is None else features - laid.rows
    if laid is not None:
        run["product"] -= 1
        run["block row"] += len(laid.parts)
    elif device.dot is not None:
        run["dot"] += 1
    for one in device.unpacks:
        run[one.called] += 1
        run[f"{one.called}.bits"] += one.bits if one.linked else 0
        run["factor"] += one.factor > 1
    run |= {"row multiplier": int(device.per_row), "zero-point": device.zeros, "odd limits": int(device.odd)}
    for value in device.literals:
        run[f"literal{_literal(value)}"] += 1
    code = Counter({name: n for name, n in run.items() if not name.endswith(".bits")})
    dots = () if device.dot is None or not single else (device.dot,)
    calls = frozenset([*(name for name, _ in dots), *(one.function for one in device.unpacks if one.linked),
                       *([device.before] if device.before else [])])
    return _Piece(constants, laid, code, run, dots, single, calls, device.before,
                  frozenset(one.bits for one in device.unpacks if one.span))


def _literal(value: int) -> int:
    """How much of an instruction a literal takes: its bits without the zeros at its end, rounded up."""
    if abs(value) >= 1 << 32:
        return 64
    return next(size for size in (8, 16, 32) if (abs(value) // (value & -value or 1)).bit_length() <= size)
