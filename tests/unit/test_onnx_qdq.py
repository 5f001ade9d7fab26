"""ONNX with QDQ nodes runs in onnxruntime and stays close to the float network rounded to the program's formats."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import bittailor as bt
import zoo
from bittailor.cli.main import app
from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.network import Network
from bittailor.core.ops import OPS
from bittailor.core.ops.forms import Accumulated, Copied, Cropped, Largest, TableRows, Weighted, Windowed
from bittailor.core.program import Program, bind
from bittailor.engines import Reference
from bittailor.engines.streaming import STEPS, carried, needs_the_end
from bittailor.errors import BittailorError
from bittailor.export import export_program
from bittailor.export.onnx import RUN_FILE, STEP_FILE
from bittailor.export.onnx.files import run_model, step_model
from bittailor.export.onnx.floats import fake_quantised, real_start
from bittailor.export.onnx.layout import next_name
from bittailor.export.onnx.qdq import TOLERANCE, verify_qdq
from bittailor.export.onnx.qdq_layout import OPERATORS, QDQ, FloatRun, FloatStep
from bittailor.export.onnx.running import Session
from bittailor.export.verifying import verify_folder
from bittailor.read import from_torch
from bittailor.tasks import TASKS
from checksums import rewritten
from networks import (
    CELL_VARIANTS,
    gru_network,
    index_network,
    options_of,
    plan_of,
    random_case,
    random_lengths,
    random_parameters,
    random_plan,
    sample,
    uniform_plan,
)

REFERENCE = Reference()
FORMER = Path(__file__).parents[1] / "former" / "digits.zip"


def run(program: Program, x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    session = Session(run_model(program, "a test", FloatRun, QDQ))
    feeds = {program.graph.inputs[0]: x.astype(np.float32), "lengths": lengths.astype(np.int64)}
    found = session(feeds)[program.graph.outputs[0]]
    assert found.dtype == np.float32
    return found


def away(program: Program, got: np.ndarray, want: np.ndarray) -> float:
    """The mean difference, as a share of the output's range."""
    assert got.shape == want.shape
    fmt = program.output_format
    return float(np.abs(got - want).mean()) / (fmt.high - fmt.low)


def check_steps(program: Program, x: np.ndarray) -> None:
    """Frame by frame gives what whole sequences give: of each the outputs so far."""
    session = Session(step_model(program, "a test", FloatStep, QDQ))
    state = {item.name: np.tile(real_start(program, item), (len(x), 1)).astype(
                     np.int64 if item.name == STEPS else np.float32)
             for item in carried(program)}
    (source,), (output,) = program.graph.inputs, program.graph.outputs
    for t in range(x.shape[1]):
        found = session({source: x[:, t].astype(np.float32), **state})
        state = {name: found[next_name(name)] for name in state}
        if t + 1 < program.graph.least_steps:
            continue
        want = fake_quantised(program, x[:, : t + 1], np.full(len(x), t + 1))
        want = want[:, -1] if want.ndim == 3 else want
        assert away(program, found[output], want) <= TOLERANCE, t


@pytest.mark.parametrize("seed", range(30))
def test_random_programs(seed: int) -> None:
    """Any operators and widths; most outputs are the very values."""
    case = random_case(seed)
    lengths = np.full(len(case.q), case.q.shape[1]) if case.lengths is None else case.lengths
    x = case.program.input_format.dequantise(case.q)
    got, want = run(case.program, x, lengths), fake_quantised(case.program, x, lengths)
    assert away(case.program, got, want) <= TOLERANCE
    assert (np.abs(got - want) < 0.5 * case.program.output_format.scale[0]).mean() > 0.95


