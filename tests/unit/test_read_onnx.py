"""ONNX files: what torch's exporters write, every form of the recurrent nodes, and what stands around them."""

from __future__ import annotations

import json
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")

from onnx import helper  # noqa: E402
from safetensors.torch import load as load_weights  # noqa: E402

import bittailor as bt  # noqa: E402
from bittailor.errors import FileError, UnsupportedNetwork  # noqa: E402
from exported.make_exported import EXPORTERS  # noqa: E402
from exported.modules import MODULES  # noqa: E402
from onnx_models import (  # noqa: E402
    GATES,
    LENGTHS,
    MATRIX,
    VECTOR,
    archive,
    behind,
    model_of,
    read,
    recurrent,
    saved,
    sequence,
    weights,
)

REFUSED = {
    "gru_time_major.dynamo": "number of items or steps of the example",
    "lstm_projected.dynamo": "the file itself does not run",
    "lstm_projected.fixed": "the file itself does not run",
    **{f"gru_cells.{exporter}": "one matrix is used 5 times" for exporter in EXPORTERS},
    **{f"{name}.{exporter}": "a loop over" for name in ("rnn_last", "rnn_both_sum") for exporter in EXPORTERS[1:]},
}
"""Files that are written wrongly, or for one number of steps: what the refusal says."""


def exported() -> list[tuple[str, str]]:
    with archive() as files:
        names = set(files.namelist())
    return [(name, exporter) for name in MODULES for exporter in EXPORTERS if f"{name}.{exporter}.onnx" in names]


def module_of(name: str) -> Any:
    module = MODULES[name].make()
    with archive() as files:
        module.load_state_dict(load_weights(files.read(f"{name}.safetensors")))
    return module


# -- what torch's exporters write ------------------------------------------------------------


@pytest.mark.parametrize(("name", "exporter"), exported())
def test_a_module_is_the_same_network_through_either_exporter(tmp_path: Path, name: str, exporter: str) -> None:
    """The same graph, names among it, and the same float64 parameters: so every bit of every program is the same."""
    file = tmp_path / "m.onnx"
    with archive() as files:
        file.write_bytes(files.read(f"{name}.{exporter}.onnx"))
    if said := REFUSED.get(f"{name}.{exporter}"):
        with pytest.raises(UnsupportedNetwork, match=said):
            bt.from_onnx(file)
        return
    said = "fixes its number of steps, 5, .* with another the file does not run"
    with stateful("its input h0 is read as a state", name), (
            pytest.warns(UserWarning, match=said) if exporter == "fixed" else nullcontext()):
        found = bt.from_onnx(file)
    with stateful("GivenState is read as it runs with h0 given None", name):
        assert found.fingerprint == bt.from_torch(module_of(name)).fingerprint


def stateful(said: str, name: str) -> AbstractContextManager[Any]:
    """What is warned of where a state is an input."""
    return pytest.warns(UserWarning, match=said) if name == "gru_given_state" else nullcontext()


def test_what_the_exporters_refuse_themselves_is_known() -> None:
    with archive() as files:
        refused = json.loads(files.read("refused.json"))
    assert set(refused) == {f"gru_packed.{exporter}" for exporter in EXPORTERS} | {"lstm_projected.legacy"}
    assert set(exported()) | {tuple(name.split(".")) for name in refused} == {
        (name, exporter) for name in MODULES for exporter in EXPORTERS}


# -- the nodes, in every form ------------------------------------------------------------


