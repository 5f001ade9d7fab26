"""ONNX's operators that can be read, one each, brought to what the shared operations take; the table lists them.

Every one is called with the reader, the node and the values of its inputs, None for one that is not given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bittailor.read.arithmetic import ARITHMETIC
from bittailor.read.embedding import embedded
from bittailor.read.onnx.graphs import GraphWriter
from bittailor.read.onnx.layers import LAYERS
from bittailor.read.onnx.loading import Node
from bittailor.read.onnx.sizes import divided, each, integers, is_sizes, known, minus, plus, sizes_of, times
from bittailor.read.shapes import SHAPES
from bittailor.read.symbolic import (
    FEATURES,
    ITEMS,
    STEPS,
    Axis,
    Dim,
    ItemIndex,
    Refusal,
    Shaped,
    StepIndex,
    Tensor,
    Zeros,
)

Operation = Callable[..., Any]
LARGEST = 2**31 - 1
"""From here on an end of a Slice is meant to be "to the end"."""


@dataclass(frozen=True)
class Indices:
    """Several vectors of indices side by side, as GatherND takes them."""

    each: tuple[Any, ...]


@dataclass(frozen=True)
class FirstSteps:
    """Each item's first place where items and steps share an axis: its number times the steps."""


@dataclass(frozen=True)
class LastSteps(StepIndex):
    """Each item's last place where items and steps share an axis."""


def _constant(value: Any, what: str) -> np.ndarray[Any, Any]:
    if isinstance(value, np.ndarray):
        return value
    raise Refusal(f"{what} must be a constant")


def _axes(node: Node, given: Any) -> list[int] | None:
    """The axes of an operator: an attribute up to opset 12, an input since."""
    if given is not None:
        return integers(given)
    return list(node.options["axes"]) if "axes" in node.options else None


# -- matrices and arithmetic ------------------------------------------------------------


def _gemm(r: GraphWriter, node: Node, x: Any, weight: Any, bias: Any = None) -> Tensor:
    o = node.options
    if o.get("transA"):
        raise Refusal("transA=1 cannot be read")
    W = _matrix(weight)
    W = W if o.get("transB") else W.T
    b = None if bias is None else vector(_constant(bias, "its bias"), len(W))
    return r.linear(x, W * o.get("alpha", 1.0), None if b is None else b * o.get("beta", 1.0), r.linear_path(node))


def _matmul(r: GraphWriter, node: Node, x: Any, weight: Any) -> Tensor:
    if isinstance(x, np.ndarray):
        raise Refusal("its matrix stands on the left; only x W, the features of x last, can be read")
    W = _matrix(weight).T
    bias = r.bias_behind(node, len(W))
    return r.linear(x, W, bias, r.linear_path(node))


def _matrix(value: Any) -> np.ndarray[Any, Any]:
    W = _constant(value, "one of its sides")
    if W.ndim != 2 or W.dtype.kind != "f":
        raise Refusal(f"its constant has shape {W.shape} of {W.dtype}; a matrix of floats can be read")
    return W.astype(np.float64)


