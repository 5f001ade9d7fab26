"""Killed before any step by which its folder changes, a command begins again to the same result and leaves nothing."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bittailor.common import aside
from bittailor.common.files import write_whole

pytest.importorskip("fcntl")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
SCRIPT = Path(__file__).with_name("kill_at_every_step.py")

EXPECTED = {
    "search": {"os.mkdir .", "open .run.json*", "os.rename run.json", "os.rename network.safetensors",
               "os.rename calibration.safetensors", "sqlite3.connect evaluations.sqlite", "sql CREATE TABLE meta",
               "sql CREATE TABLE evaluations", "sql INSERT OR IGNORE", "sql COMMIT", "open .result.json*",
               "os.chmod .result.json*", "os.rename result.json"},
    "export": {"os.mkdir .export-*", "os.rename .export-*/src/model.c", "os.rename .export-*/export.json",
               "os.remove export.json", "os.remove src/model.c", "os.rename src/model.c", "os.rename export.json"},
    "beacons": {"os.mkdir beacons/*", "os.rename beacons/*/network.safetensors", "os.rename beacons/*/beacon.json",
                "os.rename beacons/*/checkpoint.safetensors", "os.remove beacons/*/checkpoint.safetensors",
                "os.rename beacons/*/calibration.safetensors", "os.rename result.json"},
    "retrain": {"os.mkdir beacons/*", "os.rename beacons/*/network.safetensors", "os.rename beacons/*/beacon.json",
                "os.rename beacons/*/calibration.safetensors"},
    "sensitivity": {"os.mkdir sensitivity", "os.rename sensitivity/8bit.json", "os.rename sensitivity/8bit.csv",
                    "os.rename sensitivity/8bit.png"},
    "report": {"os.mkdir .", "os.rename front.csv", "open .index.html*", "os.rename index.html"},
}


@needs_fork
@pytest.mark.parametrize(("kind", "more"), [
    ("search", 3), ("export", 0),
    pytest.param("beacons", 4, marks=pytest.mark.slow), pytest.param("report", 4, marks=pytest.mark.slow),
    pytest.param("retrain", 4, marks=pytest.mark.slow), pytest.param("sensitivity", 4, marks=pytest.mark.slow),
    pytest.param("search", 200, marks=pytest.mark.slow),
])
def test_killed_at_every_named_step(kind: str, more: int, tmp_path: Path, rng: np.random.Generator) -> None:
    if kind in ("report", "sensitivity") and importlib.util.find_spec("matplotlib") is None:
        pytest.skip("no reports here")
    if kind in ("beacons", "retrain") and importlib.util.find_spec("torch") is None:
        pytest.skip("no torch")
    assert killed(tmp_path, kind, rng, more) >= EXPECTED[kind]


@needs_fork
def test_a_killed_search_with_beacons_writes_the_same_calibrations(tmp_path: Path, rng: np.random.Generator) -> None:
    """After the last beacon is finished: those of all beacons hold what an undisturbed search writes, to the byte."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("no torch")
    steps = ["os.rename beacons/*/checkpoint.safetensors", "os.chmod .result.json*"]
    assert killed(tmp_path, "beacons", rng, 0, *steps) == set(steps)


def killed(folder: Path, kind: str, rng: np.random.Generator, more: int, *steps: str) -> set[str]:
    """The steps at which it was killed, with nothing wrong afterwards."""
    place = folder / "place"
    place.mkdir()
    command = [sys.executable, str(SCRIPT), kind, str(place), str(rng.integers(2**31)), str(more), *steps]
    path = os.pathsep.join([str(SCRIPT.parents[1]), *sys.path])
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["wrong"] == [], done.stderr
    return set(answer["killed"])


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left = [".run.json.a1b2c3d4.part", ".x.a_______.part", ".result.json.abcdefgh", ".checkpoint.safetensors.abcdefg1"]
    kept = ["run.json", ".run.json.part", "a.abcdefgh.part", ".notes.abcdefgh", ".run.json.ABCDEFGH.part", ".git"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("half")
    (tmp_path / ".folder.abcdefgh.part").mkdir()
    (tmp_path / ".link.abcdefgh.part").symlink_to(tmp_path / "run.json")
    with (tmp_path / left[0]).open("r+") as held:  # another process is at work on it
        fcntl.flock(held, fcntl.LOCK_EX)
        aside.sweep(tmp_path, tmp_path / "nothing")
        assert (tmp_path / left[0]).exists()
    aside.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, ".folder.abcdefgh.part", ".link.abcdefgh.part"}


def test_a_file_that_is_being_written_is_held(tmp_path: Path) -> None:
    handle, path = aside.begin(tmp_path / "run.json")
    aside.sweep(tmp_path)
    assert path.exists()
    os.close(handle)
    aside.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
    write_whole(tmp_path / "run.json", b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