FORMS = [("GRU", {"linear_before_reset": 0}), ("GRU", {"linear_before_reset": 1}), ("LSTM", {}),
         ("RNN", {"activations": ["Relu"]})]


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "options"), FORMS)
def test_every_form_of_a_recurrent_node(
    tmp_path: Path, op: str, options: dict[str, Any], direction: str, layout: int, bias: bool, lengths: bool,
) -> None:
    """Y and Y_h: from_onnx compares both with onnxruntime on other lengths, and refuses what differs."""
    directions, opset = 2 if direction == "bidirectional" else 1, 14 if bias else 22
    options = {name: value * directions if isinstance(value, list) else value for name, value in options.items()}
    node = recurrent(op, ["Y", "Y_h"], bias=bias, lengths=lengths, direction=direction, layout=layout, **options)
    inputs = [sequence(("items", "steps", 3) if layout else ("steps", "items", 3)), *([LENGTHS] if lengths else [])]
    constants = weights(op, directions, bias) | {"shape": np.array([0, 0, -1]), "flat": np.array([0, -1])}
    to_last = [[0, 2, 1, 3], [0, 1, 2, 3]][layout]
    steps = [helper.make_node("Transpose", ["Y"], ["yt"], perm=to_last),
             helper.make_node("Reshape", ["yt", "shape"], ["y"])]
    each = read(tmp_path, [node, *steps], constants, inputs, ["y"], opset=opset)
    assert each.graph.sites[each.output].features == 4 * directions
    order = [[1, 0, 2], [0, 1, 2]][layout]
    ends = [helper.make_node("Transpose", ["Y_h"], ["ht"], perm=order),
            helper.make_node("Reshape", ["ht", "flat"], ["h"])]
    last = read(tmp_path, [node, *ends], constants, inputs, ["h"], opset=opset)
    x, sizes = np.random.default_rng(1).normal(size=(2, 5, 3)), np.array([5, 2])
    whole, end = each(x, sizes), last(x, sizes)
    picked = whole[[0, 1], sizes - 1] if direction != "reverse" else whole[:, 0]
    np.testing.assert_array_equal(end[:, :4], picked[:, :4])


