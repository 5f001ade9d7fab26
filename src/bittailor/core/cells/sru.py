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
from bittailor.core.cells.base import Cell, CellBuilder, split_gates
from bittailor.errors import UnsupportedNetwork


class SRUCell(Cell):
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
        self, b: CellBuilder, x: str, *, skip: str | None = "auto", source: str = "", scaled: bool = False,
        activation: str | None = None, **options: Any,
    ) -> str:
        """One step.

        skip        "input": the skip term is `source`; "matrix": W_s x; None: there is none; "auto": the input where
                    the features agree, otherwise the matrix
        source      the site of the skip term where that is not x: with a projection or two directions x is not what
                    the layer is given
        scaled      the skip term is multiplied by v_s where it is the input (a matrix can hold the factor)
        activation  g: None for the identity, or the name of a function in `OPS`
        """
        c = b.state("c")
        candidate = b.linear("x", x, "W_x")

        def gate(name: str) -> str:
            g_x = b.linear(f"{name}.x", x, f"W_{name}", f"b_{name}")
            return b.sigmoid(f"{name}.post", b.add(f"{name}.pre", g_x, b.diagonal(f"{name}.c", c, f"v_{name}")))

        f, r = gate("f"), gate("r")
        new = b.mul("c.new", b.one_minus("f.not", f), candidate)
        state = b.add("c", b.mul("c.kept", f, c), new)
        if activation is not None:
            state = b.op(activation, "c.post", state)
        source = source or x
        if skip == "auto":
            skip = "input" if b.features(source) == b.hidden else "matrix"
        if skip is None:
            return b.mul("h", r, state)
        if skip == "matrix":
            source = b.linear("s", x, "W_s")
        elif b.features(source) != b.hidden:
            raise UnsupportedNetwork(f"the skip term of '{b.path}' has {b.features(source)} features and its state "
                                     f"{b.hidden}; they must agree, or the skip term needs a matrix")
        elif scaled:
            source = b.diagonal("s", source, "v_s")
        return b.add("h", b.mul("h.shown", r, state), b.mul("h.skip", b.one_minus("r.not", r), source))

    def unstack(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        """`weight_ih` stacks x, f, r and, where there is one, s; `weight_c` the vectors f, r; `scale` is a number, that
        of the skip term (1 where left out), folded into W_s where there is one."""
        hidden = len(arrays["weight_c"]) // 2
        rows = split_gates(arrays["weight_ih"], len(arrays["weight_ih"]) // hidden)
        named = dict(zip(("W_x", "W_f", "W_r", "W_s"), rows, strict=False))
        named |= {f"v_{gate}": v[:, None] for gate, v in zip("fr", split_gates(arrays["weight_c"], 2), strict=True)}
        if "bias_ih" in arrays:
            named |= zip(("b_f", "b_r"), split_gates(arrays["bias_ih"], 2), strict=True)
        scale = float(arrays["scale"]) if "scale" in arrays else 1.0
        if "W_s" in named:
            named["W_s"] = scale * named["W_s"]
        elif scale != 1.0:
            named["v_s"] = np.full((hidden, 1), scale)
        return named
