"""Exported ONNX gives the reference engine's integers in onnxruntime, at every site and every step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.network import Network
from bittailor.core.ops import OPS
from bittailor.core.ops.forms import Accumulated, Copied, Cropped, Largest, Windowed
from bittailor.core.program import Program, bind
from bittailor.engines import Reference
from bittailor.engines.streaming import needs_the_end, start, stream
from bittailor.errors import BittailorError, FileError
from bittailor.export import export_program
from bittailor.export.onnx import RUN_FILE, STEP_FILE
from bittailor.export.onnx.emit import EMITTERS, EXACT
from bittailor.export.onnx.files import run_model, step_model
from bittailor.export.onnx.running import Session, debug_model, run, stepped, traced
from bittailor.export.onnx.verify import verify_onnx
from bittailor.export.verify import verify
from bittailor.export.verifying import verify_folder
from checksums import rewritten
from networks import (
    CELL_VARIANTS,
    Case,
    exposing,
    gru_network,
    index_network,
    options_of,
    plan_of,
    random_case,
    random_lengths,
    random_parameters,
    random_plan,
    uniform_plan,
)

REFERENCE = Reference()

STANDARD = {
    "Add", "BitShift", "BitwiseAnd", "BitwiseXor", "Cast", "Clip", "Concat", "Div", "Equal", "Expand", "Gather",
    "GatherND", "Greater", "Identity", "Less", "LessOrEqual", "MatMul", "Max", "Mod", "Mul", "Pad", "Range",
    "ReduceMax", "ReduceSum", "Reshape", "ReverseSequence", "Scan", "Shape", "Slice", "Sqrt", "Squeeze", "Sub", "Tile",
    "Transpose", "Unsqueeze", "Where",
}
"""Nothing else is written; MatMulInteger, which saturates on some processors, least of all."""


def check(program: Program, q: np.ndarray, lengths: np.ndarray | None = None) -> None:
    """Whole sequences with every site; frame by frame with every state."""
    sizes = np.full(len(q), q.shape[1]) if lengths is None else lengths
    model = run_model(program, "a test")
    want = REFERENCE.trace(program, q, sizes)
    output = program.graph.outputs[0]
    got = run(Session(model), program, q, sizes)
    assert np.array_equal(got, want[output]), f"{(got != want[output]).sum()} of {got.size} integers differ"
    for site, values in traced(Session(debug_model(model, program)), program, q, sizes).items():
        assert np.array_equal(values, want[site]), site
    if needs_the_end(program.graph):
        return
    state = start(program, len(q))
    for t, (y, after) in enumerate(stepped(Session(step_model(program, "a test")), program, q)):
        expected, state = stream(program, q[:, t : t + 1], state)
        assert np.array_equal(y, expected.reshape(y.shape)), t
        for a, b in zip(after, state, strict=True):
            assert np.array_equal(a, b), t


def case_of(network: Network, rng: np.random.Generator, style: str = "any") -> tuple[Program, np.ndarray]:
    program = bind(network, random_plan(network, rng.normal(size=(6, 5, network.features)), rng, style))
    fmt = program.input_format
    return program, rng.integers(fmt.qmin, fmt.qmax + 1, (7, 5, network.features))


@pytest.mark.parametrize("seed", range(25))
def test_random_programs(seed: int) -> None:
    case: Case = random_case(seed)
    check(case.program, case.q, case.lengths)


@pytest.mark.parametrize("style", ["narrow", "wide", "any"])
def test_indices(style: str) -> None:
    case = random_case(3, index_network(np.random.default_rng(3)), style)
    check(case.program, case.q, case.lengths)


@pytest.mark.parametrize("style", ["narrow", "wide"])
@pytest.mark.parametrize(("cell", "variant"), CELL_VARIANTS)
def test_every_cell(cell: str, variant: str, style: str, rng: np.random.Generator) -> None:
    """Two layers, one reversed, with their states shown; then forward alone, which has a step."""
    for reverse in (True, False):
        b, options = Builder(), options_of(cell, variant)
        x = add_layer(b, CELLS[cell], "first", b.input("input", 5), 5, True, reverse, states=True, **options)
        graph = b.graph(add_layer(b, CELLS[cell], "second", x, 6, False, **options))
        program, q = case_of(Network(graph, random_parameters(graph, rng)), rng, style)
        check(program, q, random_lengths(rng, 7, 5))


@pytest.mark.parametrize("end", ["last", "first", "mean", "sum", "max", "sequence"])
@pytest.mark.parametrize("both", [False, True])
def test_every_end(end: str, both: bool, rng: np.random.Generator) -> None:
    if both and end == "first":
        end = "last"  # of a reversed layer that is its first
    program, q = case_of(gru_network(4, 6, 3, layers=2, bidirectional=both, end=end), rng)
    check(program, q, rng.integers(1, 6, 7))
    check(program, q[:1, :1])


@pytest.mark.parametrize("bits", range(1, 17))
def test_every_weight_width(bits: int, rng: np.random.Generator) -> None:
    network = gru_network(6, 7, 4)
    x = rng.normal(size=(8, 6, 6))
    widths = uniform_plan(network, x, 8).widths | {s.name: bits for s in network.graph.free if s.kind == "weight"}
    ranges = {name: (float(v.min()), float(v.max())) for name, v in network.trace(x).items()}
    program = bind(network, plan_of(network, ranges, widths, ["gru0.W_hn", "head.W"]))
    check(program, program.quantise_input(x))


@pytest.mark.parametrize("name", [n for n, op in OPS.items() if not op.roles and op.access not in ("time", "window")])
@pytest.mark.parametrize("bits", [4, 8, 9, 16])
def test_every_operator_at_every_input(name: str, bits: int, rng: np.random.Generator) -> None:
    """All integers of the input, so that every entry of every table and both ends of every clamp are met."""
    b = Builder()
    x = b.input("input", 1)
    options = {"features": 1, "eps": 1e-5} if OPS[name].access == "statistics" else {}
    graph = b.graph(b.op(name, "y", *([x, x] if name in ("add", "sub", "mul", "concat") else [x]), **options))
    network = Network(graph, {})
    ranges = {"input": (-6.0, 5.0), "y": (-1.5, 2.0)}
    for out in (2, 7, 8, 16):
        program = bind(network, plan_of(network, ranges, {"input": bits, "y": out}))
        fmt = program.input_format
        check(program, np.arange(fmt.qmin, fmt.qmax + 1)[:, None, None])


@pytest.mark.parametrize("end", ["qmin", "qmax"])
@pytest.mark.parametrize(("bits", "columns", "kind"),
                         [(8, 1000, "float32"), (8, 1100, "float64"), (16, 300, "float64")])
def test_products_at_their_bounds(end: str, bits: int, columns: int, kind: str, rng: np.random.Generator) -> None:
    """The largest sums there can be, on either side of where float32 stops being exact."""
    b = Builder()
    graph = b.graph(b.op("last", "end", b.linear("y", b.input("input", columns), "W", 3)))
    network = Network(graph, {"W": rng.normal(size=(3, columns))})
    plan = plan_of(network, {"input": (-1.0, 1.0), "y": (-30.0, 30.0)}, {"input": bits, "W": bits, "y": 16})
    for odd in (0, 1):
        program = bind(network, plan, lambda site, fmt, odd=odd: np.where(
            np.arange(columns) < odd, fmt.qmax - 1, fmt.qmax)[None].repeat(3, axis=0))
        check(program, np.full((1, 1, columns), getattr(program.input_format, end)))
    model = onnx.load_from_string(run_model(program, ""))
    (product,) = [n for n in model.graph.node if n.op_type == "MatMul" and "y/" in n.input[0] + n.output[0]
                  and not n.input[1].startswith("float32")][:1]
    cast = next(n for n in model.graph.node if n.output[0] == product.input[0])
    names = {n: t for t, n in (("float32", onnx.TensorProto.FLOAT), ("float64", onnx.TensorProto.DOUBLE))}
    assert names[cast.attribute[0].i] == kind


def test_bounds_of_exact_types() -> None:
    for kind, bound in EXACT[:2]:
        assert np.dtype(kind).type(bound - 1) + 1 == bound
        assert np.dtype(kind).type(bound) + np.dtype(kind).type(1) == bound, "one more would not be seen"


def test_every_form_can_be_written() -> None:
    used = {op.form for op in OPS.values() if not issubclass(op.form, Accumulated)}
    assert used == {*EMITTERS, Copied, Cropped, Largest, Windowed}


def every_node(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    inner = [a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return [*graph.node, *(node for g in inner for node in every_node(g))]


@pytest.mark.parametrize("seed", range(10))
def test_standard_operators_and_where_floats_are(seed: int) -> None:
    program = random_case(seed).program
    model = onnx.load_from_string(run_model(program, ""))
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (8, [("", 18)])
    nodes = every_node(model.graph)
    assert {node.op_type for node in nodes} <= STANDARD
    assert not model.functions
    sites = {node.name for node in nodes if node.name}
    for node in program.graph.nodes():
        assert sites & {node.output, f"{node.output}@steps", f"{node.output}@step"}, node.output
    metadata = {p.key: p.value for p in model.metadata_props}
    assert json.loads(metadata["bittailor.formats"]).keys() == program.formats.keys()
    assert set(json.loads(metadata["bittailor.weight_bits"])) == {
        n.params[0] for n in program.graph.nodes() if n.params}


def test_weights_are_packed_in_the_file() -> None:
    """Bytes of the file beyond those of its graph are those that the device stores."""
    network = gru_network(40, 60, 10)
    x = np.random.default_rng(0).normal(size=(4, 6, 40))
    sizes = {bits: len(run_model(bind(network, uniform_plan(network, x, 8, **dict.fromkeys(
        ("W_ir", "W_iz", "W_in", "W_hr", "W_hz", "W_hn", "W"), bits))), "")) for bits in (2, 3, 5)}
    weights = 3 * 60 * (40 + 60) + 600
    assert abs(sizes[5] - sizes[2] - weights * 3 / 8) < 400
    assert abs(sizes[3] - sizes[2] - weights / 8) < 200


def test_items_that_lie_beyond_the_input_range_are_clipped() -> None:
    program = bind(gru_network(3, 4, 2), uniform_plan(gru_network(3, 4, 2), np.ones((2, 3, 3)), 6))
    fmt = program.input_format
    q = np.random.default_rng(0).integers(4 * fmt.qmin, 4 * fmt.qmax, (5, 4, 3))
    got = run(Session(run_model(program, "")), program, q, np.full(5, 4))
    assert np.array_equal(got, REFERENCE.run(program, q.clip(fmt.qmin, fmt.qmax)))


def test_what_stands_beyond_the_end_reaches_nothing() -> None:
    program = bind(gru_network(3, 4, 2, layers=2, bidirectional=True, end="mean"), uniform_plan(
        gru_network(3, 4, 2, layers=2, bidirectional=True, end="mean"),
        np.random.default_rng(0).normal(size=(2, 3, 3)), 8))
    session = Session(run_model(program, ""))
    q = np.random.default_rng(0).integers(-100, 100, (4, 6, 3))
    lengths = np.array([1, 6, 3, 5])
    wild = np.where(np.arange(6)[None, :, None] < lengths[:, None, None], q, -(2**31))
    assert np.array_equal(run(session, program, q, lengths), run(session, program, wild, lengths))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = gru_network(4, 6, 3)
    program = bind(network, uniform_plan(network, np.random.default_rng(0).normal(size=(4, 6, 4)), 6))
    place = tmp_path_factory.mktemp("onnx") / "net"
    export_program(program, place, "onnx")
    return place


def test_verify(folder: Path) -> None:
    report = verify_onnx(folder, 8)
    assert report.problem is None
    assert len(report.verdicts) == 4
    assert verify_folder(folder, items=3, x=np.random.default_rng(0).normal(size=(5, 6, 4))).problem is None


@pytest.mark.parametrize("name", [RUN_FILE, STEP_FILE])
def test_another_number_in_the_file_is_found(folder: Path, name: str, tmp_path: Path) -> None:
    model = onnx.load(folder / name)
    offsets = next(t for t in model.graph.initializer if t.name == "gru0.n.x/offsets")
    values = onnx.numpy_helper.to_array(offsets) + 40
    offsets.CopyFrom(onnx.numpy_helper.from_array(values, offsets.name))
    report = verify_onnx(rewritten(folder, tmp_path / "x", name, model.SerializeToString()), 8)
    assert report.problem is not None
    assert name in report.problem
    wrong = [what for what, problem in report.verdicts.items() if problem]
    assert all(what.startswith(name) for what in wrong)
    if name == RUN_FILE:
        assert "gru0.n.x" in str(report.verdicts[f"{RUN_FILE}: every site of 4 items"])


def test_what_is_no_model_is_found(folder: Path, tmp_path: Path) -> None:
    report = verify_onnx(rewritten(folder, tmp_path / "x", RUN_FILE, b"nothing"), 8)
    assert "cannot load" in str(report.problem)
    golden = json.loads((folder / "golden.json").read_text())
    golden["y"][0][0] += 1
    report = verify_onnx(rewritten(folder, tmp_path / "y", "golden.json", json.dumps(golden).encode()), 8)
    assert "golden.json: item 0" in str(report.problem)


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "bittailor", *words], capture_output=True, text=True, check=False,
                          env={**os.environ, **environment})


def test_a_foreign_folder_and_a_changed_byte_are_one_line(folder: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    shutil.copy(folder / RUN_FILE, foreign / "model.onnx")
    for place, words in ((foreign, "is no exported directory"), (tmp_path / "none", "is no exported directory")):
        with pytest.raises(FileError, match=words):
            verify_folder(place)
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    data = bytearray((changed / STEP_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (changed / STEP_FILE).write_bytes(data)
    with pytest.raises(FileError, match=rf"{STEP_FILE} is damaged or was changed"):
        verify_folder(changed)
    done = command("verify", str(changed))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    with pytest.raises(BittailorError, match="runs on no core"):
        verify_folder(folder, ["m4"])
    with pytest.raises(FileError, match="an export to onnx"):
        verify(folder)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_libraries_one_line(missing: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec

    def without(name: str, *more: object) -> object:
        return None if name == missing else found(name)

    monkeypatch.setattr("bittailor.export.onnx.running.find_spec", without)
    monkeypatch.setattr("bittailor.export.onnx.find_spec", without)
    with pytest.raises(BittailorError, match=rf"needs {missing}, and it is not installed: pip install"):
        verify_folder(folder)
    if missing == "onnx":
        with pytest.raises(BittailorError, match=r"needs onnx, and it is not installed: pip install"):
            export_program(random_case(0).program, folder / "new", "onnx", steps=4)


def test_a_network_with_a_reversed_layer_has_no_step(tmp_path: Path) -> None:
    network = gru_network(4, 6, 3, bidirectional=True)
    program = bind(network, uniform_plan(network, np.random.default_rng(0).normal(size=(4, 6, 4)), 6))
    facts = export_program(program, tmp_path / "net", "onnx").facts
    assert RUN_FILE in facts["files"]
    assert STEP_FILE not in facts["files"]
    assert verify_folder(tmp_path / "net").problem is None


def test_the_example_of_the_folder_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (folder / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(code, names)
    program = Program.load(folder / "program.safetensors")
    want = program.read_output(REFERENCE.run(program, program.quantise_input(np.zeros((1, 10, 4)))))
    assert np.array_equal(names["real"], want)


@pytest.mark.parametrize("seed", range(4))
def test_a_site_of_a_loop_can_be_the_output(seed: int) -> None:
    case = random_case(100 + seed)
    for node in list(case.program.graph.nodes())[:6]:
        program = exposing(case.program, node.output)
        sizes = np.full(len(case.q), case.q.shape[1])
        want = REFERENCE.run(program, case.q, sizes)
        assert np.array_equal(run(Session(run_model(program, "")), program, case.q, sizes), want), node.output
