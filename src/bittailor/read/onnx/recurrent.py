"""ONNX's recurrent nodes as `Layers`: gates in our order, biases summed where only their sum is seen.

ONNX stacks the gates of a GRU as z, r, h and of an LSTM as i, o, f, c: https://onnx.ai/onnx/operators/onnx__GRU.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.core.arith import Floats
from bittailor.read.onnx.loading import Node
from bittailor.read.recurrence import Layer, Layers
from bittailor.read.symbolic import Refusal


@dataclass(frozen=True)
class Kind:
    """A recurrent operator.

    gates        places of the gates in ONNX's order, in the order that the cell's arrays have
    states       final states
    activations  of one direction, as far as they are read
    """

    gates: tuple[int, ...]
    states: tuple[str, ...]
    activations: tuple[str, ...]


KINDS = {
    "GRU": Kind((1, 0, 2), ("h",), ("sigmoid", "tanh")),
    "RNN": Kind((0,), ("h",), ("tanh",)),
    "LSTM": Kind((0, 2, 3, 1), ("h", "c"), ("sigmoid", "tanh", "tanh")),
}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def check_options(node: Node) -> None:
    """Refusal, by its name, for an attribute that the cells here do not have."""
    kind, options = KINDS[node.op], node.options
    directions = DIRECTIONS.get(options.get("direction", "forward"), 0)
    if not directions:
        raise Refusal(f"direction={options['direction']!r}; ONNX has forward, reverse and bidirectional")
    if "clip" in options:
        raise Refusal(f"clip={options['clip']:g}: there are no cells that clip; export without it")
    if options.get("input_forget"):
        raise Refusal("input_forget: there is no LSTM whose input and forget gate are one")
    wanted = kind.activations * directions
    named = tuple(str(name).lower() for name in options.get("activations") or wanted)
    if node.op == "RNN" and named == ("relu",) * directions:
        return
    if named != wanted:
        raise Refusal(f"activations={', '.join(named)}; only {', '.join(kind.activations)} can be read")


def layers_of(node: Node, arrays: Mapping[str, NDArray[Any]]) -> Layers:
    """The node with its constants W, R and, where it has them, B and P (as named in ONNX's own page)."""
    check_options(node)
    kind = KINDS[node.op]
    gates = len(kind.gates)
    directions = DIRECTIONS[node.options.get("direction", "forward")]
    W, R = arrays["W"], arrays["R"]
    hidden = R.shape[-1] if R.ndim == 3 else 0
    _check(node, "W", W, (directions, gates * hidden, W.shape[-1] if W.ndim == 3 else 0))
    _check(node, "R", R, (directions, gates * hidden, hidden))
    if node.options.get("hidden_size", hidden) != hidden:
        raise Refusal(f"hidden_size={node.options['hidden_size']}, but R has shape {R.shape}; ONNX has no projection "
                      "of the output, so the file does not run: export without proj_size")
    if "B" in arrays:
        _check(node, "B", arrays["B"], (directions, 2 * gates * hidden))
    if "P" in arrays and arrays["P"].any():
        raise Refusal("peepholes (its input P): there is no LSTM whose gates see the cell state")
    cell = "gru_cho" if node.op == "GRU" and not node.options.get("linear_before_reset", 0) else node.op.lower()
    each = tuple(_arrays(cell, kind, [arrays[name][d] for name in ("W", "R", "B") if name in arrays])
                 for d in range(directions))
    relu = node.op == "RNN" and str((node.options.get("activations") or ["tanh"])[0]).lower() == "relu"
    options = {"activation": "relu"} if relu else {}
    layer = Layer(each, options=options, backwards=node.options.get("direction") == "reverse")
    return Layers(node.op, cell, W.shape[2], hidden, bool(node.options.get("layout", 0)), kind.states, True, (layer,))


def _arrays(cell: str, kind: Kind, given: Sequence[NDArray[Any]]) -> dict[str, Floats]:
    """Arrays as `Cell.parameters` takes them."""
    W, R, *biases = (value.astype(np.float64) for value in given)
    found = {"weight_ih": _ordered(W, kind), "weight_hh": _ordered(R, kind)}
    if not biases:
        return found
    ih, hh = (_ordered(half, kind) for half in np.split(biases[0], 2))
    return found | ({"bias_ih": ih + hh} if cell == "gru_cho" else {"bias_ih": ih, "bias_hh": hh})


def _ordered(stacked: Floats, kind: Kind) -> Floats:
    parts = np.split(stacked, len(kind.gates))
    return np.concatenate([parts[place] for place in kind.gates])


def _check(node: Node, name: str, value: NDArray[Any], shape: tuple[int, ...]) -> None:
    if value.dtype.kind != "f" or value.shape != shape or 0 in shape:
        raise Refusal(f"{name} has shape {value.shape} of {value.dtype}; expected {shape}")


def written_wrongly(producer: str, node: Node, bias: NDArray[Any] | None) -> bool:
    """Whether a node looks like those that torch's new exporter wrote for months: a torch GRU with
    linear_before_reset=0."""
    if producer != "pytorch" or node.op != "GRU" or node.options.get("linear_before_reset", 0) or bias is None:
        return False
    halves = np.split(bias, 2, axis=-1)
    return bool(halves[0].any() and halves[1].any())
