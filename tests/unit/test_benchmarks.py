"""The benchmarks run and write what they say; nothing here looks at a time."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import bittailor as bt
from bittailor.cost.firmware import Core
from bittailor.engines import ENGINES
from bittailor.export.targets import TARGETS

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


@pytest.mark.skipif(TARGETS["m4"].missing() is not None, reason=str(TARGETS["m4"].missing()))
def test_the_kernel_benchmark(tmp_path: Path) -> None:
    file = tmp_path / "k.json"
    out = run("kernels.py", "--core", "m4", "--shape", "64x64", "--json", str(file))
    assert "8-bit activations, 64 inputs, 64 rows" in out
    rows = json.loads(file.read_text())["rows"]
    cost = {(r["activations"], r["bits"], r["layout"] == "bits"): r["instructions_per_mac"] for r in rows}
    assert {bits for activations, bits, today in cost if activations == 8 and not today} == set(range(1, 9))
    # or a layout would not be kept; and narrower is not slower
    assert all(value < cost[activations, bits, True] for (activations, bits, today), value in cost.items() if not today)
    assert cost[8, 4, False] < 1.02 * cost[8, 8, False] < 1.4
    assert {r["inputs"] for r in rows} == {r["rows"] for r in rows} == {64}


@pytest.mark.skipif(TARGETS["m0"].missing() is not None, reason=str(TARGETS["m0"].missing()))
def test_the_model_of_a_core(tmp_path: Path) -> None:
    out = run("cores.py", "--cores", "m0", "--networks", "24", "--out", str(tmp_path))
    assert out.startswith("m0: code ±")
    assert Core.load("m0", tmp_path).errors["code"].networks >= 4


@pytest.mark.skipif(TARGETS["m4"].missing() is not None, reason=str(TARGETS["m4"].missing()))
def test_the_table_of_firmware(tmp_path: Path) -> None:
    run("firmware.py", "--tasks", "digits", "--population", "12", "--generations", "4", "--cores", "m0", "m4",
        "--items", "20", "--cache", str(tmp_path / "cache"), "--runs", str(tmp_path / "runs"),
        "--csv", str(tmp_path / "f.csv"))
    rows = list(csv.DictReader((tmp_path / "f.csv").read_text().splitlines()))
    assert {r["core"] for r in rows} == {"m0", "m4"}
    assert {"homogeneous 8", "16-bit state", "1- and 2-bit weights"} <= {r["solution"] for r in rows}
    assert {r["items"] for r in rows if r["core"] == "m4"} == {"360"}
    assert all(float(r["error"]) < 5 for r in rows if r["solution"] == "homogeneous 8" and r["core"] == "m4")


def test_the_headline(tmp_path: Path) -> None:
    arguments = ["--tasks", "digits", "--seeds", "0", "--population", "16", "--generations", "9", "--epochs", "1",
                 "--method", "beacons", "--jobs", "2", "--cache", str(tmp_path / "cache"),
                 "--runs", str(tmp_path / "runs"), "--csv", str(tmp_path / "h.csv")]
    run("headline.py", *arguments)
    first = (tmp_path / "h.csv").read_text()
    (row,) = csv.DictReader(first.splitlines())
    assert int(row["final_size_bits"]) <= int(row["int8_size_bits"])
    assert float(row["final_valid"]) <= float(row["int8_valid"])
    assert int(row["final_flash_bytes"]) < int(row["int8_flash_bytes"])
    assert row["int8_retrained_test"]
    assert "digits (1 seeds): within a quarter" in run("headline.py", *arguments)
    assert (tmp_path / "h.csv").read_text() == first


def test_the_ladder_benchmark(tmp_path: Path) -> None:
    arguments = ["--tasks", "digits", "--seeds", "0", "--population", "12", "--generations", "4", "--epochs", "1",
                 "--methods", "post-training", "ladder-long", "--cache", str(tmp_path / "cache"),
                 "--runs", str(tmp_path / "runs"), "--csv", str(tmp_path / "l.csv")]
    run("ladder.py", *arguments)
    first = (tmp_path / "l.csv").read_text()
    rows = list(csv.DictReader(first.splitlines()))
    made = {r["method"] for r in rows}
    assert {"int8", "int8 retrained", "post-training", "ladder-long", "ladder-long: retrained"} <= made
    spent = {r["method"]: int(r["retrainings"]) for r in rows}
    assert spent["post-training"] == 0
    assert spent["ladder-long"] > 3
    sizes = [float(r["at_percent"]) for r in rows if r["method"] == "ladder-long"]
    assert sizes == sorted(sizes)
    run("ladder.py", *arguments)
    assert (tmp_path / "l.csv").read_text() == first


def test_picks_their_certificates_and_budgets(tmp_path: Path) -> None:
    """One search serves three benchmarks; the fourth makes its own."""
    small = ["--tasks", "digits", "--seeds", "0", "--population", "12", "--generations", "4",
             "--cache", str(tmp_path / "cache")]
    where = [*small, "--runs", str(tmp_path / "runs"), "--csv"]
    run("holds.py", *where, str(tmp_path / "h.csv"))
    (row,) = csv.DictReader((tmp_path / "h.csv").read_text().splitlines())
    assert float(row["diff_low"]) <= float(row["diff_test"]) <= float(row["diff_high"])
    said = run("coverage.py", *where, str(tmp_path / "c.csv"), "--divisions", "20")
    assert "of 20 above it on truth" in said
    (row,) = csv.DictReader((tmp_path / "c.csv").read_text().splitlines())
    assert int(row["exceeded"]) <= int(row["certified"]) <= 20
    run("budget.py", *where, str(tmp_path / "b.csv"), "--methods", "post-training")
    rows = {r["rule"]: r for r in csv.DictReader((tmp_path / "b.csv").read_text().splitlines())
            if r["at_percent"] == "40"}
    assert rows["pick"]["error_valid"] == rows["error"]["error_valid"]  # nothing was retrained
    assert float(rows["pick"]["percent"]) <= 40
    run("racing.py", *small, "--csv", str(tmp_path / "r.csv"))
    (row,) = csv.DictReader((tmp_path / "r.csv").read_text().splitlines())
    assert row["sequences_ratio"] == "1"  # too few items to be raced
    assert row["hypervolume"] == row["hypervolume_without"]


def test_the_benchmark_of_elastic_weights_and_widths_by_gradient(tmp_path: Path) -> None:
    arguments = ["--tasks", "digits", "--seeds", "0", "--population", "12", "--generations", "4", "--epochs", "1",
                 "--methods", "post-training", "elastic + ladder", "gradient", "gradient + rungs",
                 "--cache", str(tmp_path / "cache"), "--runs", str(tmp_path / "runs"), "--csv", str(tmp_path / "e.csv")]
    run("elastic.py", *arguments)
    first = (tmp_path / "e.csv").read_text()
    rows = list(csv.DictReader(first.splitlines()))
    spent = {r["method"]: int(r["retrainings"]) for r in rows}
    assert spent["post-training"] == 0
    assert spent["gradient"] == 1
    assert spent["elastic + ladder"] > 2
    assert spent["gradient + rungs: retrained"] > 1
    # the genomes are in the first population, and where they stand was made without the searches that begin with them
    places = sorted((tmp_path / "runs" / "digits-0" / "gradient-3").glob("*/beacon.json"))
    assert len(places) == spent["gradient + rungs"] - 1
    search = bt.Run.open(tmp_path / "runs" / "digits-0" / "gradient")
    with search.store() as store:
        population = {r.key for r in store.rows() if r.generation == 1}
    for place in places:
        widths = json.loads(place.read_text())["widths"]
        assert search.space.key(search.space.nearest(widths)) in population
    run("elastic.py", *arguments)
    assert (tmp_path / "e.csv").read_text() == first


def test_the_operator_and_beacon_benchmarks(tmp_path: Path) -> None:
    where = ["--tasks", "digits", "--cache", str(tmp_path / "cache")]
    run("operators.py", *where, "--seeds", "0", "--evaluations", "150", "--csv", str(tmp_path / "o.csv"))
    rows = list(csv.DictReader((tmp_path / "o.csv").read_text().splitlines()))
    assert {"uniform, reset", "seeding templates"} <= {r["variant"] for r in rows}
    assert "correlation" in run("beacons.py", *where, "--neighbours", "3", "--epochs", "1", "--workers", "1",
                                "--csv", str(tmp_path / "b.csv"))
    assert len((tmp_path / "b.csv").read_text().splitlines()) == 5


def test_the_retraining_benchmark(tmp_path: Path) -> None:
    arguments = ["--quick", "--tasks", "digits", "--styles", "8 bit", "2 bit", "--set", "epochs=1", "updates=20",
                 "--cache", str(tmp_path / "cache"), "--json", str(tmp_path / "q.json")]
    assert "times as long" in run("qat.py", *arguments)
    first = json.loads((tmp_path / "q.json").read_text())
    assert [r["how"] for r in first["rows"]] == ["post-training", "retrained", "distilled"] * 2
    run("qat.py", *arguments)
    assert json.loads((tmp_path / "q.json").read_text())["rows"] == first["rows"]


speaks = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None,
                            reason="espeakng-loader is not installed: pip install 'bittailor[speech]'")


@speaks
@pytest.mark.skipif(ENGINES["native"].available() is not None, reason="no C compiler")
def test_the_network_of_the_paper(tmp_path: Path) -> None:
    run("paper_size.py", "--hidden", "22", "--utterances", "3", "--repeats", "1", "--population", "4", "--offspring",
        "2", "--generations", "2", "--out", str(tmp_path / "p.json"))
    found = json.loads((tmp_path / "p.json").read_text())
    assert found["search"]["evaluations"] == 6
    assert found["parameters"] > 1904 * 44


@speaks
def test_the_experiments_of_the_paper(tmp_path: Path) -> None:
    arguments = ["--hidden", "8", "--generations", "2", "--seeds", "0", "--beacons", "1", "--epochs", "1",
                 "--long-epochs", "1", "--select-items", "10", "--train-items", "10", "--workers", "1",
                 "--out", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"), "--csv", str(tmp_path / "m.csv")]
    run("mohaq.py", *arguments)
    first = (tmp_path / "m.csv").read_text()
    rows = {(r["figure"], r["increase"], r["by"]): r for r in csv.DictReader(first.splitlines())}
    how = ("", ", ladder", ", ladder and longer", ", beacons")
    for kind in ("the paper's genes", *(f"every operator{what}" for what in how)):
        for by, part in (("validation", "valid"), ("test", "test")):
            smallest = rows[f"compression, {kind}", "1.5", by]
            assert float(smallest[part]) <= float(smallest[f"float_{part}"]) + 1.5
    assert {f"weights of {bits} bits throughout" for bits in (4, 3, 2)} <= {figure for figure, _, _ in rows}
    assert 0 < float(rows["speed-up, SiLago", "1.5", "validation"]["value"]) <= 100
    other = first.replace("\n8,0,", "\n8,1,")
    (tmp_path / "m.csv").write_text(other)
    run("mohaq.py", *arguments)  # from what there is; rows of another seed stay
    assert (tmp_path / "m.csv").read_text() == first + other.partition("\n")[2]


def test_two_versions_beside_each_other(tmp_path: Path) -> None:
    """Here the same one twice, since a fresh clone may have no other."""
    both = ["--old", str(ROOT)]
    said = run("same.py", *both, "--tasks", "own network", "--keep", str(tmp_path))
    assert "same: " in said
    assert "1 of 1 variants give the same" in said
    (result,) = tmp_path.glob("*/own-network*/run/result.json")
    result.write_text(result.read_text().replace('"evaluations": ', '"evaluations": 1', 1))
    again = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "same.py"), *both, "--tasks", "own network",
                            "--keep", str(tmp_path)], capture_output=True, text=True, check=False, timeout=500)
    assert again.returncode == 1
    assert "result.evaluations: " in again.stdout
    counted = run("counts.py", *both)
    assert all(row.split(" | ")[1] == row.split(" | ")[2].removesuffix(" |") for row in counted.splitlines()[2:])


@pytest.mark.skipif(ENGINES["native"].available() is not None, reason="no C compiler")
def test_two_versions_timed() -> None:
    said = run("versus.py", "--old", str(ROOT), "--only", "parts", "--short", "--rounds", "1")
    assert "| parts: GRU 64 x 1, lowering | " in said


def test_the_campaign_counts_and_goes_on(tmp_path: Path) -> None:
    arguments = ["--minutes", "0.02", "--seed", "3", "--out", str(tmp_path / "c.json"), "--parts"]
    for part, counted in (("programs", "pairs"), ("kills", "resumed searches: plain"), ("flips", "flips")):
        before = json.loads((tmp_path / "c.json").read_text())["counts"] if (tmp_path / "c.json").exists() else {}
        run("campaign.py", *arguments, part)
        found = json.loads((tmp_path / "c.json").read_text())
        assert found["findings"] == []
        assert found["counts"]["differences"] == 0
        assert all(found["counts"][name] >= count for name, count in before.items())
        assert found["counts"][counted] > 0
    assert [session["call"] for session in found["sessions"]] == [0, 1, 2]