@pytest.mark.parametrize(("cell", "variant"), CELL_VARIANTS)
@pytest.mark.parametrize("end", ["last", "first", "mean", "sum", "max", "sequence"])
def test_every_cell_and_every_end(cell: str, variant: str, end: str, rng: np.random.Generator) -> None:
    """Forward, frame by frame too, and with a reversed layer; close to the integers, with ragged lengths."""
    for reverse in (False, True):
        b = Builder()
        out = add_layer(b, CELLS[cell], "one", b.input("input", 4), 4, True, reverse, **options_of(cell, variant))
        graph = b.graph(out if end == "sequence" else b.op(end, "end", out))
        network = Network(graph, random_parameters(graph, rng))
        x, lengths = rng.normal(size=(6, 5, 4)), rng.integers(1, 6, 6)
        program = bind(network, uniform_plan(network, x, 8))
        got = run(program, x, lengths)
        assert away(program, got, fake_quantised(program, x, lengths)) <= 0.01
        integers = program.read_output(REFERENCE.run(program, program.quantise_input(x), lengths))
        assert away(program, got, integers) <= 0.03
        assert bool(needs_the_end(graph)) == reverse
        if not reverse:
            check_steps(program, x)


@pytest.mark.parametrize("bits", range(1, 17))
def test_every_width(bits: int, rng: np.random.Generator) -> None:
    """Weights of every width, with a scale per row too, and activations of every width: within their range."""
    network = gru_network(6, 7, 4)
    x = rng.normal(size=(8, 6, 6))
    ranges = {name: (float(v.min()), float(v.max())) for name, v in network.trace(x).items()}
    widths = {s.name: bits if s.kind == "weight" else 16 if s.kind == "bias" else 12 for s in network.graph.free}
    widths["head.out"] = max(bits, 2)
    program = bind(network, plan_of(network, ranges, widths, ["gru0.W_hn", "head.W"]))
    lengths = np.full(8, 6)
    got = run(program, 2 * x, lengths)
    assert away(program, got, fake_quantised(program, 2 * x, lengths)) <= 0.03  # two turned ties of 32, of 2 bits
    fmt = program.output_format
    q = np.rint(got / fmt.scale[0]) + fmt.zero_point
    assert q.min() >= fmt.qmin
    assert q.max() <= fmt.qmax
    held = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load_from_string(
        run_model(program, "", FloatRun, QDQ)).graph.initializer}["head.out/W"]
    assert held.dtype == (np.int8 if bits <= 8 else np.int16)
    assert np.array_equal(held, program.constants["head.out"].parts()["W"].values)


@pytest.mark.parametrize("end", ["last", "sequence"])
def test_the_runtime_keeps_activations_of_12_bits(end: str, rng: np.random.Generator) -> None:
    """onnxruntime makes of some products of int8 weights one that rounds activations to 8 bits; not of these."""
    network = gru_network(6, 7, 4, layers=2, end=end)
    x, lengths = rng.normal(size=(16, 6, 6)), np.full(16, 6)
    ranges = {name: (float(v.min()), float(v.max())) for name, v in network.trace(x).items()}
    widths = {s.name: 8 if s.kind == "weight" else 16 if s.kind == "bias" else 12 for s in network.graph.free}
    program = bind(network, plan_of(network, ranges, widths))
    far = np.abs(run(program, x, lengths) - fake_quantised(program, x, lengths))
    assert (far < 0.5 * program.output_format.scale[0]).mean() > 0.8
    assert far.max() < 5 * program.output_format.scale[0]
    check_steps(program, x)


def test_every_operator_can_be_written() -> None:
    special = Weighted | TableRows | Accumulated | Copied | Largest | Windowed | Cropped
    assert {name for name, op in OPS.items() if not issubclass(op.form, special)} == set(OPERATORS)


@pytest.mark.parametrize("rows", [2, 11, 300])
def test_an_embedding(rows: int, rng: np.random.Generator) -> None:
    """Frame by frame too."""
    network = index_network(rng, rows)
    x = sample(rng, network, 6, 5)
    program = bind(network, random_plan(network, x, rng))
    lengths = rng.integers(1, 6, 6)
    assert away(program, run(program, x, lengths), fake_quantised(program, x, lengths)) <= 0.02
    check_steps(program, x)


