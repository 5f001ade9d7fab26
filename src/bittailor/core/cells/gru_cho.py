"""GRU as first published: the reset gate is applied before the recurrent matrix (ONNX: linear_before_reset = 0).

    r  = sigmoid(W_ir x + W_hr h + b_r)
    z  = sigmoid(W_iz x + W_hz h + b_z)
    n  = tanh(W_in x + W_hn (r * h) + b_n)
    h' = (1 - z) * n + z * h

Source: Cho et al., arXiv 1406.1078, with PyTorch's sense of z. One bias a gate: more only ever occur as a sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from bittailor.core.arith import Floats
from bittailor.core.cells.base import Cell, CellBuilder, split_gates


class GRUChoCell(Cell):
    """The matrix of the candidate waits for the reset state, which is a site of its own."""

    name = "gru_cho"
    title = "GRU, reset gate before the recurrent matrix (Cho et al.; bittailor.nn.GRUCho)"

    def step(self, b: CellBuilder, x: str, **options: Any) -> str:
        h = b.state("h", proven=(-1.0, 1.0))  # a convex combination of values in (-1, 1) cannot leave that range
        r = b.gate("r", x, h)
        z = b.gate("z", x, h)
        n_x = b.linear("n.x", x, "W_in", "b_n")
        n_h = b.linear("n.h", b.mul("h.reset", r, h), "W_hn")
        n = b.tanh("n.post", b.add("n.pre", n_x, n_h))
        return b.add("h", b.mul("h.new", b.one_minus("z.not", z), n), b.mul("h.kept", z, h))

    def unstack(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        named = dict(zip(("W_ir", "W_iz", "W_in"), split_gates(arrays["weight_ih"], 3), strict=True))
        named |= zip(("W_hr", "W_hz", "W_hn"), split_gates(arrays["weight_hh"], 3), strict=True)
        if "bias_ih" in arrays:
            named |= zip(("b_r", "b_z", "b_n"), split_gates(arrays["bias_ih"], 3), strict=True)
        return named
