"""ONNX models of a recurrent node and what stands around it, written node by node; and those of torch's exporters."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import bittailor as bt

ARCHIVE = Path(__file__).parent / "exported" / "exported.zip"
RNG = np.random.default_rng(3)
MATRIX, VECTOR = RNG.normal(size=(4, 2)).astype(np.float32), RNG.normal(size=2).astype(np.float32)


def archive() -> zipfile.ZipFile:
    return zipfile.ZipFile(ARCHIVE)


def model_of(nodes: list[Any], constants: dict[str, np.ndarray], inputs: list[Any], outputs: list[str],
             opset: int = 22) -> Any:
    kinds = {"ArgMax": TensorProto.INT64, "QuantizeLinear": TensorProto.INT8}
    kind = kinds.get(nodes[-1].op_type, TensorProto.FLOAT)
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info(n, kind, None) for n in outputs],
                              [numpy_helper.from_array(value, name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("own", 1)],
                              ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)  # outputs must have shapes
    for value in model.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, ["a", "b"]))
    return model


def sequence(axes: tuple[Any, ...] = ("steps", "items", 3), name: str = "x") -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, axes)


LENGTHS = helper.make_tensor_value_info("lengths", TensorProto.INT32, ["items"])
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def weights(op: str, directions: int = 1, bias: bool = True, hidden: int = 4) -> dict[str, np.ndarray]:
    rng, gates = np.random.default_rng(7), GATES[op]
    shapes = {"W": (directions, gates * hidden, 3), "R": (directions, gates * hidden, hidden),
              **({"B": (directions, 2 * gates * hidden)} if bias else {})}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def recurrent(op: str, outputs: list[str], *, bias: bool = True, lengths: bool = False, **options: Any) -> Any:
    return helper.make_node(op, ["x", "W", "R", "B" if bias else "", "lengths" if lengths else ""], outputs,
                            name="layer", hidden_size=4, **options)


def saved(folder: Path, model: Any) -> Path:
    file = folder / "m.onnx"
    onnx.save(model, file)
    return file


def read(folder: Path, *model: Any, **options: Any) -> bt.Network:
    return bt.from_onnx(saved(folder, model_of(*model, **options)))


def behind(tmp_path: Path, nodes: list[Any], constants: dict[str, np.ndarray], out: str = "y", **options: Any
           ) -> bt.Network:
    """A network whose last step, 'v' [items, 4], goes through some nodes."""
    first = [recurrent("GRU", ["", "h"], linear_before_reset=1),
             helper.make_node("Squeeze", ["h", "zero"], ["v"])]
    return read(tmp_path, [*first, *nodes], weights("GRU") | {"zero": np.array([0])} | constants, [sequence()], [out],
                **options)
