"""Progress: what is shown, without a terminal and on a pretended one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from search_toy import run

from bittailor.search import progress as module
from bittailor.search.front import make_front
from bittailor.search.loop import Status
from bittailor.search.progress import Clock, Lines, Live, Quiet, ValueDisplay, duration, make_progress, trade_offs

LOOK = ValueDisplay(title={"error": "error %"}, text={"size": "{:.0f} bit".format},
            reference={"homogeneous 8": {"error": 1.5, "size": 168.0}, "float": {"error": 1.0}})


def status(done: int, new: int, total: int = 100) -> Status:
    front = make_front(("error", "size"), [], [], [])
    return Status(1, 5, done, total, new, done - new, 0, front, None)


def test_lines_say_where_the_search_stands() -> None:
    stream = io.StringIO()
    run(None, progress=Lines(LOOK, stream, every_s=0.0))
    lines = stream.getvalue().splitlines()
    assert len(lines) > 400
    assert lines[0].startswith("generation 1/20  1/400 evaluations (1 new)")
    assert lines[-1].startswith("generation 20/20  400/400 evaluations (400 new)  hypervolume 0.")
    assert "size from 48 bit" in lines[-1]


def test_lines_are_few() -> None:
    stream = io.StringIO()
    run(None, progress=Lines(LOOK, stream))
    assert len(stream.getvalue().splitlines()) <= 2


def test_quiet_only_says_what_matters() -> None:
    stream = io.StringIO()
    run(None, progress=Quiet(stream))
    assert stream.getvalue() == ""
    run(None, progress=Quiet(stream), stop=lambda: True)
    assert stream.getvalue() == "stopped after 1 of 400 evaluations; all of them are kept\n"


def test_live_shows_bar_trade_offs_and_reference() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, color_system=None)
    run(None, progress=Live(LOOK, console), stop=None)
    last = stream.getvalue().rsplit("generation", 1)[1]
    for text in ("20/20", "100%", "400/400 evaluations (400 new)", "hypervolume 0.", "error %", "knee", "48 bit",
                 "homogeneous 8", "168 bit", "float"):
        assert text in last, text


def test_live_before_anything_is_known() -> None:
    stream = io.StringIO()
    shown = Live(ValueDisplay(), Console(file=stream, force_terminal=True, width=80, color_system=None))
    shown.start(status(0, 0))
    shown.finish(status(0, 0), "[nothing] found")
    assert "0/100 evaluations (0 new)" in stream.getvalue()
    assert "[nothing] found" in stream.getvalue()


@pytest.mark.parametrize(("kind", "expected"), [("quiet", Quiet), ("live", Live), ("lines", Lines), ("auto", Lines)])
def test_make_progress(kind: str, expected: type) -> None:
    assert type(make_progress(kind)) is expected


def test_time_left_counts_new_evaluations_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    clock = Clock()
    clock.start()
    now[0] = 5.0
    clock.see(status(40, 0))
    assert clock.left_s is None
    now[0] = 15.0
    clock.see(status(50, 10))
    assert clock.left_s == 50.0
    assert clock.elapsed_s == 15.0


def test_trade_offs_hold_ends_and_knee() -> None:
    points = [[float(i), 100.0 / (i + 1)] for i in range(30)]
    front = make_front(("a", "b"), [(i,) for i in range(30)], points, [{}] * 30)
    rows = trade_offs(front)
    assert len(rows) == 5
    assert rows[0][1] == points[0]
    assert rows[-1][1] == points[-1]
    assert [name for name, _ in rows].count("knee") == 1
    assert trade_offs(make_front(("a", "b"), [], [], [])) == []
    assert len(trade_offs(make_front(("a", "b"), [(1,)], [[1.0, 2.0]], [{}]))) == 1


def test_duration() -> None:
    assert [duration(s) for s in (0.2, 59, 61, 3723)] == ["0 s", "59 s", "1:01", "1:02:03"]