def twin(op: str, constants: dict[str, np.ndarray]) -> Any:
    """torch's layer with the same weights; gates as ONNX's page has them."""
    order = {"GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}[op]
    layer = getattr(torch.nn, op)(3, 4, batch_first=True).double()
    ordered = {n: np.concatenate([np.split(part, GATES[op])[i] for i in order]) for n, part in {
        "weight_ih_l0": constants["W"][0], "weight_hh_l0": constants["R"][0],
        **dict(zip(("bias_ih_l0", "bias_hh_l0"), np.split(constants["B"][0], 2), strict=True))}.items()}
    layer.load_state_dict({name: torch.tensor(value) for name, value in ordered.items()})
    return layer


@pytest.mark.parametrize("op", ["GRU", "LSTM"])
def test_the_gates_are_those_of_torch(tmp_path: Path, op: str) -> None:
    constants = weights(op)
    options = {"linear_before_reset": 1} if op == "GRU" else {}
    network = read(tmp_path, [recurrent(op, ["Y", "h"], **options)], constants, [sequence()], ["h"])
    x = np.random.default_rng(1).normal(size=(2, 5, 3))
    with torch.no_grad():
        expected = twin(op, constants)(torch.tensor(x))[0][:, -1].numpy()
    np.testing.assert_allclose(network(x), expected, atol=1e-12)


def test_cell_states_are_outputs_too(tmp_path: Path) -> None:
    constants = weights("LSTM")
    network = read(tmp_path, [recurrent("LSTM", ["", "", "c"])], constants, [sequence()], ["c"])
    x = np.random.default_rng(1).normal(size=(2, 5, 3))
    with torch.no_grad():
        expected = twin("LSTM", constants)(torch.tensor(x))[1][1][0].numpy()
    np.testing.assert_allclose(network(x), expected, atol=1e-12)


@pytest.mark.parametrize(("op", "options", "inputs", "said"), [
    ("GRU", {"clip": 3.0}, {}, "clip=3"),
    ("GRU", {"activations": ["Relu", "Tanh"]}, {}, "activations=relu, tanh"),
    ("LSTM", {"input_forget": 1}, {}, "input_forget"),
    ("LSTM", {}, {7: ("P", (1, 12))}, "peepholes"),
    ("GRU", {}, {5: ("h0", (2, 1, 4))}, r"shape \(2, 1, 4\); expected 1 of 4 features"),
    ("LSTM", {}, {6: ("c0", (1, 1, 5))}, r"shape \(1, 1, 5\); expected 1 of 4 features"),
])
def test_what_no_cell_has_is_refused_by_name(
    tmp_path: Path, op: str, options: dict[str, Any], inputs: dict[int, tuple[str, tuple[int, ...]]], said: str,
) -> None:
    node, constants = recurrent(op, ["", "h"], **options), weights(op)
    for place, (name, shape) in inputs.items():
        while len(node.input) <= place:
            node.input.append("")
        node.input[place] = name
        constants[name] = np.ones(shape, np.float32)
    with pytest.raises(UnsupportedNetwork, match=said):
        read(tmp_path, [node], constants, [sequence()], ["h"])


def test_zero_peepholes_states_and_named_activations_are_nothing(tmp_path: Path) -> None:
    node, constants = recurrent("LSTM", ["", "h"], activations=["Sigmoid", "tanh", "TANH"]), weights("LSTM")
    node.input.extend(["h0", "", "P"])
    plain = read(tmp_path, [recurrent("LSTM", ["", "h"])], constants, [sequence(("steps", 2, 3))], ["h"])
    constants |= {"h0": np.zeros((1, 2, 4), np.float32), "P": np.zeros((1, 12), np.float32)}
    again = read(tmp_path, [node], constants, [sequence(("steps", 2, 3))], ["h"])
    assert again.fingerprint == plain.fingerprint


def test_a_gru_that_looks_wrongly_exported_is_warned_about_once(tmp_path: Path) -> None:
    model = model_of([recurrent("GRU", ["", "h"])], weights("GRU"), [sequence()], ["h"])
    model.producer_name, model.producer_version = "pytorch", "2.10.0"
    with pytest.warns(UserWarning, match="onnxscript/issues/2852") as said:
        network = bt.from_onnx(saved(tmp_path, model))
    assert len(said) == 1
    assert len(str(said[0].message).splitlines()) == 1
    assert "gru_cho" in str(network.graph.to_json())
    model.producer_name = "another"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bt.from_onnx(saved(tmp_path, model))


# -- around the nodes ------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "constants"), [
    ([("Gemm", "vMb", {})], {}),
    ([("Gemm", "vMb", {"alpha": 0.5, "beta": 2.0})], {}),
    ([("Gemm", "vTb", {"transB": 1})], {}),
    ([("Gemm", "vMs", {})], {"s": np.array([0.25], np.float32)}),
    ([("MatMul", "vM", {})], {}),
    ([("MatMul", "vM", {}), ("Add", "0b", {})], {}),
    ([("MatMul", "vM", {}), ("Add", "b0", {}), ("LeakyRelu", "1", {})], {}),
    ([("MatMul", "vM", {}), ("Relu", "0", {}), ("Softmax", "1", {"axis": -1})], {}),
    ([("MatMul", "vM", {}), ("LogSoftmax", "0", {"axis": 1})], {}),
    ([("MatMul", "vM", {}), ("ArgMax", "0", {"axis": 1, "keepdims": 0})], {}),
    ([("MatMul", "vM", {}), ("Clip", "0lm", {})], {"l": np.float32(-1), "m": np.float32(1)}),
    ([("MatMul", "vM", {}), ("Clip", "0l", {})], {"l": np.float32(0)}),
    ([("MatMul", "vM", {}), ("HardSigmoid", "0", {"alpha": 1 / 6})], {}),
    *[([("MatMul", "vM", {}), (op, "0", {})], {}) for op in (
        "Softplus", "Softsign", "Elu", "Sigmoid", "Tanh", "Gelu", "Selu", "Mish", "HardSwish", "Abs", "Neg")],
    ([("LeakyRelu", "v", {"alpha": 0.3}), ("Elu", "0", {"alpha": 2.0}), ("Gelu", "1", {"approximate": "tanh"})], {}),
    ([("PRelu", "vs", {})], {"s": np.array([0.3], np.float32)}),
    ([("PRelu", "vs", {})], {"s": np.array([0.3, 0.2, 0.1, 0.5], np.float32)}),
    ([("Mul", "sv", {}), ("Add", "0m", {}), ("Div", "1s", {}), ("MatMul", "2M", {})],
     {"s": np.array(0.25, np.float32), "m": np.array([1, 2, 3, 4], np.float32)}),
    ([("BatchNormalization", "vsmmp", {})], {"s": np.array([1, 2, 3, 4], np.float32),
                                             "m": np.array([4, 0, 1, 2], np.float32), "p": np.ones(4, np.float32)}),
    ([("Clip", "vlm", {})], {"l": np.float32(-0.5), "m": np.float32(0.25)}),
    ([("Sigmoid", "v", {}), ("Mul", "0v", {}), ("Sub", "10", {}), ("Concat", "12", {"axis": 1})], {}),
    ([("LeakyRelu", "v", {"alpha": 0.3}), ("Elu", "0", {"alpha": 2.0})], {}),
    ([("Split", "v", {"axis": 1, "num_outputs": 2})], {}),
])
def test_what_stands_behind_a_node(tmp_path: Path, nodes: list[tuple[str, str, dict[str, Any]]],
                                   constants: dict[str, np.ndarray]) -> None:
    if nodes[0][0] == "Split":
        with pytest.raises(UnsupportedNetwork, match="no part of its own"):
            behind(tmp_path, [helper.make_node("Split", ["v"], ["y", "z"], **nodes[0][2])], {})
        return
    made = [helper.make_node(op, list(given), [str(i) if i + 1 < len(nodes) else "y"], **options)
            for i, (op, given, options) in enumerate(nodes)]
    network = behind(tmp_path, made, {"M": MATRIX, "T": MATRIX.T.copy(), "b": VECTOR} | constants)
    assert network.output.split(".")[0] != "layer0"


