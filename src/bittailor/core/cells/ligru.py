"""Light GRU: no reset gate, a candidate that is not squashed.

    z  = sigmoid(W_iz x + W_hz h + b_z)
    n  = relu(W_in x + W_hn h + b_n)
    h' = (1 - z) * n + z * h

Source: Ravanelli, Brakel, Omologo, Bengio, arXiv 1803.10225. Its batch normalisation of W_iz x and W_in x is an affine
map once training is over, so reading folds it into those matrices and the biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from bittailor.core.arith import Floats
from bittailor.core.cells.base import Cell, CellBuilder, split_gates


class LiGRUCell(Cell):
    """The state is a mean of values of a relu: not negative, without an upper bound, so it is calibrated."""

    name = "ligru"
    title = "Light GRU: no reset gate, ReLU candidate (Ravanelli et al.; bittailor.nn.LiGRU)"

    def step(self, b: CellBuilder, x: str, **options: Any) -> str:
        h = b.state("h")
        z = b.gate("z", x, h)
        n = b.gate("n", x, h, "relu")
        return b.add("h", b.mul("h.new", b.one_minus("z.not", z), n), b.mul("h.kept", z, h))

    def unstack(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        named = dict(zip(("W_iz", "W_in"), split_gates(arrays["weight_ih"], 2), strict=True))
        named |= zip(("W_hz", "W_hn"), split_gates(arrays["weight_hh"], 2), strict=True)
        if "bias_ih" in arrays:
            named |= zip(("b_z", "b_n"), split_gates(arrays["bias_ih"], 2), strict=True)
        return named
