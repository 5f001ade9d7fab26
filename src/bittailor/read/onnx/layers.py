"""ONNX's operators that are layers of their own: convolutions over the steps, normalisations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.core.arith import Floats
from bittailor.read.convolving import convolved, framed, padded, same_padding
from bittailor.read.normalising import normalised
from bittailor.read.onnx.graphs import GraphWriter
from bittailor.read.onnx.loading import Node
from bittailor.read.onnx.sizes import integers
from bittailor.read.symbolic import FEATURES, Refusal


def _floats(value: Any, what: str, axes: int) -> Floats:
    if not isinstance(value, np.ndarray) or value.ndim != axes or value.dtype.kind != "f":
        raise Refusal(f"{what} must be a constant of {axes} axes")
    return value.astype(np.float64)


def _conv(r: GraphWriter, node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    """Over the steps, [items, features, steps]."""
    o = node.options
    if isinstance(weight, np.ndarray) and weight.ndim != 3:
        raise Refusal(f"its weight has {weight.ndim} axes; only convolutions over the steps can be read")
    W = _floats(weight, "its weight", 3)
    if any(stride != 1 for stride in o.get("strides", [1])):
        raise Refusal(f"strides={o['strides']}; a network has an output for every step, or one for all")
    apart = o.get("dilations", [1])[0]
    same = same_padding(W.shape[2], apart)
    ends = {"NOTSET": tuple(o.get("pads", (0, 0))), "VALID": (0, 0), "SAME_UPPER": same,
            "SAME_LOWER": same[::-1]}.get(o.get("auto_pad", "NOTSET"), ())
    if len(ends) != 2:
        raise Refusal(f"auto_pad={o.get('auto_pad')}, pads={o.get('pads')} cannot be read")
    b = None if bias is None else _floats(bias, "its bias", 1)
    return convolved(r, x, W, b, r.linear_path(node, "conv"), (ends[0], ends[1]), apart, o.get("group", 1))


def _pad(r: GraphWriter, node: Node, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    if node.options.get("mode", "constant") != "constant" or (isinstance(value, np.ndarray) and value.any()):
        raise Refusal("only zeros can be padded")
    given = integers(pads) if pads is not None else list(node.options.get("pads", ()))
    rank = len(framed(r, x).axes)
    which = [axis % rank for axis in integers(axes)] if axes is not None else list(range(rank))
    if len(given) != 2 * len(which):
        raise Refusal(f"pads={given} for {len(which)} axes")
    ends = {axis: (given[i], given[i + len(which)]) for i, axis in enumerate(which)}
    return padded(r, x, [n for axis in reversed(range(rank)) for n in ends.get(axis, (0, 0))])


def _norm(op: str) -> Callable[..., Any]:
    def read(r: GraphWriter, node: Node, x: Any, scale: Any, bias: Any = None) -> Any:
        value = r.single(x)
        axis = value.axis(node.options.get("axis", -1))
        if value.axes[axis:] != (FEATURES,):
            raise Refusal(f"it normalises the last {len(value.axes) - axis} axes of {value.text()}; only the features "
                          "can be normalised")
        weight = _broadcast(scale, "its scale", value.features)
        shift = None if bias is None else _broadcast(bias, "its bias", value.features)
        plain = (weight == 1).all() and (shift is None or not shift.any())
        return normalised(r, op, value, node.options.get("epsilon", 1e-5),
                          None if plain else weight, None if plain else shift, r.linear_path(node, op))

    return read


def _broadcast(value: NDArray[Any] | Any, what: str, size: int) -> Floats:
    found = _floats(value, what, getattr(value, "ndim", 0))
    if found.size not in (1, size):
        raise Refusal(f"{what} has shape {found.shape}; expected ({size},)")
    return np.broadcast_to(found.reshape(-1), (size,)).copy()


LAYERS: dict[str, Callable[..., Any]] = {
    "Conv": _conv, "Pad": _pad, "LayerNormalization": _norm("layer_norm"), "RMSNormalization": _norm("rms_norm"),
}
"""By the name of the operator."""
