"""The command line as a new user meets it: real processes, real exit statuses, one clear message each."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

QUICK = ["--population", "12", "--generations", "2", "--workers", "1", "--quiet"]


def bittailor(*args: str, cwd: Path | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bittailor", *args], capture_output=True, text=True, timeout=timeout, cwd=cwd,
        env={**os.environ, "COLUMNS": "140", "NO_COLOR": "1"}, check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit status 2, no traceback, a message of a few lines that says these words."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 8, done.stderr
    for word in words:
        assert re.search(word, done.stderr), f"{word!r} is not in: {done.stderr}"


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small finished run on digits and the cache of its float network."""
    folder = tmp_path_factory.mktemp("cli")
    done = bittailor("search", "digits", "--out", str(folder / "run"), "--cache", str(folder / "cache"), *QUICK)
    assert done.returncode == 0, done.stderr
    assert "generation" not in done.stderr  # --quiet
    return folder / "run", folder / "cache"


OWN = '''
import numpy as np, torch
import bittailor as bt

def data(n=30, features=3, classes=2):
    rng = np.random.default_rng(0)
    part = lambda: bt.Data(rng.normal(size=(n, 5, features)).astype(np.float32), np.arange(n) % classes)
    return bt.Splits(part(), part(), part())

class Net(torch.nn.Module):
    def __init__(self, layer=torch.nn.GRU, inputs=3, head=4):
        super().__init__()
        self.gru = layer(inputs, 4, batch_first=True)
        self.head = torch.nn.Linear(head, 2)
    def forward(self, x):
        return self.head(self.gru(x)[0][:, -1])

def good(): return Net(), data()
def nan():
    net = Net()
    with torch.no_grad(): net.gru.weight_hh_l0[0, 0] = float("nan")
    return net, data()
class Twice(torch.nn.GRU):
    def forward(self, x): return super().forward(2 * x)
def twice(): return Net(Twice), data()
def mismatch(): return Net(head=5), data()
def features(): return Net(inputs=7), data()
def empty():
    x = np.zeros((0, 5, 3), np.float32)
    return Net(), bt.Splits(data().train, bt.Data(x, np.zeros(0, np.int64)), data().test)
def nan_data():
    x = np.full((4, 5, 3), np.nan, np.float32)
    return Net(), bt.Splits(bt.Data(x, np.zeros(4, np.int64)), data().valid, data().test)
def labels(): return Net(), data(classes=3)
def wrong(): return 7
def broken(): return 1 / 0
'''


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "net.py").write_text(OWN)
    return folder


def test_help_teaches_by_example() -> None:
    done = bittailor("search", "--help")
    assert done.returncode == 0
    assert "bittailor search digits --out" in done.stdout


def test_import_and_help_are_light() -> None:
    code = ("import sys, bittailor.cli.main\n"
            "print({'torch', 'pymoo', 'matplotlib', 'sklearn'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_tasks_are_listed() -> None:
    done = bittailor("tasks")
    assert done.returncode == 0
    for name in ("digits", "mnist", "spoken-digits", "vowels", "mnist1d", "adding"):
        assert name in done.stdout


def test_search_show_compare(digits: tuple[Path, Path], tmp_path: Path) -> None:
    run, _ = digits
    done = bittailor("show", str(run))
    assert done.returncode == 0
    assert "8bit" in done.stdout
    done = bittailor("show", str(run), "--pick", "smallest")
    assert "gru0.W_hn" in done.stdout
    assert "stored:" in done.stdout
    done = bittailor("compare", str(run), "--csv", str(tmp_path / "t.csv"))
    assert done.returncode == 0
    assert "careful_smaller_percent" in (tmp_path / "t.csv").read_text()


def test_a_cell_by_name(tmp_path: Path) -> None:
    refused(bittailor("train", "digits", "--cell", "gur", "--cache", str(tmp_path)), "unknown cell 'gur'", "gru_cho")
    run = tmp_path / "run"
    done = bittailor("search", "digits", "--cell", "sru", "--hidden", "5", "--out", str(run), "--cache", str(tmp_path),
                     *QUICK)
    assert done.returncode == 0, done.stderr
    assert "SRU of 5 units" in done.stdout or "sru0.v_f" in bittailor("show", str(run), "--pick", "smallest").stdout


def test_own_network(own: Path, tmp_path: Path) -> None:
    done = bittailor("search", f"{own / 'net.py'}:good", "--out", str(tmp_path / "run"), *QUICK)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("function", "words"), [
    ("nan", ("gru0.W_hr", "NaN")),
    ("twice", ("gru", "Twice", "nn.GRU")),
    ("mismatch", ("head", "5", "4")),
    ("features", ("3", "7")),
    ("empty", ("empty",)),
    ("nan_data", ("NaN",)),
    ("labels", ("labels", "2 outputs")),
    ("wrong", ("must return",)),
    ("broken", ("ZeroDivisionError",)),
    ("absent", ("no function 'absent'",)),
])
def test_wrong_networks_and_data(own: Path, tmp_path: Path, function: str, words: tuple[str, ...]) -> None:
    refused(bittailor("search", f"{own / 'net.py'}:{function}", "--out", str(tmp_path / "run"), *QUICK), *words)


