"""Sensitivity: which operator costs the accuracy. Error and loss against the width of one gene, all others kept.

`analyse` measures it; `seeds` turns it into first solutions of a search: along a path that always takes the bits
whose loss is least, as if losses added up (Hessian-free; compare HAWQ, arXiv 1905.03696, which ranks by curvature).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bittailor.common.files import formed, load_json, save_json
from bittailor.core.graph import Graph
from bittailor.errors import BittailorError, RangeError
from bittailor.evaluate.evaluator import Evaluator
from bittailor.search.space import ALLOWED, Genome, Space, WidthGene

KIND, VERSION = "sensitivity", 1
TOGETHER = 64
"""Candidates in one call of the engine."""
SEEDS = 10
"""First solutions that `seeds` makes, unless told."""


@dataclass(frozen=True)
class Response:
    """One gene at one width, all others as they were.

    gene    its name (of a space with a gene per site: the site)
    bits    the width it was given
    values  error, loss and what else was measured; None where this cannot be bound
    """

    gene: str
    bits: int
    values: Mapping[str, float] | None


@dataclass(frozen=True)
class SensitivityForm:
    """The file of a `Sensitivity`; a response is [gene, bits, values]."""

    at: str
    widths: Mapping[str, int]
    base: Mapping[str, float]
    genes: Mapping[str, tuple[str, ...]]
    responses: tuple[tuple[str, int, Mapping[str, float] | None], ...]

    def __post_init__(self) -> None:
        if lacking := {"error", "loss"} - self.base.keys():
            raise BittailorError(f"base lacks '{min(lacking)}'")
        for name, sites in self.genes.items():
            if not sites or not set(sites) <= self.widths.keys():
                raise BittailorError(f"genes.{name} has no sites, or sites without a width")
        if {gene for gene, _, _ in self.responses} != self.genes.keys():
            raise BittailorError("responses are not those of its genes")
        for i, (_, bits, values) in enumerate(self.responses):
            if bits not in ALLOWED or (values is not None and values.keys() != self.base.keys()):
                raise BittailorError(f"responses[{i}] has no width, or other values than base")


@dataclass(frozen=True)
class Sensitivity:
    """What every gene does to the error.

    at         what the others were kept at, in words
    widths     site -> bits of that
    base       its values
    genes      gene -> its sites, in the order of the network
    responses  one per gene and allowed width
    """

    at: str
    widths: Mapping[str, int]
    base: Mapping[str, float]
    genes: Mapping[str, tuple[str, ...]]
    responses: tuple[Response, ...]

    def of(self, gene: str) -> dict[int, Mapping[str, float]]:
        """Width -> values, of one gene; widths that cannot be bound are left out."""
        return {r.bits: r.values for r in self.responses if r.gene == gene and r.values is not None}

    def rise(self, gene: str, bits: int, name: str = "loss") -> float:
        """By how much a value rises above the base; infinite where the width cannot be bound."""
        values = self.of(gene).get(bits)
        return float("inf") if values is None else values[name] - self.base[name]

    def narrowest(self, gene: str, tolerance: float, name: str = "loss") -> int:
        """The narrowest width from which on up nothing rises by more than `tolerance`; the widest if none holds."""
        widths = sorted((r.bits for r in self.responses if r.gene == gene), reverse=True)
        good = widths[0]
        for bits in widths:
            if self.rise(gene, bits, name) > tolerance:
                break
            good = bits
        return good

    def ranking(self, bits: int, name: str = "loss") -> list[tuple[str, float]]:
        """Genes with their rise at a width (or the nearest one they have), the most sensitive first."""
        found = []
        for gene in self.genes:
            nearest = min((r.bits for r in self.responses if r.gene == gene), key=lambda b: (abs(b - bits), b))
            found.append((gene, self.rise(gene, nearest, name)))
        return sorted(found, key=lambda item: -item[1])

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Column names and rows, for CSV; one row per gene and width."""
        names = list(self.base)
        header = ["gene", "sites", "bits", *names, *(f"rise_{n}" for n in ("error", "loss") if n in names)]
        body: list[list[Any]] = []
        for r in self.responses:
            values = r.values or {}
            rises = [values[n] - self.base[n] if n in values else None for n in ("error", "loss") if n in names]
            body.append([r.gene, " ".join(self.genes[r.gene]), r.bits, *(values.get(n) for n in names), *rises])
        return header, body

    def save(self, path: Path | str) -> None:
        """Write to a JSON file."""
        save_json(path, KIND, VERSION, {
            "at": self.at, "widths": dict(self.widths), "base": dict(self.base),
            "genes": {name: list(sites) for name, sites in self.genes.items()},
            "responses": [[r.gene, r.bits, None if r.values is None else dict(r.values)] for r in self.responses],
        })

    @classmethod
    def load(cls, path: Path | str) -> Sensitivity:
        """Read what `save` wrote; FileError if it is something else or damaged."""
        form = formed(path, SensitivityForm, load_json(path, KIND, VERSION))
        return cls(form.at, form.widths, form.base, form.genes, tuple(Response(*each) for each in form.responses))


