"""Islands: several searches with seeds of their own that send members of their fronts round a ring, now and then.

Migration is synchronous: what leaves an island after generation g arrives at its neighbour's generation g + 1, however
fast either is. So each island replays from its own store, as one search does, and all together give the same again.

Source  the island model as in Alba, Tomassini: Parallelism and evolutionary algorithms (IEEE Transactions on
        Evolutionary Computation 6, 2002).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from bittailor.errors import BittailorError
from bittailor.search.executors.base import Executor, WorkerState
from bittailor.search.front import Front, make_front
from bittailor.search.loop import Progress, Result, Status
from bittailor.search.space import Genome
from bittailor.search.store import Outcome


@dataclass(frozen=True)
class IslandSettings:
    """Searches that run side by side.

    number         of them; 1: one search, no islands. Each has the whole population and all generations
    migrate_every  generations from one migration to the next
    migrants       members of the front that go each time, spread over it: own finds, each once
    """

    number: int = 1
    migrate_every: int = 10
    migrants: int = 5

    def __post_init__(self) -> None:
        for name in ("number", "migrate_every", "migrants"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BittailorError(f"islands: {name} is {value!r}; expected a whole number, 1 or more")

    def seed(self, seed: int, island: int) -> int:
        """The seed of an island; the first has the search's own."""
        return seed if island == 0 else int(np.random.SeedSequence([seed, island]).generate_state(1)[0])

    def share(self, seeds: Sequence[Genome], island: int) -> Sequence[Genome]:
        """What an island begins with, of what the search begins with: it is dealt out, so that nothing is evaluated
        twice; migration spreads what is good of it."""
        return seeds[island::self.number]


class Ring:
    """Who sends what to whom, and when. One for a search; its islands are threads."""

    def __init__(self, settings: IslandSettings) -> None:
        self._settings = settings
        self._stale = [set[Genome]() for _ in range(settings.number)]  # what an island has sent, or was sent
        self._sent: dict[tuple[int, int], list[Genome]] = {}
        self._ended: set[int] = set()
        self._stopped = False
        self._changed = threading.Condition()

    def exchange(self, island: int, generation: int, front: Front) -> Sequence[Genome]:
        """What arrives at an island after a generation, which leaves with members of its front. Waits for the
        neighbour; KeyboardInterrupt where the search was stopped meanwhile."""
        if generation % self._settings.migrate_every:
            return ()
        before = (island - 1) % self._settings.number
        with self._changed:
            sent = self._sent[island, generation] = spread(front, self._settings.migrants, self._stale[island])
            self._stale[island].update(sent)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: (before, generation) in self._sent or before in self._ended or self._stopped)
            if self._stopped:
                raise KeyboardInterrupt
            found = self._sent.get((before, generation), [])
            self._stale[island].update(found)
            return found

    def end(self, island: int) -> None:
        """An island has nothing left to send."""
        with self._changed:
            self._ended.add(island)
            self._changed.notify_all()

    def stop(self) -> None:
        """No island goes on."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def stopped(self) -> bool:
        """The `stop` of a search."""
        return self._stopped


def spread(front: Front, n: int, without: Collection[Genome] = ()) -> list[Genome]:
    """Up to `n` members of a front that are not in `without`, evenly by rank in the first objective."""
    left = [genome for genome in front.genomes if genome not in without]
    if not left:
        return []
    return [left[i] for i in dict.fromkeys(np.linspace(0, len(left) - 1, n).round().astype(int).tolist())]


def run_islands(settings: IslandSettings, one: Callable[[int, Ring], Result]) -> list[Result]:
    """The results of all islands, in order, each searched by a thread of its own.

    one     searches an island, given its number and the ring
    Raises  the first error of any, once all have stopped; Ctrl-C stops all of them, which have results then, too.
    """
    ring = Ring(settings)

    def whole(island: int) -> Result:
        try:
            result = one(island, ring)
            if result.interrupted:
                ring.stop()
            return result
        except BaseException:
            ring.stop()
            raise
        finally:
            ring.end(island)

    with ThreadPoolExecutor(settings.number, "island") as threads:
        futures = [threads.submit(whole, island) for island in range(settings.number)]
        _wait(futures, ring)
    return [future.result() for future in futures]


def _wait(futures: Sequence[Future[Result]], ring: Ring) -> None:
    try:
        wait(futures)
    except KeyboardInterrupt:
        ring.stop()
        wait(futures)


class InTurns(Executor):
    """An executor of one thread, for several: each generation has it for itself."""

    def __init__(self, executor: Executor) -> None:
        self._executor, self._lock = executor, threading.Lock()

    def run(self, state: WorkerState, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        with self._lock:
            yield from self._executor.run(state, genomes)


class Together:
    """One display of several searches: numbers of all, and the front of their fronts."""

    def __init__(self, inner: Progress, islands: int, hypervolume: Callable[[Front], float]) -> None:
        self._inner, self._hypervolume = inner, hypervolume
        self._known: list[Status | None] = [None] * islands
        self._merged: tuple[list[Front], Front, float | None] | None = None
        self._open, self._lock, self._message = islands, threading.Lock(), ""

    def of(self, island: int) -> Progress:
        """What one island is shown by."""
        return _Shore(partial(self._see, island), partial(self._leave, island))

    def words(self) -> str:
        """How far each island is: its hypervolume."""
        found = [s.hypervolume for s in self._known if s is not None and s.hypervolume is not None]
        return "" if not found else "islands " + " ".join(f"{value:.3f}" for value in found)

    def _see(self, island: int, status: Status) -> None:
        with self._lock:
            first = all(known is None for known in self._known)
            self._known[island] = status
            (self._inner.start if first else self._inner.update)(self._status())

    def _leave(self, island: int, status: Status, message: str) -> None:
        with self._lock:
            self._known[island] = status
            self._open -= 1
            self._message = self._message or message
            if not self._open:
                self._inner.finish(self._status(), self._message)

    def _status(self) -> Status:
        known = [status for status in self._known if status is not None]
        front, volume = self._front([status.front for status in known])
        total = sum(status.total for status in known) * len(self._known) // len(known)
        return replace(known[0], generation=min(s.generation for s in known),
                       finished=min(s.finished for s in known), done=sum(s.done for s in known),
                       total=total, new=sum(s.new for s in known), cached=sum(s.cached for s in known),
                       failed=sum(s.failed for s in known), front=front, hypervolume=volume)

    def _front(self, fronts: list[Front]) -> tuple[Front, float | None]:
        """The front of fronts, made again only where one of them is another."""
        known = self._merged
        if known is not None and len(known[0]) == len(fronts):
            same = all(a is b for a, b in zip(known[0], fronts, strict=True))
            if same:
                return known[1], known[2]
        front = merged(fronts)
        volume = self._hypervolume(front) if len(front) else None
        self._merged = fronts, front, volume
        return front, volume


@dataclass(frozen=True)
class _Shore:
    """The display of one island, which only passes on."""

    update: Callable[[Status], None]
    finish: Callable[[Status, str], None]

    def start(self, status: Status) -> None:
        self.update(status)


def merged(fronts: Sequence[Front]) -> Front:
    """The front of several fronts of the same objectives."""
    rows = {genome: (point, value) for front in fronts
            for genome, point, value in zip(front.genomes, front.points, front.values, strict=True)}
    points = np.array([point for point, _ in rows.values()]).reshape(-1, len(fronts[0].objectives))
    return make_front(fronts[0].objectives, list(rows), points, [value for _, value in rows.values()],
                      fronts[0].maximised)
