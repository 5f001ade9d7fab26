"""What a first population holds besides random solutions."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from bittailor.common.registry import Table
from bittailor.core.graph import Graph
from bittailor.errors import RangeError
from bittailor.evaluate import sensitivity
from bittailor.evaluate.evaluator import Evaluator
from bittailor.quantise.spaces import WIDTHS, homogeneous_widths
from bittailor.search.space import Genome, Space

TEMPLATE_BIASES = (6, 8)
"""Bias widths of the seeds that pair narrow weights with wide activations."""
MANY = 64
"""Genes of weights and biases: with more, each does little by itself, and adding up what each does says less. On the 69
of one SRU of `phones` uniform weights of 3 to 6 bits had a lower phone error rate than the path at their size, though
not a lower loss; on networks of one layer, of a dozen genes, the path is ahead (docs/results.md)."""

EVERY_S = 10.0

Tell = Callable[[str], None]


def homogeneous_seeds(space: Space, graph: Graph) -> list[Genome]:
    """The homogeneous solutions, so that a front never loses to its baseline."""
    return list(dict.fromkeys(space.nearest(homogeneous_widths(graph, bits)) for bits in WIDTHS))


def seeds(space: Space, graph: Graph) -> list[Genome]:
    """The homogeneous solutions, and each weight width paired with the widest activations, whose width costs no
    parameter."""
    found = homogeneous_seeds(space, graph)
    for bits in WIDTHS:
        for bias in TEMPLATE_BIASES:
            widths = {
                site.name: {"weight": bits, "bias": bias, "activation": max(WIDTHS)}[site.kind] for site in graph.free
            }
            found.append(space.nearest(widths))
    return list(dict.fromkeys(found))


def sensitivity_seeds(space: Space, graph: Graph, evaluator: Evaluator, tell: Tell) -> list[Genome]:
    """The homogeneous solutions, and a path from the widest to the narrowest parameters that lowers the least
    sensitive first; with `MANY` genes those of `seeds` too. Costs one evaluation per parameter gene and width (see
    docs/results.md for what it gives)."""
    genes = sensitivity.parameter_genes(space, graph)
    plain = seeds(space, graph) if len(genes) > MANY else homogeneous_seeds(space, graph)
    widest = space.widths(tuple(len(gene.options) - 1 for gene in space.genes))
    last = monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        if done < total and monotonic() - last >= EVERY_S:
            last = monotonic()
            tell(f"a first population: {done} of {total} evaluations of single operators")

    try:
        found = sensitivity.analyse(evaluator, genes, widest, "the widest", progress)
    except RangeError:  # hardware that lacks the widest
        return seeds(space, graph)
    return list(dict.fromkeys([*plain, *sensitivity.seeds(found, space, graph)]))


SEEDINGS: Table[Callable[[Space, Graph, Evaluator, Tell], list[Genome]]] = Table("seeding", {
    "homogeneous": lambda space, graph, evaluator, tell: homogeneous_seeds(space, graph),
    "templates": lambda space, graph, evaluator, tell: seeds(space, graph),
    "sensitivity": sensitivity_seeds,
})
"""Name -> what makes the first solutions; what takes long says every ten seconds, by `tell`, how far it is."""
