"""What a file may say: every shape and every number of a graph and of a program follows from what is around it.

Files come from elsewhere, so what is read is compared with what building and binding would have made. A graph is built
again and has to come out the same. A program's integers need not be those of binding (its weights are not at hand), but
they must have its shapes, lie in its ranges, and keep every bound that the arithmetic relies on.
"""

from __future__ import annotations

from collections.abc import Mapping

from bittailor.core.builder import Builder
from bittailor.core.graph import Graph, Node, Recurrence
from bittailor.core.ops import Constants
from bittailor.core.ops.forms import Place
from bittailor.core.qformat import QFormat
from bittailor.errors import BittailorError, FormatError

MOST_FEATURES = 1 << 20
MOST_VALUES = 1 << 28
"""Of one parameter: a quarter of a billion."""


def check_graph(graph: Graph) -> None:
    """FormatError unless building the graph's steps gives its sites, and nothing is larger than can be meant."""
    for name, site in graph.sites.items():
        sizes = site.shape
        if name != site.name or len(sizes) != (2 if site.role == "weight" else 1):
            raise FormatError(f"site {name} has shape {sizes} as a {site.role}")
        if any(isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST_FEATURES for n in sizes):
            raise FormatError(f"site {name} has shape {sizes}; sizes are whole numbers, 1 to {MOST_FEATURES}")
        if site.count > MOST_VALUES:
            raise FormatError(f"site {name} has {site.count} values; at most {MOST_VALUES} are read")
    try:
        again = built_again(graph)
    except (KeyError, IndexError, TypeError, ValueError, BittailorError) as error:
        raise FormatError(f"its steps cannot be built: {error}") from None
    if again.sites != graph.sites:
        names = {*again.sites, *graph.sites}
        wrong = min(name for name in names if again.sites.get(name) != graph.sites.get(name))
        raise FormatError(f"site {wrong} is not what its steps make of it")
    if again.steps != graph.steps or not graph.inputs or not graph.outputs:
        raise FormatError("its steps are not what building them makes")
    if missing := [name for name in (*graph.inputs, *graph.outputs) if name not in graph.sites]:
        raise FormatError(f"it ends at {missing[0]}, which it does not have")


def built_again(graph: Graph) -> Graph:
    """What building the steps of a graph makes: sites that follow from them, nothing else."""
    b = Builder()
    for name in graph.inputs:
        site = graph.sites[name]
        if site.role == "index" and site.proven is not None:
            b.index(name, int(site.proven[1]) + 1)
        else:
            b.input(name, site.features)
    for step in graph.steps:
        if isinstance(step, Node):
            _rebuild(b, graph, step)
            continue
        b.begin()
        for state in step.states:
            site = graph.sites[state.update]
            if b.state(state.update, site.features, site.proven, state.start) != state.previous:
                raise FormatError(f"the state {state.update} is read as {state.previous}")
        for node in step.nodes:
            _rebuild(b, graph, node)
        b.end(step.name, step.cell, step.outputs, step.reverse)
        made = {node.output for node in step.nodes}
        if lost := [name for name in (*step.outputs, *(s.update for s in step.states)) if name not in made]:
            raise FormatError(f"{step.name} does not compute {lost[0]}")
    inner = {node.output: step.outputs for step in graph.steps if isinstance(step, Recurrence) for node in step.nodes}
    hidden = {name for name, shown in inner.items() if name not in shown}
    for step in graph.steps:
        if seen := hidden & set(step.inputs):
            raise FormatError(f"{min(seen)} is read outside of its recurrence, which does not show it")
    return b.graph(*graph.outputs)


def _rebuild(b: Builder, graph: Graph, node: Node) -> None:
    op = node.operator
    shapes = op.shapes([b.features(name) for name in node.inputs], graph.sites[node.output].features)
    if len(node.params) > len(op.roles) or (op.roles and not node.params):
        raise FormatError(f"{node.output} has {len(node.params)} parameters")
    for role, name in zip(op.roles, node.params, strict=False):
        b.parameter(name, shapes[role])
    b.op(node.op, node.output, *node.inputs, params=node.params, **node.options)


def check_constants(graph: Graph, formats: Mapping[str, QFormat], constants: Mapping[str, Constants]) -> None:
    """FormatError unless formats and constants of a program are ones that binding could have made for the graph."""
    if formats.keys() != {site.name for site in graph.sites.values() if site.kind == "activation"}:
        raise FormatError("its formats are not those of its activations")
    for name, fmt in formats.items():
        if fmt.kind != "activation" or fmt != formats[graph.root(name).name]:
            raise FormatError(f"the format of {name} is not that of an activation, or of what it copies")
    for node in graph.nodes():
        place = Place(
            tuple(formats[name] for name in node.inputs), formats[node.output],
            tuple(graph.sites[name].features for name in node.inputs), graph.sites[node.output].features,
        )
        try:
            constants[node.output].check(place)
        except FormatError as error:
            raise FormatError(f"{node.output}: {error}") from None
