"""NSGA-II over integer genomes: pymoo's algorithm with integer operators of our own.

Source  Deb, Pratap, Agarwal, Meyarivan: A fast and elitist multiobjective genetic algorithm: NSGA-II
        (IEEE Transactions on Evolutionary Computation 6, 2002).

All randomness comes from `SearchSettings.seed`; sorting is stable, so that ties fall alike on every machine.
pymoo is imported here only, and only when a search starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.common.registry import Table
from bittailor.errors import BittailorError
from bittailor.search.space import Genome, Space, genomes

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

_ETA = 3.0  # how close to their parents SBX and PM children stay; MOHAQ's figure
_MATINGS = 20  # rounds of mating before a generation is filled up at random
_COUNTABLE = 50_000  # spaces up to this size are listed when they are nearly exhausted


def _uniform(parents: Indices, levels: Indices, rng: np.random.Generator) -> Indices:
    """Each gene of a pair changes sides with probability 1/2 (Syswerda 1989)."""
    swap = rng.random(parents.shape[1:]) < 0.5
    return np.where(swap, parents[::-1], parents)


def _two_point(parents: Indices, levels: Indices, rng: np.random.Generator) -> Indices:
    """The genes between two random cuts change sides."""
    cuts = np.sort(rng.integers(0, len(levels) + 1, (parents.shape[1], 2)), axis=1)
    gene = np.arange(len(levels))
    swap = (cuts[:, :1] <= gene) & (gene < cuts[:, 1:])
    return np.where(swap, parents[::-1], parents)


def _sbx(parents: Indices, levels: Indices, rng: np.random.Generator) -> Indices:
    """pymoo's simulated binary crossover, rounded to the nearest integer (Deb, Agrawal 1995)."""
    from pymoo.operators.crossover.sbx import cross_sbx

    column = np.ones((parents.shape[1], 1))
    low, high = _bounds(levels)
    children = cross_sbx(parents.astype(np.float64), low, high, _ETA * column, 0.5 * column, 0.5 * column,
                         random_state=rng)
    return _rounded(children, levels)


def _step(children: Indices, levels: Indices, rate: Floats, rng: np.random.Generator) -> Indices:
    """A mutated gene goes one (1/2) or two (1/4) widths up or down, or to any other width (1/4)."""
    size = children.shape
    step = rng.choice([1, 2], size, p=[2 / 3, 1 / 3]) * rng.choice([-1, 1], size)
    moved = children + step
    # a step beyond an end goes the other way, so that the ends are left and met like other widths
    moved = np.where((moved < 0) | (moved >= levels), children - step, moved)
    moved = np.clip(moved, 0, levels - 1)
    moved = np.where(rng.random(size) < 0.25, _other(children, levels, rng), moved)
    return np.where(rng.random(size) < rate, moved, children)


def _reset(children: Indices, levels: Indices, rate: Floats, rng: np.random.Generator) -> Indices:
    """A mutated gene takes any other width, all alike."""
    return np.where(rng.random(children.shape) < rate, _other(children, levels, rng), children)


def _pm(children: Indices, levels: Indices, rate: Floats, rng: np.random.Generator) -> Indices:
    """pymoo's polynomial mutation, rounded to the nearest integer (Deb, Goyal 1996)."""
    from pymoo.operators.mutation.pm import mut_pm

    n = len(children)
    low, high = _bounds(levels)
    mutated = mut_pm(children.astype(np.float64), low, high, np.full(n, _ETA), np.full(n, rate.max()),
                     at_least_once=False, random_state=rng)
    return _rounded(mutated, levels)


# pairs of parents int64 [2, pairs, genes], levels int64 [genes], rng -> children of the same shape
CROSSOVERS: Table[Callable[[Indices, Indices, np.random.Generator], Indices]] = Table("crossover", {
    "uniform": _uniform,
    "two-point": _two_point,
    "sbx": _sbx,
})

# children int64 [n, genes], levels int64 [genes], probability per gene [genes], rng -> mutated children
MUTATIONS: Table[Callable[[Indices, Indices, Floats, np.random.Generator], Indices]] = Table("mutation", {
    "step": _step,
    "reset": _reset,
    "pm": _pm,
})


