"""Spaces over a graph: which sites share a gene and which widths they may have.

`homogeneous(b)` is the baseline: every site at b bits, biases at 16, so that a comparison is not won on biases.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bittailor.common.registry import Table
from bittailor.core.graph import Graph, Node, Recurrence
from bittailor.core.qformat import INDEX_FORMAT, allowed_widths, check_width
from bittailor.cost import PLATFORMS, Platform
from bittailor.errors import FormatError
from bittailor.search.space import Space, WidthGene

WIDTHS = (2, 3, 4, 5, 6, 7, 8)
BIAS_WIDTHS = (4, 5, 6, 7, 8, 10, 12, 16)
BASELINE_BIAS = 16
BASELINES = (2, 3, 4, 5, 6, 7, 8, 16)
REST = 16
"""Width of what a space by matrix products leaves alone: element-wise work, states, vectors, biases."""


def homogeneous_widths(graph: Graph, bits: int, bias: int = BASELINE_BIAS) -> dict[str, int]:
    """Site -> bits: every weight and activation at `bits`, every bias at `bias`.

    graph    the network's
    bits     1..16; activations need 2 or more, which is checked where a plan is made of the widths (FormatError)
    bias     1..16, or 32 for one that loses nothing
    Returns  a width for every free site, as `Calibration.plan` takes it
    """
    return {site.name: bias if site.kind == "bias" else bits for site in graph.free} | _given(graph)


def _given(graph: Graph) -> dict[str, int]:
    """The widths that are not chosen: those of indices."""
    return {site.name: INDEX_FORMAT.bits for site in graph.free if site.role == "index"}


def homogeneous(
    graph: Graph, widths: Sequence[int] = WIDTHS, activations: Sequence[int] | None = None,
    biases: Sequence[int] = (BASELINE_BIAS,),
) -> Space:
    """One gene for everything but the biases, which are fixed.

    graph        the network's
    widths       allowed for all weights and activations alike, 2..16
    activations  not used: they have the weights' width
    biases       the largest of them is the width of all biases
    Raises       FormatError for a width that a site cannot have.
    """
    sites = tuple(site.name for site in graph.free if site.kind != "bias")
    fixed = {site.name: max(biases) for site in graph.free if site.kind == "bias"}
    return _checked(graph, Space("homogeneous", (WidthGene("all", sites, tuple(widths)),), fixed))


def per_operator(
    graph: Graph, widths: Sequence[int] = WIDTHS, activations: Sequence[int] | None = None,
    biases: Sequence[int] = BIAS_WIDTHS,
) -> Space:
    """A gene for every site (P1): each weight, each bias, each operator's result.

    graph        the network's
    widths       allowed for weights, and (from 2 bits up) for activations unless those are given
    activations  allowed for activations, states and the input
    biases       allowed for biases
    Raises       FormatError for a width that a site cannot have.
    """
    allowed = {"weight": tuple(widths), "activation": _for_activations(widths, activations), "bias": tuple(biases)}
    genes = tuple(WidthGene(site.name, (site.name,), allowed[site.kind]) for site in graph.free)
    return _checked(graph, Space("per_operator", genes))


def per_layer(
    graph: Graph, widths: Sequence[int] = (2, 4, 8, 16), activations: Sequence[int] | None = None,
    biases: Sequence[int] = (BASELINE_BIAS,), rest: int = 16,
) -> Space:
    """One weight gene and one activation gene per matrix product (P2); everything else at `rest` bits.

    Matrices of one layer that multiply the same vector are one product, as in a stacked gate matrix.

    graph        the network's
    widths       allowed for weights, and (from 2 bits up) for activations unless those are given
    activations  allowed for the vectors that meet a matrix
    biases       the largest of them is the width of all biases
    rest         width of all other activations
    Raises       FormatError for a width that a site cannot have.
    """
    products: dict[tuple[str, str], list[str]] = {}
    for layer, nodes in _layers(graph):
        for node in nodes:
            if node.operator.product:
                products.setdefault((layer, graph.root(node.inputs[0]).name), []).append(node.params[0])
    genes = [WidthGene(f"W:{layer}:{source}", tuple(sites), tuple(widths))
             for (layer, source), sites in products.items()]
    sources = dict.fromkeys(source for _, source in products)
    genes += [WidthGene(f"A:{source}", (source,), _for_activations(widths, activations)) for source in sources]
    taken = {site for gene in genes for site in gene.sites}
    fixed = {
        site.name: max(biases) if site.kind == "bias" else rest for site in graph.free if site.name not in taken
    }
    return _checked(graph, Space("per_layer", tuple(genes), fixed))


@dataclass(frozen=True)
class Block:
    """Matrices that multiply one vector: a product of the hardware.

    name     of the layer that it belongs to; with the vector's name where the layer makes that itself
    weights  the sites of its matrices
    source   the site of the vector
    place    recurrent: in a layer; between: of a projection; output: after the last layer
    """

    name: str
    weights: tuple[str, ...]
    source: str
    place: str


PLACES = ("recurrent", "between", "output")


def blocks(graph: Graph) -> tuple[Block, ...]:
    """The matrix products of a network, those of recurrent layers first, then those between, then the output's.

    The gates of a layer, and the directions of a layer, multiply one vector, so they are one product; what a layer
    multiplies with its own state or another result of its own is another.
    """
    found: dict[tuple[str, str], Block] = {}
    layers = {step.name: i for i, step in enumerate(graph.steps) if isinstance(step, Recurrence)}
    last = max(layers.values(), default=-1)
    for i, step in enumerate(graph.steps):
        nodes = step.nodes if isinstance(step, Recurrence) else (step,)
        inner = {node.output for node in nodes}
        for node in nodes:
            if not node.operator.product:
                continue
            source = graph.root(node.inputs[0]).name
            if not isinstance(step, Recurrence):
                short = node.output.removesuffix(".out")
                key, place = (node.output, source), "output" if i > last else "between"
                name = node.output if short in layers else short
            elif source in inner:
                key = (step.name, source)
                name, place = f"{step.name}.{source.removeprefix(step.name + '.')}", "recurrent"
            else:
                key, name, place = ("", source), step.name, "recurrent"
            old = found.get(key, Block(name, (), source, place))
            found[key] = Block(old.name, (*old.weights, node.params[0]), source, place)
    return tuple(sorted(found.values(), key=lambda block: PLACES.index(block.place)))


def of_platform(
    graph: Graph, widths: Sequence[int] | None = None, activations: Sequence[int] | None = None,
    biases: Sequence[int] = (BASELINE_BIAS,), *, platform: Platform,
) -> Space:
    """What a hardware platform lets one choose (P2): the widths of every matrix product, in the layout of the paper.

    Where weights and inputs may differ: for recurrent layers, projections and output in turn, a gene for the weights of
    every product, then one for every input. Where not: one gene for every product, products that share an input
    together. Everything else has 16 bits. An input that is a state, as in a GRU, has its product's width in the whole
    layer; where a layer's output is concatenated first, the state keeps 16.

    widths, activations  fewer than the platform has
    """
    products = blocks(graph)
    if platform.same_width:
        allowed = _subset(widths, platform.weights, platform)
        groups: dict[str, list[Block]] = {}
        for block in products:
            groups.setdefault(block.source, []).append(block)
        genes = []
        for source, members in groups.items():
            output = any(block.place == "output" for block in members)
            sites = (*(site for block in members for site in block.weights), source)
            genes.append(WidthGene(members[0].name, sites, _for_output(allowed, platform) if output else allowed))
    else:
        of_weights = _subset(widths, platform.weights, platform)
        of_inputs = _subset(activations or widths, platform.activations, platform)
        reads_output = {block.source for block in products if block.place == "output"}
        genes, seen = [], set()
        for place in PLACES:
            here = [block for block in products if block.place == place]
            genes += [WidthGene(f"W:{block.name}", block.weights, of_weights) for block in here]
            for block in here:
                if block.source not in seen:
                    seen.add(block.source)
                    output = block.source in reads_output
                    genes.append(WidthGene(f"A:{block.name}", (block.source,),
                                      _for_output(of_inputs, platform) if output else of_inputs))
    taken = {site for gene in genes for site in gene.sites}
    fixed = {
        site.name: max(biases) if site.kind == "bias" else REST for site in graph.free if site.name not in taken
    }
    return _checked(graph, Space(platform.name, tuple(genes), fixed))


def _subset(given: Sequence[int] | None, own: tuple[int, ...], platform: Platform) -> tuple[int, ...]:
    """The platform's widths, or those of them that were asked for; FormatError for one that it has not."""
    if given is None:
        return own
    lacking = [bits for bits in given if bits not in own]
    if lacking:
        raise FormatError(f"{platform.name} has no {', '.join(map(str, lacking))} bits; choose of "
                          f"{', '.join(map(str, own))}")
    return tuple(sorted(set(given)))


