"""minGRU: gate and candidate see the input only, so no matrix waits for the state.

    z  = sigmoid(W_z x + b_z)
    n  = W_n x + b_n
    h' = (1 - z) * h + z * n

Source: Feng, Tung, Ahmed, Bengio, Hajimirsadeghi, "Were RNNs All We Needed?", arXiv 2410.01201, in its plain form (the
logarithmic form, with a positive candidate, exists for training in parallel).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from bittailor.core.arith import Floats
from bittailor.core.cells.base import Cell, CellBuilder, split_gates


class MinGRUCell(Cell):
    """The state is a mean of past candidates, which have no bound: it is calibrated."""

    name = "mingru"
    title = "minGRU: gate and candidate see the input only (Feng et al.; bittailor.nn.MinGRU)"

    def step(self, b: CellBuilder, x: str, **options: Any) -> str:
        h = b.state("h")
        z = b.sigmoid("z.post", b.linear("z.pre", x, "W_z", "b_z"))
        n = b.linear("n", x, "W_n", "b_n")
        return b.add("h", b.mul("h.new", z, n), b.mul("h.kept", b.one_minus("z.not", z), h))

    def unstack(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        named = dict(zip(("W_z", "W_n"), split_gates(arrays["weight_ih"], 2), strict=True))
        if "bias_ih" in arrays:
            named |= zip(("b_z", "b_n"), split_gates(arrays["bias_ih"], 2), strict=True)
        return named