@dataclass(frozen=True)
class SearchSettings:
    """What a search does, apart from what it searches. The same settings give the same search.

    population             solutions that survive a generation, 2 or more
    offspring              new solutions per generation; as many as `population` where None
    generations            the first population included, 1 or more
    seed                   0 or more
    crossover, mutation    names in `CROSSOVERS` and `MUTATIONS`
    crossover_probability  share of pairs that are crossed, 0..1
    mutated_genes          how many genes of a child mutate on average, more than 0
    Raises                 BittailorError where a value is out of range, UnknownName for an unknown operator.
    """

    population: int = 40
    offspring: int | None = None
    generations: int = 40
    seed: int = 0
    crossover: str = "uniform"
    mutation: str = "reset"
    crossover_probability: float = 0.9
    mutated_genes: float = 1.0

    def __post_init__(self) -> None:
        least = {"population": 2, "offspring": 1, "generations": 1, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if name == "offspring" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise BittailorError(f"{name} is {value!r}; expected a whole number, {low} or more")
        if not 0 <= self.crossover_probability <= 1:
            raise BittailorError(f"crossover_probability is {self.crossover_probability}; expected 0..1")
        if not 0 < self.mutated_genes < np.inf:
            raise BittailorError(f"mutated_genes is {self.mutated_genes}; expected more than 0")
        _ = CROSSOVERS[self.crossover], MUTATIONS[self.mutation]

    @property
    def evaluations(self) -> int:
        """How many solutions a search asks for, unless its space holds fewer."""
        return self.population + (self.generations - 1) * (self.offspring or self.population)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values; `SearchSettings(**values)` reads them back."""
        return asdict(self)


class Nsga2:
    """The algorithm, by ask and tell. No genome is asked for twice; an empty answer means nothing is left.

    A genome decodes to one plan and each plan has one genome, so unequal genomes are unequal plans.

    seeds       genomes that come first in the first population, all of them even if they are more than fit
    objectives  how many there are
    """

    def __init__(self, space: Space, settings: SearchSettings, seeds: Iterable[Genome], objectives: int) -> None:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.config import Config
        from pymoo.core.problem import Problem
        from pymoo.core.termination import NoTermination

        Config.warnings["not_compiled"] = False
        self._rng = np.random.default_rng(settings.seed)
        first = first_population(space, settings.population, seeds, self._rng)
        problem = Problem(n_var=len(space.genes), n_obj=objectives, n_ieq_constr=1, xl=np.zeros(len(space.genes)),
                          xu=space.levels - 1.0, vtype=int)
        self._algorithm = NSGA2(pop_size=settings.population, n_offsprings=settings.offspring,
                                sampling=np.array(first, np.int64), survival=_Survival(self._rng),
                                mating=_Mating(space, settings, set(first), self._rng),
                                eliminate_duplicates=False, output=None)
        self._algorithm.setup(problem, termination=NoTermination(), seed=settings.seed)
        self._asked: Any = None

    def ask(self) -> list[Genome]:
        """The next generation: genomes that were never asked for."""
        self._asked = self._algorithm.ask()
        return [] if self._asked is None else genomes(self._asked.get("X"))

    def tell(self, points: Floats, violations: Floats) -> None:
        """What the genomes asked for gave, in their order.

        points      float64 [asked, objectives], minimised; not looked at where the violation is infinite
        violations  float64 [asked]: 0 for a solution that keeps all constraints, infinity for a failed one
        """
        self._asked.set("F", points, "G", np.minimum(violations, _FAILED)[:, None])
        self._algorithm.tell(infills=self._asked)

    def revise(self, genomes_: Sequence[Genome], points: Floats, violations: Floats) -> None:
        """Other values for survivors (`population`), from the next `tell` on."""
        place = {genome: i for i, genome in enumerate(genomes(self._algorithm.pop.get("X")))}
        for genome, point, violation in zip(genomes_, points, np.minimum(violations, _FAILED), strict=True):
            survivor = self._algorithm.pop[place[genome]]
            survivor.F, survivor.G = point, np.array([violation])

    @property
    def population(self) -> tuple[list[Genome], Floats, NDArray[np.bool_]]:
        """The survivors: genomes, points [n, objectives], and which of them keep all constraints."""
        x, f, g = self._algorithm.pop.get("X", "F", "G")
        return genomes(x), f.astype(np.float64), g[:, 0] <= 0


# finite, so that pymoo may add it up; worse than any real violation
_FAILED = 1e30


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


def pymoo_hypervolume(points: Floats, reference: Floats) -> float:
    """Exact hypervolume for any number of objectives, by pymoo."""
    from pymoo.indicators.hv import HV

    return float(HV(ref_point=reference)(points))


class _Mating:
    """pymoo's mating: binary tournaments, crossover, mutation, and only genomes never seen before."""

    def __init__(self, space: Space, settings: SearchSettings, seen: set[Genome], rng: np.random.Generator) -> None:
        self._space, self._settings, self._seen, self._rng = space, settings, seen, rng
        self._rate = np.minimum(np.full(len(space.genes), settings.mutated_genes / len(space.genes)), 0.5)

    def do(self, problem: Any, pop: Any, n_offsprings: int, **_: Any) -> Any:
        from pymoo.core.population import Population

        x = pop.get("X").astype(np.int64)
        # Deb's crowded comparison: smaller violation, smaller rank, larger crowding distance; then by chance
        violation, rank, crowding = (np.asarray(pop.get(name), np.float64) for name in _ORDER)
        order = np.lexsort((self._rng.random(len(pop)), -crowding, rank, violation))
        place = np.empty(len(pop), np.int64)
        place[order] = np.arange(len(pop))
        children: list[Genome] = []
        for _round in range(_MATINGS):
            for genome in genomes(self._mate(x, place, n_offsprings - len(children))):
                if len(children) < n_offsprings and genome not in self._seen:
                    self._seen.add(genome)
                    children.append(genome)
            if len(children) == n_offsprings:
                break
        fresh = unseen(self._space, n_offsprings - len(children), self._seen, self._rng)
        self._seen.update(fresh)
        children += fresh
        return Population.new(X=np.array(children, np.int64)) if children else Population.empty()

    def _mate(self, x: Indices, place: Indices, n: int) -> Indices:
        rng, levels = self._rng, self._space.levels
        pairs = ceil(n / 2)
        # every solution enters equally many tournaments; two of two for each pair of parents
        rounds = [rng.permutation(len(x)) for _ in range(ceil(4 * pairs / len(x)))]
        entrants = np.concatenate(rounds)[:4 * pairs].reshape(-1, 2)
        winners = entrants[np.arange(len(entrants)), place[entrants].argmin(axis=1)]
        parents = x[winners].reshape(2, pairs, -1)
        crossed = CROSSOVERS[self._settings.crossover](parents, levels, rng)
        cross = rng.random((pairs, 1)) < self._settings.crossover_probability
        children = np.where(cross, crossed, parents).reshape(2 * pairs, -1)
        return MUTATIONS[self._settings.mutation](children, levels, self._rate, rng)


_ORDER = ("violation", "rank", "crowding")


class _Survival:
    """pymoo's survival, with ties broken alike on every machine and with a rank for infeasible solutions.

    Feasible solutions come first, by rank and crowding; infeasible ones follow by violation; failed ones are last.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def do(self, problem: Any, pop: Any, *_: Any, n_survive: int, **__: Any) -> Any:
        from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
        from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

        points, violation = pop.get("F").astype(np.float64), pop.get("G")[:, 0].astype(np.float64)
        violation = np.maximum(violation, 0.0)
        rank, crowding = np.full(len(pop), np.inf), np.zeros(len(pop))
        feasible = np.flatnonzero(violation == 0)
        distance = get_crowding_function("cd")
        for k, front in enumerate(NonDominatedSorting().do(points[feasible]) if len(feasible) else ()):
            members = feasible[front]
            rank[members] = k
            crowding[members] = distance.do(points[members], n_remove=0)
        order = np.lexsort((self._rng.random(len(pop)), -crowding, rank, violation))[:n_survive]
        for i in order:
            pop[i].data.update(zip(_ORDER, (violation[i], rank[i], crowding[i]), strict=True))
        return pop[order]


def _other(children: Indices, levels: Indices, rng: np.random.Generator) -> Indices:
    """Another width for each gene, all alike; the same for a gene with one width."""
    drawn = rng.integers(0, np.maximum(levels - 1, 1), children.shape)
    return np.where(levels > 1, drawn + (drawn >= children), children)


def _bounds(levels: Indices) -> tuple[Floats, Floats]:
    # half a step wider than the integers, or rounding would give the two end widths half their share
    return np.full(len(levels), -0.5), np.asarray(levels, np.float64) - 0.5


def _rounded(values: Any, levels: Indices) -> Indices:
    return np.asarray(np.clip(np.rint(values), 0, levels - 1), np.int64)

