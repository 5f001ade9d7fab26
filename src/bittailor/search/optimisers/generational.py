"""Elitist genetic algorithms over integer genomes: parents and children compete, the better ones survive."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bittailor.search.optimisers.base import Optimiser, OptimiserSettings
from bittailor.search.optimisers.operators import CROSSOVERS, MUTATIONS, Floats, Indices
from bittailor.search.space import Genome, Space, genomes

# places of two solutions of the population, int64 [n, 2] -> which of them wins, 0 or 1, int64 [n]
Tournament: TypeAlias = Callable[[Indices], Indices]

_MATINGS = 20  # rounds of mating before a generation is filled up at random
_COUNTABLE = 50_000  # spaces up to this size are listed when they are nearly exhausted


class Generational(Optimiser):
    """Binary tournaments, crossover, mutation, survival; what survives and who wins is the method's own."""

    def __init__(self, space: Space, settings: OptimiserSettings, seeds: Iterable[Genome], objectives: int) -> None:
        self._space, self._settings = space, settings
        self._rng = np.random.default_rng(settings.seed)
        self._asked = first_population(space, settings.population, seeds, self._rng)
        self._seen = set(self._asked)
        self._invited: list[Genome] = []
        self._rate = np.minimum(np.full(len(space.genes), settings.mutated_genes / len(space.genes)), 0.5)
        self._x = np.empty((0, len(space.genes)), np.int64)
        self._points, self._violations = np.empty((0, objectives)), np.empty(0)

    @abstractmethod
    def survive(self, points: Floats, violations: Floats, n: int) -> Indices:
        """Places of the `n` survivors of parents and children, best first where there is a best; keeps what
        `tournament` needs of them.

        points      [solutions, objectives]; the first ones are the parents
        violations  [solutions]: 0 feasible, otherwise more, finite
        """

    @abstractmethod
    def tournament(self) -> Tournament:
        """Who of two survivors becomes a parent."""

    def ask(self) -> list[Genome]:
        if len(self._x):
            wanted = self._settings.offspring or self._settings.population
            guests = [genome for genome in self._invited if genome not in self._seen][:wanted]
            self._invited = []
            self._seen.update(guests)
            self._asked = guests + (self._mated(wanted - len(guests)) if wanted > len(guests) else [])
        return self._asked

    def tell(self, points: Floats, violations: Floats) -> None:
        # every solution of the first population survives, seeds that are more than fit included
        n = self._settings.population if len(self._x) else len(self._asked)
        x = np.concatenate([self._x, np.array(self._asked, np.int64)])
        points = np.concatenate([self._points, points])
        violations = np.concatenate([self._violations, _finite(violations)])
        kept = self.survive(points, violations, n)
        self._x, self._points, self._violations = x[kept], points[kept], violations[kept]

    def invite(self, genomes: Sequence[Genome]) -> None:
        self._invited = list(dict.fromkeys(genomes))

    def revise(self, genomes_: Sequence[Genome], points: Floats, violations: Floats) -> None:
        place = {genome: i for i, genome in enumerate(genomes(self._x))}
        at = [place[genome] for genome in genomes_]
        self._points[at], self._violations[at] = points, _finite(violations)

    @property
    def population(self) -> tuple[list[Genome], Floats, NDArray[np.bool_]]:
        return genomes(self._x), self._points, self._violations == 0

    def _mated(self, n: int) -> list[Genome]:
        """Up to `n` genomes never seen before, bred from survivors; random ones where breeding finds too few."""
        wins = self.tournament()
        children: list[Genome] = []
        for _round in range(_MATINGS):
            for genome in genomes(self._bred(wins, n - len(children))):
                if len(children) < n and genome not in self._seen:
                    self._seen.add(genome)
                    children.append(genome)
            if len(children) == n:
                break
        fresh = unseen(self._space, n - len(children), self._seen, self._rng)
        self._seen.update(fresh)
        return children + fresh

    def _bred(self, wins: Tournament, n: int) -> Indices:
        rng, levels, x = self._rng, self._space.levels, self._x
        pairs = ceil(n / 2)
        # every solution enters equally many tournaments; two of two for each pair of parents
        rounds = [rng.permutation(len(x)) for _ in range(ceil(4 * pairs / len(x)))]
        entrants = np.concatenate(rounds)[:4 * pairs].reshape(-1, 2)
        winners = entrants[np.arange(len(entrants)), wins(entrants)]
        parents = x[winners].reshape(2, pairs, -1)
        crossed = CROSSOVERS[self._settings.crossover](parents, levels, rng)
        cross = rng.random((pairs, 1)) < self._settings.crossover_probability
        children = np.where(cross, crossed, parents).reshape(2 * pairs, -1)
        return MUTATIONS[self._settings.mutation](children, levels, self._rate, rng)


def first_population(space: Space, n: int, seeds: Iterable[Genome], rng: np.random.Generator) -> list[Genome]:
    """The seeds, then random genomes up to `n`: in turn one around a common width level, from low to high, and
    one uniform over the space. The levels spread the population over the whole front, where uniform genomes
    crowd its middle. All different; fewer than `n` only where the space has no more.
    """
    chosen = dict.fromkeys(space.check(seed) for seed in seeds)
    missing = max(0, min(n, space.size) - len(chosen))
    levels = np.linspace(0.0, 1.0, max(1, (missing + 1) // 2))
    around = np.rint(levels[:, None] * (space.levels - 1) + rng.normal(0.0, 1.0, (len(levels), len(space.genes))))
    stratified = genomes(np.clip(around, 0, space.levels - 1).astype(np.int64))
    uniform = space.random(rng, len(levels))
    for genome in (genome for pair in zip(stratified, uniform, strict=True) for genome in pair):
        if len(chosen) < n:
            chosen[genome] = None
    for genome in unseen(space, min(n, space.size) - len(chosen), set(chosen), rng):
        chosen[genome] = None
    return list(chosen)


def unseen(space: Space, n: int, seen: set[Genome], rng: np.random.Generator) -> list[Genome]:
    """Up to `n` different random genomes that are not in `seen`.

    All there are of a space of at most 50,000 plans; in a larger one that is almost exhausted it may find fewer.
    """
    n = min(n, space.size - len(seen))
    if n <= 0:
        return []
    if space.size <= _COUNTABLE:
        every = np.stack(np.unravel_index(np.arange(space.size), tuple(space.levels.tolist())), axis=1)
        left = [genome for genome in genomes(every.astype(np.int64)) if genome not in seen]
        return [left[i] for i in rng.choice(len(left), n, replace=False)]
    found: dict[Genome, None] = {}
    for genome in space.random(rng, 20 * n):
        if len(found) < n and genome not in seen:
            found[genome] = None
    return list(found)


def _finite(violations: Floats) -> Floats:
    """Violations of which a failed one is finite, so that they may be added up, and worse than any real one."""
    return np.clip(violations, 0.0, 1e30)
