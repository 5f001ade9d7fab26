"""Hardware platforms: what one operation costs, by operator kind and widths, read from one TOML file each.

A platform is data: `platforms/*.toml` ship with the package, a user adds one with a file. The same formulas serve the
work of a real graph (`Workload.of`) and the constants of a paper (`mohaq.WORK`). docs/hardware.md has them with units.

    N_p          multiply-accumulates of matrix product p per step;  w, a its weight and input widths
    c(w, a)      cycles of one of them, or 1/S(w, a) where the platform gives speed-ups;  c(r) at the reference widths
    N_k, c_k     operations of element-wise kind k (add, mul, lookup) and their cycles
    cycles     = Σ N_p c(w_p, a_p) + Σ N_k c_k + cycles of what lies outside of the SRAM
    speed-up   "mean": Σ N_p c(r) / c(w_p, a_p) / (Σ N_p + Σ N_k), as in MOHAQ: element-wise work stands below only
               "time": cycles with every operand at the reference width / cycles
    energy     = bits of all parameters × load energy + Σ N_p E(w_p, a_p) + Σ N_k E_k + energy of what lies outside

A width that a platform lacks runs as the cheapest wider one it has: 3-bit weights in 4-bit lanes. Parameters are loaded
at their own width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bittailor.common.registry import Table
from bittailor.core.graph import Graph
from bittailor.errors import RangeError

ELEMENTWISE = ("add", "mul", "lookup")
"""Kinds of element-wise work, as `Op.work` names them."""

RULES: Table[Callable[[int, int, int], float]] = Table("rule", {
    "inverse product": lambda w, a, r: r * r / (w * a),
    "inverse widest": lambda w, a, r: r / max(w, a),
})
"""Speed-up over the reference width r of operands of w and a bits."""


@dataclass(frozen=True)
class MatrixWork:
    """A matrix product: multiply-accumulates per step, and the sites whose widths decide what one costs."""

    name: str
    macs: int
    weight: str
    source: str


@dataclass(frozen=True)
class ElementwiseWork:
    """Element-wise work: how many operations of a kind per step, as wide as the widest of these sites."""

    kind: str
    count: int
    sites: tuple[str, ...]


@dataclass(frozen=True)
class Workload:
    """The work of one step and the parameters it loads.

    parameters  site -> number of values
    """

    products: tuple[MatrixWork, ...]
    elementwise: tuple[ElementwiseWork, ...]
    parameters: Mapping[str, int]

    @classmethod
    def of(cls, graph: Graph) -> Workload:
        """The work of a network: every operator once, which is a step that also gives the output."""
        products, elementwise = [], []
        for node in graph.nodes():
            work = node.operator.work([graph.sites[name].features for name in node.inputs],
                                     graph.sites[node.output].features)
            sites = tuple(graph.root(name).name for name in (*node.inputs, node.output))
            for kind, count in work.items():
                if kind == "mac":
                    products.append(MatrixWork(node.output, count, node.params[0], sites[0]))
                else:
                    weights = tuple(name for name in node.params if graph.sites[name].role == "weight")
                    elementwise.append(ElementwiseWork(kind, count, tuple(dict.fromkeys((*weights, *sites)))))
        parameters = {site.name: site.count for site in graph.free if site.kind in ("weight", "bias")}
        return cls(tuple(products), tuple(elementwise), parameters)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of all matrix products."""
        return sum(product.macs for product in self.products)

    @cached_property
    def operations(self) -> int:
        """Multiply-accumulates and element-wise operations together."""
        return self.macs + sum(single.count for single in self.elementwise)

    def bits(self, widths: Mapping[str, int]) -> int:
        """Bits of all parameters at these widths."""
        return sum(count * widths[name] for name, count in self.parameters.items())


@dataclass(frozen=True)
class Cost:
    """What one operation takes: cycles (of the reference operation where speed-ups are given) and pJ."""

    cycles: float
    energy_pj: float = 0.0


@dataclass(frozen=True)
class Memory:
    """The memory of the parameters.

    load_pj_per_bit          to read a bit from SRAM, once per step
    sram_bytes               how much there is; infinite where not said
    outside_pj_per_bit       to bring in a bit that has no place in SRAM, once per step
    outside_cycles_per_bit   the time of that, in the cycles of the operations
    """

    load_pj_per_bit: float = 0.0
    sram_bytes: float = math.inf
    outside_pj_per_bit: float = 0.0
    outside_cycles_per_bit: float = 0.0


