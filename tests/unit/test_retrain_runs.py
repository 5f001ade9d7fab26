"""Retraining asked for on the command line, and what show, export and report make of it; with real trainings."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import bittailor as bt
from bittailor.cli.main import app
from bittailor.errors import BittailorError, DataError
from bittailor.runs import retrain_picks
from bittailor.train.beacons import BeaconSettings
from small import small_data, small_network

OWN = '''
import numpy as np, torch
import bittailor as bt

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.head = torch.nn.GRU(3, 4, batch_first=True), torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.gru(x)[0][:, -1])

def load(seed=0):
    torch.manual_seed(0)
    rng = np.random.default_rng(seed)
    def part():
        x = rng.normal(size=(40, 5, 3)).astype(np.float32)
        return bt.Data(x, (x[:, -1].sum(-1) > 0).astype(np.int64))
    return Net(), bt.Splits(part(), part(), part())

def other():
    return load(1)
'''
QUICK = ["--population", "8", "--generations", "3", "--workers", "1", "--quiet"]
SHORT = ["--recipe", "epochs=2"]


def command(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def source(run: Path) -> list[str]:
    """What says that the file of a run may be run."""
    return ["--from", f"{run.parent / 'net.py'}:load"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "net.py").write_text(OWN)
    return folder


@pytest.fixture(scope="module")
def searched(own: Path) -> Path:
    command("search", f"{own / 'net.py'}:load", "--out", str(own / "run"), *QUICK)
    return own / "run"


def test_retrain_show_export_report(searched: Path, tmp_path: Path) -> None:
    said = command("retrain", str(searched), *source(searched), "--pick", "smallest", "--pick", "8bit",
                   "--workers", "1", *SHORT)
    assert "before" in said
    assert "after" in said
    run = bt.Run.open(searched)
    labels = {b.about["label"]: b for b in run.beacons.values()}
    assert labels.keys() >= {"smallest", "8bit"}
    beacon = labels["8bit"]
    assert len(beacon.about["history"]) == 2
    assert beacon.about["recipe"]["epochs"] == 2
    assert beacon.about["figures"].keys() == {"before", "after", "test_before", "test", "compared"}
    assert beacon.about["figures"]["before"] == run.result["held"]
    solution = run.pick("retrained:8bit")
    assert solution.widths == run.baseline(8).widths
    # what it is worth is said item by item, as of every pick
    other = solution.against("8bit", "test")
    assert other is not None
    assert other.difference == pytest.approx(solution.test - run.baseline(8).test)
    assert other.low <= other.difference <= other.high
    assert solution.against("float", "test") is not None
    # other weights: another program
    mine, theirs = run.program(solution), run.program(run.baseline(8))
    assert any((a.data != b.data).any() for a, b in zip(mine.stored(), theirs.stored(), strict=True))
    assert "gru0.W_hn" in command("show", str(searched), "--pick", "retrained:8bit")
    command("export", str(searched), str(tmp_path / "c"), "--pick", f"retrained:{beacon.name}")
    command("report", str(searched))
    page = (searched / "report" / "index.html").read_text()
    assert "Retrained networks" in page
    assert beacon.name in page
    with (searched / "report" / "retrained.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert float(rows[beacon.name]["test_after"]) == solution.test
    assert (searched / "report" / "retraining.png").exists()
    # the same again is no new training
    before = (beacon.folder / "calibration.safetensors").stat().st_mtime_ns
    command("retrain", str(searched), *source(searched), "--pick", "8bit", "--workers", "1", *SHORT)
    assert len(bt.Run.open(searched).beacons) == len(run.beacons)
    assert (beacon.folder / "calibration.safetensors").stat().st_mtime_ns == before


def test_a_search_with_beacons_from_the_command_line(own: Path) -> None:
    said = command("search", f"{own / 'net.py'}:load", "--out", str(own / "lit"), "--population", "8", "--generations",
                   "6", "--workers", "1", "--quiet", "--beacons", "1", "--polish", "1", "--beacon-rule", "first=3",
                   "--beacon-rule", "hopeless=1", "--beacon-rule", "share=0.9", *SHORT)
    assert "retrainings:" in said
    run = bt.Run.open(own / "lit")
    assert len(run.beacons) == run.result["beacons"]["retrainings"] >= 1
    assert run.spec.beacons.recipe == bt.Retraining(epochs=2)
    assert run.spec.beacons.share == 0.9


def test_sensitivity_from_the_command_line(searched: Path) -> None:
    said = command("sensitivity", str(searched), "--at", "best", *source(searched))
    assert "gru0.h" in said
    assert (searched / "sensitivity" / "best.png").exists()
    command("report", str(searched))
    assert (searched / "report" / "sensitivity.png").exists()


@pytest.mark.parametrize(("arguments", "words"), [
    (["retrain", "RUN", "--pick", "smallish"], "cannot pick"),
    (["retrain", "RUN", "--pick", "8bit", "--recipe", "epoch=3"], "setting of recipe 'epoch'; did you mean 'epochs'"),
    (["retrain", "RUN", "--pick", "8bit", "--recipe", "epochs"], "NAME=VALUE"),
    (["retrain", "RUN", "--pick", "8bit", "--recipe", "ranges=wide"], "frozen"),
    (["show", "RUN", "--pick", "retrained:ffff"], "no retrained solution"),
    (["sensitivity", "RUN", "--at", "9bit"], "no homogeneous baseline"),
    (["search", "digits", "--out", "x", "--recipe", "epochs=1"], "--beacons or --polish"),
    (["search", "digits", "--out", "x", "--beacons", "1", "--beacon-rule", "treshold=1"], "did you mean 'threshold'"),
    (["search", "digits", "--out", "x", "--beacons", "1", "--beacon-rule", "share=big"], "expected a number"),
    (["search", "digits", "--out", "x", "--seeding", "sensitive"], "did you mean 'sensitivity'"),
])
def test_wrong_options(searched: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    place = {"RUN": str(searched), "x": str(tmp_path / "x")}
    with pytest.raises(BittailorError, match=words):
        command(*(place.get(a, a) for a in arguments))
    assert not (tmp_path / "x").exists()


def test_other_data_are_refused(searched: Path, own: Path, tmp_path: Path) -> None:
    network = small_network()
    with pytest.raises(DataError, match="not the data"):
        retrain_picks(bt.Run.open(searched), small_data(network), ["8bit"])
    made = bt.run_search(network, small_data(network), tmp_path / "run",
                         bt.SearchSpec(search=bt.SearchSettings(population=4, generations=1), workers=1))
    with pytest.raises(BittailorError, match="made from Python"):
        command("retrain", str(made.path), "--pick", "8bit")


def test_it_diverges_with_a_reason(tmp_path: Path) -> None:
    network = small_network()
    data = small_data(network)
    run = bt.run_search(network, data, tmp_path / "run",
                        bt.SearchSpec(search=bt.SearchSettings(population=4, generations=1), workers=1))
    recipe = bt.Retraining(epochs=2, rate=1e30, clip=1e30)
    (found,) = retrain_picks(run, data, ["8bit"], recipe=recipe, workers=1)
    assert found.after is None
    assert "diverged" in str(found.failed)
    assert not run.retrained
    # and in a search: what fails is noted, the rest goes on
    lit = bt.run_search(network, data, tmp_path / "lit",
                        bt.SearchSpec(search=bt.SearchSettings(population=8, generations=4), workers=1,
                                      beacons=BeaconSettings(budget=2, polish=1, first=2, every=1, hopeless=1,
                                                             recipe=recipe)))
    assert lit.result["beacons"]["failed"] == lit.result["beacons"]["retrainings"] >= 1
    assert lit.front


def test_opening_a_run_runs_nobodys_code(searched: Path, tmp_path: Path) -> None:
    """A run folder from elsewhere names a file; only a user who names it as well runs it."""
    file = searched.parent / "net.py"
    kept = file.read_text()
    file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n" + kept)
    try:
        for words in (["show"], ["compare"], ["report", "--out", str(tmp_path / "page")]):
            command(words[0], str(searched), *words[1:])
        command("export", str(searched), str(tmp_path / "c"), "--pick", "8bit")
        for words in (["retrain", str(searched), "--pick", "8bit"], ["sensitivity", str(searched)],
                      ["search", "--spec", str(searched), "--out", str(tmp_path / "again")]):
            done = CliRunner().invoke(app, words)
            assert isinstance(done.exception, BittailorError)
            assert re.search(r"runs that file; if you trust it, (add:  --from|name it:) ", str(done.exception))
        assert not (tmp_path / "ran").exists()
        command("sensitivity", str(searched), *source(searched))
        assert (tmp_path / "ran").exists()
    finally:
        file.write_text(kept)


@pytest.mark.slow
def test_killed_in_the_middle_of_a_retraining(own: Path) -> None:
    """A real process, killed with a checkpoint on disk: resumed, it ends with the same bits."""
    import time

    def begin(out: Path, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "bittailor", "search", f"{own / 'net.py'}:load", "--out", str(out), *QUICK,
             "--ladder", "2",
             "--recipe", "epochs=200", *more], stdout=subprocess.DEVNULL)

    undisturbed = begin(own / "a")
    killed = begin(own / "b")
    for _ in range(2400):
        if list((own / "b").glob("beacons/*/checkpoint.safetensors")):
            break
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert list((own / "b").glob("beacons/*/checkpoint.safetensors")), "it was faster than the test"
    assert begin(own / "b", "--resume").wait(600) == 0
    assert undisturbed.wait(600) == 0
    one, two = bt.Run.open(own / "a"), bt.Run.open(own / "b")
    assert one.beacons
    assert one.front == two.front
    assert one.retrained == two.retrained
    for a, b in zip(one.retrained.values(), two.retrained.values(), strict=True):
        for mine, theirs in zip(one.program(a).stored(), two.program(b).stored(), strict=True):
            assert (mine.data == theirs.data).all()
