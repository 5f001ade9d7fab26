"""The torch engine beside what every engine is tested for: batches, memory, precision, and where it is chosen."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import bittailor.engines as engines
import bittailor.engines.torch as engine
from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS
from bittailor.core.network import Network
from bittailor.core.ops.time import MEAN_MOST_STEPS
from bittailor.core.program import bind
from bittailor.engines import Reference, Torch, native_build
from bittailor.engines.torch import workspace
from bittailor.engines.torch.runner import Runner
from bittailor.errors import RangeError
from networks import gru_network, random_integers, random_lengths, random_plan

Rng = np.random.Generator


def population(network: Network, rng: Rng, count: int, items: int = 9, steps: int = 7):  # type: ignore[no-untyped-def]
    """Programs at widths of their own, and an input for each."""
    x = rng.normal(size=(8, 6, network.features))
    programs = [bind(network, random_plan(network, x, rng)) for _ in range(count)]
    return [(p, random_integers(rng, p.input_format, (items, steps, network.features))) for p in programs]


def equal(jobs, lengths=None) -> Torch:  # type: ignore[no-untyped-def]
    """Run on an engine of its own, which is returned, and compare with the reference."""
    under_test = Torch("cpu")
    for (program, q), got in zip(jobs, under_test.run_jobs(jobs, lengths), strict=True):
        assert np.array_equal(got, Reference().run(program, q, lengths))
    return under_test


@pytest.mark.parametrize("room", [1, 40_000, 200_000])
@pytest.mark.parametrize("end", ["last", "mean", "sequence"])
def test_memory_decides_what_runs_together_and_nothing_else(
    end: str, room: int, rng: Rng, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engine.ROOM, "cpu", room)
    network = gru_network(3, 6, 2, bidirectional=True, end=end)
    sizes = []
    make = Runner.make_workspace
    monkeypatch.setattr(Runner, "make_workspace", lambda self, items, steps, programs, keep: (
        sizes.append((items, programs, steps)), make(self, items, steps, programs, keep))[1])
    equal(population(network, rng, 5), random_lengths(rng, 9, 7))
    each = Runner(network.graph).room(7)
    assert all(items * programs * each <= max(room, each) for items, programs, _ in sizes)
    assert {programs > 1 for _, programs, _ in sizes} == {room == 200_000}


@pytest.mark.parametrize("cell", CELLS)
def test_a_workspace_is_about_as_large_as_was_said(cell: str) -> None:
    network = gru_network(28, 32, 4, cell=cell, layers=2)
    runner = Runner(network.graph, stacked=True)
    room = runner.make_workspace(16, 50, 4, False)
    held = sum(array.numel() * array.element_size() for array in room._arrays.values())
    assert 0.2 < held / (16 * 4 * runner.room(50)) < 1


@pytest.mark.parametrize("cell", ["gru", "sru"])
def test_steps_beyond_those_whose_views_are_kept(cell: str, rng: Rng, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "PREPARED_STEPS", 3)
    equal(population(gru_network(3, 6, 2, bidirectional=True, cell=cell), rng, 2), random_lengths(rng, 9, 7))


def test_narrow_and_wide_batches_in_turn(rng: Rng) -> None:
    """What a batch of 64-bit sums leaves behind must not serve the next, of 32-bit ones."""
    network = gru_network(4, 6, 2)
    x = rng.normal(size=(8, 6, 4))
    under_test = Torch("cpu")
    for style in ("narrow", "wide", "any", "narrow"):
        program = bind(network, random_plan(network, x, rng, style))
        q = program.quantise_input(x)
        assert np.array_equal(under_test.run(program, q), Reference().run(program, q))


def test_rough_products_of_a_caller_do_not_reach_it(rng: Rng) -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        equal(population(gru_network(30, 20, 4), rng, 3))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_read_only_input(rng: Rng) -> None:
    ((program, q),) = population(gru_network(4, 6, 2), rng, 1)
    q = q.astype(np.int16)
    q.flags.writeable = False
    equal([(program, q)])


def test_graphs_come_and_go(rng: Rng) -> None:
    networks = [gru_network(3, size, 2, seed=size) for size in range(2, 2 * engine.GRAPHS)]
    jobs = [population(network, rng, 1)[0] for network in networks]
    assert len(equal(jobs + jobs[:1])._runners) == engine.GRAPHS


def test_a_mean_over_too_many_steps_is_refused() -> None:
    b = Builder()
    network = Network(b.graph(b.op("mean", "y", b.input("input", 1))), {})
    program = bind(network, random_plan(network, np.ones((1, 2, 1)), np.random.default_rng(0)))
    q = np.zeros((1, MEAN_MOST_STEPS + 1, 1), np.int16)
    for found in (Reference(), Torch("cpu")):
        with pytest.raises(RangeError, match="65536 steps; at most 65535"):
            found.run(program, q)
        assert found.run(program, q[:, 1:]).shape == (1, 1)


def test_where_it_stands(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Behind native, and before the reference, than which it is several times faster."""
    assert list(engines.ENGINES) == ["reference", "torch", "native"]
    monkeypatch.setattr(native_build, "find_compiler", lambda: None)
    engines._warn.cache_clear()
    assert engines.best_engine() == "torch"
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert engines.best_engine() == "reference"
    assert "pip install 'bittailor[torch]'" in caplog.text
    engines._warn.cache_clear()


def test_it_runs_where_a_gpu_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert Torch().device == ("cuda" if there else "cpu")
    assert Torch("cpu").device == "cpu"


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_is_left_on_another_device(cell: str, rng: Rng) -> None:
    """torch's device without memory refuses to compute with arrays of the CPU, as a GPU does."""
    for end in ("last", "mean", "sequence"):
        network = gru_network(5, 8, 3, layers=2, bidirectional=True, end=end, cell=cell)
        jobs = population(network, rng, 3)
        runner = Runner(network.graph, stacked=True, device=torch.device("meta"))
        runner.take([program for program, _ in jobs])
        out = runner.forward([torch.from_numpy(q) for _, q in jobs], torch.from_numpy(rng.integers(1, 8, 9)))
        assert out.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same(rng: Rng) -> None:
    jobs = population(gru_network(5, 20, 3, layers=2, bidirectional=True, end="mean"), rng, 6)
    for (program, q), got in zip(jobs, Torch("cuda").run_jobs(jobs), strict=True):
        assert np.array_equal(got, Reference().run(program, q))
