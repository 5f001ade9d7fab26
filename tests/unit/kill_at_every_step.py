"""A command in processes of its own that are killed before every step they take in a folder, and then begun again.

    python kill_at_every_step.py KIND FOLDER SEED MORE [STEP …]

KIND is search, beacons, report, export, retrain or sensitivity; with the names of steps, only those, each where it
comes last.
A step is anything by which the folder changes: the interpreter's own audit events (a file opened for writing, renamed,
removed, a folder made) and every statement of the store. Prints one JSON line: the steps at which it was killed (each
name where it comes first, and last where it puts a file into its place, and MORE others by chance), and what was wrong
afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import bittailor as bt
from bittailor.core.program import bind
from bittailor.engines import ENGINES
from bittailor.search.store import Store
from networks import gru_network, uniform_plan

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
EVENTS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "open", "sqlite3.connect"}
Act = Callable[[Path], Any]


def plain_name(path: Path, folder: Path) -> str:
    """A path in the folder, without what is random in it."""
    name = path.relative_to(folder).as_posix()
    return re.sub(r"\.[a-z0-9_]{8}\.part$|(?<=\.export-)[a-z0-9_]{8}|(?<=beacons/)\w+", "*", name)


class Steps:
    """Counts the steps in a folder; at the one numbered `kill` the process ends as by kill -9."""

    def __init__(self, folder: Path, kill: int | None) -> None:
        self.folder, self.kill, self.names = folder, kill, list[str]()
        sys.addaudithook(self.hook)
        connect = Store._connect

        def traced(store: Store, readonly: bool) -> sqlite3.Connection:
            db = connect(store, readonly)
            db.set_trace_callback(lambda sql: self.step(f"sql {' '.join(sql.split()[:3])}"))
            return db

        Store._connect = traced  # type: ignore[method-assign]

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS or not arguments or not isinstance(arguments[0], str | os.PathLike):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
            return
        path = Path(os.fspath(arguments[1 if event == "os.rename" else 0]))
        if path.is_relative_to(self.folder):
            self.step(f"{event} {plain_name(path, self.folder)}")

    def step(self, name: str) -> None:
        if len(self.names) == self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        self.names.append(name)


def attempt(act: Act, place: Path, out: Path, kill: int | None = None) -> int:
    """Do it in a forked process, killed at a step; returns its status. What it says and its steps go to `out`."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        steps = Steps(place, kill)
        found = act(place)
        out.write_text(json.dumps({"found": found, "steps": steps.names}))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def files(place: Path) -> dict[str, str]:
    """Every file that does not tell when it was made."""
    found = {}
    for path in sorted(p for p in place.rglob("*") if p.is_file()):
        name = path.relative_to(place).as_posix()
        told = path.name in ("run.json", "result.json", "beacon.json") or path.suffix in (".sqlite", ".html")
        found[name] = "" if told else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def searched() -> tuple[bt.Network, bt.Splits]:
    """The network and the data of the small search."""
    rng = np.random.default_rng(5)
    network = gru_network(3, 4, 3, seed=1)
    x = rng.normal(size=(60, 4, 3)).astype(np.float32)
    y = network(x).argmax(axis=1)
    return network, bt.Splits(bt.Data(x[:30], y[:30]), bt.Data(x[30:45], y[30:45]), bt.Data(x[45:], y[45:]))


def search(place: Path, beacons: bool = False) -> Any:
    """A small search; goes on with what is there."""
    network, data = searched()
    retraining = bt.BeaconSettings(budget=2, polish=1, first=2, every=1, hopeless=1.0, threshold=0.0, share=1.0,
                                   recipe=bt.Retraining(epochs=1)) if beacons else bt.BeaconSettings()
    quick = bt.CalibrationSettings() if beacons else bt.CalibrationSettings(method="minmax", rounding="nearest")
    spec = bt.SearchSpec(search=bt.SearchSettings(population=8, generations=3, seed=1), workers=1, beacons=retraining,
                         calibration=quick)
    run = bt.run_search(network, data, place, spec, resume=(place / "run.json").exists())
    result = {k: v for k, v in run.result.items() if k not in ("finished", "seconds", "history", "beacons")}
    with run.store() as store:
        rows = [(row.key, row.outcome.values, row.outcome.beacon) for row in store.rows()]
        decisions = store.decisions()
    return json.loads(json.dumps([result, rows, decisions]))


