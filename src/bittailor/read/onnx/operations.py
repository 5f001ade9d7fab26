"""ONNX's operators that can be read, one each, brought to what the shared operations take; the table lists them.

Every one is called with the reader, the node and the values of its inputs, None for one that is not given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bittailor.read.arithmetic import ARITHMETIC
from bittailor.read.onnx.graphs import GraphWriter
from bittailor.read.onnx.layers import LAYERS
from bittailor.read.onnx.loading import Node
from bittailor.read.onnx.moving import MOVING, FirstSteps, LastSteps, Operation, constant
from bittailor.read.onnx.sizes import divided, each, is_sizes, minus, plus, sizes_of, times
from bittailor.read.scaling import weighted
from bittailor.read.symbolic import (
    FEATURES,
    STEPS,
    Constant,
    ItemIndex,
    Refusal,
    Shaped,
    StepIndex,
    Tensor,
    Zeros,
)

# -- matrices and arithmetic ------------------------------------------------------------


def _gemm(r: GraphWriter, node: Node, x: Any, weight: Any, bias: Any = None) -> Tensor:
    o = node.options
    if o.get("transA"):
        raise Refusal("transA=1 cannot be read")
    W = _matrix(weight)
    W = W if o.get("transB") else W.T
    b = None if bias is None else vector(constant(bias, "its bias"), len(W))
    return r.linear(x, W * o.get("alpha", 1.0), None if b is None else b * o.get("beta", 1.0), r.linear_path(node))


def _matmul(r: GraphWriter, node: Node, x: Any, weight: Any) -> Tensor:
    if isinstance(x, np.ndarray):
        raise Refusal("its matrix stands on the left; only x W, the features of x last, can be read")
    W = _matrix(weight).T
    bias = r.bias_behind(node, len(W))
    return r.linear(x, W, bias, r.linear_path(node))


def _matrix(value: Any) -> np.ndarray[Any, Any]:
    W = constant(value, "one of its sides")
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
        a, b = (_number(value, place) for value, place in zip((a, b), node.inputs, strict=True))
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


def _number(value: Any, name: str = "") -> Any:
    """A constant of one value as a number, another as a tensor that the network owns."""
    if isinstance(value, np.ndarray) and value.size == 1:
        number = value.reshape(-1)[0].item()
        return int(number) if float(number).is_integer() else number
    return Constant(name, value.astype(np.float64)) if isinstance(value, np.ndarray) else value


def _function(op: str, **options: str) -> Operation:
    """A function of one variable; `options` gives ONNX's attribute for each option."""

    def read(r: GraphWriter, node: Node, x: Any) -> Tensor:
        given = {option: node.options[name] for option, name in options.items() if name in node.options}
        return r.activation(op, x, given, r.local_name(op))

    return read


def _hardsigmoid(r: GraphWriter, node: Node, x: Any) -> Tensor:
    alpha, beta = node.options.get("alpha", 0.2), node.options.get("beta", 0.5)
    if abs(alpha - 1 / 6) > 1e-6 or beta != 0.5:
        raise Refusal(f"alpha={alpha:.4g}, beta={beta:g}; only torch's slope 1/6 can be read (ONNX's own default is "
                      "0.2, as in Keras before version 3)")
    return r.activation("hardsigmoid", x, {}, r.local_name("hardsigmoid"))


def _clip(r: GraphWriter, node: Node, x: Any, low: Any = None, high: Any = None) -> Tensor:
    least = node.options.get("min", -np.inf) if low is None else float(_number(constant(low, "min")))
    most = node.options.get("max", np.inf) if high is None else float(_number(constant(high, "max")))
    if (least, most) == (-1.0, 1.0):
        return r.activation("hardtanh", x, {}, r.local_name("hardtanh"))
    bounds = (None if np.isinf(least) else least, None if np.isinf(most) else most)
    found: Tensor = ARITHMETIC["clamp"](r, x, *bounds)
    return found


def _gelu(r: GraphWriter, node: Node, x: Any) -> Tensor:
    return r.activation("gelu", x, {"approximate": node.options.get("approximate", "none")}, r.local_name("gelu"))


def _selu(r: GraphWriter, node: Node, x: Any) -> Tensor:
    known = (("alpha", 1.6732632), ("gamma", 1.0507010))
    if any(abs(node.options.get(name, value) - value) > 1e-5 for name, value in known):
        raise Refusal("its alpha and gamma are not those of SELU")
    return r.activation("selu", x, {}, r.local_name("selu"))


def _batch_norm(r: GraphWriter, node: Node, x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Any:
    """With the statistics of training, over axis 1: a factor and a shift for each feature."""
    value = r.single(x)
    if len(value.axes) < 2 or value.axes[1] != FEATURES or node.options.get("training_mode"):
        raise Refusal(f"it normalises axis 1 of {value.text()}; that must be the features, with statistics of training")
    g, b, m, v = (constant(each, "what it scales with").astype(np.float64) for each in (scale, bias, mean, variance))
    if any(each.shape != (value.features,) for each in (g, b, m, v)):
        raise Refusal(f"its constants have shapes {g.shape}, {b.shape}, {m.shape}, {v.shape}; expected "
                      f"({value.features},)")
    factor = 1.0 / np.sqrt(v + node.options.get("epsilon", 1e-5)) * g
    return weighted(r, value, factor, b - m * factor, r.linear_path(node, "norm"))


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


def _named(name: str) -> Operation:
    """A function without constants, as torch has it."""

    def read(r: GraphWriter, node: Node, x: Any) -> Any:
        return ARITHMETIC[name](r, x)

    return read


def _prelu(r: GraphWriter, node: Node, x: Any, slope: Any) -> Any:
    slopes = constant(slope, "its slope").astype(np.float64)
    if slopes.size > 1 and slopes.shape[0] == slopes.size:  # torch's, of axis 1, has ones behind it
        slopes = slopes.reshape(-1)
    return ARITHMETIC["prelu"](r, x, Constant(node.inputs[1], slopes))


OPERATIONS: dict[str, Operation] = {
    "Gemm": _gemm, "MatMul": _matmul,
    "Add": _arithmetic("add", plus), "Sub": _arithmetic("sub", minus), "Mul": _arithmetic("mul", times),
    "Div": _arithmetic("div", divided), "Neg": _named("neg"), "Abs": _named("abs"),
    "Relu": _function("relu"), "Sigmoid": _function("sigmoid"), "Tanh": _function("tanh"),
    "Softsign": _function("softsign"), "Softplus": _function("softplus"), "Elu": _function("elu", alpha="alpha"),
    "LeakyRelu": _function("leaky_relu", negative_slope="alpha"), "PRelu": _prelu, "HardSigmoid": _hardsigmoid,
    "Clip": _clip, "Gelu": _gelu, "HardSwish": _function("hardswish"), "Mish": _function("mish"), "Selu": _selu,
    "Softmax": _softmax("softmax"), "LogSoftmax": _softmax("log_softmax"), "ArgMax": _argmax,
    "BatchNormalization": _batch_norm, **LAYERS, **MOVING,
}
"""By the name of the operator; recurrent nodes are the reader's own."""

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
    "ScatterND": "values are not written into others",
}
"""By the name of an operator: why not, and what instead."""

SUPPORTED = "  what can be read: GRU, LSTM, " + ", ".join(sorted(OPERATIONS)) + " (docs/reading.md)"
