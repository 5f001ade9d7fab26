"""A program as a torch module: the integers of the reference engine, however torch runs it."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import bittailor as bt
from bittailor.core.program import Program, bind
from bittailor.engines import ENGINES
from bittailor.engines.streaming import carried, start, stream
from bittailor.errors import BittailorError, DataError, FileError, UnsupportedNetwork
from bittailor.export.torch import IntegerModule, module
from networks import CELL_VARIANTS, gru_network, random_case, random_plan, uniform_plan

REFERENCE = ENGINES["reference"]


def make(end: str = "last", cell: str = "gru", bits: int = 6, seed: int = 0, **more: object) -> Program:
    network = gru_network(4, 7, 3, end=end, cell=cell, seed=seed, **more)
    return bind(network, uniform_plan(network, np.random.default_rng(seed).normal(size=(4, 6, 4)), bits))


def batch(seed: int = 1, items: int = 5, steps: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    lengths = np.append(steps, rng.integers(1, steps + 1, items - 1))
    return torch.from_numpy(rng.normal(size=(items, steps, 4))).float(), torch.from_numpy(lengths)


def expected(program: Program, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    q = program.quantise_input(x.numpy())
    y = REFERENCE.run(program, q, None if lengths is None else lengths.numpy())
    return torch.from_numpy(program.read_output(y)).to(x.dtype)


@pytest.mark.parametrize("end", ["last", "mean", "sequence"])
@pytest.mark.parametrize("both", [False, True])
def test_floats_in_floats_out(end: str, both: bool) -> None:
    program = make(end, bidirectional=both)
    found = module(program)
    x, lengths = batch()
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(found(x.to(dtype)), expected(program, x.to(dtype)))
        assert torch.equal(found(x.to(dtype), lengths), expected(program, x.to(dtype), lengths))
    assert torch.equal(found(x[0]), expected(program, x[:1])[0])
    q = torch.from_numpy(program.quantise_input(x.numpy()))
    for kind in (torch.int8, torch.int32, torch.int64):
        got = found(q.to(kind), lengths)
        assert got.dtype == torch.int64
        assert np.array_equal(got.numpy(), REFERENCE.run(program, q.numpy(), lengths.numpy()))


@pytest.mark.parametrize("end", ["last", "sequence"])
def test_steps_first_and_packed_sequences(end: str) -> None:
    program = make(end)
    x, lengths = batch()
    want = expected(program, x, lengths)
    steps_first = module(program, batch_first=False)
    got = steps_first(x.transpose(0, 1), lengths)
    assert torch.equal(got.transpose(0, 1) if end == "sequence" else got, want)
    for first in (True, False):
        packed = pack_padded_sequence(x if first else x.transpose(0, 1), lengths, first, enforce_sorted=False)
        got = module(program, batch_first=first)(packed)
        if end == "sequence":
            assert torch.equal(got.data, pack_padded_sequence(want, lengths, True, enforce_sorted=False).data)
        else:
            assert torch.equal(got, want)


@pytest.mark.parametrize("seed", range(20))
def test_any_program(seed: int) -> None:
    case = random_case(seed)
    found = module(case.program)
    lengths = None if case.lengths is None else torch.from_numpy(case.lengths)
    got = found(torch.from_numpy(case.q), lengths)
    assert np.array_equal(got.numpy(), REFERENCE.run(case.program, case.q, case.lengths))


def pieces(steps: int, rng: np.random.Generator) -> list[slice]:
    """The steps, cut anywhere."""
    cuts = [0, *sorted(rng.choice(np.arange(1, steps), rng.integers(0, steps), replace=False).tolist()), steps]
    return [slice(a, b) for a, b in itertools.pairwise(cuts)]


@pytest.mark.parametrize(("cell", "variant"), [v for v in CELL_VARIANTS if not v[1]])
@pytest.mark.parametrize("end", ["last", "first", "mean", "sum", "max", "sequence"])
def test_a_stream_is_its_sequence(cell: str, variant: str, end: str, rng: np.random.Generator) -> None:
    network = gru_network(4, 5, 3, layers=2, cell=cell, end=end)
    program = bind(network, random_plan(network, rng.normal(size=(4, 6, 4)), rng))
    fmt = program.input_format
    q = rng.integers(fmt.qmin, fmt.qmax + 1, (3, 7, 4))
    found = module(program)
    state = found.start(3)
    assert [tuple(s.shape) for s in state] == [(3, item.features) for item in carried(program)]
    outputs = []
    for piece in pieces(7, rng):
        y, state = found(torch.from_numpy(q[:, piece]), state=state)
        outputs.append(y.numpy())
        if end != "sequence":
            assert np.array_equal(y.numpy(), REFERENCE.run(program, q[:, : piece.stop]))
    if end == "sequence":
        assert np.array_equal(np.concatenate(outputs, axis=1), REFERENCE.run(program, q))


def test_the_last_piece_may_be_ragged() -> None:
    program = make("mean")
    rng = np.random.default_rng(0)
    q = rng.integers(program.input_format.qmin, program.input_format.qmax + 1, (4, 6, 4))
    lengths = np.array([4, 6, 5, 6])
    _, state = stream(program, q[:, :3], start(program, 4))
    y, _ = stream(program, q[:, 3:], state, lengths - 3)
    assert np.array_equal(y, REFERENCE.run(program, q, lengths))


def test_what_cannot_be_carried_is_refused() -> None:
    with pytest.raises(UnsupportedNetwork, match="runs backwards"):
        module(make(bidirectional=True)).start(2)
    program = make("mean")
    x, _ = batch(items=2)
    found = module(program)
    state = found.start(2)
    with pytest.raises(DataError, match="carries 3 things"):
        found(x, state=state[:1])
    with pytest.raises(DataError, match="has shape"):
        found(x, state=found.start(3))
    with pytest.raises(DataError, match="outside"):
        found(x, state=(state[0] + 1000, *state[1:]))


@pytest.mark.parametrize("end", ["last", "sequence"])
def test_opcheck(end: str) -> None:
    found = module(make(end))
    x, lengths = batch()
    some = found.outputs, found.per_step
    for given in (None, lengths):
        torch.library.opcheck(torch.ops.bittailor.run, (x, given, found.program_bytes, *some))
        torch.library.opcheck(
            torch.ops.bittailor.stream, (x, given, list(found.start(5)), found.program_bytes, *some))


@pytest.mark.parametrize("end", ["last", "sequence"])
def test_compiled(end: str) -> None:
    program = make(end)
    found = module(program)
    x, lengths = batch()
    for backend in ("eager", "aot_eager"):
        torch._dynamo.reset()
        fast = torch.compile(found, fullgraph=True, backend=backend)
        assert torch.equal(fast(x), expected(program, x))
        assert torch.equal(fast(x[:3, :4]), expected(program, x[:3, :4]))
        assert torch.equal(fast(x, lengths), expected(program, x, lengths))
        y, state = fast(x, state=found.start(5))
        assert torch.equal(y, expected(program, x))
        assert len(state) == 1


@pytest.mark.parametrize("end", ["last", "sequence"])
def test_exported_saved_and_loaded(end: str, tmp_path: Path) -> None:
    program = make(end)
    x, lengths = batch()
    items, steps = torch.export.Dim("items", min=1), torch.export.Dim("steps", min=1)
    shapes = {"x": {0: items, 1: steps}, "lengths": {0: items}}
    exported = torch.export.export(module(program), (x, lengths), dynamic_shapes=shapes)
    torch.export.save(exported, tmp_path / "net.pt2")
    again = torch.export.load(tmp_path / "net.pt2").module()
    assert torch.equal(again(x, lengths), expected(program, x, lengths))
    assert torch.equal(again(x[:2, :3], torch.tensor([3, 1])), expected(program, x[:2, :3], torch.tensor([3, 1])))


def test_state_dict_save_and_to() -> None:
    first, second = make(bits=6), make(bits=4, seed=3)
    x, _ = batch()
    found, other = module(first), module(second)
    kept = io.BytesIO()
    torch.save(found, kept)
    kept.seek(0)
    assert torch.equal(torch.load(kept, weights_only=False)(x), expected(first, x))
    other.load_state_dict(found.state_dict())  # of another size in bytes
    assert torch.equal(other(x), expected(first, x))
    assert other.fingerprint == found.fingerprint
    whole = torch.nn.Sequential(found.to(torch.float16).to("cpu"), torch.nn.Softmax(-1))
    assert torch.equal(whole(x), torch.softmax(expected(first, x), -1))
    assert not list(whole.parameters())
    with pytest.raises(BittailorError, match="4 inputs and 3 outputs; this"):
        module(bind(gru_network(4, 5, 2), uniform_plan(gru_network(4, 5, 2), np.ones((2, 3, 4)), 8))).load_state_dict(
            found.state_dict())
    damaged = found.state_dict()
    damaged["program_bytes"] = damaged["program_bytes"].clone()
    damaged["program_bytes"][-1] ^= 1
    with pytest.raises(FileError, match="damaged"):
        other.load_state_dict(damaged)


def test_no_gradient_and_it_says_so() -> None:
    found = module(make())
    x, _ = batch()
    with pytest.raises(BittailorError, match="no gradient"):
        found(x.requires_grad_()).sum().backward()
    with torch.no_grad():
        assert torch.equal(found(x), expected(found.program, x.detach()))


def test_bad_input_is_one_line() -> None:
    found = module(make())
    x, _ = batch()
    for wrong, words in ((x[..., :3], "takes 4 features per step"), (x * float("nan"), "NaN"),
                         (x > 0, "real numbers or integers"), ((x * 1000).int(), "outside")):
        with pytest.raises(DataError, match=words):
            found(wrong)
    with pytest.raises(DataError, match="lengths must lie in"):
        found(x, torch.full((5,), 7))


def test_it_stands_where_the_float_network_stood() -> None:
    class Float(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(4, 8, batch_first=True)
            self.head = torch.nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.gru(x)[0][:, -1])

    torch.manual_seed(0)
    model = Float()
    network = bt.from_torch(model)
    x, _ = batch(items=50)
    calibration = bt.calibrate(network, x.numpy().astype(np.float64))
    program = calibration.binder().bind(calibration.plan(bt.homogeneous_widths(network.graph, 12)))
    with torch.no_grad():
        assert (model(x) - bt.module(program)(x)).abs().max() < 0.02


def test_a_run_gives_modules(tmp_path: Path) -> None:
    network = gru_network(4, 5, 3)
    x = np.random.default_rng(0).normal(size=(30, 6, 4)).astype(np.float32)
    data = bt.Data(x, network(x).argmax(-1))
    run = bt.run_search(network, bt.Splits(data, data, data), tmp_path / "run",
                        bt.SearchSpec(search=bt.SearchSettings(population=4, generations=1)))
    found = run.module("8bit")
    assert isinstance(found, IntegerModule)
    assert found.fingerprint in repr(found)
    assert run.module(run.pick("8bit")).fingerprint == found.fingerprint
