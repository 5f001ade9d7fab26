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
from bittailor.core.cells.base import Cell, gates
from bittailor.core.graph import Builder


class LiGRU(Cell):
    """The state is a mean of values of a relu: not negative, without an upper bound, so it is calibrated."""

    name = "ligru"
    title = "Light GRU: no reset gate, ReLU candidate (Ravanelli et al.; bittailor.nn.LiGRU)"

    def step(self, b: Builder, p: str, x: str, hidden: int, bias: bool, **options: Any) -> str:
        def b_(name: str) -> str | None:
            return f"{p}.{name}" if bias else None

        h = b.state(f"{p}.h", hidden)

        z_x = b.linear(f"{p}.z.x", x, f"{p}.W_iz", hidden, b_("b_z"))
        z_h = b.linear(f"{p}.z.h", h, f"{p}.W_hz", hidden)
        z = b.op("sigmoid", f"{p}.z.post", b.op("add", f"{p}.z.pre", z_x, z_h))

        n_x = b.linear(f"{p}.n.x", x, f"{p}.W_in", hidden, b_("b_n"))
        n_h = b.linear(f"{p}.n.h", h, f"{p}.W_hn", hidden)
        n = b.op("relu", f"{p}.n.post", b.op("add", f"{p}.n.pre", n_x, n_h))

        new = b.op("mul", f"{p}.h.new", b.op("one_minus", f"{p}.z.not", z), n)
        kept = b.op("mul", f"{p}.h.kept", z, h)
        return b.op("add", f"{p}.h", new, kept)

    def parameters(self, p: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        named = dict(zip(("W_iz", "W_in"), gates(arrays["weight_ih"], 2), strict=True))
        named |= zip(("W_hz", "W_hn"), gates(arrays["weight_hh"], 2), strict=True)
        if "bias_ih" in arrays:
            named |= zip(("b_z", "b_n"), gates(arrays["bias_ih"], 2), strict=True)
        return {f"{p}.{name}": values for name, values in named.items()}
