"""Fitting many formats and weights at once, by the workers of an executor.

A calibration fits what it is asked for when it is asked. On several machines everything that may be asked for is fitted
once, beforehand, and goes to all of them: linear algebra may differ in the last bit between processors, integers that
were fitted do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bittailor.core.arith import Ints
from bittailor.core.graph import Graph
from bittailor.core.qformat import QFormat
from bittailor.errors import BittailorError
from bittailor.quantise.calibration import Calibration
from bittailor.quantise.spaces import BASELINES, homogeneous_widths
from bittailor.search.executors import Executor
from bittailor.search.space import Space


@dataclass(frozen=True, eq=False)
class Fit:
    """The work of one task: formats of a site at several widths, with the integers of a weight."""

    calibration: Calibration

    def __call__(self, item: tuple[str, tuple[int, ...]]) -> list[tuple[int, QFormat, Ints | None]]:
        site, widths = item
        formats = [(bits, self.calibration.format(site, bits)) for bits in widths]
        return [(bits, fmt, self.calibration.fitted(site, fmt)) for bits, fmt in formats]


def widths_of(space: Space, graph: Graph) -> dict[str, set[int]]:
    """Site -> every width that a search of a space may ask for, the homogeneous baselines included."""
    whole = [*(homogeneous_widths(graph, bits) for bits in BASELINES), space.widths((0,) * len(space.genes))]
    found = {site.name: {widths[site.name] for widths in whole} for site in graph.free}
    for gene in space.width_genes:
        for site in gene.sites:
            found[site] |= set(gene.widths)
    return found


def fit_all(calibration: Calibration, wanted: Mapping[str, Iterable[int]], executor: Executor) -> None:
    """Fit sites at widths, a task for each that must be solved for, and keep what comes of it in the calibration.

    Raises  BittailorError where a task failed.
    """
    graph = calibration.network.graph
    items: list[tuple[str, tuple[int, ...]]] = []
    for site, widths in wanted.items():
        missing = sorted(bits for bits in widths if not calibration.has(site, bits))
        if graph.site(site).kind == "weight":
            items += [(site, (bits,)) for bits in missing]
        elif missing:
            items.append((site, tuple(missing)))
    for (site, _), answer in zip(items, executor.tasks(Fit(calibration), items), strict=True):
        if answer.values is None:
            raise BittailorError(f"fitting the formats of {site} failed: {answer.reason}")
        for bits, fmt, integers in answer.found:
            calibration.take(site, bits, fmt, integers)
