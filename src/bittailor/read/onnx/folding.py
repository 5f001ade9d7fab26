"""Constants computed from constants, by onnx's own reference, where the result cannot be larger than can be meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from bittailor.core.checks import MOST_VALUES
from bittailor.read.onnx.loading import Constant, Node, line
from bittailor.read.symbolic import Refusal

SMALLER = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Cast", "Identity", "Neg",
           "Sqrt", "Reciprocal", "Shape", "Size", "ReduceProd", "ReduceSum", "ReduceMax", "Not", "Floor", "Ceil",
           "Dropout", "CastLike", "Tanh", "Sigmoid")
"""Results that have no more values than what goes in."""
BROADCAST = ("Add", "Sub", "Mul", "Div", "Equal", "Greater", "Less", "Where", "Pow", "And", "Or", "Mod", "Min", "Max")
QUANTISED = ("DequantizeLinear", "QuantizeLinear")
FOLDED = (*SMALLER, *BROADCAST, *QUANTISED, "Concat", "Gather", "ConstantOfShape", "Expand", "Range")


def fold(node: Node, inputs: Sequence[Constant | None], opset: int) -> tuple[Any, ...]:
    """The values of a node all of whose inputs are constants."""
    if _count(node, [value for value in inputs if value is not None]) > MOST_VALUES:
        raise Refusal(f"it makes a constant of more than {MOST_VALUES:,} values")
    given = {name: value for name, value in zip(node.inputs, inputs, strict=True) if value is not None}
    graph = helper.make_graph(
        [node.proto], "constant",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in given.items()],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.outputs if name])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        found = iter(ReferenceEvaluator(model).run(None, given))
    except Exception as error:  # whatever NumPy says of values that do not fit
        raise Refusal(f"its constants cannot be computed: {line(error)}") from None
    return tuple(next(found) if name else None for name in node.outputs)


def _count(node: Node, inputs: Sequence[Constant]) -> float:
    """The most values that the result can have."""
    if node.op in BROADCAST:
        ranks = max(value.ndim for value in inputs)
        shapes = [(1,) * (ranks - value.ndim) + value.shape for value in inputs]
        return float(np.prod([float(max(sizes)) for sizes in zip(*shapes, strict=True)]))
    if node.op == "Gather":
        return float(inputs[0].size) * max(1, inputs[1].size)
    if node.op in ("ConstantOfShape", "Expand"):
        return float(np.prod(np.abs(inputs[-1].astype(float)))) * max(1, inputs[0].size)
    if node.op == "Range":
        start, limit, delta = (float(value.reshape(-1)[0]) for value in inputs)
        return abs((limit - start) / delta) if delta else np.inf
    return float(sum(value.size for value in inputs))
