"""Builder: how a graph is written down, one operator a call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bittailor.core.graph import Graph, Node, Recurrence, Role, Site, State, begins
from bittailor.core.ops import OPS
from bittailor.core.qformat import MOST_INDICES
from bittailor.errors import BittailorError, UnsupportedNetwork


class Builder:
    """Writes a graph down, one operator a call. Every call returns the name of its output site.

    >>> b = Builder()
    >>> x = b.input("input", 4)
    >>> y = b.linear("head.out", x, "head.W", 2, bias="head.b")
    >>> graph = b.graph(y)
    >>> list(graph.sites)
    ['input', 'head.W', 'head.b', 'head.out']
    """

    def __init__(self) -> None:
        self._sites: dict[str, Site] = {}
        self._steps: list[Node | Recurrence] = []
        self._inputs: list[str] = []
        self._open: list[Node] | None = None
        self._states: list[State] = []
        self._proven: dict[str, tuple[float, float] | None] = {}
        self._read: list[str] = []
        self._late: dict[str, int] = {}

    def input(self, name: str, features: int) -> str:
        """An input sequence of the network."""
        self._inputs.append(name)
        self._late[name] = 0
        return self._add(Site(name, "input", (features,)))

    def index(self, name: str, count: int) -> str:
        """An input sequence of one index each, 0 .. count - 1."""
        if not 1 <= count <= MOST_INDICES:
            raise UnsupportedNetwork(f"{name} has {count} indices; at most {MOST_INDICES}, which 16 bits hold")
        self._inputs.append(name)
        self._late[name] = 0
        return self._add(Site(name, "index", (1,), proven=(0.0, count - 1.0)))

    def embedding(self, output: str, x: str, weight: str, features: int) -> str:
        """output = row x of the weight; makes the parameter site ([indices, features])."""
        proven = self._sites[x].proven
        if self._sites[x].role != "index" or proven is None:
            raise UnsupportedNetwork(f"{output}: an embedding takes an input of indices; {x} is none")
        self.parameter(weight, (int(proven[1]) + 1, features))
        return self.op("embedding", output, x, params=(weight,), features=features, rows=int(proven[1]) + 1)

    def features(self, name: str) -> int:
        """The number of features of a site."""
        return self._sites[name].features

    def role(self, name: str) -> Role:
        """What a site is."""
        return self._sites[name].role

    def is_sequence(self, name: str) -> bool:
        """Whether a site has a value for every step."""
        return self._sites[name].sequence

    def late(self, name: str) -> int:
        """How many of the input's first steps an activation site lacks."""
        return self._late[name]

    def op(self, op: str, output: str, *inputs: str, params: tuple[str, ...] = (), **options: Any) -> str:
        """Any operator of `OPS`."""
        return self._node(Node(op, inputs, output, params, options))

    def linear(self, output: str, x: str, weight: str, rows: int, bias: str | None = None) -> str:
        """output = weight x + bias; makes the parameter sites."""
        return self._weighted("linear", output, x, weight, bias, rows)

    def diagonal(self, output: str, x: str, weight: str, bias: str | None = None) -> str:
        """output = weight * x + bias, feature by feature; makes the parameter sites (the weight's shape: [n, 1])."""
        return self._weighted("diagonal", output, x, weight, bias, self.features(x))

    def grouped_linear(self, output: str, x: str, weight: str, rows: int, groups: int, bias: str | None = None) -> str:
        """output = weight x + bias, group by group; makes the parameter sites (weight: [rows, features / groups])."""
        return self._weighted("grouped_linear", output, x, weight, bias, rows, groups=groups)

    def _weighted(
        self, op: str, output: str, x: str, weight: str, bias: str | None, features: int, **options: Any
    ) -> str:
        params = (weight,) if bias is None else (weight, bias)
        options = {"features": features, **options}
        OPS[op].features([self.features(x)], options)
        shapes = OPS[op].of(options).shapes([self.features(x)], features)
        for role, name in zip(OPS[op].roles, params, strict=False):
            self.parameter(name, shapes[role])
        return self._node(Node(op, (x,), output, params, options))

    def parameter(self, name: str, shape: tuple[int, ...]) -> str:
        """The site of a parameter: weights have two axes, biases one."""
        return self._add(Site(name, "weight" if len(shape) == 2 else "bias", shape))

    def begin(self) -> None:
        """What follows is one step of a recurrence, until `end`."""
        self._open, self._states, self._proven, self._read = [], [], {}, []

    def state(
        self, name: str, features: int, proven: tuple[float, float] | None = None, start: Sequence[float] = ()
    ) -> str:
        """A state; returns the site of its previous value. The step must write `name` itself.

        proven  a range that no step's value leaves, whatever the data, if it starts inside
        start   real values [features] before the first step; 0.0 where not given
        """
        previous = f"{name}.prev"
        values = tuple(float(value) for value in start)
        if values and (len(values) != features or not all(map(math.isfinite, values))):
            raise UnsupportedNetwork(f"{name} has {features} values; it is to start at {len(values)}, "
                                     "which must be as many finite numbers")
        if proven is not None and values and not proven[0] <= min(values) <= max(values) <= proven[1]:
            proven = None
        self._add(Site(previous, "activation", (features,), tied=name))
        self._states.append(State(previous, name, values if any(values) else ()))
        self._proven[name] = proven
        return previous

    def open_states(self) -> tuple[str, ...]:
        """The states of the recurrence being written, by the sites that update them."""
        return tuple(state.update for state in self._states)

    def end(self, name: str, cell: str, outputs: tuple[str, ...], reverse: bool = False) -> None:
        """Close the recurrence that `begin` opened."""
        assert self._open is not None
        inner = (*(node.output for node in self._open), *(state.previous for state in self._states))
        self._late |= dict.fromkeys(inner, begins(self._late, self._read, name))
        self._steps.append(Recurrence(
            name, cell, tuple(dict.fromkeys(self._read)), tuple(self._states), tuple(self._open), outputs, reverse
        ))
        self._open = None

    def graph(self, *outputs: str) -> Graph:
        """The finished graph."""
        return Graph(dict(self._sites), tuple(self._steps), tuple(self._inputs), outputs)

    def _node(self, node: Node) -> str:
        op = node.operator
        sources = [self._sites[name] for name in node.inputs]
        features = op.features([s.features for s in sources], node.options)
        role: Role = "activation"
        proven = op.proven([s.proven for s in sources])
        if self._open is not None and node.output in self._proven:
            role, proven = "state", self._proven[node.output]
        sequence = all(s.sequence for s in sources) and not op.over_time
        reads_index = any(s.role == "index" for s in sources)
        if reads_index != (op.access == "index"):
            raise UnsupportedNetwork(f"{node.output}: '{node.op}' of {', '.join(node.inputs)}; an index is looked up "
                                     "in a table, and nothing else is")
        if op.access == "window" and (self._open is not None or not sequence):
            raise UnsupportedNetwork(f"{node.output}: a {op.name} is of a sequence, outside of recurrences")
        tied = node.inputs[0] if op.tied else None
        self._add(Site(node.output, role, (features,), sequence, tied, proven))
        if self._open is None:
            late = begins(self._late, [s.name for s in sources if s.sequence], node.output) + op.drops
            self._late[node.output] = late if sequence else 0
            self._steps.append(node)
        else:
            inner = {n.output for n in self._open} | {s.previous for s in self._states}
            self._read += [name for name in node.inputs if name not in inner]
            self._open.append(node)
        return node.output

    def _add(self, site: Site) -> str:
        if site.name in self._sites:
            raise BittailorError(f"two sites are called '{site.name}'; give every layer its own name")
        self._sites[site.name] = site
        return site.name
