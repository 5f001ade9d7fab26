"""An ONNX graph while it is written: nodes, constants and names; a loop's body is one inside another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper


@dataclass(frozen=True)
class Standard:
    """Versions of the operators and of the file."""

    opset: int
    ir: int


INTEGERS = Standard(18, 8)
"""BitwiseAnd and BitwiseXor came with opset 18; onnxruntime reads it since 1.14."""

ELEMENTS: dict[str, int] = {
    "int8": TensorProto.INT8, "int16": TensorProto.INT16, "int32": TensorProto.INT32, "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32, "uint64": TensorProto.UINT64,
    "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "bool": TensorProto.BOOL,
}
"""NumPy's name of a type -> ONNX's."""


class Writer:
    """Writes nodes in order. Values are named by strings.

    scope   what its intermediate values' names begin with: the site that is being computed
    parent  the graph around a loop's body; constants are kept there
    """

    def __init__(self, parent: Writer | None = None) -> None:
        self.parent = parent
        self.scope = ""
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {} if parent is None else parent.constants
        self._made: dict[tuple[Any, ...], str] = {}
        self._counts: dict[str, int] = {} if parent is None else parent._counts

    @property
    def root(self) -> Writer:
        """The outermost graph, for what does not depend on the data: it is folded there."""
        at = self
        while at.parent is not None:
            at = at.parent
        at.scope = self.scope
        return at

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node; returns its value. Only nodes that make a site have a name."""
        value = self._fresh()
        self.nodes.append(helper.make_node(kind, list(inputs), [value], **attributes))
        return value

    def once(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node that is not written twice: the same one of this graph, or of one around it, serves again."""
        key = kind, inputs, tuple(attributes.items())
        at: Writer | None = self
        while at is not None:
            if key in at._made:
                return at._made[key]
            at = at.parent
        return self._made.setdefault(key, self.op(kind, *inputs, **attributes))

    def named(self, value: str, name: str, words: str = "") -> str:
        """Give the newest node's value its final name; `words` are what viewers show of it."""
        if not self.nodes or self.nodes[-1].output[0] != value or value in self._made.values():
            self.op("Identity", value)
        node = self.nodes[-1]
        node.output[0] = node.name = name
        node.doc_string = words
        return name

    def cast(self, value: str, kind: str) -> str:
        """The value as another type."""
        return self.once("Cast", value, to=ELEMENTS[kind])

    def number(self, value: float, kind: str = "int32") -> str:
        """A single number."""
        return self._keep(f"{kind} {value}", np.array(value, kind))

    def numbers(self, values: Sequence[int], kind: str = "int64") -> str:
        """A few numbers, such as a shape."""
        return self._keep(f"{kind} [{', '.join(map(str, values))}]", np.array(values, kind))

    def array(self, role: str, values: NDArray[Any]) -> str:
        """An array of the site that is being computed."""
        return self._keep(f"{self.scope}/{role}", values)

    def _keep(self, name: str, values: NDArray[Any]) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.array(values, order="C"), name)
        return name

    def _fresh(self) -> str:
        """A name of its own in all graphs."""
        count = self._counts[self.scope] = self._counts.get(self.scope, 0) + 1
        return f"{self.scope}/{count}"


def tensor(name: str, kind: str, shape: Sequence[int | str], words: str = "") -> ValueInfoProto:
    """What an input or output is; axes of any size by name."""
    return helper.make_tensor_value_info(name, ELEMENTS[kind], list(shape), doc_string=words)


def model_bytes(
    name: str, writer: Writer, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto], about: str,
    version: str, metadata: dict[str, str], standard: Standard = INTEGERS,
) -> bytes:
    """The file of a graph, checked; equal graphs give equal bytes."""
    graph = helper.make_graph(writer.nodes, name, list(inputs), list(outputs), list(writer.constants.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", standard.opset)],
                              ir_version=standard.ir,
                              producer_name="bittailor", producer_version=version, doc_string=about)
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