@pytest.mark.parametrize(("arguments", "words"), [
    (["--widths", "0-8"], ("0 bits", "1..16")),
    (["--widths", "2-17"], ("17 bits", "1..16")),
    (["--activations", "1,8"], ("1 bits", "2..16")),
    (["--biases", "4,64"], ("64 bits", "32")),
    (["--widths", "two"], ("cannot read the widths",)),
    (["--space", "per_opera"], ("did you mean 'per_operator'",)),
    (["--objectives", "error"], ("two or more",)),
    (["--objectives", "error,weight"], ("unknown objective", "size")),
    (["--constrain", "size<32KiB"], ("<=",)),
    (["--constrain", "speed<=3"], ("speed", "size")),
    (["--engine", "gpu"], ("unknown engine", "reference")),
    (["--calibration", "max"], ("minmax",)),
    (["--data", "/does/not/exist"], ("does/not/exist",)),
    (["--hidden", "-1"], ("hidden",)),
])
def test_wrong_options(digits: tuple[Path, Path], tmp_path: Path, arguments: list[str], words: tuple[str, ...]) -> None:
    done = bittailor("search", "mnist" if "--data" in arguments else "digits", "--out", str(tmp_path / "run"),
                     "--cache", str(digits[1]), *QUICK, *arguments)
    refused(done, *words)


def test_unknown_task_suggests() -> None:
    refused(bittailor("train", "digit"), "did you mean 'digits'")


def test_a_constraint_that_nothing_satisfies(digits: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = bittailor("search", "digits", "--out", str(out), "--cache", str(digits[1]), *QUICK,
                     "--constrain", "size<=1B")
    assert done.returncode == 0, done.stderr
    assert "The closest has" in done.stdout
    refused(bittailor("show", str(out), "--pick", "best"), "size<=1B")
    assert bittailor("report", str(out)).returncode == 0


def test_a_run_of_another_search_is_not_touched(digits: tuple[Path, Path], own: Path) -> None:
    run, cache = digits
    before = (run / "run.json").read_bytes()
    refused(bittailor("search", "digits", "--out", str(run), "--cache", str(cache), *QUICK), "--resume")
    refused(bittailor("search", f"{own / 'net.py'}:good", "--out", str(run), *QUICK), "another search")
    refused(bittailor("search", f"{own / 'net.py'}:good", "--out", str(run), *QUICK, "--resume"), "another search")
    assert (run / "run.json").read_bytes() == before


def test_places_that_cannot_be_written(digits: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused(bittailor("search", "digits", "--out", str(tmp_path / "file" / "run"), "--cache", str(digits[1]), *QUICK),
            "cannot write|not a directory|Not a directory")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    refused(bittailor("search", "digits", "--out", str(tmp_path / "full"), "--cache", str(digits[1]), *QUICK),
            "not empty")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_not_a_run(tmp_path: Path) -> None:
    refused(bittailor("show", str(tmp_path)), "no run.json")
    (tmp_path / "run.json").write_text("{")
    refused(bittailor("show", str(tmp_path)), "damaged")
    (tmp_path / "run.json").write_text('{"bittailor": "run", "version": 99}')
    refused(bittailor("show", str(tmp_path)), "version 99")


def test_nothing_to_resume(digits: tuple[Path, Path], tmp_path: Path) -> None:
    refused(bittailor("search", "digits", "--out", str(tmp_path / "x"), "--cache", str(digits[1]), "--resume", *QUICK),
            "nothing to resume")


def _begin(out: Path, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bittailor", "search", "digits", "--out", str(out), "--cache", str(cache),
         "--engine", "reference", "--workers", "1", "--population", "20", "--generations", "6", "--quiet",
         "--select-items", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def _wait_for_evaluations(out: Path, count: int) -> None:
    from bittailor.errors import FileError
    from bittailor.search.store import Store

    for _ in range(1200):
        time.sleep(0.05)
        try:
            with Store(out / "evaluations.sqlite", readonly=True) as store:
                if len(store) >= count:
                    return
        except FileError:
            continue
    pytest.fail("the search never got going")


def test_killed_and_interrupted_runs_resume_to_the_same_front(digits: tuple[Path, Path], tmp_path: Path) -> None:
    _, cache = digits
    undisturbed = _begin(tmp_path / "a", cache)
    killed = _begin(tmp_path / "b", cache)
    _wait_for_evaluations(tmp_path / "b", 30)
    killed.kill()
    killed.communicate(timeout=30)
    interrupted = _begin(tmp_path / "c", cache)
    _wait_for_evaluations(tmp_path / "c", 25)
    interrupted.send_signal(signal.SIGINT)
    out, err = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130, err
    assert "Traceback" not in err
    assert "--resume" in out
    _, err = undisturbed.communicate(timeout=120)
    assert undisturbed.returncode == 0, err
    from bittailor.runs import Run

    expected = Run.open(tmp_path / "a").front
    assert Run.open(tmp_path / "c").result["interrupted"]
    for name in ("b", "c"):
        done = bittailor("search", "digits", "--out", str(tmp_path / name), "--cache", str(cache),
                         "--engine", "reference", "--workers", "2", "--population", "20", "--generations", "6",
                         "--quiet", "--select-items", "0", "--resume")
        assert done.returncode == 0, done.stderr
        run = Run.open(tmp_path / name)
        assert [s.to_json() for s in run.front] == [s.to_json() for s in expected]
        assert not run.result["interrupted"]
