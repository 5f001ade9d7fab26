"""GRU in the convention of `torch.nn.GRU`: the reset gate is applied after the recurrent matrix.

    r  = sigmoid(W_ir x + W_hr h + b_r)
    z  = sigmoid(W_iz x + W_hz h + b_z)
    n  = tanh(W_in x + b_in + r * (W_hn h + b_hn))
    h' = (1 - z) * n + z * h

Source: Cho et al., arXiv 1406.1078, in the variant of cuDNN and PyTorch. PyTorch keeps two biases per gate;
those of r and z only ever occur as a sum, so one bias holds it (b_r = b_ir + b_hr): the same function, fewer bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from bittailor.core.arith import Floats
from bittailor.core.cells.base import Cell, CellBuilder, split_gates


class GRUCell(Cell):
    """Every arrow of the equations is an operator, every operator's result a site with a width of its own."""

    name = "gru"
    title = "GRU, reset gate after the recurrent matrix (torch.nn.GRU)"

    def step(self, b: CellBuilder, x: str, **options: Any) -> str:
        h = b.state("h", proven=(-1.0, 1.0))  # a convex combination of values in (-1, 1) cannot leave that range
        r = b.gate("r", x, h)
        z = b.gate("z", x, h)
        n_x = b.linear("n.x", x, "W_in", "b_in")
        n_h = b.mul("n.reset", r, b.linear("n.h", h, "W_hn", "b_hn"))
        n = b.tanh("n.post", b.add("n.pre", n_x, n_h))
        return b.add("h", b.mul("h.new", b.one_minus("z.not", z), n), b.mul("h.kept", z, h))

    def unstack(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        named = dict(zip(("W_ir", "W_iz", "W_in"), split_gates(arrays["weight_ih"], 3), strict=True))
        named |= zip(("W_hr", "W_hz", "W_hn"), split_gates(arrays["weight_hh"], 3), strict=True)
        if "bias_ih" in arrays:
            (ir, iz, in_), (hr, hz, hn) = split_gates(arrays["bias_ih"], 3), split_gates(arrays["bias_hh"], 3)
            named |= {"b_r": ir + hr, "b_z": iz + hz, "b_in": in_, "b_hn": hn}
        return named
