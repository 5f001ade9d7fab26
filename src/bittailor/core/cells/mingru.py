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
from bittailor.core.cells.base import Cell, gates
from bittailor.core.graph import Builder


class MinGRU(Cell):
    """The state is a mean of past candidates, which have no bound: it is calibrated."""

    name = "mingru"
    title = "minGRU: gate and candidate see the input only (Feng et al.; bittailor.nn.MinGRU)"

    def step(self, b: Builder, p: str, x: str, hidden: int, bias: bool, **options: Any) -> str:
        h = b.state(f"{p}.h", hidden)
        z = b.op("sigmoid", f"{p}.z.post", b.linear(f"{p}.z.pre", x, f"{p}.W_z", hidden, f"{p}.b_z" if bias else None))
        n = b.linear(f"{p}.n", x, f"{p}.W_n", hidden, f"{p}.b_n" if bias else None)
        new = b.op("mul", f"{p}.h.new", z, n)
        kept = b.op("mul", f"{p}.h.kept", b.op("one_minus", f"{p}.z.not", z), h)
        return b.op("add", f"{p}.h", new, kept)

    def parameters(self, p: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        named = dict(zip(("W_z", "W_n"), gates(arrays["weight_ih"], 2), strict=True))
        if "bias_ih" in arrays:
            named |= zip(("b_z", "b_n"), gates(arrays["bias_ih"], 2), strict=True)
        return {f"{p}.{name}": values for name, values in named.items()}
