"""Program: a plan bound to the weights. It runs and is stored, and nothing in it is a float.

Binding is pure and per operator: an operator's constants depend on the formats of the sites it touches and on its
parameters, so a search that changes a few widths re-binds a few operators (`Binder` keeps the rest).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bittailor.common import html
from bittailor.common.cached import cached_property
from bittailor.common.data import real_numbers
from bittailor.common.files import formed, read_bytes, reading, tensors_from_bytes, tensors_to_bytes, write_whole
from bittailor.common.records import expect
from bittailor.common.units import spread
from bittailor.core.arith import Floats, Ints, Lookup, Rescale, pack
from bittailor.core.checks import check_constants, check_graph
from bittailor.core.graph import Graph, Node
from bittailor.core.network import Network, check_indices
from bittailor.core.ops import Bound, Constants, Packed
from bittailor.core.ops.linear import quantise_bias
from bittailor.core.plan import Plan
from bittailor.core.program_form import ProgramForm, dismantled, restored
from bittailor.core.qformat import QFormat
from bittailor.errors import DataError, RangeError

PROGRAM_KIND, PROGRAM_VERSION = "program", 1

Rounding = Callable[[str, QFormat], Ints]
"""(weight site, its format) -> its integers."""

KEPT_OPERATORS = 8192
"""Bound operators that a binder remembers, the latest used: the memory of a long search stays flat."""


@dataclass(frozen=True, eq=False)
class Stored:
    """One array of constants as the device stores it.

    item    weights, offsets, multipliers, tables, or starts (of states)
    owner   the operator's output site, the state
    values  the integers
    bits    the width they are packed at
    """

    item: str
    owner: str
    values: Ints
    bits: int

    @property
    def nbytes(self) -> int:
        """Bytes of `data`, without packing."""
        return (self.values.size * self.bits + 7) // 8

    @property
    def data(self) -> NDArray[np.uint8]:
        """The packed bytes."""
        return pack(self.values, self.bits)


@dataclass(frozen=True, eq=False)
class Program:
    """An integer network.

    graph      the operators and their order
    formats    format of every activation site (also tied ones); scales serve only to quantise the input and
               to read the output
    constants  per operator (its output site): the integers it needs
    """

    graph: Graph
    formats: Mapping[str, QFormat]
    constants: Mapping[str, Constants]

    def _items(self) -> dict[str, int]:
        """Bytes of constants by what they are: weights, offsets, multipliers, tables, starts."""
        found: dict[str, int] = {}
        for part in self.stored():
            found[part.item] = found.get(part.item, 0) + part.nbytes
        return found

    def _words(self) -> tuple[str, str]:
        """From how many features to how many, and the widths of weights and of activations."""
        sites = self.graph.sites
        ends = " -> ".join(str(sites[name].features) for name in (self.graph.inputs[0], self.graph.outputs[0]))
        weights = spread(part.bits for part in self.stored() if part.item == "weights")
        return (f"{ends} features", f"weights {weights} bits, "
                                    f"activations {spread(fmt.bits for fmt in self.formats.values())} bits")

    def __repr__(self) -> str:
        return f"Program({', '.join(self._words())}, {sum(self._items().values()):,} bytes of constants)"

    def _repr_html_(self) -> str:
        items, (ends, widths) = self._items(), self._words()
        rows = [[name, f"{count:,}"] for name, count in [*items.items(), ("in all", sum(items.values()))]]
        return html.table(f"integer program: {ends}, {len(self.constants)} operators, {widths}",
                          ["constants", "bytes"], rows)

    @property
    def input_format(self) -> QFormat:
        """Format of the input."""
        return self.formats[self.graph.inputs[0]]

    @property
    def output_format(self) -> QFormat:
        """Format of the output."""
        return self.formats[self.graph.outputs[0]]

    @property
    def input_range(self) -> tuple[int, int]:
        """The smallest and the largest integer that may enter: those of the format, or of an index."""
        site = self.graph.sites[self.graph.inputs[0]]
        if site.role == "index" and site.proven is not None:
            return 0, int(site.proven[1])
        return self.input_format.qmin, self.input_format.qmax

    @cached_property
    def starts(self) -> Mapping[str, Ints]:
        """State -> its integers before the first step, int64 [features]; those at their zero-points are left out."""
        found = {name: self.formats[name].quantise(real) for name, real in self.graph.starts.items()}
        return {name: q for name, q in found.items() if (q != self.formats[name].zero_point).any()}

    @property
    def parts(self) -> dict[str, slice]:
        """Where there are several outputs: name -> its columns of the output. Empty otherwise."""
        return self.graph.parts

    def quantise_input(self, x: ArrayLike) -> Ints:
        """Real input [..., features] -> integers of the same shape, the one place where a caller's floats enter.
        DataError for NaN or another number of features."""
        values = real_numbers(x, "the input")
        site = self.graph.sites[self.graph.inputs[0]]
        features = site.features
        if site.role == "index":
            values = check_indices(values, site)
        if values.ndim == 0 or values.shape[-1] != features:
            raise DataError(f"the program takes {features} features per step; got shape {values.shape}")
        if np.isnan(values).any():
            raise DataError("the input holds NaN; clean the data first")
        return self.input_format.quantise(values)

    def read_output(self, q: ArrayLike) -> Floats:
        """Output integers [..., outputs] -> real values of the same shape."""
        return self.output_format.dequantise(q)

    def wide(self) -> tuple[str, ...]:
        """The operators that need 64-bit sums."""
        return tuple(
            name for name, constants in self.constants.items()
            if any(isinstance(part, Rescale) and part.wide for part in constants.parts().values())
        )

    def stored(self) -> Iterator[Stored]:
        """Every array that goes into flash, packed as it is stored there (docs/arithmetic.md, section 5)."""
        for owner, constants in self.constants.items():
            for role, part in constants.parts().items():
                if isinstance(part, Packed):
                    yield Stored("weights" if role == "W" else role, owner, part.values, part.bits)
                elif isinstance(part, Lookup):
                    yield Stored("tables", owner, part.entries, part.entry_bits)
                elif isinstance(part, Rescale):
                    for m in part.multipliers:
                        if m.size > 1:
                            yield Stored("multipliers", owner, m, 32)
        for state, values in self.starts.items():
            yield Stored("starts", state, values, 8 if self.formats[state].bits <= 8 else 16)

    def save(self, path: Path | str) -> None:
        """Write to a safetensors file (docs/program.md): the stored arrays, and the scalars as JSON."""
        write_whole(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """The content of the file that `save` writes; equal programs give equal bytes."""
        tensors: dict[str, NDArray[Any]] = {}
        scalars: dict[str, dict[str, Any]] = {}
        for owner, constants in self.constants.items():
            scalars[owner] = {}
            for role, part in constants.parts().items():
                scalars[owner][role], arrays = dismantled(part)
                tensors |= {f"{owner}/{role}/{name}": array for name, array in arrays.items()}
        body = {
            "graph": self.graph.to_json(),
            "formats": {name: fmt.to_json() for name, fmt in self.formats.items()},
            "constants": scalars,
        }
        return tensors_to_bytes(PROGRAM_KIND, PROGRAM_VERSION, body, tensors)

    @classmethod
    def load(cls, path: Path | str) -> Program:
        """Read what `save` wrote; FileError if it is something else, damaged or of another version."""
        return cls.from_bytes(read_bytes(path), path)

    @classmethod
    def from_bytes(cls, data: bytes, path: Path | str = "the program") -> Program:
        """The inverse of `to_bytes`; FileError as from `load`, where `path` is what it is called."""
        body, tensors = tensors_from_bytes(data, path, PROGRAM_KIND, PROGRAM_VERSION)
        form = formed(path, ProgramForm, body)
        with reading(path):
            graph = Graph.from_json(form.graph)
            check_graph(graph)
            constants = restored(graph, form, tensors)
            check_constants(graph, form.formats, constants)
        return cls(graph, form.formats, constants)


class Binder:
    """Binds plans to one network, remembering every operator it has bound before."""

    def __init__(self, network: Network, rounding: Rounding | None = None) -> None:
        """`rounding` gives the integers of a weight in a format; to nearest if not given."""
        self.network = network
        self._rounding = rounding or (lambda site, fmt: fmt.quantise(network.parameters[site]))
        self._weights: dict[tuple[str, QFormat], Ints] = {}
        self._constants: OrderedDict[tuple[Any, ...], Constants] = OrderedDict()
        self._roots = {name: network.graph.root(name).name for name in network.graph.sites}
        self._nodes = list(network.graph.nodes())
        self._activations = [s.name for s in network.graph.sites.values() if s.kind == "activation"]

    def weights(self, site: str, fmt: QFormat) -> Ints:
        """The integers of a weight `site` in the format `fmt`, int64 [rows, columns]."""
        key = (site, fmt)
        if key not in self._weights:
            q = self._rounding(site, fmt)
            if np.abs(q).max(initial=0) > fmt.qmax or (fmt.bits == 1 and not q.all()):
                raise RangeError(f"{site}: integers {q.min()}..{q.max()} do not fit {fmt.bits}-bit weights")
            self._weights[key] = q
        return self._weights[key]

    def bind(self, plan: Plan) -> Program:
        """The program of a plan; FormatError if the plan does not fit the network."""
        plan.check(self.network.graph)
        formats = {name: plan.formats[self._roots[name]] for name in self._activations}
        constants = {node.output: self._bind_node(node, plan, formats) for node in self._nodes}
        return Program(self.network.graph, formats, constants)

    def _bind_node(self, node: Node, plan: Plan, formats: Mapping[str, QFormat]) -> Constants:
        inputs = tuple(formats[name] for name in node.inputs)
        params = tuple(plan.formats[name] for name in node.params)
        key = (node.output, inputs, params, formats[node.output])
        constants = self._constants.get(key)
        if constants is None:
            constants = self._constants[key] = bind_operator(
                node, inputs, formats[node.output], params, self.weights, self.network.parameters)
            if len(self._constants) > KEPT_OPERATORS:
                self._constants.popitem(last=False)
        else:
            self._constants.move_to_end(key)
        return constants


def bind_operator(
    node: Node, inputs: tuple[QFormat, ...], output: QFormat, params: tuple[QFormat, ...], weights: Rounding,
    biases: Mapping[str, Floats],
) -> Constants:
    """The integers of one operator, of a program as of a step of training.

    inputs, output, params  formats of the sites it touches
    biases                  bias site -> real values
    Raises RangeError, which names the operator, where scales cannot be bound.
    """
    op = node.operator
    integers: dict[str, tuple[Ints, QFormat]] = {}
    try:
        for role, name, fmt in zip(op.roles, node.params, params, strict=False):
            values = (weights(name, fmt) if fmt.kind == "weight"
                      else quantise_bias(biases[name], fmt.bits, params[0], inputs[0]))
            integers[role] = values, fmt
        constants: Constants = op.bind(Bound(inputs, output, integers))
    except RangeError as error:
        raise RangeError(f"{node.output}: {error}") from None
    return constants


def bind(network: Network, plan: Plan, rounding: Rounding | None = None) -> Program:
    """Bind a plan to a network's weights: the integers that are run, stored and shipped.

    network   float weights
    plan      a format for every free site of its graph
    rounding  (weight site, format) -> integers of the site's shape; each weight to nearest if not given. For the
              fitted ones of a search: `calibration.binder().bind(plan)`
    Returns   a Program, in which nothing is a float but the formats of input and output
    Raises    FormatError where plan and network do not fit, RangeError where scales cannot be bound.
    """
    expect(network, Network, "network", "from_torch(module, features) makes one")
    expect(plan, Plan, "plan", "calibration.plan(widths) makes one")
    return Binder(network, rounding).bind(plan)
