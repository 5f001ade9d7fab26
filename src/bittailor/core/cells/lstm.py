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
from bittailor.core.cells.base import Cell, CellBuilder, split_gates

GATES = {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"}
"""In PyTorch's order."""


class LSTMCell(Cell):
    """The cell state c is a sum without bound, so it is calibrated; h = o * tanh(c) stays in (-1, 1)."""

    name = "lstm"
    title = "LSTM, also with a projected output (torch.nn.LSTM)"
    variants: ClassVar = {"projected": {"project": 3}}

    def step(self, b: CellBuilder, x: str, *, project: int = 0, **options: Any) -> str:
        """`project`: features of the projected output; 0 for none."""
        h = b.state("h", project or b.hidden, proven=None if project else (-1.0, 1.0))
        c = b.state("c")
        i, f, g, o = (b.gate(name, x, h, function) for name, function in GATES.items())
        squashed = b.tanh("c.post", b.add("c", b.mul("c.kept", f, c), b.mul("c.new", i, g)))
        if not project:
            return b.mul("h", o, squashed)
        return b.linear("h", b.mul("h.full", o, squashed), "W_hr", rows=project)

    def unstack(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        named = {f"W_i{gate}": W for gate, W in zip(GATES, split_gates(arrays["weight_ih"], 4), strict=True)}
        named |= {f"W_h{gate}": W for gate, W in zip(GATES, split_gates(arrays["weight_hh"], 4), strict=True)}
        if "bias_ih" in arrays:
            pairs = zip(GATES, split_gates(arrays["bias_ih"], 4), split_gates(arrays["bias_hh"], 4), strict=True)
            named |= {f"b_{gate}": input_ + hidden for gate, input_, hidden in pairs}
        if "weight_hr" in arrays:
            named["W_hr"] = np.asarray(arrays["weight_hr"], np.float64)
        return named
