"""SRU, the simple recurrent unit: matrices see the input only; the state passes through vectors, feature by feature.

    f  = sigmoid(W_f x + v_f * c + b_f)
    r  = sigmoid(W_r x + v_r * c + b_r)
    c' = f * c + (1 - f) * (W_x x)
    h  = r * g(c') + (1 - r) * s

g is the identity or tanh. s, the skip term, is the layer's input where it has as many features as the state, W_s x
where it has not, or is left out (h = r * g(c')). Where the input is scaled by a constant, s = v_s * input.

Source: Lei, Zhang, Wang, Dai, Artzi, arXiv 1709.02755. Its implementations keep the recurrence in float; here the
vectors v are weights, and the state, its products and the gates are sites with widths, like everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittailor.core.arith import Floats
from bittailor.core.cells.base import Cell, gates
from bittailor.core.graph import Builder
from bittailor.errors import UnsupportedNetwork


class SRU(Cell):
    """c is a mean of past candidates, which have no bound: it is calibrated, and so is h."""

    name = "sru"
    title = "SRU: element-wise recurrence, skip term (Lei et al.; bittailor.nn.SRU)"
    variants: ClassVar = {
        "tanh": {"activation": "tanh"},
        "no skip": {"skip": None},
        "scaled skip": {"scaled": True},
        "skip matrix": {"skip": "matrix"},
    }

    def step(
        self, b: Builder, p: str, x: str, hidden: int, bias: bool, *, skip: str | None = "auto", source: str = "",
        scaled: bool = False, activation: str | None = None, **options: Any,
    ) -> str:
        """One step.

        skip        "input": the skip term is `source`; "matrix": W_s x; None: there is none; "auto": the input where
                    the features agree, otherwise the matrix
        source      the site of the skip term where that is not x: with a projection or two directions x is not what
                    the layer is given
        scaled      the skip term is multiplied by v_s where it is the input (a matrix can hold the factor)
        activation  g: None for the identity, or the name of a function in `OPS`
        """
        def b_(name: str) -> str | None:
            return f"{p}.{name}" if bias else None

        c = b.state(f"{p}.c", hidden)
        candidate = b.linear(f"{p}.x", x, f"{p}.W_x", hidden)

        def gate(name: str) -> str:
            g_x = b.linear(f"{p}.{name}.x", x, f"{p}.W_{name}", hidden, b_(f"b_{name}"))
            g_c = b.diagonal(f"{p}.{name}.c", c, f"{p}.v_{name}")
            return b.op("sigmoid", f"{p}.{name}.post", b.op("add", f"{p}.{name}.pre", g_x, g_c))

        f, r = gate("f"), gate("r")
        new = b.op("mul", f"{p}.c.new", b.op("one_minus", f"{p}.f.not", f), candidate)
        state = b.op("add", f"{p}.c", b.op("mul", f"{p}.c.kept", f, c), new)
        if activation is not None:
            state = b.op(activation, f"{p}.c.post", state)
        source = source or x
        if skip == "auto":
            skip = "input" if b.features(source) == hidden else "matrix"
        if skip is None:
            return b.op("mul", f"{p}.h", r, state)
        if skip == "matrix":
            source = b.linear(f"{p}.s", x, f"{p}.W_s", hidden)
        elif b.features(source) != hidden:
            raise UnsupportedNetwork(f"the skip term of '{p}' has {b.features(source)} features and its state "
                                     f"{hidden}; they must agree, or the skip term needs a matrix")
        elif scaled:
            source = b.diagonal(f"{p}.s", source, f"{p}.v_s")
        shown = b.op("mul", f"{p}.h.shown", r, state)
        skipped = b.op("mul", f"{p}.h.skip", b.op("one_minus", f"{p}.r.not", r), source)
        return b.op("add", f"{p}.h", shown, skipped)

    def parameters(self, p: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        """`weight_ih` stacks x, f, r and, where there is one, s; `weight_c` the vectors f, r; `scale` is a number, that
        of the skip term (1 where left out), folded into W_s where there is one."""
        hidden = len(arrays["weight_c"]) // 2
        rows = gates(arrays["weight_ih"], len(arrays["weight_ih"]) // hidden)
        named = dict(zip(("W_x", "W_f", "W_r", "W_s"), rows, strict=False))
        named |= {f"v_{gate}": v[:, None] for gate, v in zip("fr", gates(arrays["weight_c"], 2), strict=True)}
        if "bias_ih" in arrays:
            named |= zip(("b_f", "b_r"), gates(arrays["bias_ih"], 2), strict=True)
        scale = float(arrays["scale"]) if "scale" in arrays else 1.0
        if "W_s" in named:
            named["W_s"] = scale * named["W_s"]
        elif scale != 1.0:
            named["v_s"] = np.full((hidden, 1), scale)
        return {f"{p}.{name}": values for name, values in named.items()}
