"""Every cell goes the whole way: a torch module is read, searched, exported from its run and run on emulated cores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import bittailor as bt
from bittailor.cli.actions import export_solution
from bittailor.core.cells import CELLS
from bittailor.export.verify import verify
from bittailor.nn import MODULES
from bittailor.tasks.network import LastStepNetwork
from cores import EMULATED, core

FEATURES, HIDDEN, OUTPUTS, STEPS, ITEMS = 5, 7, 4, 8, 40


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bt.Run]:
    return {}


def run_of(cell: str, searched: dict[str, bt.Run], factory: pytest.TempPathFactory) -> bt.Run:
    """A short search of a network of this cell, whose labels are what it says itself."""
    if cell not in searched:
        module = LastStepNetwork(FEATURES, HIDDEN, OUTPUTS, 3, cell).eval()
        rng = np.random.default_rng(3)

        def part() -> bt.Data:
            x = rng.normal(size=(ITEMS, STEPS, FEATURES)).astype(np.float32)
            with torch.no_grad():
                return bt.Data(x, module(torch.from_numpy(x)).numpy().argmax(-1), np.full(ITEMS, STEPS))

        settings = bt.SearchSettings(population=10, generations=3, seed=1)
        searched[cell] = bt.run_search(bt.from_torch(module, FEATURES), bt.Splits(part(), part(), part()),
                                       factory.mktemp(cell) / "run",
                                       bt.SearchSpec(search=settings, objectives=("error", "size")))
    return searched[cell]


def test_every_cell_has_a_module() -> None:
    assert set(MODULES) == set(CELLS)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", [core("host"), *EMULATED])
def test_a_searched_network_runs_on_the_core(
    cell: str, name: str, searched: dict[str, bt.Run], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its program of mixed widths: every integer, and every byte of flash and RAM, as promised."""
    run = run_of(cell, searched, tmp_path_factory)
    mixed = [s for s in run.front if len(set(s.widths.values())) > 2]
    solution = mixed[len(mixed) // 2]
    exported = export_solution(run.path, tmp_path / "firmware", pick=str(run.front.index(solution)))
    report = verify(exported.folder, [name], 6)
    assert report.problem is None
    (verdict,) = report.verdicts
    assert verdict.sizes is not None
    assert (verdict.sizes.flash, verdict.sizes.ram) == (report.facts["flash"], report.facts["ram"])
    if name != "host":
        assert verdict.counts is not None
        assert verdict.counts.per_step > HIDDEN * (FEATURES + HIDDEN)
