"""ONNX files that are wrong, or that nobody meant: a network or a message of a few lines, never another error."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

from onnx import helper, numpy_helper  # noqa: E402

import bittailor as bt  # noqa: E402
from bittailor.errors import BittailorError, FileError, UnsupportedNetwork  # noqa: E402
from onnx_models import archive, behind, model_of, read, recurrent, saved, sequence, weights  # noqa: E402

# -- files that are wrong ------------------------------------------------------------


def test_without_the_libraries_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bittailor.read.find_spec", lambda name: None)
    with pytest.raises(BittailorError, match=r"pip install 'bittailor\[onnx\]'"):
        bt.from_onnx("m.onnx")


@pytest.mark.parametrize("data", [b"", b"\0" * 40, b"not a model", b"\x08\x08"])
def test_what_is_no_model_is_said_in_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(FileError) as error:
        bt.from_onnx(tmp_path / "m.onnx")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("axes", [("items",), ("items", "steps", "features"), (2, 3, 4, 5)])
def test_an_input_of_another_shape_is_refused(tmp_path: Path, axes: tuple[Any, ...]) -> None:
    with pytest.raises(UnsupportedNetwork, match="input 'x'"):
        read(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {}, [sequence(axes)], ["y"])


def test_features_that_a_file_leaves_open_can_be_given(tmp_path: Path) -> None:
    model = model_of([recurrent("GRU", ["", "h"], linear_before_reset=1)], weights("GRU"),
                     [sequence(("steps", "items", "features"))], ["h"])
    assert bt.from_onnx(saved(tmp_path, model), 3).features == 3


@pytest.mark.parametrize("axes", [(2**40, "items", 3), (4, 2**40, 3), (2**20, 2**20, 3)])
def test_sizes_that_nobody_can_run_are_refused(axes: tuple[str | int, ...], tmp_path: Path) -> None:
    model = model_of([recurrent("GRU", ["", "h"], linear_before_reset=1)], weights("GRU"), [sequence(axes)], ["h"])
    with pytest.raises(UnsupportedNetwork, match="too much to run it and compare; export it with"):
        bt.from_onnx(saved(tmp_path, model))


# -- files that nobody meant ------------------------------------------------------------


MADE = "gru_last.legacy.onnx", "gru_two_layers_both.dynamo.onnx", "lstm_last.fixed.onnx", "picked.legacy.onnx"
MOST_LINES = 3


def read_or_refuse(file: Path) -> None:
    """A network, or a message of a few lines; never another error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            network = bt.from_onnx(file)
    except BittailorError as error:
        said = str(error)
    else:
        said = repr(network)
    assert len(said.splitlines()) <= MOST_LINES


@settings(max_examples=40)
@given(data=st.data())
def test_bytes_that_changed_are_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    with archive() as files:
        content = bytearray(files.read(data.draw(st.sampled_from(MADE))))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("changed") / "m.onnx"
    file.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content))
    read_or_refuse(file)


def changed(model: Any, data: st.DataObject) -> None:
    """Something of a model that stays a model: inputs, outputs, attributes, constants, sizes, order of nodes."""
    graph = model.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)] + ["nowhere", ""]
    node = data.draw(st.sampled_from(list(graph.node)))
    what = data.draw(st.sampled_from(["input", "op", "attribute", "constant", "size", "drop", "swap", "output",
                                      "shape"]))
    if what == "input" and node.input:
        node.input[data.draw(st.integers(0, len(node.input) - 1))] = data.draw(st.sampled_from(names))
    elif what == "op":
        node.op_type = data.draw(st.sampled_from(["Relu", "Gather", "MatMul", "Slice", "Expand", "GRU", "Concat",
                                                  "If"]))
    elif what == "attribute" and node.attribute:
        attribute = data.draw(st.sampled_from(list(node.attribute)))
        attribute.i = data.draw(st.sampled_from([-1, 0, 1, 2, 5, 2**31, -(2**63), 2**63 - 1]))
        attribute.ints[:] = data.draw(st.lists(st.integers(-9, 9), max_size=4))
    elif what == "constant":
        held = data.draw(st.sampled_from(list(graph.initializer)))
        held.CopyFrom(numpy_helper.from_array(np.array(data.draw(st.sampled_from(
            [[[[np.nan]]], [], [0], [[1.5, np.inf]], [2**15], [-1, 2**14]])), data.draw(
                st.sampled_from([np.float32, np.float64, np.float16]))), held.name))
    elif what == "size":
        held = data.draw(st.sampled_from(list(graph.initializer)))
        held.dims[:] = data.draw(st.lists(st.sampled_from([0, 1, 2, 2**20, 2**40]), max_size=4))
    elif what == "drop":
        graph.node.remove(node)
    elif what == "swap" and len(graph.node) > 1:
        other = data.draw(st.sampled_from(list(graph.node)))
        node.output[0], other.output[0] = other.output[0], node.output[0]
    elif what == "output":
        graph.output[0].name = data.draw(st.sampled_from(names))
    elif what == "shape":
        axis = data.draw(st.sampled_from(list(graph.input[0].type.tensor_type.shape.dim)))
        axis.dim_value = data.draw(st.sampled_from([-1, 0, 1, 2, 3, 2**31, 2**40, 2**62]))


@settings(max_examples=100)
@given(data=st.data())
def test_models_that_changed_are_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    with archive() as files:
        model = onnx.load_from_string(files.read(data.draw(st.sampled_from(MADE))))
    for _ in range(data.draw(st.integers(1, 3))):
        changed(model, data)
    file = tmp_path_factory.mktemp("changed") / "m.onnx"
    file.write_bytes(model.SerializeToString())
    read_or_refuse(file)


@pytest.mark.parametrize(("op", "constants"), [
    ("Expand", {"a": np.zeros(1, np.float32), "b": np.array([2**20, 2**20])}),
    ("Add", {"a": np.zeros((2**17, 1), np.float32), "b": np.zeros((1, 2**17), np.float32)}),
    ("Gather", {"a": np.zeros((1, 2**16), np.float32), "b": np.zeros(2**16, np.int64)}),
])
def test_constants_that_would_fill_the_memory_are_refused(tmp_path: Path, op: str, constants: dict[str, np.ndarray]
                                                          ) -> None:
    with pytest.raises(UnsupportedNetwork, match="more than 268,435,456 values"):
        behind(tmp_path, [helper.make_node(op, ["a", "b"], ["c"]), helper.make_node("MatMul", ["v", "c"], ["y"])],
               constants)
