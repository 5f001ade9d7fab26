"""What `benchmarks/differences.py` finds between two runs or exports: every change that counts, nothing else."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]


def load() -> Any:
    spec = importlib.util.spec_from_file_location("differences", ROOT / "benchmarks" / "differences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


differences = load()

BEACON = {"name": "0a", "widths": {"W": 2}, "seed": 0, "kind": "beacon", "label": "generation 2", "failed": None,
          "figures": {"after": {"error": 1.5}, "test": 2.5}, "seconds": 3.0}


def write(path: Path, body: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body))


def make_run(folder: Path) -> None:
    """A run of two evaluations, one of them served by a beacon."""
    solution = {"key": "2 4", "widths": {"W": 2}, "values": {"error": 1.5}, "test": 2.5, "beacon": "0a"}
    write(folder / "run.json", {"fingerprints": {"network": "n", "data": "d"}, "metric": "error", "space": [[2, 4]]})
    write(folder / "result.json", {
        "metric": "error", "finished": "today", "seconds": 1.0, "front": [solution], "homogeneous": [solution],
        "picks": {"smallest": solution}, "history": [{"number": 1, "points": [[1.5, 64.0]]}]})
    for place in (folder, folder / "beacons" / "0a"):
        place.mkdir(parents=True, exist_ok=True)
        for name in ("network", "calibration"):
            save_file({"W": np.arange(4.0)}, place / f"{name}.safetensors", {"bittailor": name, "body": '{"a": 1}'})
    write(folder / "beacons" / "0a" / "beacon.json", BEACON)
    write(folder / "sensitivity" / "8bit.json", {"base": {"loss": 0.25}})
    (folder / "sensitivity" / "8bit.csv").write_text("gene,loss\nW,0.25\n")
    with closing(sqlite3.connect(folder / "evaluations.sqlite")) as db, db:
        db.execute("CREATE TABLE evaluations (ordinal INTEGER PRIMARY KEY, key TEXT, genome TEXT, vals TEXT, "
                   "reason TEXT, seconds REAL, generation INTEGER, beacon TEXT)")
        db.execute("CREATE TABLE decisions (generation INTEGER PRIMARY KEY, value TEXT)")
        rows = [(1, "4 4", "1 1", '{"error": 0.5}', None, 0.1, 1, None),
                (2, "2 4", "0 1", '{"error": 1.5}', None, 0.1, 2, "0a")]
        db.executemany("INSERT INTO evaluations VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        db.execute("INSERT INTO decisions VALUES (2, ?)", (json.dumps([{"name": "0a", "widths": {"W": 2}}]),))


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    make_run(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    return tmp_path / "old", tmp_path / "new"


def edit(path: Path, change: Callable[[Any], object]) -> None:
    body = json.loads(path.read_text())
    change(body)
    write(path, body)


def in_store(statement: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        with closing(sqlite3.connect(run / "evaluations.sqlite")) as db, db:
            db.execute(statement)
    return change


def in_result(change: Callable[[Any], object]) -> Callable[[Path], None]:
    return lambda run: edit(run / "result.json", change)


def retrained_otherwise(run: Path) -> None:
    save_file({"W": np.arange(4.0) + 1e-9}, run / "beacons" / "0a" / "network.safetensors")


def other_header(run: Path) -> None:
    save_file({"W": np.arange(4.0)}, run / "calibration.safetensors", {"bittailor": "calibration", "body": '{"a": 2}'})


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "genome": (in_store("UPDATE evaluations SET genome = '0 0' WHERE ordinal = 2"), "store.evaluations[1].genome"),
    "value": (in_store("UPDATE evaluations SET vals = '{\"error\": 1.5000000000000002}' WHERE ordinal = 2"),
              "store.evaluations[1].vals.error: 1.5, now 1.5000000000000002"),
    "order": (in_store("UPDATE evaluations SET ordinal = 3 WHERE ordinal = 1"), "store.evaluations[0]"),
    "row": (in_store("DELETE FROM evaluations WHERE ordinal = 2"), "store.evaluations: 2 entries, now 1"),
    "server": (in_store("UPDATE evaluations SET beacon = NULL"), 'store.evaluations[1].beacon: "0a", now null'),
    "decision": (in_store("DELETE FROM decisions"), "store.decisions: 1 entries, now 0"),
    "front": (in_result(lambda r: r["front"].pop()), "result.front: 1 entries, now 0"),
    "pick": (in_result(lambda r: r["picks"]["smallest"].update(key="4 4")), "result.picks.smallest.key"),
    "lost pick": (in_result(lambda r: r["picks"].pop("smallest")), "result.picks.smallest: missing"),
    "test": (in_result(lambda r: r["homogeneous"][0].update(test=2.75)), "result.homogeneous[0].test: 2.5, now 2.75"),
    "history": (in_result(lambda r: r["history"][0]["points"][0].append(1)), "result.history[0].points[0]"),
    "metric": (in_result(lambda r: r.update(metric="mse")), "result.metric"),
    "data": (lambda run: edit(run / "run.json", lambda r: r["fingerprints"].update(data="e")),
             'run.json.fingerprints.data: "d", now "e"'),
    "space": (lambda run: edit(run / "run.json", lambda r: r["space"][0].append(8)), "run.json.space[0]"),
    "retrained": (retrained_otherwise, "beacons/0a: retrained to other weights, or not at all"),
    "figures": (lambda run: edit(run / "beacons" / "0a" / "beacon.json", lambda b: b["figures"].update(test=3.5)),
                "beacons/0a.figures.test"),
    "weights": (lambda run: save_file({"W": np.ones(4)}, run / "network.safetensors"),
                "network.safetensors W: other numbers"),
    "type": (lambda run: save_file({"W": np.arange(4, dtype=np.float32)}, run / "network.safetensors"),
             "network.safetensors W: float64[4], now float32[4]"),
    "header": (other_header, "calibration.safetensors header.body.a: 1, now 2"),
    "sensitivity": (lambda run: edit(run / "sensitivity" / "8bit.json", lambda s: s["base"].update(loss=0.5)),
                    "sensitivity/8bit.json.base.loss"),
    "table": (lambda run: shutil.rmtree(run / "sensitivity"), "sensitivity/8bit.csv: missing"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_a_run_is_found(what: str, runs: tuple[Path, Path]) -> None:
    old, new = runs
    change, said = CHANGES[what]
    assert list(differences.of_runs(old, new)) == []
    change(new)
    found = list(differences.of_runs(old, new))
    assert any(line.startswith(said) for line in found), found


def test_times_new_fields_and_names_are_no_differences(runs: tuple[Path, Path]) -> None:
    """A run of another version: later, its run.json in another form, a beacon and the metric under other names."""
    old, new = runs
    (new / "beacons" / "0a").rename(new / "beacons" / "ff")
    for file in (new / "result.json", new / "beacons" / "ff" / "beacon.json"):
        file.write_text(file.read_text().replace('"0a"', '"ff"').replace('"error",', '"classification_error",'))
    edit(new / "result.json", lambda r: r.update(finished="tomorrow", seconds=9, confidence=[1, 2]))
    config = json.loads((new / "run.json").read_text())
    write(new / "run.json", {"spec": {"search": {"metric": "classification_error", "space": config["space"]}},
                             "fingerprints": config["fingerprints"]})
    in_store("ALTER TABLE evaluations ADD COLUMN digest TEXT")(new)
    in_store("UPDATE evaluations SET seconds = 7, digest = 'f00d', beacon = replace(beacon, '0a', 'ff')")(new)
    in_store("UPDATE decisions SET value = replace(value, '0a', 'ff')")(new)
    assert list(differences.of_runs(old, new)) == []


CODE = """
/* Adds two numbers,
 * with care. */