def vector(value: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """A constant as the bias of `size` rows."""
    if value.dtype.kind != "f" or value.size not in (1, size) or value.shape[-1:] not in ((), (1,), (size,)):
        raise Refusal(f"its bias has shape {value.shape}; expected ({size},)")
    return np.broadcast_to(value.astype(np.float64).reshape(-1), (size,)).copy()


def _arithmetic(name: str, of_sizes: Callable[[Any, Any], Any]) -> Operation:
    def read(r: GraphWriter, node: Node, a: Any, b: Any) -> Any:
        for one, other in ((a, b), (b, a)):
            if isinstance(one, ItemIndex | FirstSteps):
                return _placed(r, name, one, other)
        if (is_sizes(a) and not isinstance(b, Shaped)) or (is_sizes(b) and not isinstance(a, Shaped)):
            return each(of_sizes, a, b)
        a, b = (_number(value) for value in (a, b))
        if name not in ARITHMETIC:
            raise Refusal("there is no division; fold the factor into the weights of a layer")
        return ARITHMETIC[name](r, a, b)

    return read


def _placed(r: GraphWriter, name: str, index: ItemIndex | FirstSteps, other: Any) -> Any:
    """0 .. items - 1 on the way to a place among all steps of all items: item * steps + lengths - 1."""
    if name == "add" and (isinstance(other, Zeros) or (isinstance(other, np.ndarray) and not other.any())):
        return index
    if name == "mul" and isinstance(index, ItemIndex) and sizes_of(other) == (r.input.size(STEPS),):
        return FirstSteps()
    if name == "add" and isinstance(index, FirstSteps) and isinstance(other, StepIndex) and other.offset == -1:
        return LastSteps(other.axes, other.features, other.offset, fixed=other.fixed)
    raise Refusal("0 .. items - 1 can only pick each item's last step")


def _number(value: Any) -> Any:
    """A constant of one value as a number."""
    if isinstance(value, np.ndarray) and value.size == 1:
        number = value.reshape(-1)[0].item()
        return int(number) if float(number).is_integer() else number
    return value


def _function(op: str, **options: str) -> Operation:
    """A function of one variable; `options` gives ONNX's attribute for each option."""

    def read(r: GraphWriter, node: Node, x: Any) -> Tensor:
        given = {option: round(float(node.options[name]), 7) for option, name in options.items()
                 if name in node.options}
        return r.activation(op, x, given, r.local_name(op))

    return read


def _hardsigmoid(r: GraphWriter, node: Node, x: Any) -> Tensor:
    alpha, beta = node.options.get("alpha", 0.2), node.options.get("beta", 0.5)
    if abs(alpha - 1 / 6) > 1e-6 or beta != 0.5:
        raise Refusal(f"alpha={alpha:.4g}, beta={beta:g}; only torch's slope 1/6 can be read (ONNX's own default is "
                      "0.2, as in Keras before version 3)")
    return r.activation("hardsigmoid", x, {}, r.local_name("hardsigmoid"))


def _clip(r: GraphWriter, node: Node, x: Any, low: Any = None, high: Any = None) -> Tensor:
    least = node.options.get("min", -np.inf) if low is None else float(_number(_constant(low, "min")))
    most = node.options.get("max", np.inf) if high is None else float(_number(_constant(high, "max")))
    if (least, most) == (0.0, np.inf):
        return r.activation("relu", x, {}, r.local_name("relu"))
    return r.activation("hardtanh", x, {"min_val": least, "max_val": most}, r.local_name("hardtanh"))


def _softmax(kind: str) -> Operation:
    def read(r: GraphWriter, node: Node, x: Any) -> Tensor:
        return r.softmax(x, node.options.get("axis", -1 if r.opset >= 13 else 1), kind)

    return read


def _argmax(r: GraphWriter, node: Node, x: Any) -> Tensor:
    value = x if isinstance(x, Tensor) and x.softmax else r.single(x)
    place = value.axis(node.options.get("axis", 0))
    if value.axes[place] != FEATURES or node.options.get("select_last_index"):
        raise Refusal("only the largest of the features, at a network's end, is left away")
    return replace(value, softmax="argmax")


# -- axes and steps ------------------------------------------------------------


def _transpose(r: GraphWriter, node: Node, x: Any) -> Any:
    order = node.options.get("perm")
    if isinstance(x, ItemIndex | Zeros):
        return x
    return SHAPES["permute"](r, x, order if order is not None else list(range(len(_shaped(x).axes)))[::-1])


def _shaped(value: Any) -> Shaped:
    if isinstance(value, Shaped):
        return value
    raise Refusal(f"it is given {type(value).__name__}, not values of the sequence")


def _squeeze(r: GraphWriter, node: Node, x: Any, axes: Any = None) -> Any:
    if is_sizes(x):
        return known(sizes_of(x)[0]) if len(sizes_of(x)) == 1 else x
    if isinstance(x, ItemIndex | Zeros):
        return x
    chosen = _axes(node, axes)
    if chosen is None:
        return SHAPES["squeeze"](r, x)
    for place in sorted((_shaped(x).axis(axis) for axis in chosen), reverse=True):
        x = SHAPES["squeeze"](r, x, place)
    return x


def _unsqueeze(r: GraphWriter, node: Node, x: Any, axes: Any = None) -> Any:
    chosen = _axes(node, axes) or []
    if is_sizes(x):
        return known(sizes_of(x))
    if isinstance(x, ItemIndex | Zeros):
        return x
    rank = len(_shaped(x).axes) + len(chosen)
    for place in sorted(axis % rank for axis in chosen):
        x = SHAPES["unsqueeze"](r, x, place)
    return x


def _reshape(r: GraphWriter, node: Node, x: Any, shape: Any) -> Any:
    if isinstance(x, ItemIndex | Zeros):
        return x
    if is_sizes(x):
        return known(sizes_of(x) if sizes_of(shape) else sizes_of(x)[0])
    given = list(sizes_of(shape))
    if not node.options.get("allowzero"):
        own = _shaped(x).shape()
        given = [own[i] if size == 0 and i < len(own) else size for i, size in enumerate(given)]
    try:
        return SHAPES["reshape"](r, x, given)
    except Refusal as error:
        frozen = [size for size in given if isinstance(size, int) and size > 1 and size != _shaped(x).features]
        raise Refusal(f"{error}\n  if one of {frozen} is the number of items or steps of the example that the file "
                      "was exported with, it is wrong for any other: export it again" if frozen else str(error)
                      ) from None


def _flatten(r: GraphWriter, node: Node, x: Any) -> Any:
    value = _shaped(x)
    axis = node.options.get("axis", 1)
    axis = axis % len(value.axes) if axis < 0 else axis
    merged = [tuple(atom for axis in axes for atom in axis) for axes in (value.axes[:axis], value.axes[axis:])]
    return SHAPES["reshape"](r, value, [value.size(atoms) for atoms in merged])


def _slice(r: GraphWriter, node: Node, x: Any, starts: Any = None, ends: Any = None, axes: Any = None,
           steps: Any = None) -> Any:
    o = node.options
    first, stop = (sizes_of(given) if given is not None else tuple(o.get(name, ()))
                   for given, name in ((starts, "starts"), (ends, "ends")))
    which = integers(axes) if axes is not None else list(o.get("axes", range(len(first))))
    stride = integers(steps) if steps is not None else [1] * len(first)
    if not len(first) == len(stop) == len(which) == len(stride):
        raise Refusal("its starts, ends and axes are of different lengths")
    limits = [(None if a == 0 and s == 1 else a, None if isinstance(b, int) and b >= LARGEST else b, s)
              for a, b, s in zip(first, stop, stride, strict=True)]
    if is_sizes(x):
        (a, b, s), = limits
        return known(sizes_of(x)[slice(*_whole(a, b)) if s == 1 else slice(None, None, s)])
    if isinstance(x, Zeros):
        return x
    value = _shaped(x)
    at = [slice(None)] * len(value.axes)
    for axis, (a, b, s) in zip(which, limits, strict=True):
        at[value.axis(axis)] = slice(a, b, None if s == 1 else s)
    return SHAPES["getitem"](r, value, tuple(at))


def _whole(*limits: Any) -> Sequence[int | None]:
    if any(isinstance(limit, Dim) for limit in limits):
        raise Refusal("it slices a shape at a place that only the data knows")
    return limits


def _gather(r: GraphWriter, node: Node, x: Any, indices: Any) -> Any:
    axis = node.options.get("axis", 0)
    if isinstance(indices, LastSteps):
        value = _shaped(x)
        if axis or value.axes[:1] != (ITEMS + STEPS,):
            raise Refusal(f"it picks from {value.text()}; expected items and steps on one axis")
        apart = replace(value, axes=(ITEMS, STEPS, *value.axes[1:]))
        return SHAPES["getitem"](r, apart, (ItemIndex(), StepIndex((ITEMS,), 1, -1)))
    if isinstance(indices, Tensor) and isinstance(x, np.ndarray):
        if axis or x.ndim != 2 or x.dtype.kind != "f":
            raise Refusal(f"its table has shape {x.shape} of {x.dtype}, axis {axis}; a matrix of floats can be looked "
                          "up")
        return embedded(r, indices, x.astype(np.float64), r.linear_path(node, "embedding"))
    at = _constant(indices, "its indices")
    if is_sizes(x):
        return known(sizes_of(x)[int(at)] if at.ndim == 0 else tuple(sizes_of(x)[i] for i in integers(at)))
    if isinstance(x, Zeros):
        return x
    if at.size != 1:
        raise Refusal("it picks several places at once; one can be read, and Slice for several")
    index = int(at.reshape(-1)[0])
    value = SHAPES["select"](r, _shaped(x), axis, index)
    return value if at.ndim == 0 else SHAPES["unsqueeze"](r, value, _shaped(x).axis(axis))


def _gather_elements(r: GraphWriter, node: Node, x: Any, index: Any) -> Any:
    return SHAPES["gather"](r, x, node.options.get("axis", 0), index)


def _gather_nd(r: GraphWriter, node: Node, x: Any, indices: Any) -> Any:
    if not isinstance(indices, Indices) or node.options.get("batch_dims"):
        raise Refusal("only each item's last step, out[arange(items), lengths - 1], can be read")
    return SHAPES["getitem"](r, x, tuple(indices.each))


def _concat(r: GraphWriter, node: Node, *values: Any) -> Any:
    axis = node.options.get("axis", 0)
    if any(is_sizes(value) for value in values):
        return known(tuple(size for value in values for size in sizes_of(value)))
    if any(isinstance(value, ItemIndex | StepIndex) for value in values):
        return Indices(tuple(_counted(r, value) for value in values))
    if all(isinstance(value, Zeros) for value in values):
        return values[0]
    first = _shaped(values[0])
    place = first.axes[first.axis(axis)]
    if place in (("directions",), ("layers",), ("layers", "directions")):
        return _states(values, place)
    return ARITHMETIC["cat"](r, values, axis)


def _counted(r: GraphWriter, value: Any) -> Any:
    """0 .. items - 1 written out, where the file is for one number of items."""
    items = r.input.size(ITEMS)
    if isinstance(value, np.ndarray) and isinstance(items, int) and (value.reshape(-1) == range(items)).all():
        return ItemIndex()
    return value


def _states(values: Sequence[Any], axis: Axis) -> Any:
    """Final states of several layers, one behind the other."""
    first = values[0]
    if any(not isinstance(v, Tensor) or v.axes != first.axes or v.features != first.features for v in values):
        raise Refusal("it joins final states of different layouts or widths")
    rows = tuple(row for value in values for row in value.sites)
    joined: Axis = ("layers", "directions") if axis == ("directions",) else axis
    if axis == ("directions",) and any(len(row) != len(rows[0]) for row in rows):
        raise Refusal("it joins final states of layers with one and with two directions")
    return replace(first, sites=rows, axes=tuple(joined if each == axis else each for each in first.axes))


def _split(r: GraphWriter, node: Node, x: Any, sizes: Any = None) -> Any:
    axis = node.options.get("axis", 0)
    parts = integers(sizes) if sizes is not None else node.options.get("split")
    if parts is None:
        return SHAPES["chunk"](r, x, node.options.get("num_outputs", len(node.outputs)), axis)
    return SHAPES["split"](r, x, list(parts), axis)


def _mean(r: GraphWriter, node: Node, x: Any, axes: Any = None) -> Any:
    return SHAPES["mean"](r, x, _axes(node, axes), bool(node.options.get("keepdims", 1)))


# -- shapes and what changes nothing ------------------------------------------------------------


def _shape(r: GraphWriter, node: Node, x: Any) -> Any:
    if isinstance(x, ItemIndex):
        return (Dim(ITEMS),)
    start, end = node.options.get("start", 0), node.options.get("end")
    return known(_shaped(x).shape()[start:end])


def _constant_of_shape(r: GraphWriter, node: Node, shape: Any) -> Any:
    value = node.options.get("value")
    filled = 0 if value is None else r.number(value)
    if filled != 0:
        raise Refusal(f"it makes an array of {filled:g} of the data's size; only zeros can be made")
    return Zeros()


def _expand(r: GraphWriter, node: Node, x: Any, shape: Any) -> Any:
    if isinstance(x, ItemIndex | Zeros | StepIndex) or (isinstance(x, np.ndarray) and not x.any()):
        return Zeros() if isinstance(x, np.ndarray) else x
    if isinstance(x, Shaped) and all(size == 1 for size in sizes_of(shape)):
        return x
    raise Refusal("nothing is broadcast here, except zeros and an index")


def _range(r: GraphWriter, node: Node, start: Any, limit: Any, delta: Any) -> ItemIndex:
    first, last, step = (sizes_of(value)[0] for value in (start, limit, delta))
    if (first, step) == (0, 1) and last == r.input.size(ITEMS):
        return ItemIndex()
    raise Refusal("only 0 .. items - 1, to pick each item's last step, can be made")


def _cast(r: GraphWriter, node: Node, x: Any) -> Any:
    kind = node.options.get("to")
    index = isinstance(x, Tensor) and x.each()[0] == r.input.each()[0] and FEATURES not in r.input.axes
    if isinstance(x, Tensor) and x.softmax != "argmax" and not index and kind not in (1, 11):
        raise Refusal("a conversion of values to another type than float or double rounds inside the network")
    return x


def _same(r: GraphWriter, node: Node, x: Any, *_: Any) -> Any:
    return x


def _dropout(r: GraphWriter, node: Node, x: Any, ratio: Any = None, training: Any = None) -> Any:
    if training is not None and (not isinstance(training, np.ndarray) or training.any()):
        raise Refusal("it drops values in use too; export the network in evaluation mode")
    return (x, None)


OPERATIONS: dict[str, Operation] = {
    "Gemm": _gemm, "MatMul": _matmul,
    "Add": _arithmetic("add", plus), "Sub": _arithmetic("sub", minus), "Mul": _arithmetic("mul", times),
    "Div": _arithmetic("div", divided),
    "Relu": _function("relu"), "Sigmoid": _function("sigmoid"), "Tanh": _function("tanh"),
    "Softsign": _function("softsign"), "Softplus": _function("softplus"), "Elu": _function("elu", alpha="alpha"),
    "LeakyRelu": _function("leaky_relu", negative_slope="alpha"), "HardSigmoid": _hardsigmoid, "Clip": _clip,
    "Softmax": _softmax("softmax"), "LogSoftmax": _softmax("log_softmax"), "ArgMax": _argmax,
    "Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Reshape": _reshape, "Flatten": _flatten,
    "Slice": _slice, "Gather": _gather, "GatherElements": _gather_elements, "GatherND": _gather_nd, "Concat": _concat,
    "Split": _split, "ReduceMean": _mean, "Shape": _shape, "ConstantOfShape": _constant_of_shape, "Expand": _expand,
    **LAYERS, "Range": _range, "Cast": _cast, "Identity": _same, "Dropout": _dropout,
}
"""By the name of the operator; GRU and LSTM are the reader's own."""

HINTS: dict[str, str] = {
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul",
                     "ConvInteger", "QLinearConv"),
                    "the file was quantised already; give the float network that it was made from"),
    **dict.fromkeys(("Loop", "Scan", "If", "SequenceAt", "SequenceInsert"),
                    "control flow cannot be read; export the recurrent layer itself, so that it is one GRU or LSTM "
                    "node"),
    **dict.fromkeys(("Attention", "MultiHeadAttention", "com.microsoft.Attention", "com.microsoft.MultiHeadAttention",
                     "Einsum"), "there is no attention; read the part in front of it"),
    **dict.fromkeys(("ConvTranspose", "MaxPool", "AveragePool"),
                    "apply it to the data before the network and read the rest"),
    **dict.fromkeys(("Where", "Equal", "Greater", "Less", "Not"), "conditions on values or sizes cannot be read"),
    **dict.fromkeys(("com.microsoft.DynamicQuantizeLSTM", "com.microsoft.QAttention"),
                    "the file was quantised already; give the float network that it was made from"),
    "RNN": "of ONNX's recurrent nodes GRU and LSTM are known",
    "Tile": "nothing is repeated here",
    "ScatterND": "values are not written into others",
}
"""By the name of an operator: why not, and what instead."""

SUPPORTED = "  what can be read: GRU, LSTM, " + ", ".join(sorted(OPERATIONS)) + " (docs/reading.md)"
