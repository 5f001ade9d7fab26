"""Which values need memory, and when: from the first phase that writes one to the last that reads it.

What an operator reads feature by feature in the phase that computes it stays in a register and needs none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bittailor.common.lru import LruCache
from bittailor.compile.memory import Interval
from bittailor.compile.order import Order, order_of
from bittailor.compile.segments import Phase
from bittailor.core.graph import Graph


@dataclass(frozen=True)
class Read:
    """Somebody reads a site: in which phase, as a whole or feature by feature."""

    phase: int
    whole: bool


Reads = Mapping[str, list[Read]]


@dataclass(frozen=True)
class Liveness:
    """Where the values of an order live.

    order      what this is about; its phases, by number, are the ends of intervals
    in_place   states that are written where they are read
    commits    update site -> the phase after which the new state is copied over the old
    vectors    site -> when its vector in scratch memory is in use
    sequences  site -> when its rows for all steps are in use
    """

    order: Order
    in_place: frozenset[str]
    commits: Mapping[str, int]
    vectors: Mapping[str, Interval]
    sequences: Mapping[str, Interval]


_LIVENESS: LruCache[int, Liveness] = LruCache(64)


def liveness_of(graph: Graph) -> Liveness:
    """The liveness of a graph's order, remembered. Raises NotLowered for what phases have no form for."""
    known = _LIVENESS.get(id(graph))
    if known is None or known.order.graph is not graph:
        known = _LIVENESS.put(id(graph), _analysed(order_of(graph)))
    return known


def reads_of(phases: Iterable[Phase], order: Order) -> dict[str, list[Read]]:
    """Site -> who reads it; an alias or a crop is its source."""
    reads: dict[str, list[Read]] = {}
    for phase in phases:
        for ins in phase.body:
            for name in ins.reads:
                reads.setdefault(order.home(name), []).append(Read(phase.number, name == ins.whole))
    return reads


def _analysed(order: Order) -> Liveness:
    # a mean or sum reads what was added up, not the sequence
    reads = reads_of((phase for phase in order.phases if phase.made.isdisjoint(order.sums)), order)
    if order.output in order.alias:
        end = order.phases[-1].number + 1 if order.phases else 0
        reads.setdefault(order.home(order.output), []).append(Read(end, True))
    commits, vectors = _states(order, reads)
    spans, sequences = _rest(order, reads)
    return Liveness(order, frozenset(order.states.keys() - commits), commits, vectors | spans, sequences)


def _written(order: Order, site: str) -> Interval:
    numbers = [phase.number for phase in order.phases if site in phase.made]
    return numbers[0], numbers[-1]


def _states(order: Order, reads: Reads) -> tuple[dict[str, int], dict[str, Interval]]:
    """The states that cannot be written in place: when they are copied, and where they wait until then."""
    commits: dict[str, int] = {}
    vectors: dict[str, Interval] = {}
    joined = {ins.output for phase in order.phases for ins in phase.body if ins.joined}
    for update, previous in order.states.items():
        first, last = _written(order, update)
        old = reads.get(previous, [])
        # the loop that writes feature i may still have read the old feature i, but nothing else of the old state
        latest = first - 1 if update in joined else first
        if not all(r.phase <= (first - 1 if r.whole else latest) for r in old):
            commits[update] = max(last, *(r.phase for r in old))
            vectors[update] = (first, commits[update])
    return commits, vectors


def _rest(order: Order, reads: Reads) -> tuple[dict[str, Interval], dict[str, Interval]]:
    """Vectors and sequences of all that is no state: a sequence is what a later pass reads."""
    vectors: dict[str, Interval] = {}
    sequences: dict[str, Interval] = {}
    pass_at = {phase.number: i for i, run in enumerate(order.passes) for phase in run.phases}
    elsewhere = {order.input, *order.states.values(), *order.kept, *order.alias}
    for site in dict.fromkeys([*(name for name in reads if name not in elsewhere), *order.windows]):
        first, last = _written(order, site)
        mine = reads.get(site, [])
        last = max([last, *(r.phase for r in mine)])
        own = order.pass_of.get(site)
        later = [pass_at[r.phase] for r in mine if own is not None and pass_at.get(r.phase, own) != own]
        if own is not None and later:
            ends = [order.passes[at].phases[-1].number for at in later]
            sequences[site] = (order.passes[own].phases[0].number, max(*ends, last))
        elif site in order.windows or (site not in order.states and any(r.whole or r.phase != first for r in mine)):
            vectors[site] = (first, last)
    return vectors, sequences