@dataclass(frozen=True, eq=False)
class Platform:
    """A platform; `platform_file.parse_platform` makes it from the content of a TOML file.

    reference            bits of both operands where the speed-up is 1
    formula              of the speed-up: "mean" or "time"
    products             (weight bits, input bits) -> cost; what is not in it cannot be multiplied
    elementwise              element-wise kind -> bits -> cost
    same_width           whether weight and input must have one width
    output_activations   widths that a search may give the input of the network's output layer, if not all
    document             the file's content, as JSON values
    """

    name: str
    title: str
    source: str
    reference: int
    formula: str
    products: Mapping[tuple[int, int], Cost]
    elementwise: Mapping[str, Mapping[int, Cost]]
    memory: Memory
    same_width: bool
    has_energy: bool
    output_activations: tuple[int, ...] | None
    document: Mapping[str, Any]
    _found: dict[tuple[int, int], Cost] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_found": {}}  # what was looked up is no part of it

    @property
    def weights(self) -> tuple[int, ...]:
        """Widths of weights, ascending."""
        return tuple(sorted({w for w, _ in self.products}))

    @property
    def activations(self) -> tuple[int, ...]:
        """Widths of inputs of matrix products, ascending."""
        return tuple(sorted({a for _, a in self.products}))

    def product_cost(self, weight: int, activation: int) -> Cost:
        """The cost of one multiply-accumulate; RangeError where the platform has none so wide."""
        key = weight, activation
        if key not in self._found:
            wide = [(cost.cycles, cost.energy_pj, pair) for pair, cost in self.products.items()
                    if pair[0] >= weight and pair[1] >= activation]
            if not wide:
                raise RangeError(f"{self.name} cannot multiply {weight}-bit weights by {activation}-bit inputs; it has "
                                 f"weights of up to {self.weights[-1]} and inputs of up to {self.activations[-1]} bits")
            self._found[key] = self.products[min(wide)[2]]
        return self._found[key]

    def elementwise_cost(self, kind: str, bits: int) -> Cost:
        """The cost of one element-wise operation; RangeError where the platform has none so wide."""
        widths = self.elementwise[kind]
        wide = [width for width in widths if width >= bits]
        if not wide:
            raise RangeError(f"{self.name} has no '{kind}' of {bits} bits; its widest has {max(widths)}")
        return widths[min(wide)]

    def check(self, work: Workload, widths: Mapping[str, int]) -> None:
        """RangeError where an operation is wider than the platform has one."""
        for product in work.products:
            self.product_cost(widths[product.weight], widths[product.source])
        for single in work.elementwise:
            self._of(single, widths)

    def speedup(self, work: Workload, widths: Mapping[str, int]) -> float:
        """How many times faster than at the reference width, by the platform's formula."""
        r = self.reference
        if self.formula == "mean":
            unit = self.product_cost(r, r).cycles
            done = sum(p.macs * unit / self.product_cost(widths[p.weight], widths[p.source]).cycles
                       for p in work.products)
            return done / work.operations if work.operations else 1.0
        cycles = self.cycles(work, widths)
        return self.cycles(work, dict.fromkeys(widths, r)) / cycles if cycles else 1.0

    def cycles(self, work: Workload, widths: Mapping[str, int]) -> float:
        """Cycles of a step, one operation after the other (a processor of n units takes an n-th)."""
        spent = sum(p.macs * self.product_cost(widths[p.weight], widths[p.source]).cycles for p in work.products)
        spent += sum(s.count * self._of(s, widths).cycles for s in work.elementwise)
        return spent + self.outside(work, widths) * self.memory.outside_cycles_per_bit

    def energy_uj(self, work: Workload, widths: Mapping[str, int]) -> float:
        """Energy of a step in µJ."""
        pj = self.memory.load_pj_per_bit * work.bits(widths)
        pj += sum(p.macs * self.product_cost(widths[p.weight], widths[p.source]).energy_pj for p in work.products)
        pj += sum(s.count * self._of(s, widths).energy_pj for s in work.elementwise)
        return (pj + self.outside(work, widths) * self.memory.outside_pj_per_bit) / 1e6

    def outside(self, work: Workload, widths: Mapping[str, int]) -> float:
        """Bits of parameters that have no place in the SRAM."""
        return max(0.0, work.bits(widths) - 8 * self.memory.sram_bytes)

    def _of(self, single: ElementwiseWork, widths: Mapping[str, int]) -> Cost:
        return self.elementwise_cost(single.kind, max(widths[site] for site in single.sites))


@dataclass(frozen=True)
class Figure:
    """A figure that platforms give: `<platform>.<name>` is an objective.

    has  whether a platform can give it
    of   platform, work, widths -> value
    """

    name: str
    unit: str
    title: str
    maximise: bool
    has: Callable[[Platform], bool]
    of: Callable[[Platform, Workload, Mapping[str, int]], float]


FIGURES: Table[Figure] = Table("figure", {figure.name: figure for figure in (
    Figure("speedup", "x", "speed-up", True, lambda p: True, Platform.speedup),
    Figure("cycles", "cycles", "cycles per step", False, lambda p: True, Platform.cycles),
    Figure("energy", "uJ", "energy per step", False, lambda p: p.has_energy, Platform.energy_uj),
    Figure("outside", "bit", "parameters that do not fit the SRAM", False,
           lambda p: math.isfinite(p.memory.sram_bytes), Platform.outside),
)})
