"""What a cell is: the graph of one time step, written as equations, and where its parameters come from."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittailor.core.arith import Floats
from bittailor.core.builder import Builder
from bittailor.errors import UnsupportedNetwork


class CellBuilder:
    """What a cell's equations are written with: one operator a call, named below the layer's path.

    path    the layer's path, e.g. "gru0": output "r.pre" is the site "gru0.r.pre", weight "W_ir" the site "gru0.W_ir"
    hidden  size of the state, and the rows of a matrix where nothing else is said
    bias    whether the layer has biases; where it has none, those named are left out
    starts  state -> its real values before the first step; 0.0 where not given

    Every call gives the name of its output site, in full; inputs are such names.
    """

    def __init__(
        self, builder: Builder, path: str, hidden: int, bias: bool, starts: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        self.path, self.hidden, self.bias, self.starts = path, hidden, bias, starts or {}
        self._builder = builder

    def state(self, name: str, features: int | None = None, proven: tuple[float, float] | None = None) -> str:
        """A state of `hidden` or `features` values; gives its previous value. The step must write `name` itself.

        proven  a range that it cannot leave, whatever the data
        """
        return self._builder.state(self._name(name), features or self.hidden, proven, self.starts.get(name, ()))

    def linear(self, output: str, x: str, weight: str, bias: str | None = None, rows: int | None = None) -> str:
        """weight x + bias, a matrix of `hidden` or `rows` rows."""
        return self._builder.linear(self._name(output), x, self._name(weight), rows or self.hidden, self._bias(bias))

    def diagonal(self, output: str, x: str, weight: str, bias: str | None = None) -> str:
        """weight * x + bias, feature by feature."""
        return self._builder.diagonal(self._name(output), x, self._name(weight), self._bias(bias))

    def gate(self, name: str, x: str, h: str, function: str = "sigmoid") -> str:
        """function(W_i<name> x + W_h<name> h + b_<name>); its sites are <name>.x, <name>.h, <name>.pre, <name>.post."""
        g_x = self.linear(f"{name}.x", x, f"W_i{name}", f"b_{name}")
        g_h = self.linear(f"{name}.h", h, f"W_h{name}")
        return self.op(function, f"{name}.post", self.add(f"{name}.pre", g_x, g_h))

    def add(self, output: str, a: str, b: str) -> str:
        """a + b."""
        return self.op("add", output, a, b)

    def mul(self, output: str, a: str, b: str) -> str:
        """a * b, feature by feature."""
        return self.op("mul", output, a, b)

    def one_minus(self, output: str, x: str) -> str:
        """1 - x."""
        return self.op("one_minus", output, x)

    def sigmoid(self, output: str, x: str) -> str:
        """1 / (1 + exp(-x))."""
        return self.op("sigmoid", output, x)

    def tanh(self, output: str, x: str) -> str:
        """tanh(x)."""
        return self.op("tanh", output, x)

    def op(self, op: str, output: str, *inputs: str, **options: Any) -> str:
        """Any operator of `OPS` without parameters."""
        return self._builder.op(op, self._name(output), *inputs, **options)

    def features(self, site: str) -> int:
        """The number of features of a site."""
        return self._builder.features(site)

    def _name(self, name: str) -> str:
        return f"{self.path}.{name}"

    def _bias(self, name: str | None) -> str | None:
        return self._name(name) if name is not None and self.bias else None


class Cell(ABC):
    """A recurrent cell. Stateless; one instance stands in `CELLS`.

    name      as in `CELLS` and in the graph's recurrences
    title     one line for people
    variants  name -> options of `step` that make another graph than the default; tests run every one
    """

    name: str
    title: str
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @abstractmethod
    def step(self, b: CellBuilder, x: str, **options: Any) -> str:
        """Write one step's equations.

        x        the site of the input at this step
        options  what the cell's own page lists; each has a default
        Returns the site whose sequence is the layer's output.
        """

    @abstractmethod
    def unstack(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        """Parameter -> float64 values, named as in `step`, from one layer and direction as the torch module holds them.

        arrays  weight_ih, weight_hh, bias_ih, bias_hh, … as far as the module has them (gates stacked along the first
                axis); the module is the one that `bittailor.nn.MODULES` lists for the cell
        """

    def parameters(self, path: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        """Site -> float64 values of the layer at `path`; `arrays` as `unstack` takes them."""
        return {f"{path}.{name}": values for name, values in self.unstack(arrays).items()}


def add_layer(
    b: Builder, cell: Cell, path: str, x: str, hidden: int, bias: bool = True, reverse: bool = False, *,
    states: bool = False, starts: Mapping[str, Sequence[float]] | None = None, **options: Any,
) -> str:
    """One recurrent layer in one direction; returns its output sequence.

    states   make the sequences of all states visible outside, not only the output's
    starts   state as the cell's equations call it -> its real values before the first step; 0.0 where not given
    options  of the cell's `step`
    Raises UnsupportedNetwork for an option or a state that the cell does not have.
    """
    known = [name for name, o in inspect.signature(cell.step).parameters.items() if o.kind is o.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise UnsupportedNetwork(f"cell '{cell.name}' has no option '{name}'; it has: {', '.join(known) or 'none'}")
    b.begin()
    out = cell.step(CellBuilder(b, path, hidden, bias, starts), x, **options)
    known = [name.removeprefix(f"{path}.") for name in b.open_states()]
    for name in starts or ():
        if name not in known:
            raise UnsupportedNetwork(f"cell '{cell.name}' has no state '{name}'; it has: {', '.join(known)}")
    seen = (out, *b.open_states()) if states else (out,)
    b.end(path, cell.name, tuple(dict.fromkeys(seen)), reverse)
    return out


def split_gates(array: NDArray[Any], count: int) -> list[Floats]:
    """Split parameters that PyTorch stacks gate by gate."""
    return [np.asarray(part, np.float64) for part in np.split(np.asarray(array), count)]
