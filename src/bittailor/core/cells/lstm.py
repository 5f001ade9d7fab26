"""LSTM in the convention of `torch.nn.LSTM`, with or without a projection of the output.

    i  = sigmoid(W_ii x + W_hi h + b_i)
    f  = sigmoid(W_if x + W_hf h + b_f)
    g  = tanh(W_ig x + W_hg h + b_g)
    o  = sigmoid(W_io x + W_ho h + b_o)
    c' = f * c + i * g
    h' = o * tanh(c'),  with a projection W_hr (o * tanh(c'))

Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; the projection is Sak et al., arXiv
1402.1128. PyTorch's two biases per gate only ever occur as a sum, so one holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittailor.core.arith import Floats
from bittailor.core.cells.base import Cell, gates
from bittailor.core.graph import Builder

GATES = {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"}
"""In PyTorch's order."""


class LSTM(Cell):
    """The cell state c is a sum without bound, so it is calibrated; h = o * tanh(c) stays in (-1, 1)."""

    name = "lstm"
    title = "LSTM, also with a projected output (torch.nn.LSTM)"
    variants: ClassVar = {"projected": {"project": 3}}

    def step(self, b: Builder, p: str, x: str, hidden: int, bias: bool, *, project: int = 0, **options: Any) -> str:
        """`project`: features of the projected output; 0 for none."""
        h = b.state(f"{p}.h", project or hidden, proven=None if project else (-1.0, 1.0))
        c = b.state(f"{p}.c", hidden)

        def gate(name: str) -> str:
            g_x = b.linear(f"{p}.{name}.x", x, f"{p}.W_i{name}", hidden, f"{p}.b_{name}" if bias else None)
            g_h = b.linear(f"{p}.{name}.h", h, f"{p}.W_h{name}", hidden)
            return b.op(GATES[name], f"{p}.{name}.post", b.op("add", f"{p}.{name}.pre", g_x, g_h))

        i, f, g, o = (gate(name) for name in GATES)
        new = b.op("add", f"{p}.c", b.op("mul", f"{p}.c.kept", f, c), b.op("mul", f"{p}.c.new", i, g))
        squashed = b.op("tanh", f"{p}.c.post", new)
        if not project:
            return b.op("mul", f"{p}.h", o, squashed)
        return b.linear(f"{p}.h", b.op("mul", f"{p}.h.full", o, squashed), f"{p}.W_hr", project)

    def parameters(self, p: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        named = {f"W_i{gate}": W for gate, W in zip(GATES, gates(arrays["weight_ih"], 4), strict=True)}
        named |= {f"W_h{gate}": W for gate, W in zip(GATES, gates(arrays["weight_hh"], 4), strict=True)}
        if "bias_ih" in arrays:
            pairs = zip(GATES, gates(arrays["bias_ih"], 4), gates(arrays["bias_hh"], 4), strict=True)
            named |= {f"b_{gate}": input_ + hidden for gate, input_, hidden in pairs}
        if "weight_hr" in arrays:
            named["W_hr"] = np.asarray(arrays["weight_hr"], np.float64)
        return {f"{p}.{name}": values for name, values in named.items()}
