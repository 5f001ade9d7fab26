"""The benchmarks run and write what they say; nothing here looks at a time."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bittailor.engines import ENGINES

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_table_of_post_training_results(tmp_path: Path) -> None:
    arguments = ["--tasks", "digits", "--seeds", "0", "1", "--population", "16", "--generations", "3",
                 "--cache", str(tmp_path / "cache"), "--runs", str(tmp_path / "runs"), "--csv", str(tmp_path / "t.csv")]
    run("ptq.py", *arguments)
    first = (tmp_path / "t.csv").read_text()
    rows = list(csv.DictReader(first.splitlines()))
    assert [r["seed"] for r in rows] == ["0", "1"]
    assert float(rows[0]["smallest_valid"]) <= float(rows[0]["int8_valid"])
    assert "gru0.W_hn" in (tmp_path / "t_widths.csv").read_text()
    run("ptq.py", *arguments)
    assert (tmp_path / "t.csv").read_text() == first


@pytest.mark.skipif(ENGINES["native"].available() is not None, reason="no C compiler")
def test_the_engine_benchmark(tmp_path: Path) -> None:
    out = run("engine.py", "--case", "b1", "--quick", "--json", str(tmp_path / "e.json"))
    assert "torch.nn.GRU" in out
    assert {row["case"] for row in json.loads((tmp_path / "e.json").read_text())["rows"]} == {"b1"}


def test_the_search_benchmark(tmp_path: Path) -> None:
    out = run("search.py", "--evaluations", "200", "--json", str(tmp_path / "s.json"))
    assert "200 evaluations" in out
    parts = json.loads((tmp_path / "s.json").read_text())["parts"]
    assert {"plan and binding", "genetic operators", "store"} <= parts.keys()
