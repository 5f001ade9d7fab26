"""Size of a network: the paper-style figure, and the itemised account of what is really stored.

The paper-style figure (weights and biases times their widths) is what published work compares; the account counts the
very arrays of the program, so it cannot disagree with what is shipped (architecture, "two honest rules").
"""

from __future__ import annotations

from dataclasses import dataclass

from bittailor.core.graph import Graph
from bittailor.core.plan import Plan
from bittailor.core.program import Program


def parameter_bits(graph: Graph, plan: Plan) -> int:
    """Weights and biases times their widths, in bits: the `size` of papers. Scales, tables, what states start at and
    code are not in it.

    graph    the network's
    plan     a format for every free site of it (`Plan.check` says whether it fits)
    Returns  a number of bits; divide by 8 for bytes
    """
    return sum(
        site.count * plan.formats[site.name].bits for site in graph.free if site.kind in ("weight", "bias")
    )


@dataclass(frozen=True)
class Account:
    """Bytes of constants, by item. The items add up to `total`, and that to the stored arrays.

    weights      matrices, packed at their width, each padded to a byte
    offsets      biases and zero-point corrections, packed at the least width that holds them
    multipliers  one 32-bit word per row where weights have a scale per row
    tables       lookup tables and knots
    starts       what states are before the first step, where that is not 0.0, in whole bytes, as a state is
    """

    weights: int
    offsets: int
    multipliers: int
    tables: int
    starts: int

    @property
    def total(self) -> int:
        """All items together."""
        return self.weights + self.offsets + self.multipliers + self.tables + self.starts


def account(program: Program) -> Account:
    """Count the stored arrays of a program, in bytes, as they lie in flash without the layouts of a core.

    program  as `bind` or `Run.program` makes it
    Returns  an Account: bytes of weights, offsets, multipliers, tables and starts
    """
    items = dict.fromkeys(("weights", "offsets", "multipliers", "tables", "starts"), 0)
    for stored in program.stored():
        items[stored.item] += stored.nbytes
    return Account(**items)