def _for_output(widths: tuple[int, ...], platform: Platform) -> tuple[int, ...]:
    """The widths that the output layer's input may have."""
    allowed = platform.output_activations or widths
    kept = tuple(bits for bits in widths if bits in allowed)
    if not kept:
        raise FormatError(f"{platform.name} takes outputs' inputs of {', '.join(map(str, allowed))} bits only; allow "
                          "one of them")
    return kept


def grouped(
    graph: Graph, groups: Mapping[str, tuple[Sequence[str], Sequence[int]]], name: str = "grouped"
) -> Space:
    """A grouping of one's own: gene name -> (site patterns, allowed widths).

    Patterns are as in file names (`gru0.W_h*`). A group with one width fixes its sites. Every site must be in exactly
    one group.

    graph   the network's
    groups  gene name -> (patterns of sites, allowed widths)
    name    what to call the space
    Raises  FormatError for a group without sites, a site in no group or in two, or a width that a site cannot have.

    >>> # grouped(graph, {"matrices": (["*.W_*", "head.W"], [2, 3, 4]), "biases": (["*.b*"], [8]),
    >>> #                 "rest": (["input", "*.r.*", "*.z.*", "*.n.*", "*.h*", "head.out"], [4, 8])})
    """
    free = [site.name for site in graph.free]
    genes: list[WidthGene] = []
    fixed: dict[str, int] = {}
    taken: dict[str, str] = {}
    for group, (patterns, widths) in groups.items():
        sites = [site for site in free if any(fnmatch.fnmatchcase(site, pattern) for pattern in patterns)]
        if not sites:
            raise FormatError(f"group '{group}' matches no site; there are: {', '.join(free[:12])}, …")
        for site in sites:
            if site in taken:
                raise FormatError(f"site '{site}' is in two groups, '{taken[site]}' and '{group}'")
            taken[site] = group
        if len(widths) == 1:
            fixed |= dict.fromkeys(sites, widths[0])
        else:
            genes.append(WidthGene(group, tuple(sites), tuple(widths)))
    rest = [site for site in free if site not in taken]
    if rest:
        raise FormatError(f"{len(rest)} site(s) are in no group, first '{rest[0]}'; add a last group for them")
    return _checked(graph, Space(name, tuple(genes), fixed))