@pytest.mark.parametrize("name", ["rnnoise_valid", "nsnet2_norm", "separable", "mingru_rms", "gru4rec", "tcn_gru"])
def test_networks_with_convolutions_and_normalisations(name: str, rng: np.random.Generator) -> None:
    """Frame by frame too."""
    network = from_torch(zoo.made(name), zoo.ZOO[name].features)
    x = zoo.inputs(name, network)
    program = bind(network, uniform_plan(network, x, 8))
    lengths = random_lengths(rng, len(x), x.shape[1], network.graph.least_steps)
    lengths = np.full(len(x), x.shape[1]) if lengths is None else lengths
    assert away(program, run(program, x, lengths), fake_quantised(program, x, lengths)) <= 0.02
    if not needs_the_end(network.graph):
        check_steps(program, x)


@pytest.mark.parametrize("name", [name for name in OPERATORS if OPS[name].access != "statistics"])
def test_every_operator_at_every_input(name: str) -> None:
    """All values of the input."""
    b = Builder()
    x = b.input("input", 1)
    graph = b.graph(b.op(name, "y", *([x, x] if name in ("add", "sub", "mul", "concat") else [x])))
    plan = plan_of(Network(graph, {}), {"input": (-6.0, 5.0), "y": (-1.5, 2.0)}, {"input": 8, "y": 9})
    program = bind(Network(graph, {}), plan)
    fmt = program.input_format
    q = np.arange(fmt.qmin, fmt.qmax + 1)[:, None, None]
    got, ones = run(program, fmt.dequantise(q), np.ones(256)), np.ones(256, np.int64)
    step = program.output_format.scale[0]
    assert np.abs(got - fake_quantised(program, fmt.dequantise(q), ones)).max() <= 1.01 * step
    assert np.abs(got - program.read_output(REFERENCE.run(program, q))).max() <= 1.01 * step


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("former")
    with zipfile.ZipFile(FORMER) as file:
        file.extractall(place)
    return place / "digits"


def test_the_error_on_digits_is_close_to_that_of_the_integers(former: Path) -> None:
    """The whole front of a run: no more than two of a hundred items change."""
    opened, data = bt.Run.open(former), TASKS["digits"].load(None, 0).test
    for solution in [*opened.front, *opened.homogeneous]:
        program = opened.program(solution)
        sizes = np.full(len(data.x), data.x.shape[1])
        got = run(program, data.x, sizes)
        want = program.read_output(REFERENCE.run(program, program.quantise_input(data.x)))
        errors = [100 * float((y.argmax(axis=-1) != data.y).mean()) for y in (got, want)]
        assert abs(errors[0] - errors[1]) <= 2.0, (solution, errors)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = gru_network(4, 6, 3)
    program = bind(network, uniform_plan(network, np.random.default_rng(0).normal(size=(4, 6, 4)), 6))
    place = tmp_path_factory.mktemp("qdq") / "net"
    export_program(program, place, "onnx-qdq")
    return place


def test_verify_says_that_it_is_not_bit_exact(folder: Path, tmp_path: Path) -> None:
    report = verify_folder(folder)
    assert report.problem is None
    done = CliRunner().invoke(app, ["verify", str(folder)])
    assert done.exit_code == 0
    assert "not bit for bit" in " ".join(done.output.split())
    model = onnx.load(folder / RUN_FILE)
    scale = next(t for t in model.graph.initializer if t.name == "head.out/W.scale")
    scale.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(scale) * np.float32(-1), scale.name))
    report = verify_qdq(rewritten(folder, tmp_path / "x", RUN_FILE, model.SerializeToString()), 8)
    assert "of the output's range away" in str(report.problem)
    report = verify_qdq(rewritten(folder, tmp_path / "y", RUN_FILE, b"nothing"), 8)
    assert "cannot load" in str(report.problem)
    with pytest.raises(BittailorError, match="runs on no core"):
        verify_folder(folder, ["m4"])


def test_the_example_of_the_folder_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (folder / "README.md").read_text()
    assert "not bit exact" in text
    assert STEP_FILE in text
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    want = fake_quantised(Program.load(folder / "program.safetensors"), np.zeros((1, 10, 4)), np.array([10]))
    assert np.allclose(names["y"], want, atol=1e-6)


def test_an_onnx_without_opset_21_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("onnx.defs.onnx_opset_version", lambda: 20)
    with pytest.raises(BittailorError, match=r"need opset 21.*pip install"):
        export_program(random_case(0).program, tmp_path / "out", "onnx-qdq", steps=20)
