"""Fitting many formats and weights at once, by threads or by the workers of an executor.

A calibration fits what it is asked for when it is asked. Before a search everything that may be asked for is fitted
once: then processors are used side by side, workers need not fit the same again, and on several machines all have the
same integers, where linear algebra may differ in the last bit between processors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bittailor.common.processors import algebra_threads
from bittailor.core.arith import Ints
from bittailor.core.graph import Graph
from bittailor.core.qformat import QFormat
from bittailor.errors import BittailorError
from bittailor.quantise.calibration import Calibration
from bittailor.quantise.spaces import BASELINES, homogeneous_widths
from bittailor.search.executors import Executor
from bittailor.search.space import Space

EVERY_S = 10.0
"""Seconds from one word about progress to the next."""


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
    items = _missing(calibration, wanted)
    for (site, _), answer in zip(items, executor.tasks(Fit(calibration), items), strict=True):
        if answer.values is None:
            raise BittailorError(f"fitting the formats of {site} failed: {answer.reason}")
        for bits, fmt, integers in answer.found:
            calibration.take(site, bits, fmt, integers)


def fit_here(
    calibration: Calibration, wanted: Mapping[str, Iterable[int]], workers: int,
    told: Callable[[str], None] = lambda text: None,
) -> None:
    """The same in this process, by threads: each has its linear algebra for itself.

    told  hears how far it is, every ten seconds
    """
    graph = calibration.network.graph
    items = _missing(calibration, wanted)
    work = [max(1, graph.site(site).count) * len(widths) for site, widths in items]
    fit, pool = Fit(calibration), ThreadPoolExecutor(workers)
    try:
        with algebra_threads(1):
            done, last = 0, time.monotonic()
            for amount, _ in zip(work, pool.map(fit, items), strict=True):
                done += amount
                if time.monotonic() - last >= EVERY_S:
                    last = time.monotonic()
                    told(f"fitted {done / sum(work):.0%} of the weights")
    finally:
        pool.shutdown(cancel_futures=True)


def _missing(calibration: Calibration, wanted: Mapping[str, Iterable[int]]) -> list[tuple[str, tuple[int, ...]]]:
    """What is not fitted yet: a weight at every width by itself, anything else at all its widths."""
    graph = calibration.network.graph
    items: list[tuple[str, tuple[int, ...]]] = []
    for site, widths in wanted.items():
        missing = sorted(bits for bits in widths if not calibration.has(site, bits))
        if graph.site(site).kind == "weight":
            items += [(site, (bits,)) for bits in missing]
        elif missing:
            items.append((site, tuple(missing)))
    return items