@pytest.mark.parametrize(("op", "options", "said"), [
    ("HardSigmoid", {}, "alpha=0.2"),
    ("Softmax", {"axis": 0}, "features"),
    ("ThresholdedRelu", {}, "there is no operator for it"),
    ("Selu", {"alpha": 2.0}, "not those of SELU"),
    ("QuantizeLinear", {}, "quantised already"),
])
def test_functions_with_other_options_are_refused(tmp_path: Path, op: str, options: dict[str, Any], said: str) -> None:
    given = ["v", "s", "z"] if op == "QuantizeLinear" else ["v"]
    with pytest.raises(UnsupportedNetwork, match=said) as error:
        behind(tmp_path, [helper.make_node(op, given, ["y"], name="here", **options)],
               {"s": np.float32(0.1), "z": np.int8(0)})
    assert op in str(error.value)


def test_weights_that_are_dequantised_are_constants(tmp_path: Path) -> None:
    constants = weights("GRU")
    q = np.clip(np.rint(constants["W"] * 32), -127, 127).astype(np.int8)
    plain = {**constants, "W": q.astype(np.float32) / 32}
    want = read(tmp_path, [recurrent("GRU", ["", "h"], linear_before_reset=1)], plain, [sequence()], ["h"])
    unpack = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["W"])
    held = {"R": constants["R"], "B": constants["B"], "q": q, "s": np.float32(1 / 32), "z": np.int8(0)}
    got = read(tmp_path, [unpack, recurrent("GRU", ["", "h"], linear_before_reset=1)], held, [sequence()], ["h"])
    assert got.fingerprint == want.fingerprint


def test_external_weights_and_functions_are_read(tmp_path: Path) -> None:
    node = recurrent("GRU", ["", "h"], linear_before_reset=1)
    model = model_of([node], weights("GRU"), [sequence()], ["h"])
    want = bt.from_onnx(saved(tmp_path, model))
    onnx.save(model, tmp_path / "e.onnx", save_as_external_data=True, location="e.bin", size_threshold=0)
    assert bt.from_onnx(tmp_path / "e.onnx").fingerprint == want.fingerprint
    (tmp_path / "e.bin").unlink()
    with pytest.raises(FileError, match=r"e\.bin"):
        bt.from_onnx(tmp_path / "e.onnx")
    body = recurrent("GRU", ["", "h"], linear_before_reset=1)
    call = helper.make_node("Layer", ["x", "W", "R", "B"], ["h"], domain="own")
    inner = model_of([call], weights("GRU"), [sequence()], ["h"])
    body.input[:] = ["x", "W", "R", "B"]
    inner.functions.append(helper.make_function("own", "Layer", ["x", "W", "R", "B"], ["h"], [body],
                                                [helper.make_opsetid("", 22)]))
    inner.graph.output[0].CopyFrom(model.graph.output[0])
    assert bt.from_onnx(saved(tmp_path, inner)).parameters.keys() == want.parameters.keys()


