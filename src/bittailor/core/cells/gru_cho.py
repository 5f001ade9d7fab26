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
from bittailor.core.cells.base import Cell, gates
from bittailor.core.graph import Builder


class GRUCho(Cell):
    """The matrix of the candidate waits for the reset state, which is a site of its own."""

    name = "gru_cho"
    title = "GRU, reset gate before the recurrent matrix (Cho et al.; bittailor.nn.GRUCho)"

    def step(self, b: Builder, p: str, x: str, hidden: int, bias: bool, **options: Any) -> str:
        def b_(name: str) -> str | None:
            return f"{p}.{name}" if bias else None

        # a convex combination of values in (-1, 1)
        h = b.state(f"{p}.h", hidden, proven=(-1.0, 1.0))

        r_x = b.linear(f"{p}.r.x", x, f"{p}.W_ir", hidden, b_("b_r"))
        r_h = b.linear(f"{p}.r.h", h, f"{p}.W_hr", hidden)
        r = b.op("sigmoid", f"{p}.r.post", b.op("add", f"{p}.r.pre", r_x, r_h))

        z_x = b.linear(f"{p}.z.x", x, f"{p}.W_iz", hidden, b_("b_z"))
        z_h = b.linear(f"{p}.z.h", h, f"{p}.W_hz", hidden)
        z = b.op("sigmoid", f"{p}.z.post", b.op("add", f"{p}.z.pre", z_x, z_h))

        n_x = b.linear(f"{p}.n.x", x, f"{p}.W_in", hidden, b_("b_n"))
        n_h = b.linear(f"{p}.n.h", b.op("mul", f"{p}.h.reset", r, h), f"{p}.W_hn", hidden)
        n = b.op("tanh", f"{p}.n.post", b.op("add", f"{p}.n.pre", n_x, n_h))

        new = b.op("mul", f"{p}.h.new", b.op("one_minus", f"{p}.z.not", z), n)
        kept = b.op("mul", f"{p}.h.kept", z, h)
        return b.op("add", f"{p}.h", new, kept)

    def parameters(self, p: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        named = dict(zip(("W_ir", "W_iz", "W_in"), gates(arrays["weight_ih"], 3), strict=True))
        named |= zip(("W_hr", "W_hz", "W_hn"), gates(arrays["weight_hh"], 3), strict=True)
        if "bias_ih" in arrays:
            named |= zip(("b_r", "b_z", "b_n"), gates(arrays["bias_ih"], 3), strict=True)
        return {f"{p}.{name}": values for name, values in named.items()}