def report(place: Path) -> str:
    from bittailor.report import write_report

    return write_report(bt.Run.open(place.with_name("run")), place).name


def export(place: Path) -> Any:
    """The replacement of an earlier export by another one."""
    network = gru_network(3, 4, 3, seed=2)
    program = bind(network, uniform_plan(network, np.random.default_rng(0).normal(size=(5, 4, 3)), 5))
    # after a kill while files are moved there is no export.json: what is left is said to be in the way
    if place.is_dir() and not (place / "export.json").is_file():
        shutil.rmtree(place)
    return dict(bt.export_program(program, place, force=True).facts)


def retrain(place: Path) -> Any:
    """Two solutions of a finished run, beside the originals."""
    run = bt.Run.open(place)
    made = bt.retrain_picks(run, searched()[1], ["8bit", "4bit"], recipe=bt.Retraining(epochs=1), workers=1)
    found = [(name, solution.values, solution.test) for name, solution in sorted(bt.Run.open(place).retrained.items())]
    return json.loads(json.dumps([found, len(made)]))


def sensitivity(place: Path) -> Any:
    """An analysis of a finished run: its three files."""
    from bittailor.report.sensitivity import write_sensitivity

    run = bt.Run.open(place)
    return write_sensitivity(run, bt.run_sensitivity(run, searched()[1])).name


KINDS: dict[str, Act] = {"search": search, "beacons": lambda place: search(place, beacons=True), "report": report,
                         "export": export, "retrain": retrain, "sensitivity": sensitivity}
FINISHED = ("report", "retrain", "sensitivity")
"""They are of a finished run."""


def prepare(kind: str, folder: Path) -> None:
    """What has to be there before. Everything is imported once, here; nothing is computed, since a fork wants no
    threads."""
    import pymoo.operators.survival.rank_and_crowding.metrics  # noqa: F401

    import bittailor.report.facts
    import bittailor.runs  # noqa: F401

    ENGINES["native"].available()
    if kind in FINISHED:
        assert attempt(search, folder / "run", folder / "run.out") == 0
    if kind in ("report", "sensitivity"):
        import matplotlib.pyplot  # noqa: F401
        import sklearn.manifold  # noqa: F401
    if kind in ("beacons", "retrain"):
        import torch

        torch.set_num_threads(1)


def first_place(kind: str, place: Path) -> None:
    """What is in the folder before it is killed."""
    if kind == "export":
        network = gru_network(3, 4, 3, seed=1)
        program = bind(network, uniform_plan(network, np.random.default_rng(0).normal(size=(5, 4, 3)), 8))
        bt.export_program(program, place)
    if kind in ("retrain", "sensitivity"):
        shutil.copytree(place.with_name("run"), place)


def main() -> None:
    kind, folder, rng, more = sys.argv[1], Path(sys.argv[2]), random.Random(sys.argv[3]), int(sys.argv[4])
    prepare(kind, folder)
    act, whole, out = KINDS[kind], folder / "whole", folder / "out"
    first_place(kind, whole)
    assert attempt(act, whole, out) == 0
    expected = json.loads(out.read_text())
    names = expected["steps"]
    chosen = {names.index(name) for name in names}
    chosen |= {len(names) - 1 - names[::-1].index(name) for name in names if name.startswith("os.rename")}
    if sys.argv[5:]:
        chosen = {len(names) - 1 - names[::-1].index(name) for name in sys.argv[5:]}
    rest = sorted(set(range(len(names))) - chosen)
    chosen |= set(rng.sample(rest, min(more, len(rest))))
    wrong = []
    for number in sorted(chosen):
        place = folder / f"killed{number}"
        first_place(kind, place)
        where = f"killed before step {number}, {names[number]}"
        status = attempt(act, place, out, number)
        if status != signal.SIGKILL:
            wrong.append(f"{where}: it ended with {status}")
        elif attempt(act, place, out) != 0:
            wrong.append(f"{where}: it cannot be begun again")
        elif json.loads(out.read_text())["found"] != expected["found"]:
            wrong.append(f"{where}: another result")
        elif files(place) != files(whole):
            other = {name for name, _ in files(place).items() ^ files(whole).items()}
            wrong.append(f"{where}: other files: {', '.join(sorted(other))}")
        shutil.rmtree(place, ignore_errors=True)
    print(json.dumps({"killed": [names[number] for number in sorted(chosen)], "steps": len(names), "wrong": wrong}))


if __name__ == "__main__":
    main()