@pytest.mark.parametrize("axes", [("items", 3, "steps"), ("items", "steps")])
def test_features_before_steps_and_one_feature(tmp_path: Path, axes: tuple[Any, ...]) -> None:
    if len(axes) == 3:
        turn = helper.make_node("Transpose", ["x0"], ["x"], perm=[2, 0, 1])
    else:
        turn = helper.make_node("Unsqueeze", ["x1", "two"], ["x"])
    first = [turn] if len(axes) == 3 else [helper.make_node("Transpose", ["x0"], ["x1"]), turn]
    constants = weights("GRU") | {"two": np.array([2])}
    if len(axes) == 2:
        constants["W"] = constants["W"][:, :, :1].copy()
    network = read(tmp_path, [*first, recurrent("GRU", ["", "h"], linear_before_reset=1)], constants,
                   [sequence(axes, "x0")], ["h"])
    assert network.features == (3 if len(axes) == 3 else 1)


@pytest.mark.parametrize("names", [("gains", "vad"), ("266", "270")])
def test_several_outputs_stand_side_by_side(tmp_path: Path, names: tuple[str, str]) -> None:
    nodes = [recurrent("GRU", ["Y", "hn"], linear_before_reset=1), helper.make_node("Squeeze", ["Y", "one"], ["v"]),
             *(helper.make_node("MatMul", ["v", f"{part}.weight"], [f"{part}.y"]) for part in ("a", "b")),
             *(helper.make_node("Sigmoid", [f"{part}.y"], [out]) for part, out in zip("ab", names, strict=True))]
    constants = weights("GRU") | {"one": np.array([1]), "a.weight": MATRIX, "b.weight": MATRIX[:, :1].copy()}
    network = read(tmp_path, nodes, constants, [sequence()], [*names, "hn"])
    assert network.parts == {names[0] if not names[0].isdigit() else "a": slice(0, 2),
                             names[1] if not names[0].isdigit() else "b": slice(2, 3)}


@pytest.mark.parametrize(("last", "said"), [(None, ""), (4, "computes something else"), (-1, "")])
def test_a_file_for_one_number_of_steps_is_run_on_another(tmp_path: Path, last: int | None, said: str) -> None:
    """As far as its nodes allow it; the last step by its number is another step in a longer sequence."""
    nodes = [recurrent("GRU", ["Y", "hn"], linear_before_reset=1), helper.make_node("Squeeze", ["Y", "one"], ["v"]),
             helper.make_node("Gather", ["v", "at"], ["y"], axis=0)]
    constants = weights("GRU") | {"one": np.array([1]), "at": np.array(0 if last is None else last)}
    with pytest.warns(UserWarning, match=said) if said else nullcontext():
        network = read(tmp_path, nodes, constants, [sequence((5, 2, 3))], ["y"])
    assert network(np.zeros((2, 7, 3))).shape == (2, 4)


@pytest.mark.filterwarnings("ignore:.*fixes its number of steps, 1")
def test_fixed_sizes_are_those_of_the_file(tmp_path: Path) -> None:
    """One item and one step, as models of streams are exported: the axes are moved and dropped all the same."""
    nodes = [recurrent("GRU", ["Y", "hn"], linear_before_reset=1), helper.make_node("Squeeze", ["Y"], ["v"]),
             helper.make_node("MatMul", ["v", "M"], ["y"])]
    network = read(tmp_path, nodes, weights("GRU") | {"M": MATRIX}, [sequence((1, 1, 3))], ["y", "hn"])
    assert network(np.zeros((2, 5, 3))).shape == (2, 5, 2)
