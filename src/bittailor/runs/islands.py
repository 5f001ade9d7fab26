"""Islands in a run: each with its own seed and its own store (RUN/islands/N.sqlite), and what comes of all together.

The run's evaluations.sqlite holds the rows of all islands, by generation and then by island, of equal genomes the
first; it is made anew when the search ends or is stopped. Resumed, every island replays from its own store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from bittailor.errors import FileError
from bittailor.search.constraints import Constraint
from bittailor.search.front import Front, ReferenceBox, make_front
from bittailor.search.islands import IslandSettings, Ring, Together, merged, run_islands
from bittailor.search.loop import Exchange, Generation, Progress, Result
from bittailor.search.settings import SearchSettings
from bittailor.search.space import Genome
from bittailor.search.store import Row, Store

# settings, first solutions, store, progress, what to do after each generation, when to stop -> the result of one island
SearchOne = Callable[
    [SearchSettings, Sequence[Genome], Store, Progress | None, Exchange, Callable[[], bool]], Result]


def island_facts(box: ReferenceBox, result: Result) -> dict[str, float]:
    """What result.json says of one island."""
    return {"evaluations": result.evaluations, "failed": result.failed, "front_size": len(result.front),
            "hypervolume": box.hypervolume(result.front.points) if len(result.front) else 0.0}


@dataclass(frozen=True, eq=False)
class Archipelago:
    """All islands of a run.

    folder    RUN/islands
    identity  of their stores, as of the run's
    limits    constraints, by which fronts are merged
    """

    islands: IslandSettings
    search: SearchSettings
    folder: Path
    identity: Mapping[str, str]
    box: ReferenceBox
    limits: Sequence[Constraint]

    def go(self, one: SearchOne, seeds: Sequence[Genome], store: Store, progress: Together | None) -> Result:
        """Search all islands; fills the run's store. Returns the result of all together, with each."""
        self.folder.mkdir(exist_ok=True)

        def island(number: int, ring: Ring) -> Result:
            settings = replace(self.search, seed=self.islands.seed(self.search.seed, number))
            shown = None if progress is None else progress.of(number)
            with Store(self._path(number), self.identity) as own:
                first = self.islands.share(seeds, number)
                return one(settings, first, own, shown, partial(ring.exchange, number), ring.stopped)

        try:
            results = run_islands(self.islands, island)
        finally:
            rows = self._rows()
            store.replace_all(rows)
        return self._together(results, rows)

    def _path(self, island: int) -> Path:
        return self.folder / f"{island}.sqlite"

    def _rows(self) -> list[Row]:
        """Of all islands, by generation and then by island."""
        found: list[tuple[int, int, Row]] = []
        for island in range(self.islands.number):
            # one that never began has none
            with suppress(FileError), Store(self._path(island), readonly=True) as store:
                found += [(row.generation, island, row) for row in store.rows()]
        return [row for _, _, row in sorted(found, key=lambda item: (item[0], item[1], item[2].ordinal))]

    def _together(self, results: Sequence[Result], rows: Sequence[Row]) -> Result:
        history = self._history(results, rows)
        closest = min((r.closest for r in results if r.closest is not None), key=lambda c: c.violation, default=None)
        front = merged([r.front for r in results])
        return Result(
            front, tuple(history), self.box, sum(r.evaluations for r in results), sum(r.new for r in results),
            sum(r.failed for r in results), max(r.seconds for r in results), any(r.interrupted for r in results),
            None if len(front) else closest, next((r.message for r in results if r.message), ""),
            tuple(results))

    def _history(self, results: Sequence[Result], rows: Sequence[Row]) -> list[Generation]:
        """The generations of all islands as one: their survivors, and the front of everything evaluated so far."""
        generations = max(len(r.history) for r in results)
        fronts = self._fronts(rows, results[0].front, generations)
        found: list[Generation] = []
        for number, front in enumerate(fronts, 1):
            alike = [r.history[number - 1] for r in results if len(r.history) >= number]
            before = found[-1].evaluations if found else 0
            new, cached = sum(g.new for g in alike), sum(g.cached for g in alike)
            found.append(Generation(
                number, before + new + cached, new, cached, sum(g.failed for g in alike), len(front),
                self.box.hypervolume(front.points) if len(front) else 0.0, front.best,
                np.concatenate([g.points for g in alike]), np.concatenate([g.feasible for g in alike])))
        return found

    def _fronts(self, rows: Sequence[Row], like: Front, generations: int) -> list[Front]:
        """The front of all islands after every generation."""
        names, maximised = like.objectives, like.maximised
        front = make_front(names, (), np.empty((0, len(names))), (), maximised)
        found: list[Front] = []
        by_generation: dict[int, list[Row]] = {}
        for row in rows:
            by_generation.setdefault(row.generation, []).append(row)
        for generation in range(1, generations + 1):
            good = [(row.genome, row.outcome.values) for row in by_generation.get(generation, ())
                    if row.outcome.values is not None and row.outcome.dropped is None
                    and not any(c.violation(row.outcome.values[c.name]) for c in self.limits)]
            points = np.array([[values[name] for name in names] for _, values in good]).reshape(-1, len(names))
            new = make_front(names, [genome for genome, _ in good], points, [values for _, values in good], maximised)
            front = merged([front, new])
            found.append(front)
        return found