#define LIMIT(a) \\
    ((a) < 3 ? (a) : 3)
static int32_t add(int32_t a, int32_t b) { return a + b; } // done
const char *name = "a /* no comment */";
"""
LAID_OUT = """
// Adds two numbers, with care.
#define LIMIT(a) ((a) < 3 ? (a) : 3)
static int32_t add(int32_t a, int32_t b)
{
    return a + b;   /* done */
}
const char *name =
    "a /* no comment */";
"""


def test_layout_of_c_is_no_difference() -> None:
    assert list(differences.of_c(CODE, LAID_OUT, "m.c")) == []


@pytest.mark.parametrize(("was", "now"), [
    ("a + b", "a - b"), ("< 3", "<= 3"), ("int32_t add", "int64_t add"), ("(a) : 3)", "(a) : 3 )\nint x;"),
    ("with care", "quickly"), ("no comment", "no  comment"), ("a + b", "a + +b"), ("return a", "returna"),
])
def test_a_change_of_c_is_found(was: str, now: str) -> None:
    assert len(list(differences.of_c(CODE, LAID_OUT.replace(was, now), "m.c"))) == 1


def test_a_directive_ends_with_its_line() -> None:
    assert list(differences.of_c("#define A\n(1)", "#define A (1)", "m.h"))


def test_exports(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    write(old / "export.json", {"program": "p", "flash": 12, "files": {"m.c": "0"}})
    (old / "m.c").write_text(CODE)
    (old / "README.md").write_text("about\n")
    shutil.copytree(old, new)
    (new / "m.c").write_text(LAID_OUT)
    edit(new / "export.json", lambda e: e["files"].update({"m.c": "1"}))
    assert list(differences.of_exports(old, new)) == []
    edit(new / "export.json", lambda e: e.update(flash=13))
    (new / "README.md").write_text("other\n")
    (new / "m.c").unlink()
    assert [line.partition(":")[0] for line in differences.of_exports(old, new)] == [
        "old/m.c", "old/README.md", "old/export.json.flash"]
    assert not [line for line in differences.of_exports(old, new, ["README.md"]) if "README" in line]
