"""A file as a model that can be trusted to be one: read, checked, its functions inlined, its constants at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import external_data_helper, helper, inliner, numpy_helper

from bittailor.common.files import MOST_BYTES, read_bytes
from bittailor.errors import FileError

Constant = NDArray[Any]
MOST_NODES = 20_000
"""Of a graph, functions inlined. The exporters' graphs have some tens a layer."""
STANDARD = ("", "ai.onnx")


def line(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join((str(error).strip() or type(error).__name__).split())[:200]


@dataclass(frozen=True, eq=False)
class Node:
    """A node of a graph.

    op       its operator; one outside ONNX's own has its domain in front
    path     of the module that it was exported from, as far as the file says; empty otherwise
    inputs   names of values; empty where an optional one is not given
    options  its attributes
    """

    op: str
    name: str
    path: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: dict[str, Any]
    proto: onnx.NodeProto

    @property
    def text(self) -> str:
        """The node for people."""
        return f"{self.op} '{self.name}'" if self.name else f"{self.op} that makes '{self.outputs[0]}'"


@dataclass(frozen=True, eq=False)
class Input:
    """An input of a graph.

    axes   size of each axis, a name or None where it is not fixed
    whole  whether its values are whole numbers
    """

    name: str
    axes: tuple[int | str | None, ...]
    whole: bool


@dataclass(frozen=True, eq=False)
class Model:
    """A checked model."""

    proto: onnx.ModelProto
    nodes: tuple[Node, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    constants: dict[str, Constant]


def load(path: Path | str) -> Model:
    """Read a file, with its external data; FileError, in one line, for whatever is wrong with it."""
    data = read_bytes(path)
    try:
        proto = onnx.load_from_string(data)
    except Exception as error:  # protobuf's, which this project does not import
        raise FileError(f"{path} is no ONNX file: {line(error)}") from None
    try:
        _load_external(proto, Path(path).parent)
        onnx.checker.check_model(proto)
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
        return _model(proto)
    except FileError:
        raise
    except Exception as error:  # onnx raises many kinds, all of them about the file
        raise FileError(f"{path} is no valid ONNX model: {line(error)}") from None


def _load_external(proto: onnx.ModelProto, folder: Path) -> None:
    """Read weights that lie in files beside the model."""
    total = 0
    for tensor in proto.graph.initializer:
        if external_data_helper.uses_external_data(tensor):
            total += int(np.prod([max(0, d) for d in tensor.dims], dtype=float)) * 8
    if total > MOST_BYTES:
        raise FileError(f"its weights would take {total:,} bytes; at most {MOST_BYTES:,} are read")
    external_data_helper.load_external_data_for_model(proto, str(folder))


def _model(proto: onnx.ModelProto) -> Model:
    graph = proto.graph
    nodes, constants = parts(graph)
    inputs = tuple(_input(value) for value in graph.input if value.name not in constants)
    return Model(proto, nodes, inputs, tuple(value.name for value in graph.output), constants)


def parts(graph: onnx.GraphProto) -> tuple[tuple[Node, ...], dict[str, Constant]]:
    """The nodes and the constants of a graph."""
    if len(graph.node) > MOST_NODES:
        raise FileError(f"it has {len(graph.node)} nodes; at most {MOST_NODES} are read")
    return tuple(_nodes(graph)), {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _input(value: onnx.ValueInfoProto) -> Input:
    kind = value.type.tensor_type
    axes = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim)
    whole = kind.elem_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    return Input(value.name, axes, whole)


def _nodes(graph: onnx.GraphProto) -> Iterator[Node]:
    for proto in graph.node:
        options = {a.name: _text(helper.get_attribute_value(a)) for a in proto.attribute}
        op = proto.op_type if proto.domain in STANDARD else f"{proto.domain}.{proto.op_type}"
        yield Node(op, proto.name, _path(proto), tuple(proto.input), tuple(proto.output), options, proto)


def _text(value: Any) -> Any:
    """An attribute's bytes as text, and its float32 as the shortest number that it stands for: 1e-05, 0.01."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float):
        return float(str(np.float32(value)))
    return [_text(each) for each in value] if isinstance(value, list) else value


def _path(proto: onnx.NodeProto) -> str:
    """The module's path: torch's new exporter writes it beside the node, the old one into its name, between slashes."""
    scopes = next((p.value for p in proto.metadata_props if p.key.endswith("name_scopes")), "")
    if scopes:
        names = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
        found = names[-2] if len(names) > 1 else ""
    else:
        parts = proto.name.strip("/").split("/")
        found = parts[-2] if len(parts) > 1 else ""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._") else "_" for c in found)[:100].strip(".")
