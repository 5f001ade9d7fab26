"""What the documentation shows is run, and its tables are those of the code and of results/."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bittailor as bt
from bittailor.core.builder import Builder
from bittailor.core.cells import add_layer

ROOT = Path(__file__).resolve().parents[2]


def python_block(page: str, number: int = 0) -> str:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)[number]


def test_the_readme_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(3, 6, batch_first=True)
            self.head = torch.nn.Linear(6, 2)

        def forward(self, x: Any) -> Any:
            return self.head(self.gru(x)[0][:, -1])

    rng = np.random.default_rng(0)
    names: dict[str, Any] = {"model": Net()}
    for part in ("train", "valid", "test"):
        names[f"x_{part}"] = rng.normal(size=(20, 5, 3)).astype(np.float32)
        names[f"y_{part}"] = rng.integers(0, 2, 20)
    short = "bt.SearchSpec(search=bt.SearchSettings(population=8, generations=2))"
    block = python_block("README.md").replace('"runs/mine")', f'"runs/mine", {short})')
    exec(block, names)
    assert names["y"].shape == (20, 2)
    assert 100 * np.mean(names["y"].numpy().argmax(-1) != names["y_test"]) == names["best"].test
    assert (tmp_path / "firmware" / "export.json").is_file()


def test_the_cell_of_the_adding_page_works_everywhere() -> None:
    names: dict[str, Any] = {}
    exec(python_block("docs/adding.md"), names)
    cell = names["MGUCell"]()
    b = Builder()
    out = add_layer(b, cell, "mgu0", b.input("input", 3), 4)
    graph = b.graph(b.op("last", "last", out))
    rng = np.random.default_rng(0)
    parameters = cell.parameters("mgu0", {
        "weight_ih": rng.normal(size=(8, 3)), "weight_hh": rng.normal(size=(8, 4)), "bias_ih": rng.normal(size=8)})
    network = bt.Network(graph, parameters)
    values = rng.normal(size=(6, 7, 3))
    calibration = bt.calibrate(network, values)
    program = calibration.binder().bind(calibration.plan(bt.homogeneous_widths(graph, 8)))
    q = program.quantise_input(values)
    expected = bt.ENGINES["reference"].run(program, q)
    assert np.abs(program.read_output(expected) - network(values)).max() < 0.2
    for engine in bt.ENGINES.values():
        if engine.available() is None:
            assert (engine.run(program, q) == expected).all()


def test_the_example_runs(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(ROOT / "examples" / "own_network.py"), str(tmp_path / "run")],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, integers = re.search(r"found: .*error (.*) %\nintegers say: *(.*) %", done.stdout).groups()  # type: ignore
    assert found == integers


def test_tables_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "docs" / "make_tables.py"), "--check"], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: run `make tables`"


PAGES = sorted(p.relative_to(ROOT).as_posix() for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text()):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"
