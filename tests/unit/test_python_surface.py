"""What Python users see without asking: short reprs, tables in notebooks, lines while a search works, data frames."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bittailor as bt
import small
from bittailor.common import html, log, units
from bittailor.runs.frames import frame_of
from bittailor.search.front import make_front
from bittailor.search.loop import Status
from bittailor.search.progress import Hooked, Logged, Notebook, default_progress
from small import small_data, small_network

SPEC = bt.SearchSpec(search=bt.SearchSettings(population=10, generations=3), workers=1)


@pytest.fixture(scope="module")
def given() -> tuple[bt.Network, bt.Splits]:
    network = small_network()
    return network, small_data(network)


@pytest.fixture(scope="module")
def made(given: tuple[bt.Network, bt.Splits], tmp_path_factory: pytest.TempPathFactory) -> tuple[bt.Run, list[Status]]:
    seen: list[Status] = []
    return bt.run_search(*given, tmp_path_factory.mktemp("surface") / "run", SPEC, on_generation=seen.append), seen


@pytest.fixture(scope="module")
def run(made: tuple[bt.Run, list[Status]]) -> bt.Run:
    return made[0]


def test_reprs_are_short_and_say_what_it_is(run: bt.Run, given: tuple[bt.Network, bt.Splits]) -> None:
    solution = run.pick(0)
    for what, words in ((given[0], r"Network\(3 features -> 3, \d+ sites, \d+ parameters\)"),
                        (given[1], r"Splits\(train 60, valid 60, test 60 items of 3 features\)"),
                        (given[1].train, r"Data\(60 items of 1-6 steps of 3 features; targets int64 one an item\)"),
                        (run, r"Run\(.*: run; \d+ on the front, \d+ evaluations\)"),
                        (solution, r"Solution\(error .*, test .*; \d+-\d+ bits\)"),
                        (run.plan(solution), r"Plan\(\d+ sites: .*weight \d.* bits.*\)"),
                        (run.program(solution), r"Program\(3 -> 3 features, weights .* bits, [\d,]+ bytes of const.*")):
        assert re.fullmatch(words, repr(what)), repr(what)
        assert len(repr(what)) < 300


def test_a_run_without_a_result_has_a_repr(run: bt.Run) -> None:
    bare = bt.Run(Path("nowhere"), run.config)
    assert "no result yet" in repr(bare)


def test_notebooks_get_small_tables_without_script(run: bt.Run) -> None:
    solution = run.pick(0)
    for what in (run, solution, run.plan(solution), run.program(solution)):
        text = what._repr_html_()
        assert text.startswith("<table>")
        assert text.endswith("</table>")
        assert "<script" not in text
        assert len(text) < 20_000
    assert "gru0.W_hn" in solution._repr_html_()
    assert "8bit" in run._repr_html_()


def test_what_others_wrote_is_escaped_in_tables() -> None:
    assert html.table("<b>\x1b[2J", ["&"], [["<script>"]]).count("<b>") == 0
    assert "&lt;script&gt;" in html.table("", [], [["<script>"]])
    assert "\x1b" not in html.table("a\x1b[2J", [], [])


@pytest.mark.parametrize("place", [0, np.int64(0), "0"])
def test_a_pick_by_its_place(run: bt.Run, place: Any) -> None:
    assert run.pick(place) == run.front[0]


@pytest.mark.parametrize("wrong", [-1, True, 1.0, None, 10**6])
def test_a_pick_that_is_no_place(run: bt.Run, wrong: Any) -> None:
    with pytest.raises(bt.BittailorError, match=r"pick is|there is no solution"):
        run.pick(wrong)


def test_a_pick_that_does_not_exist_says_what_to_take(run: bt.Run) -> None:
    with pytest.raises(bt.BittailorError, match=f"none was retrained; retrain one: .*, or take '{run.holds}'"):
        run.pick("retrained")


def test_a_frame_has_values_widths_and_picks(run: bt.Run) -> None:
    frame = run.frame()
    assert set(frame.index) == set(run.named)
    for name in frame.index:
        solution = run.pick(name)
        assert frame.loc[name, "error"] == solution.values["error"]
        assert frame.loc[name, "bits gru0.W_hn"] == solution.widths["gru0.W_hn"]
    for name, solution in run.picks.items():
        (row,) = [i for i in frame.index if name in frame.loc[i, "picks"].split(", ")]
        assert dict(run.pick(row).widths) == dict(solution.widths)
    whole = run.frame(everything=True)
    assert len(whole) == len(frame) + run.result["evaluations"] - len(run.front) - run.result["failed"]
    assert whole.index.is_unique


def test_a_frame_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(bt.BittailorError, match="needs pandas"):
        frame_of([])


def test_the_hook_sees_every_generation_once(made: tuple[bt.Run, list[Status]]) -> None:
    run, seen = made
    assert [s.finished for s in seen] == [1, 2, 3]
    assert [s.hypervolume for s in seen] == [g["hypervolume"] for g in run.result["history"]]
    assert [len(s.front) for s in seen] == [g["front_size"] for g in run.result["history"]]


def test_the_hook_sees_replayed_generations_and_those_of_islands(
        given: tuple[bt.Network, bt.Splits], tmp_path: Path) -> None:
    seen: list[int] = []
    spec = bt.SearchSpec(search=bt.SearchSettings(population=8, generations=2), workers=1)
    bt.run_search(*given, tmp_path / "run", spec, on_generation=lambda s: seen.append(s.finished))
    longer = bt.SearchSpec(search=bt.SearchSettings(population=8, generations=3), workers=1)
    bt.run_search(*given, tmp_path / "run", longer, resume=True, on_generation=lambda s: seen.append(s.finished))
    assert seen == [1, 2, 1, 2, 3]


def test_what_a_hook_raises_loses_nothing(given: tuple[bt.Network, bt.Splits], tmp_path: Path) -> None:
    def stop(status: Status) -> None:
        if status.finished == 2:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        bt.run_search(*given, tmp_path / "run", SPEC, on_generation=stop)
    run = bt.run_search(*given, tmp_path / "run", SPEC, resume=True)
    assert run.result["history"][0]["new"] == 0
    assert run.result["history"][2]["new"] > 0


SCRIPT = '''
import sys; sys.path[:0] = {path!r}
from small import small_data, small_network
import bittailor as bt, logging
{first}
network = small_network()
spec = bt.SearchSpec(search=bt.SearchSettings(population=4, generations=2), workers=1)
bt.run_search(network, small_data(network), {out!r}, spec)
'''


def script(first: str, out: Path) -> list[str]:
    """Lines on standard error of a small search in a script of its own."""
    text = SCRIPT.format(path=[str(Path(small.__file__).parent)], first=first, out=str(out))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_scripts_show_a_line_a_generation_unless_told_otherwise(tmp_path: Path) -> None:
    lines = script("", tmp_path / "a")
    assert [line.split("  ")[0] for line in lines if " generation " in line] == [
        "bittailor: generation 1/2", "bittailor: generation 2/2"]
    assert lines[0] == "bittailor: calibrating on 60 sequences"
    assert script('logging.getLogger("bittailor").setLevel(logging.WARNING)', tmp_path / "b") == []
    # who sets logging up decides: nothing twice, and nothing below the level asked for
    ours = script('logging.basicConfig(level=logging.INFO, format="mine %(message)s")', tmp_path / "c")
    assert all(line.startswith("mine ") for line in ours)
    assert sum("generation 2/2" in line for line in ours) == 1
    assert script("logging.basicConfig()", tmp_path / "d") == []


@pytest.fixture
def plain_logger() -> Iterator[logging.Logger]:
    """The logger as in a program that set nothing up."""
    before, level = log.log.handlers[:], log.log.level
    log.log.handlers[:] = []
    log.log.setLevel(logging.NOTSET)
    yield log.log
    log.log.handlers[:] = before
    log.log.setLevel(level)


def nobody_set_logging_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away pytest's own handlers, which come after fixtures."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


def test_the_line_goes_where_standard_error_is_now(plain_logger: logging.Logger,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    nobody_set_logging_up(monkeypatch)
    assert log.visible()
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log.log.info("here")
    assert log.visible()
    assert len(plain_logger.handlers) == 1
    assert stream.getvalue() == "bittailor: here\n"


def status(done: int, finished: int) -> Status:
    return Status(1 + finished, 3, done, 30, done, 0, 0, make_front(("error", "size"), [], [], []), None, finished)


def test_a_notebook_gets_a_bar_changed_in_place(plain_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody_set_logging_up(monkeypatch)
    shown: list[dict[str, str]] = []
    handle = SimpleNamespace(update=lambda picture, raw: shown.append(picture))

    def display(picture: dict[str, str], raw: bool, display_id: bool) -> Any:
        shown.append(picture)
        return handle

    kernel = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(
        get_ipython=lambda: kernel, display=SimpleNamespace(display=display)))
    bar = default_progress()
    assert isinstance(bar, Notebook)
    bar.start(status(0, 0))
    bar.update(status(10, 1))
    bar.finish(status(30, 3), "the <end>")
    assert 'value="0" max="30"' in shown[0]["text/html"]
    assert 'value="30"' in shown[-1]["text/html"]
    assert "the &lt;end&gt;" in shown[-1]["text/html"]
    assert shown[-1]["text/plain"].endswith("the <end>")
    kernel.kernel = None  # IPython in a terminal
    assert isinstance(default_progress(), Logged)


def test_a_hook_without_a_display() -> None:
    seen: list[int] = []
    hooked = Hooked(lambda s: seen.append(s.finished), None)
    hooked.start(status(0, 0))
    for done, finished in ((5, 0), (10, 1), (11, 1), (20, 2)):
        hooked.update(status(done, finished))
    hooked.finish(status(30, 3), "")
    assert seen == [1, 2]


def test_numbers_keep_their_digits() -> None:
    assert [units.number(v) for v in (10384.0, 1234567.0, 999.94, 0.00012344, 0.0, -2500.0)] == [
        "10384", "1234567", "999.9", "0.0001234", "0", "-2500"]


def test_trainings_say_how_far_they_are(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    from bittailor.train.beacons import training

    with caplog.at_level(logging.INFO, "bittailor"):
        say = training._Epochs("smallest")
        for epoch in range(1, 31):
            say(epoch, 30, 0.5 / epoch)
        assert [r.getMessage().split(", ")[0] for r in caplog.records] == [
            "retraining smallest: epoch 1/30", "retraining smallest: epoch 30/30"]
        monkeypatch.setattr(training, "EVERY_S", 0.0)
        say(2, 30, 0.1)
    assert len(caplog.records) == 3
