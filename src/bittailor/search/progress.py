"""Progress: a search as it runs, on a terminal or as occasional lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from bittailor.common.console import console as plain_console
from bittailor.common.console import visible
from bittailor.common.log import log
from bittailor.common.log import visible as visible_log
from bittailor.common.units import number
from bittailor.search.front import Front
from bittailor.search.loop import Progress, Status

if TYPE_CHECKING:
    from rich.console import Console, Group

_EVERY_S = 10.0  # between two plain lines
_PER_S = 4  # pictures of the live display per second
_POINTS = 5  # solutions of the front that are shown


@dataclass(frozen=True)
class ValueDisplay:
    """How values are shown.

    title      objective → what to call it; its name where missing
    text       objective → value as text, with its unit; four digits where missing
    reference  what to compare with, by name, such as {"homogeneous 8": {"error": 2.5, "size": 1e5}}
    beside     says who is at work, in a few words; nothing where that is this process
    """

    title: Mapping[str, str] = field(default_factory=dict)
    text: Mapping[str, Callable[[float], str]] = field(default_factory=dict)
    reference: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    beside: Callable[[], str] = str

    def value(self, objective: str, value: float) -> str:
        """A value as text."""
        return self.text.get(objective, number)(value)


class Quiet:
    """Shows nothing but a last message."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def start(self, status: Status) -> None: ...

    def update(self, status: Status) -> None: ...

    def finish(self, status: Status, message: str) -> None:
        if message:
            print(message, file=self._stream, flush=True)


class Lines:
    """A line every ten seconds, for logs and pipes."""

    def __init__(
        self, look: ValueDisplay | None = None, stream: TextIO | None = None, every_s: float = _EVERY_S
    ) -> None:
        self._look, self._stream, self._every = look or ValueDisplay(), stream or sys.stderr, every_s
        self._clock, self._last = Clock(), -1.0

    def start(self, status: Status) -> None:
        self._clock.start()
        self._last = monotonic()

    def update(self, status: Status) -> None:
        self._clock.see(status)
        if monotonic() - self._last >= self._every:
            self._last = monotonic()
            self._print(status)

    def finish(self, status: Status, message: str) -> None:
        self._clock.see(status)
        self._print(status)
        if message:
            print(message, file=self._stream, flush=True)

    def _print(self, status: Status) -> None:
        print(line(status, self._clock, self._look), file=self._stream, flush=True)


class Logged:
    """A line a generation, by `logging`: what scripts show."""

    def __init__(self, look: ValueDisplay | None = None) -> None:
        self._look, self._clock, self._seen = look or ValueDisplay(), Clock(), 0

    def start(self, status: Status) -> None:
        self._clock.start()

    def update(self, status: Status) -> None:
        self._clock.see(status)
        if status.finished > self._seen:
            self._seen = status.finished
            log.info("%s", line(status, self._clock, self._look))

    def finish(self, status: Status, message: str) -> None:
        if message:
            log.info("%s", message)


class Notebook:
    """A bar and a line of a notebook's output, changed in place; no widgets needed."""

    def __init__(self, look: ValueDisplay | None = None, every_s: float = 1 / _PER_S) -> None:
        self._look, self._clock, self._every = look or ValueDisplay(), Clock(), every_s
        self._handle: Any = None
        self._last = 0.0

    def start(self, status: Status) -> None:
        self._clock.start()
        self._handle = sys.modules["IPython"].display.display(
            self._picture(status), raw=True, display_id=True)

    def update(self, status: Status) -> None:
        self._clock.see(status)
        if monotonic() - self._last >= self._every:
            self._last = monotonic()
            self._handle.update(self._picture(status), raw=True)

    def finish(self, status: Status, message: str) -> None:
        self._clock.see(status)
        if self._handle is not None:
            self._handle.update(self._picture(status, message), raw=True)

    def _picture(self, status: Status, message: str = "") -> dict[str, str]:
        text = "\n".join(part for part in (line(status, self._clock, self._look), message) if part)
        bar = f'<progress value="{status.done}" max="{max(1, status.total)}" style="width: 24em"></progress>'
        return {"text/plain": text, "text/html": f"{bar}<br>{escape(visible(text)).replace(chr(10), '<br>')}"}


@dataclass(frozen=True)
class Hooked:
    """A display that also calls a function once for every generation that is finished, those replayed included.

    call   gets the search's `Status`; what it raises ends the search, and what was evaluated is kept
    inner  the display that is shown; None for none
    """

    call: Callable[[Status], None]
    inner: Progress | None
    _seen: list[int] = field(default_factory=lambda: [0])

    def start(self, status: Status) -> None:
        if self.inner is not None:
            self.inner.start(status)

    def update(self, status: Status) -> None:
        if self.inner is not None:
            self.inner.update(status)
        if status.finished > self._seen[0]:
            self._seen[0] = status.finished
            self.call(status)

    def finish(self, status: Status, message: str) -> None:
        if self.inner is not None:
            self.inner.finish(status, message)


