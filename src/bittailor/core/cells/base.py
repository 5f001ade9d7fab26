"""What a cell is: the graph of one time step, written as equations, and where its parameters come from."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittailor.core.arith import Floats
from bittailor.core.graph import Builder
from bittailor.errors import UnsupportedNetwork


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
    def step(self, b: Builder, p: str, x: str, hidden: int, bias: bool, **options: Any) -> str:
        """Write one step into the builder.

        p        the layer's path, a prefix of every site's name
        x        the site of the input at this step
        hidden   size of the state
        bias     whether the linear operators have biases
        options  what the cell's own page lists; each has a default
        Returns the site whose sequence is the layer's output.
        """

    @abstractmethod
    def parameters(self, p: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        """Site name -> float64 values, from the parameters of one layer and direction as the torch module holds them.

        arrays  weight_ih, weight_hh, bias_ih, bias_hh, … as far as the module has them (gates stacked along the first
                axis); the module is the one that `bittailor.nn.MODULES` lists for the cell
        """


def add_layer(
    b: Builder, cell: Cell, p: str, x: str, hidden: int, bias: bool = True, reverse: bool = False, *,
    states: bool = False, **options: Any,
) -> str:
    """One recurrent layer in one direction; returns its output sequence.

    states   make the sequences of all states visible outside, not only the output's
    options  of the cell's `step`
    Raises UnsupportedNetwork for an option that the cell does not have.
    """
    known = [name for name, o in inspect.signature(cell.step).parameters.items() if o.kind is o.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise UnsupportedNetwork(f"cell '{cell.name}' has no option '{name}'; it has: {', '.join(known) or 'none'}")
    b.begin()
    out = cell.step(b, p, x, hidden, bias, **options)
    seen = (out, *b.open_states()) if states else (out,)
    b.end(p, cell.name, tuple(dict.fromkeys(seen)), reverse)
    return out


def gates(array: NDArray[Any], count: int) -> list[Floats]:
    """Split parameters that PyTorch stacks gate by gate."""
    return [np.asarray(part, np.float64) for part in np.split(np.asarray(array), count)]
