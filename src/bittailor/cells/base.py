"""What a cell is: the graph of one time step, written as equations, and where its parameters come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.arith import Floats
from bittailor.graph import Builder


class Cell(ABC):
    """A recurrent cell. Stateless; one instance stands in `CELLS`."""

    name: str
    title: str

    @abstractmethod
    def step(self, b: Builder, p: str, x: str, hidden: int, bias: bool) -> str:
        """Write one step into the builder.

        p       the layer's path, a prefix of every site's name
        x       the site of the input at this step
        hidden  size of the state
        bias    whether the linear operators have biases
        Returns the site whose sequence is the layer's output.
        """

    @abstractmethod
    def parameters(self, p: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        """Site name -> float64 values, from the cell's parameters as PyTorch stores them.

        arrays  weight_ih, weight_hh and, with biases, bias_ih, bias_hh (gates stacked along the first axis)
        """


def add_layer(
    b: Builder, cell: Cell, p: str, x: str, hidden: int, bias: bool = True, reverse: bool = False
) -> str:
    """One recurrent layer in one direction; returns its output sequence."""
    b.begin()
    out = cell.step(b, p, x, hidden, bias)
    b.end(p, cell.name, (out,), reverse)
    return out


def gates(array: NDArray[Any], count: int) -> list[Floats]:
    """Split parameters that PyTorch stacks gate by gate."""
    return [np.asarray(part, np.float64) for part in np.split(np.asarray(array), count)]