class Live:
    """A bar with the time left, and a table of current trade-offs, redrawn in place. Needs a terminal."""

    def __init__(self, look: ValueDisplay | None = None, console: Console | None = None) -> None:
        self._look, self._console, self._clock = look or ValueDisplay(), console, Clock()
        self._live: Any = None
        self._status: Status | None = None

    def start(self, status: Status) -> None:
        from rich.live import Live as RichLive

        self._clock.start()
        self._status = status
        self._console = self._console or plain_console(stderr=True)
        # rich draws from a thread of its own, so that an update costs the search nothing
        self._live = RichLive(get_renderable=self._draw, console=self._console, refresh_per_second=_PER_S,
                              transient=False)
        self._live.start()

    def update(self, status: Status) -> None:
        self._clock.see(status)
        self._status = status

    def finish(self, status: Status, message: str) -> None:
        self.update(status)
        if self._live is not None:
            self._live.stop()
        if message and self._console is not None:
            self._console.print(message, style="yellow", markup=False, highlight=False)

    def _draw(self) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        status = self._status
        assert status is not None
        head = Table.grid(padding=(0, 2))
        left = self._clock.left_s
        head.add_row(f"generation {status.generation}/{status.generations}",
                     ProgressBar(total=max(1, status.total), completed=status.done, width=30),
                     f"{status.done / max(1, status.total):4.0%}",
                     "" if left is None or status.done >= status.total else f"{duration(left)} left",
                     f"{duration(self._clock.elapsed_s)} so far")
        note = counts(status)
        if status.hypervolume is not None:
            note += f"   hypervolume {status.hypervolume:.4f}   front {len(status.front)}"
        note += "".join(f"   {said}" for said in (self._clock.pace, self._look.beside()) if said)
        table = Table(box=None, padding=(0, 2), header_style="bold")
        table.add_column("")
        for objective in status.front.objectives:
            table.add_column(self._look.title.get(objective, objective), justify="right")
        for name, row in trade_offs(status.front):
            table.add_row(name, *(self._look.value(o, v)
                                  for o, v in zip(status.front.objectives, row, strict=True)))
        for name, values in self._look.reference.items():
            table.add_row(name, *(self._look.value(o, values[o]) if o in values else ""
                                  for o in status.front.objectives), style="dim")
        return Group(head, note, table)


def make_progress(kind: str = "auto", look: ValueDisplay | None = None) -> Progress:
    """A display on standard error: `live`, `lines`, `quiet`, or `auto`: live on a terminal, lines elsewhere."""
    if kind == "auto":
        kind = "live" if sys.stderr.isatty() else "lines"
    if kind == "quiet":
        return Quiet()
    return Live(look) if kind == "live" else Lines(look)


def default_progress(look: ValueDisplay | None = None) -> Progress:
    """What a search from Python shows: a bar in a notebook, a line a generation elsewhere (`common.log`)."""
    if not visible_log():
        return Logged(look)  # its lines go nowhere, or where the program that set logging up wants them
    return Notebook(look) if in_notebook() else Logged(look)


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def line(status: Status, clock: Clock, look: ValueDisplay) -> str:
    """Where a search stands, in one line."""
    left = clock.left_s
    return (f"generation {status.generation}/{status.generations}  {counts(status)}"
            f"{'' if status.hypervolume is None else f'  hypervolume {status.hypervolume:.4f}'}"
            f"{clock.pace and f'  {clock.pace}'}{(said := look.beside()) and f'  {said}'}"
            f"{'' if left is None or status.done >= status.total else f'  {duration(left)} left'}"
            f"  {best(status.front, look)}").rstrip()


class Clock:
    """Time since the start, and time left from the pace of new evaluations; those in the store cost nothing. `pace`
    is that pace in words."""

    def __init__(self) -> None:
        self._start = self._first = monotonic()
        self._seen = False
        self.left_s: float | None = None
        self.pace = ""

    def start(self) -> None:
        """Start to count."""
        self._start = self._first = monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return monotonic() - self._start

    def see(self, status: Status) -> None:
        """Learn the pace from a status."""
        now = monotonic()
        if status.new == 0:
            self._first = now  # still replaying the store
        elif now > self._first:
            self.left_s = (now - self._first) / status.new * max(0, status.total - status.done)
            self.pace = f"{status.new / (now - self._first):,.3g} a second"


def trade_offs(front: Front, n: int = _POINTS) -> list[tuple[str, Sequence[float]]]:
    """Up to `n` solutions of a front, from the best in the first objective on, its ends and knee among them."""
    if not len(front):
        return []
    middle = front.knee()
    chosen = sorted({*np.linspace(0, len(front) - 1, min(n, len(front))).round().astype(int).tolist(), middle})
    if len(chosen) > n:  # the knee came on top: leave out its nearest neighbour that is not an end
        inner = [i for i in chosen[1:-1] if i != middle]
        chosen.remove(min(inner, key=lambda i: abs(i - (middle or 0))))
    return [("knee" if i == middle else f"{i + 1}", front.points[i].tolist()) for i in chosen]


def best(front: Front, look: ValueDisplay) -> str:
    """The best value of each objective in a front, as text."""
    words = {name: "up to" if name in front.maximised else "from" for name in front.objectives}
    return "  ".join(f"{look.title.get(name, name)} {words[name]} {look.value(name, value)}"
                     for name, value in front.best.items())


def counts(status: Status) -> str:
    """How many evaluations, and where they came from."""
    parts = [f"{status.new} new", *([f"{status.cached} stored"] if status.cached else []),
             *([f"{status.failed} failed"] if status.failed else [])]
    return f"{status.done}/{status.total} evaluations ({', '.join(parts)})"


def duration(seconds: float) -> str:
    """Seconds as text: 42 s, 3:07, 1:02:03."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes = f"{rest // 60:02d}" if hours else f"{rest // 60}"
    return f"{f'{hours}:' if hours else ''}{minutes}:{rest % 60:02d}"
