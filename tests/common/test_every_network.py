"""Networks as their public originals are (`zoo.py`): read or refused as the page says, and the same integers wherever
they run: in every engine, piece by piece, as C at every site, in ONNX, and some of them on an emulated core."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

import zoo
from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.network import Network
from bittailor.core.program import Program, bind
from bittailor.engines import ENGINES, Reference
from bittailor.engines.streaming import needs_the_end, start, stream
from bittailor.errors import UnsupportedNetwork
from bittailor.export import export_program
from bittailor.export.verify import verify
from bittailor.read import from_torch
from cores import core
from firmware_host import Built, build
from networks import random_lengths, random_parameters, random_plan

REFERENCE = Reference()
READ = [name for name, entry in zoo.ZOO.items() if not entry.refused]
REFUSED = [name for name in zoo.ZOO if name not in READ]


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    return {name: from_torch(zoo.made(name), zoo.ZOO[name].features) for name in READ}


def program_of(name: str, network: Network) -> Program:
    """Every site at any width."""
    rng = np.random.default_rng(len(name))
    return bind(network, random_plan(network, zoo.inputs(name, network), rng))


@pytest.fixture(scope="module")
def programs(networks: dict[str, Network]) -> dict[str, Program]:
    return {name: program_of(name, network) for name, network in networks.items()}


@pytest.fixture(scope="module")
def built(programs: dict[str, Program], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """All of them as C in one library."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    return build(programs, zoo.STEPS, "gcc", tmp_path_factory.mktemp("zoo"))


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own, in single precision
def test_the_table_is_up_to_date() -> None:
    with zoo.RESULT.open(newline="") as file:
        assert list(csv.DictReader(file)) == [zoo.row(name) for name in zoo.ZOO], "run: python tests/zoo.py"


@pytest.mark.parametrize("name", READ)
def test_every_engine(name: str, programs: dict[str, Program], networks: dict[str, Network]) -> None:
    program = programs[name]
    q = program.quantise_input(zoo.inputs(name, networks[name], 1))
    lengths = random_lengths(np.random.default_rng(0), len(q), q.shape[1], program.graph.least_steps)
    wanted = REFERENCE.run(program, q, lengths)
    assert np.ptp(wanted) > 0, "nothing happens in it"
    for engine in ENGINES.values():
        if engine.available() is None:
            assert np.array_equal(engine.run(program, q, lengths), wanted), engine.name


@pytest.mark.parametrize("name", READ)
def test_exported_c(name: str, built: dict[str, Built], networks: dict[str, Network]) -> None:
    """Every site of every step, and the outputs of a stream after every frame."""
    found, program = built[name], built[name].model.program
    q = program.quantise_input(zoo.inputs(name, networks[name], 2))[:2]
    wanted = REFERENCE.trace(program, q)
    for item in range(len(q)):
        y, sites = found.run(q[item])
        assert np.array_equal(y, wanted[program.graph.outputs[0]][item])
        for site in found.model.order.traced:
            there = wanted[site][item]
            assert np.array_equal(sites[site], there if there.ndim == 2 else there[None]), site
    if found.model.order.streaming:
        late = found.model.late
        found.call("reset", found.state)
        for t in range(q.shape[1]):
            got = found.step(q[0, t])
            y = REFERENCE.run(program, q[:1, : t + 1])[0] if t >= late else np.zeros(len(got))
            assert np.array_equal(got, y[t - late] if y.ndim == 2 else y)


@pytest.mark.parametrize("name", READ)
def test_piece_by_piece(name: str, programs: dict[str, Program], networks: dict[str, Network]) -> None:
    program = programs[name]
    if needs_the_end(program.graph):
        pytest.skip("it needs the end of a sequence before its beginning")
    q = program.quantise_input(zoo.inputs(name, networks[name], 3))
    wanted, state, outputs = REFERENCE.run(program, q), start(program, len(q)), []
    for piece in (slice(0, 1), slice(1, 5), slice(5, 12)):
        y, state = stream(program, q[:, piece], state)
        outputs.append(y)
    whole = np.concatenate(outputs, axis=1)[:, program.graph.late[program.graph.outputs[0]] :] if y.ndim == 3 else y
    assert np.array_equal(whole, wanted)


@pytest.mark.parametrize("name", ["sru", "ecg", "event_count", "elman", "battery", "residual", "rnnoise",
                                  "rnnoise_conv", "rnnoise_valid", "nsnet2_norm", "gru4rec", "separable", "streaming"])
def test_onnx_and_the_torch_module(name: str, programs: dict[str, Program], tmp_path: Path) -> None:
    """One of each operator that is in no task of the package."""
    pytest.importorskip("onnxruntime")
    import torch

    from bittailor.export.onnx.verify import verify_onnx
    from bittailor.export.torch import module

    program = programs[name]
    export_program(program, tmp_path / "onnx", "onnx")
    assert set(verify_onnx(tmp_path / "onnx", 4).verdicts.values()) == {None}
    low, high = program.input_range
    q = np.random.default_rng(0).integers(low, high + 1, (
        3, 7, program.graph.sites[program.graph.inputs[0]].features))
    assert np.array_equal(module(program)(torch.from_numpy(q)).numpy(), REFERENCE.run(program, q))


@pytest.mark.parametrize("target", [core("m4"), core("m0", True)])
def test_on_an_emulated_core(target: str, rng: np.random.Generator, tmp_path: Path) -> None:
    """One network that has every operator that is in none of the package's tasks, and a state that starts at values."""
    b = Builder()
    h = add_layer(b, CELLS["rnn"], "rnn0", b.input("input", 5), 9, starts={"h": rng.normal(size=9).tolist()})
    h = b.op("clamp", "clamp", b.op("affine", "affine", h, factor=-1.5, shift=0.25), low=-0.8, high=0.9)
    h = b.op("crop", "crop", b.op("window", "window", h, taps=3, dilation=1, ahead=0), steps=2)
    h = b.op("gelu", "gelu", b.linear("mid", h, "W", 7, "b"))
    b.linear("out", b.op("concat", "both", b.op("sum", "sum", h), b.op("max", "max", h)), "head.W", 4)
    graph = b.graph("out")
    network = Network(graph, random_parameters(graph, rng))
    program = bind(network, random_plan(network, rng.normal(size=(6, 7, 5)), rng, "narrow"))
    folder = export_program(program, tmp_path / "c", steps=zoo.STEPS).folder
    assert verify(folder, [target], items=3).problem is None


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedNetwork, match=zoo.ZOO[name].refused) as caught:
        from_torch(zoo.made(name), zoo.ZOO[name].features)
    assert len(str(caught.value).splitlines()) <= 3
