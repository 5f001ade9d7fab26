"""Ctrl-C and SIGTERM at any moment of any command: status 130 and one line, in real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bittailor.common import interrupts
from bittailor.core.program import bind
from bittailor.export import export_program
from networks import gru_network, uniform_plan

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and process groups of POSIX")

# as the command begins, and a word when it is ready: what comes before is the interpreter's own start
START = ("import os, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
         "from bittailor.common import interrupts\ninterrupts.install()\nos.write(1, b'ready\\n')\n"
         "from bittailor.__main__ import main\nmain()\n")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def begun(words: list[str], code: str = START) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def disturbed(words: list[str], after_s: float, number: int, again_s: float | None = None) -> str | None:
    """A command that gets a signal; returns what is wrong with how it ended."""
    process = begun(words)
    time.sleep(after_s)
    hit = process.poll() is None
    for wait in [0.0] if again_s is None else [0.0, again_s]:
        time.sleep(wait)
        if process.poll() is None:
            os.killpg(process.pid, number)
    out, err = process.communicate(timeout=120)
    where = f"{' '.join(words)}: signal {number} after {after_s:.3f} s: status {process.returncode}\n{out}{err}"
    if process.returncode == 0:  # it had ended, but for the interpreter
        return None if "stopped" not in out + err and "Traceback" not in err else where
    # what a search prints of its result says how far it got; how it ended is one line of its own
    lines = [line for line in (out + err).splitlines() if "stopped" in line and "evaluations; all of them" not in line]
    good = hit and process.returncode == interrupts.STATUS and len(lines) == 1 and "Traceback" not in err
    return None if good else where


def takes(words: list[str]) -> float:
    start = time.monotonic()
    process = begun(words)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return time.monotonic() - start


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = gru_network(3, 4, 2, seed=3)
    program = bind(network, uniform_plan(network, np.random.default_rng(3).normal(size=(8, 5, 3)), 6))
    return export_program(program, tmp_path_factory.mktemp("export") / "net").folder


@pytest.mark.parametrize("tries", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_commands_at_random_moments(exported: Path, tmp_path: Path, rng: np.random.Generator, tries: int) -> None:
    commands: list[Callable[[int], list[str]]] = [
        lambda i: ["export", str(exported / "program.safetensors"), str(tmp_path / f"out{i}")],
        lambda i: ["verify", str(exported), "--cores", "host"],
        lambda i: ["tasks"],
    ]
    for place, command in enumerate(commands):
        whole = takes(command(-1))
        for i in range(tries):
            again = rng.random() * 0.2 if rng.random() < 0.3 else None
            wrong = disturbed(command(i), rng.random() * whole, SIGNALS[(i + place) % 2], again)
            assert wrong is None, wrong
    left = [path for folder in tmp_path.glob("out*") for path in folder.glob(".*")]
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ["search", "digits", "--out", "RUN", "--population", "10", "--generations", "5"],
    ["search", "digits", "--out", "RUN", "--population", "8", "--generations", "2", "--engine", "reference",
     "--workers", "2", "-q"],
    ["train", "digits", "--cache", "RUN"],
], ids=["search", "workers", "train"])
def test_long_commands_at_random_moments(words: list[str], tmp_path: Path, rng: np.random.Generator) -> None:
    cache = [] if words[0] == "train" else ["--cache", str(tmp_path / "cache")]

    def command(i: int) -> list[str]:
        return [str(tmp_path / f"run{i}") if word == "RUN" else word for word in words] + cache

    takes(command(-2))
    whole = takes(command(-1))
    for i in range(12):
        wrong = disturbed(command(i), rng.random() * whole, SIGNALS[i % 2], 0.1 if i % 4 == 3 else None)
        assert wrong is None, wrong


# where KeyboardInterrupt is lost, or would be a traceback
LOST = {
    "in a destructor": "class A:\n    def __del__(self): os.kill(os.getpid(), NUMBER)\nA()\n",
    "as another error": "try:\n    os.kill(os.getpid(), NUMBER); time.sleep(9)\n"
                        "except KeyboardInterrupt:\n    raise ImportError('half imported') from None\n",
    "swallowed": "try:\n    os.kill(os.getpid(), NUMBER); time.sleep(9)\nexcept BaseException:\n    pass\n",
    "as an exit": "try:\n    os.kill(os.getpid(), NUMBER); time.sleep(9)\nexcept BaseException:\n    sys.exit(0)\n",
    "at the end": "import atexit\natexit.register(lambda: (os.kill(os.getpid(), NUMBER), time.sleep(9)))\n",
    "in a thread's end": "import threading\nthreading.Thread(target=lambda: (time.sleep(0.3), "
                         "os.kill(os.getpid(), NUMBER), time.sleep(9))).start()\n",
    "twice": "import threading\nthreading.Timer(0.3, lambda: os.kill(os.getpid(), NUMBER)).start()\n"
             "try:\n    os.kill(os.getpid(), NUMBER); time.sleep(9)\nexcept KeyboardInterrupt:\n    time.sleep(9)\n",
}


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("how", LOST)
def test_a_signal_is_never_lost(how: str, number: int, tmp_path: Path) -> None:
    body = LOST[how].replace("NUMBER", str(int(number)))
    code = START.replace("from bittailor.__main__ import main\nmain()\n",
                         "import time\nfrom bittailor.cli import main\n\n"
                         "def app():\n" + "".join(f"    {line}\n" for line in body.splitlines()) +
                         "\nmain.app = app\nmain.main()\n")
    process = begun(["report", "run"], code)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert re.fullmatch(r"stopped(; go on with:  bittailor.*   \(it begins anew\))?\n", err), err
    assert out == ""


def test_before_there_is_work_it_leaves_at_once() -> None:
    process = begun(["tasks"], START.replace("from bittailor.__main__", "import time; time.sleep(60)\nfrom x"))
    os.kill(process.pid, signal.SIGTERM)
    assert process.communicate(timeout=10) == ("", "stopped\n")
    assert process.returncode == 130


def test_who_ignores_signals_is_not_disturbed() -> None:
    """nohup, and jobs in the background of a script."""
    process = begun(["tasks"], START.replace("signal.default_int_handler", "signal.SIG_IGN"))
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "mnist" in out


def test_a_library_leaves_signals_alone() -> None:
    code = ("import signal; before = [signal.getsignal(n) for n in (2, 15)]\n"
            "import bittailor as bt; bt.run_search; bt.train_task; import bittailor.cli.main\n"
            "assert [signal.getsignal(n) for n in (2, 15)] == before")
    subprocess.run([sys.executable, "-c", code], check=True)
