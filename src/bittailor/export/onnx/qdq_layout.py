"""The two graphs as float operators between QuantizeLinear and DequantizeLinear: for compilers that know that form.

A site's value is float32, as it comes out of a DequantizeLinear. Widths that ONNX has no type for are integers of the
next larger one that stay within the narrower range: activations are clipped to it before they are rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from onnx import ValueInfoProto

from bittailor.core.graph import Node
from bittailor.core.ops.forms import Averaged, DiagonalProduct, GroupedProduct, TableRows, Weighted
from bittailor.core.ops.grouped import spread
from bittailor.core.qformat import QFormat
from bittailor.engines.streaming import STEPS, Carried
from bittailor.errors import UnsupportedNetwork
from bittailor.export.onnx.floats import real_table, real_weights, start_words
from bittailor.export.onnx.layout import WHOLE, Layout, Run, Step, words
from bittailor.export.onnx.writer import Standard, Writer, tensor

QDQ = Standard(21, 10)
"""QuantizeLinear of 16 bits came with opset 21; onnxruntime reads it since 1.18."""

FLOAT = "float32"

LEAST = float(np.finfo(np.float32).tiny)
"""Under a root that is divided by, so that the norm of nothing is nothing."""


def normalised(w: Writer, a: str, features: int, eps: float, centred: bool) -> str:
    """The features of a step over the root of their variance, or of their mean square."""
    if centred and eps > 0:
        return w.op("LayerNormalization", a, w.array("ones", np.ones(features, np.float32)), axis=-1, epsilon=eps)
    axis = w.numbers([-1])
    if centred:
        a = w.op("Sub", a, w.op("ReduceMean", a, axis, keepdims=1))
    power = w.op("ReduceMean", w.op("Mul", a, a), axis, keepdims=1)
    power = w.op("Max", w.op("Add", power, w.number(eps, FLOAT)), w.number(LEAST, FLOAT))
    return w.op("Div", a, w.op("Sqrt", power))


def softplus(w: Writer, a: str, beta: float = 1.0, threshold: float = math.inf) -> str:
    """ln(1 + exp(beta a)) / beta, and a itself where beta a is beyond the threshold."""
    if beta == 1.0:
        value = w.op("Softplus", a)
    else:
        by = w.number(beta, FLOAT)
        value = w.op("Div", w.op("Softplus", w.op("Mul", a, by)), by)
    if threshold == math.inf:
        return value
    return w.op("Where", w.op("Greater", a, w.number(threshold / beta, FLOAT)), a, value)


OPERATORS: Mapping[str, Callable[..., str]] = {
    "add": lambda w, a, b: w.op("Add", a, b),
    "sub": lambda w, a, b: w.op("Sub", a, b),
    "mul": lambda w, a, b: w.op("Mul", a, b),
    "affine": lambda w, a, factor=1.0, shift=0.0: w.op(
        "Add", w.op("Mul", a, w.number(factor, FLOAT)), w.number(shift, FLOAT)),
    "one_minus": lambda w, a: w.op("Sub", w.number(1.0, FLOAT), a),
    "requantise": lambda w, a: a,
    "relu": lambda w, a: w.op("Relu", a),
    "layer_norm": lambda w, a, features, eps: normalised(w, a, features, eps, True),
    "rms_norm": lambda w, a, features, eps: normalised(w, a, features, eps, False),
    "concat": lambda w, *parts, names=(): w.op("Concat", *parts, axis=-1),
    "sigmoid": lambda w, a: w.op("Sigmoid", a),
    "tanh": lambda w, a: w.op("Tanh", a),
    "hardsigmoid": lambda w, a: w.op("HardSigmoid", a, alpha=1 / 6, beta=0.5),
    "hardtanh": lambda w, a: w.op("Clip", a, w.number(-1.0, FLOAT), w.number(1.0, FLOAT)),
    "softsign": lambda w, a: w.op("Softsign", a),
    "silu": lambda w, a: w.op("Mul", a, w.op("Sigmoid", a)),
    "softplus": softplus,
    "elu": lambda w, a, alpha=1.0: w.op("Elu", a, alpha=alpha),
    "leaky_relu": lambda w, a, slope=0.01: w.op("LeakyRelu", a, alpha=slope),
    "clamp": lambda w, a, low=-math.inf, high=math.inf: w.op("Clip", a, w.number(low, FLOAT), w.number(high, FLOAT)),
    "gelu": lambda w, a: w.op("Gelu", a),
    "gelu_tanh": lambda w, a: w.op("Gelu", a, approximate="tanh"),
    "selu": lambda w, a: w.op("Selu", a),
    "hardswish": lambda w, a: w.op("HardSwish", a),
    "mish": lambda w, a: w.op("Mish", a),
    "logsigmoid": lambda w, a: w.op("Neg", w.op("Softplus", w.op("Neg", a))),
    "abs": lambda w, a: w.op("Abs", a),
}
"""Operators without weights, by name: a table of integers does not say which function it holds."""


def rounded(w: Writer, value: str, fmt: QFormat) -> str:
    """A value of this format: clipped to a range narrower than its type's, quantised, and read again.

    Unsigned, which is what such compilers take; onnxruntime 1.32 cannot load signed ones around a Transpose.
    """
    width = 8 if fmt.bits <= 8 else 16
    if fmt.bits not in (8, 16):
        value = w.op("Clip", value, w.number(float(np.float32(fmt.low)), FLOAT),
                     w.number(float(np.float32(fmt.high)), FLOAT))
    zero = w.number(fmt.zero_point + (1 << (width - 1)), f"uint{width}")
    terms = w.number(float(np.float32(fmt.scale[0])), FLOAT), zero
    return w.op("DequantizeLinear", w.op("QuantizeLinear", value, *terms), *terms)


def weighted(w: Writer, layout: Layout, node: Node, x: str, steps: bool) -> str:
    """W x + b; what is constant stands outside of loops. `steps`: x has three axes."""
    constants, held = layout.program.constants[node.output], real_weights(layout.program, node)
    assert isinstance(constants, Weighted)
    kind, terms = f"int{8 if constants.W.bits <= 8 else 16}", list[str]()
    diagonal = isinstance(constants, DiagonalProduct)
    W = held.W[:, 0] if diagonal else held.W
    if isinstance(constants, GroupedProduct):
        W = spread(W, constants.groups)
    integers = w.array("W", W.astype(kind))
    weights = _read(w.root, integers, "W.scale", held.scale)
    if held.bias is not None and np.abs(held.bias).max() < 1 << 31:
        terms = [_read(w.root, w.array("b", held.bias.astype("int32")), "b.scale", held.bias_scale)]
    elif held.bias is not None:
        terms = [w.array("b", (held.bias * held.bias_scale).astype(FLOAT))]
    if diagonal:
        product = w.op("Mul", x, weights)
        return w.op("Add", product, *terms) if terms else product
    # not MatMul: onnxruntime makes MatMulNBits of it, which rounds its inputs to 8 bits
    if not steps:
        return w.op("Gemm", x, weights, *terms, transB=1)
    rows, columns = W.shape
    flat = w.op("Gemm", w.once("Reshape", x, w.numbers([-1, columns])), weights, *terms, transB=1)
    return w.op("Reshape", flat, w.once("Concat", w.once("Shape", x, start=0, end=2), w.numbers([rows]), axis=0))


def looked_up(w: Writer, layout: Layout, node: Node, x: str) -> str:
    """Row x of a table; x is clipped to the rows that there are."""
    constants, held = layout.program.constants[node.output], real_table(layout.program, node)
    assert isinstance(constants, TableRows)
    kind = f"int{8 if constants.W.bits <= 8 else 16}"
    table = _read(w.root, w.array("W", held.W.astype(kind)), "W.scale", held.scale)
    x = w.op("Clip", x, w.number(0.0, FLOAT), w.number(float(len(held.W) - 1), FLOAT))
    return w.op("Squeeze", w.op("Gather", table, w.cast(x, "int64")), w.numbers([-2]))


def _read(w: Writer, value: str, role: str, scale: np.ndarray) -> str:
    """A constant as real values, with one scale or one a row."""
    if scale.size == 1:
        return w.op("DequantizeLinear", value, w.array(role, scale.reshape(()).astype(FLOAT)))
    return w.op("DequantizeLinear", value, w.array(role, scale.astype(FLOAT)), axis=0)


class Floats(Layout):
    """What both graphs share."""

    kind = FLOAT

    def apply(self, w: Writer, node: Node, values: Mapping[str, str], suffix: str) -> str:
        w.scope = node.output
        inputs = [values[name] for name in node.inputs]
        constants = self.program.constants[node.output]
        if isinstance(constants, TableRows):
            value = looked_up(w, self, node, inputs[0])
        elif isinstance(constants, Weighted):
            value = weighted(w, self, node, inputs[0], suffix == WHOLE)
        elif node.op in OPERATORS:
            value = OPERATORS[node.op](w, *inputs, **node.options)
        else:
            raise UnsupportedNetwork(f"{node.output}: '{node.op}' has no float operator in ONNX yet; add one to "
                                     "export/onnx/qdq_layout.py")
        value = rounded(w, value, self.program.formats[node.output])
        return w.named(value, node.output + suffix, words(self.program, node.output))

    def entrance(self, name: str) -> str:
        self.w.scope = name
        return rounded(self.w, name, self.program.formats[name])

    def zero(self, site: str) -> str:
        return self.w.number(0.0, FLOAT)

    def start(self, state: str) -> str:
        start = self.program.starts.get(state)
        if start is None:
            return self.zero(state)
        return self.w.array(f"{state}.start", self.program.formats[state].dequantise(start).astype(FLOAT))

    def least(self, site: str) -> str:
        return self.w.number(float(np.float32(self.program.formats[site].low)), FLOAT)

    def addend(self, site: str) -> str:
        return self.values[site]

    def average(self, node: Node, total: str, steps: str) -> str:
        mean = isinstance(self.program.constants[node.output], Averaged)
        value = self.w.op("Div", total, self.w.cast(steps, FLOAT)) if mean else total
        return rounded(self.w, value, self.program.formats[node.output])


class FloatRun(Floats, Run):
    """Whole sequences: float32 [items, steps, features] and int64 lengths [items], 1..steps."""


class FloatStep(Floats, Step):
    """One frame: float32 [items, features], and what is carried, in and out. No control flow."""

    def carried_tensor(self, item: Carried, name: str) -> ValueInfoProto:
        kind = "int64" if item.name == STEPS else FLOAT
        return tensor(name, kind, ["items", item.features], f"starts at {start_words(self.program, item)}")