def analyse(
    evaluator: Evaluator, genes: Sequence[WidthGene], widths: Mapping[str, int], at: str = "homogeneous 8",
    progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """Evaluate every gene at every width that it may have, all others kept at `widths`.

    evaluator  on validation data; it reports `loss`
    genes      whose widths to vary, such as those of a space
    progress   called with (evaluated, of how many) after every call of the engine
    Raises     RangeError where `widths` themselves cannot be bound.
    """
    (base,) = evaluator.evaluate([dict(widths)])
    wanted = [(gene, bits) for gene in genes for bits in gene.widths]
    changed = [{**widths, **dict.fromkeys(gene.sites, bits)} for gene, bits in wanted]
    found: list[dict[str, float] | RangeError] = []
    for start in range(0, len(changed), TOGETHER):
        found += evaluator.attempt(changed[start : start + TOGETHER])
        if progress is not None:
            progress(len(found), len(changed))
    responses = [Response(gene.name, bits, None if isinstance(values, RangeError) else values)
                 for (gene, bits), values in zip(wanted, found, strict=True)]
    return Sensitivity(at, dict(widths), base, {gene.name: gene.sites for gene in genes}, tuple(responses))


def parameter_genes(space: Space, graph: Graph) -> list[WidthGene]:
    """The genes of a space that cost parameter bits: those with a weight or a bias among their sites."""
    return [gene for gene in space.width_genes if any(graph.site(s).kind in ("weight", "bias") for s in gene.sites)]


def path(found: Sensitivity, space: Space, graph: Graph) -> list[Genome]:
    """From every gene at its widest to every measured gene at its narrowest, always the step next that costs the
    least loss per bit saved, as if losses added up. Genes that were not measured stay at their widest.

    A step may skip widths (the lower convex hull of loss against bits is what is followed). What is measured to help
    when narrowed is taken as free: on validation data that is noise.
    """
    place = {gene.name: i for i, gene in enumerate(space.genes)}
    genome = [len(gene.options) - 1 for gene in space.genes]
    allowed = {gene.name: gene.widths for gene in space.width_genes}
    count = {gene.name: sum(graph.site(s).count for s in gene.sites if graph.site(s).kind in ("weight", "bias"))
             for gene in space.width_genes}
    cost: dict[str, list[float]] = {}
    for gene in space.width_genes:
        if gene.name in found.genes and count[gene.name]:
            rises = [max(0.0, found.rise(gene.name, bits)) for bits in gene.widths]
            # narrower is never taken as better
            cost[gene.name] = np.maximum.accumulate(rises[::-1])[::-1].tolist()
    walked = [tuple(genome)]
    while True:
        steps = [
            ((cost[name][j] - cost[name][genome[i]]) / (count[name] * (widths[genome[i]] - widths[j])), -j, i, j)
            for name in cost for i in [place[name]] for widths in [allowed[name]]
            for j in range(genome[i]) if np.isfinite(cost[name][j])
        ]
        if not steps:
            return walked
        # of equal prices the shortest step: the path stays fine where nothing costs anything
        *_, i, j = min(steps)
        genome[i] = j
        walked.append(tuple(genome))


def seeds(found: Sensitivity, space: Space, graph: Graph, n: int = SEEDS) -> list[Genome]:
    """`n` solutions along `path`, at equal ratios of size, the largest first; fewer where the path has no more."""
    walked = path(found, space, graph)
    sizes = np.array([sum(graph.site(site).count * bits for site, bits in space.widths(g).items()
                          if graph.site(site).kind in ("weight", "bias")) for g in walked], np.float64)
    wanted = np.geomspace(sizes[0], sizes[-1], n + 1)[1:]
    nearest = [walked[int(np.abs(sizes - size).argmin())] for size in wanted]
    return list(dict.fromkeys(nearest))
