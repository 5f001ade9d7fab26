"""The simple recurrent network of Elman, `torch.nn.RNN`.

    h' = tanh(W_in x + W_hn h + b_n)

or with relu in place of tanh. PyTorch's two biases only ever occur as a sum, so one bias holds it.

Source: Elman, Finding Structure in Time, Cognitive Science 14 (1990).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittailor.core.arith import Floats
from bittailor.core.cells.base import Cell, CellBuilder


class RNNCell(Cell):
    """The state of a tanh is bounded; that of a relu is not, so it is calibrated.

    activation  "tanh" or "relu", or the name of another function in `OPS`
    """

    name = "rnn"
    title = "simple recurrent network, tanh or ReLU (Elman; torch.nn.RNN)"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"relu": {"activation": "relu"}}

    def step(self, b: CellBuilder, x: str, *, activation: str = "tanh", **options: Any) -> str:
        h = b.state("h", proven=(-1.0, 1.0) if activation == "tanh" else None)
        return b.op(activation, "h", b.add("n.pre", b.linear("n.x", x, "W_in", "b_n"), b.linear("n.h", h, "W_hn")))

    def unstack(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        matrices = ("W_in", "weight_ih"), ("W_hn", "weight_hh")
        named = {name: np.asarray(arrays[kind], np.float64) for name, kind in matrices}
        if "bias_ih" in arrays:
            named["b_n"] = np.asarray(arrays["bias_ih"], np.float64) + np.asarray(arrays["bias_hh"], np.float64)
        return named