def _for_activations(widths: Sequence[int], activations: Sequence[int] | None) -> tuple[int, ...]:
    """The widths of activations: those given, else those of the weights but for what only a weight can have."""
    only_weights = set(allowed_widths("weight")) - set(allowed_widths("activation"))
    return tuple(activations or [bits for bits in widths if bits not in only_weights])


def _layers(graph: Graph) -> list[tuple[str, tuple[Node, ...]]]:
    return [
        (step.name, step.nodes) if isinstance(step, Recurrence) else (step.output, (step,)) for step in graph.steps
    ]


def _checked(graph: Graph, space: Space) -> Space:
    """The space without what is not chosen; FormatError if a width does not suit the kind of its site."""
    if given := _given(graph):
        kept = [(gene, tuple(s for s in gene.sites if s not in given)) for gene in space.width_genes]
        genes = tuple(replace(gene, sites=sites) for gene, sites in kept if sites)
        space = replace(space, genes=genes, fixed={**space.fixed, **given})
    for gene in space.width_genes:
        for site in gene.sites:
            for bits in gene.widths:
                check_width(graph.site(site).kind, bits, site)
    for site, bits in space.fixed.items():
        check_width(graph.site(site).kind, bits, site)
    return space


SPACES: Table[Callable[..., Space]] = Table("space", {
    "per_operator": per_operator,
    "per_layer": per_layer,
    "homogeneous": homogeneous,
    **{name: partial(of_platform, platform=platform) for name, platform in PLATFORMS.items()},
})
