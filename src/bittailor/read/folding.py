"""Factors and shifts become part of the weights beside them: what is left has as few operators as can be.

An `affine` or `diagonal` operator is folded into the linear operator before it, if nothing else reads that, or into all
operators that read it, if they are all linear, also behind a window; a shift not where padding, which it would shift as
well, stands in that. The network's function stays the same, in floats as in exact arithmetic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bittailor.core.arith import Floats
from bittailor.core.checks import built_again
from bittailor.core.graph import Graph, Node, Recurrence, Site
from bittailor.core.ops.window import Window

Parameters = dict[str, Floats]
WEIGHTED = ("linear", "diagonal")
SCALING = ("affine", "diagonal")
OVER_TIME = ("last", "first", "mean")
"""Of a value times a factor plus a shift they are what they are of the value, times the factor plus the shift."""


def fold(graph: Graph, parameters: Parameters) -> tuple[Graph, Parameters]:
    """The same function with every factor and shift folded that can be."""
    folding = _Folding(graph, parameters)
    while folding.once():
        pass
    return built_again(folding.graph), folding.parameters


class _Folding:
    def __init__(self, graph: Graph, parameters: Parameters) -> None:
        self.graph, self.parameters = graph, dict(parameters)

    def once(self) -> bool:
        """Fold one operator away; False where there is none left."""
        readers: dict[str, list[Node]] = {}
        for node in self.graph.nodes():
            for name in node.inputs:
                readers.setdefault(name, []).append(node)
        used = Counter(name for node in self.graph.nodes() for name in node.params)
        outside = {step.output: step for step in self.graph.steps if isinstance(step, Node)}
        for node in outside.values():
            if node.op not in SCALING:
                continue
            (source,) = node.inputs
            after, taps = self._after(node, readers)
            before = self._before(node, outside, readers)
            if (before is not None and before.op in (*WEIGHTED, "affine")
                    and all(used[name] == 1 for name in before.params)):
                self._replace(node, {before.output: self._behind(before, node)}, source)
                return True
            if (after and node.output not in self.graph.outputs and all(each.op in WEIGHTED for each in after)
                    and all(used[name] == 1 for each in after for name in each.params)):
                self._replace(node, {each.output: self._in_front(each, node, taps) for each in after}, source)
                return True
        return False

    def _before(self, node: Node, outside: Mapping[str, Node], readers: Mapping[str, list[Node]]) -> Node | None:
        """The operator whose output only this one reads, perhaps at one step or as a mean; None if others do."""
        while True:
            (source,) = node.inputs
            if source in self.graph.outputs or readers[source] != [node] or source not in outside:
                return None
            node = outside[source]
            if node.op not in OVER_TIME:
                return node

    def _after(self, node: Node, readers: Mapping[str, list[Node]]) -> tuple[list[Node], int]:
        """The operators that read it, perhaps behind a window, and how often a feature stands in what they read."""
        after, taps = readers.get(node.output, []), 1
        while len(after) == 1 and after[0].op in ("window", "crop") and after[0].output not in self.graph.outputs:
            moved = after[0].operator
            after = readers.get(after[0].output, [])
            if isinstance(moved, Window):
                of = moved.constants
                full = of.ahead == 0 and [each.operator.drops >= of.span for each in after] == [True]
                if taps > 1 or (self._terms(node)[1].any() and not full):
                    return [], 1
                taps = of.taps
        return after, taps

    def _terms(self, node: Node) -> tuple[Floats, Floats]:
        """Factor and shift of each feature."""
        features = self.graph.sites[node.output].features
        if node.op == "affine":
            factor, shift = node.options.get("factor", 1.0), node.options.get("shift", 0.0)
            return np.full(features, factor), np.full(features, shift)
        W = self.parameters[node.params[0]][:, 0]
        return W, self.parameters[node.params[1]] if len(node.params) > 1 else np.zeros(features)

    def _behind(self, before: Node, node: Node) -> Node:
        """`before` with what `node` does to its output."""
        factor, shift = self._terms(node)
        if before.op == "affine":
            first, then = self._terms(before)
            if node.op == "affine":
                options = {"factor": float(first[0] * factor[0]), "shift": float(then[0] * factor[0] + shift[0])}
                return replace(before, options=options)
            self.parameters[node.params[0]] = (first * factor)[:, None]
            return self._with_bias(replace(node, inputs=before.inputs, output=before.output), then * factor + shift)
        weight = before.params[0]
        self.parameters[weight] = self.parameters[weight] * factor[:, None]
        bias = self.parameters[before.params[1]] if len(before.params) > 1 else 0.0
        return self._with_bias(before, bias * factor + shift)

    def _in_front(self, after: Node, node: Node, taps: int) -> Node:
        """`after` with what `node` does to its input, in which each feature stands so often."""
        factor, shift = (np.repeat(values, taps) for values in self._terms(node))
        W = self.parameters[after.params[0]]
        more = W @ shift if after.op == "linear" else W[:, 0] * shift
        self.parameters[after.params[0]] = W * (factor if after.op == "linear" else factor[:, None])
        bias = self.parameters[after.params[1]] if len(after.params) > 1 else 0.0
        return self._with_bias(after, bias + more)

    def _with_bias(self, node: Node, bias: Floats) -> Node:
        """A weighted node with this bias; one that had none and needs none stays without."""
        if len(node.params) == 1:
            if not np.any(bias):
                return node
            name = _free(f"{node.params[0]}.bias", self.graph.sites)
            self._site(Site(name, "bias", bias.shape))
            node = replace(node, params=(*node.params, name))
        self.parameters[node.params[1]] = np.asarray(bias)
        return node

    def _site(self, site: Site) -> None:
        self.graph = replace(self.graph, sites={**self.graph.sites, site.name: site})

    def _replace(self, gone: Node, made: Mapping[str, Node], source: str) -> None:
        """The graph without a node, whose source its readers read, and with others in place of those of their names."""
        def renewed(node: Node) -> Node:
            node = made.get(node.output, node)
            return replace(node, inputs=tuple(source if name == gone.output else name for name in node.inputs))

        steps = list[Node | Recurrence]()
        for step in self.graph.steps:
            if isinstance(step, Recurrence):
                inputs = dict.fromkeys(source if name == gone.output else name for name in step.inputs)
                steps.append(replace(step, inputs=tuple(inputs), nodes=tuple(map(renewed, step.nodes))))
            elif step is not gone:
                steps.append(renewed(step))
        outputs = tuple(source if name == gone.output else name for name in self.graph.outputs)
        kept = {name for step in steps for node in (step.nodes if isinstance(step, Recurrence) else (step,))
                for name in node.params}
        lost = {gone.output, *gone.params} - kept
        sites = {name: site for name, site in self.graph.sites.items() if name not in lost}
        self.graph = replace(self.graph, sites=sites, steps=tuple(steps), outputs=outputs)
        self.parameters = {name: value for name, value in self.parameters.items() if name not in lost}


def _free(name: str, taken: Mapping[str, Site]) -> str:
    while name in taken:
        name += "_1"
    return name
