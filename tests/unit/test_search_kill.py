"""A search in a process of its own, disturbed for real: killed, interrupted, orphaned."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import search_toy
from search_toy import run, summary

from bittailor.errors import FileError
from bittailor.search import Store

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")

TOTAL = search_toy.SETTINGS.evaluations


def launch(path: Path, workers: int = 1, delay_s: float = 0.002) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, search_toy.__file__, str(path), str(workers), str(delay_s)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def until(ready: Callable[[], bool], limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.002)


def stored(path: Path) -> int:
    try:
        with Store(path, readonly=True) as store:
            return len(store)
    except FileError:  # not made yet
        return 0


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def finish(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return json.loads(out), err


def same(answer: dict[str, Any]) -> bool:
    expected = json.loads(json.dumps(summary(run(None))))
    return {key: answer[key] for key in expected} == expected


def test_killed_again_and_again_it_resumes_to_the_same_front(tmp_path: Path, rng: np.random.Generator) -> None:
    path, before = tmp_path / "s.sqlite", 0
    for _ in range(3):
        process = launch(path)
        wanted = before + int(rng.integers(1, (TOTAL - before) // 3))
        until(lambda: stored(path) >= wanted or process.poll() is not None)  # noqa: B023
        time.sleep(rng.random() * 0.005)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL  # it was still at work
        assert stored(path) >= wanted
        before = stored(path)
    answer, _ = finish(launch(path, delay_s=0))
    assert answer["new"] == TOTAL - before
    assert same(answer)


def test_killed_at_any_moment_of_its_start(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    process = launch(path)
    until(path.exists)  # the file is there, perhaps not yet its tables
    process.kill()
    process.communicate()
    answer, _ = finish(launch(path, delay_s=0))
    assert same(answer)


def test_workers_end_with_a_killed_search(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    process = launch(path, workers=2)
    until(lambda: stored(path) >= 30)
    orphans = children(process.pid)
    assert len(orphans) >= 2
    process.kill()
    process.communicate()
    until(lambda: not any(running(pid) for pid in orphans))
    answer, _ = finish(launch(path, workers=3, delay_s=0))
    assert same(answer)


@pytest.mark.parametrize(("workers", "delay_s"), [(1, 0.01), (2, 0.01), (2, 0.5)])
def test_ctrl_c_ends_cleanly_with_what_there_is(tmp_path: Path, workers: int, delay_s: float) -> None:
    path = tmp_path / "s.sqlite"
    process = launch(path, workers, delay_s)
    until(lambda: stored(path) >= 1)
    workers_of = children(process.pid)
    pressed = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    answer, err = finish(process)
    assert time.monotonic() - pressed < 5
    assert err == ""
    assert answer["interrupted"] is True
    assert 1 <= answer["evaluations"] == stored(path) < TOTAL
    assert answer["front"]["solutions"]
    until(lambda: not any(running(pid) for pid in workers_of))
    if delay_s < 0.1:
        assert same(finish(launch(path, delay_s=0))[0])


def test_ctrl_c_while_workers_start(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "s.sqlite"
    process = launch(path, 2)
    until(lambda: len(children(process.pid)) >= 2)
    time.sleep(rng.uniform(0, 0.3))
    os.killpg(process.pid, signal.SIGINT)
    answer, err = finish(process)
    assert err == ""
    assert answer["interrupted"] is True


def kill_starting(process: subprocess.Popen[str], seen: set[int]) -> None:
    """Kill its worker processes that are new, as soon as they are there."""
    for pid in children(process.pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if pid not in seen and b"spawn_main" in command:
            seen.add(pid)
            os.kill(pid, signal.SIGKILL)


def test_workers_killed_once_while_they_start_are_started_again(tmp_path: Path) -> None:
    process, killed = launch(tmp_path / "s.sqlite", 2, delay_s=0), set[int]()
    until(lambda: kill_starting(process, killed) or bool(killed))
    answer, err = finish(process)
    assert err == ""
    assert same(answer)


def test_workers_killed_whenever_they_start_end_the_search_in_one_line(tmp_path: Path) -> None:
    process, killed = launch(tmp_path / "s.sqlite", 2, delay_s=0), set[int]()
    until(lambda: kill_starting(process, killed) or process.poll() is not None)
    _, err = process.communicate()
    assert len(killed) >= 3
    assert err.splitlines()[-1].endswith("BittailorError: worker processes were killed while they started, 3 times; "
                                         "if memory is short, use fewer workers, or one")


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(Path(search_toy.__file__).parent)!r})\n"
                      "from search_toy import run\nfrom bittailor.errors import BittailorError\n"
                      "try:\n    run(None, 2)\nexcept BittailorError as error:\n    print(error)\n")
    answer = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert 'under `if __name__ == "__main__":`' in answer.stdout
