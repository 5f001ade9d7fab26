"""The search loop: ask an optimiser, evaluate what the store does not hold, tell, until the settings are done.

To resume is to replay: the same settings from the start, with the store as the cache, ask for the same genomes in
the same order, so the result is that of a run that was never disturbed. No state of the optimiser is saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bittailor.common import interrupts
from bittailor.common.registry import Table
from bittailor.errors import BittailorError
from bittailor.search.constraints import Constraint
from bittailor.search.front import Front, ReferenceBox, make_front, signs
from bittailor.search.optimisers import OPTIMISERS
from bittailor.search.optimisers.base import Optimiser
from bittailor.search.settings import SearchSettings
from bittailor.search.space import Genome, Space
from bittailor.search.store import Outcome, Store

# the generation and its survivors so far -> those whose outcome is another now that the generation is evaluated
Revise: TypeAlias = Callable[[int, Sequence[Genome]], Mapping[Genome, Outcome]]

# space, settings, seeds, number of objectives -> an optimiser, such as a class of `OPTIMISERS`
MakeOptimiser: TypeAlias = Callable[[Space, SearchSettings, Sequence[Genome], int], Optimiser]

# the generation that ended and the front so far -> solutions of other searches, to be asked for in the next
Exchange: TypeAlias = Callable[[int, Front], Sequence[Genome]]

# yields one outcome per genome, in the order of the genomes, each as soon as it and those before it are ready
Evaluate: TypeAlias = Callable[[Sequence[Genome]], Iterator[Outcome]]


@dataclass(frozen=True)
class Status:
    """Where a search stands.

    generation, generations  the one at work, from 1, and how many there will be
    done, total              evaluations that are there, and that will be asked for
    new, cached, failed      of `done`: computed by this process, found in the store, without values
    front                    of all generations finished
    hypervolume              of that front, as a share of the box; None before the first generation is finished
    finished                 generations that are
    """

    generation: int
    generations: int
    done: int
    total: int
    new: int
    cached: int
    failed: int
    front: Front
    hypervolume: float | None
    finished: int = 0


class Progress(Protocol):
    """Something that shows a search. `update` comes after every new evaluation and must be cheap."""

    def start(self, status: Status) -> None:
        """Called once, before the first evaluation."""

    def update(self, status: Status) -> None:
        """Called after every new evaluation and every generation."""

    def finish(self, status: Status, message: str) -> None:
        """Called once, however the search ends, with what it has to say (or nothing)."""


@dataclass(frozen=True, eq=False)
class Generation:
    """What one generation ended with.

    number        from 1, the first population
    evaluations   asked for up to its end
    new, cached   of this generation
    failed        of this generation
    front_size    solutions in the front of everything evaluated so far
    hypervolume   of that front, as a share of the box; 0 while it is empty
    best          objective → best value in that front; empty while it is
    points        float64 [population, objectives]: the survivors as measured, NaN for failed ones
    feasible      bool [population]: which of them keep all constraints
    """

    number: int
    evaluations: int
    new: int
    cached: int
    failed: int
    front_size: int
    hypervolume: float
    best: Mapping[str, float]
    points: NDArray[np.float64]
    feasible: NDArray[np.bool_]

    def to_dict(self) -> dict[str, Any]:
        """The generation as JSON values, NaN as None."""
        points = [[v if math.isfinite(v) else None for v in row] for row in self.points.tolist()]
        return {"number": self.number, "evaluations": self.evaluations, "new": self.new, "cached": self.cached,
                "failed": self.failed, "front_size": self.front_size, "hypervolume": self.hypervolume,
                "best": dict(self.best), "points": points, "feasible": self.feasible.tolist()}


@dataclass(frozen=True, eq=False)
class Rivals:
    """What the new solutions of a generation have to compete with, told to an evaluation before it gets them.

    members     genome -> values, of all solutions evaluated in earlier generations that keep the constraints and are
                not dominated: in the objectives, or in what guides selection in their place
    generation  the one at work, from 1
    """

    members: Mapping[Genome, Mapping[str, float]]
    generation: int


@dataclass(frozen=True)
class Closest:
    """The solution that breaks the constraints least, and by how much in all (sum of violations)."""

    genome: Genome
    values: Mapping[str, float]
    violation: float


@dataclass(frozen=True, eq=False)
class Result:
    """What a search found.

    front          the non-dominated ones of all solutions evaluated that keep the constraints; may be empty
    history        one entry per finished generation
    box            where hypervolume was measured: around the seeds that could be evaluated (around the whole
                   first population where there are none), fixed from then on; None if interrupted before that
    evaluations    asked for and there; `new` of them computed by this search, `failed` of them without values
    seconds        how long the search took
    interrupted    it was stopped before its end; everything finished is stored and in `front`
    closest        where the front is empty: the solution nearest to keeping the constraints
    message        what a user should know, or nothing
    islands        the results of searches that this one is made of, if it is
    """

    front: Front
    history: tuple[Generation, ...]
    box: ReferenceBox | None
    evaluations: int
    new: int
    failed: int
    seconds: float
    interrupted: bool
    closest: Closest | None
    message: str
    islands: tuple[Result, ...] = ()


def search(space: Space, objectives: Sequence[str], evaluate: Evaluate, settings: SearchSettings,
           store: Store | None = None, constraints: Sequence[Constraint] = (), seeds: Sequence[Genome] = (),
           progress: Progress | None = None, stop: Callable[[], bool] | None = None,
           box: ReferenceBox | None = None, guides: Mapping[str, str] | None = None,
           announce: Callable[[Rivals], None] | None = None, maximised: Collection[str] = (),
           revise: Revise | None = None, make_optimiser: MakeOptimiser | None = None,
           exchange: Exchange | None = None) -> Result:
    """Search the front of `objectives`, minimised but for those that are `maximised`.

    evaluate     not called for genomes that the store holds. What it raises ends the search, with everything
                 finished before stored; an outcome without values, or with one that is not finite, is a failed
                 solution, worse than all others
    store        kept in memory where None
    seeds        genomes for the first population, such as the homogeneous solutions
    stop         asked after every evaluation; the search ends, as at Ctrl-C, when it says so
    box          where to measure hypervolume; made from the seeds where None
    guides       objective → the value that selection looks at in its place: a smooth stand-in for a coarse
                 objective (the loss for the error). Front, hypervolume and history are of the objectives
    announce     told the rivals of each generation's new solutions, so that dominated ones may be given up
    maximised    the objectives of which more is better; only the optimiser sees their negative
    revise       asked after each generation for outcomes of survivors that are known better now; the store keeps
                 what it has, so a resumed search asks again and must be told the same
    make_optimiser  makes another optimiser than the one that `settings` name
    exchange     asked after each generation for solutions of other searches (see `search.islands`)
    Raises       BittailorError if the whole first generation fails (its failures are then not kept in the store),
                 UnknownName for an objective or constraint that the evaluation does not report.
    """
    if not objectives or len(set(objectives)) != len(objectives):
        raise BittailorError(f"objectives are {list(objectives)}; give at least one, each once")
    # `is None`: an empty store counts as false
    with Store(":memory:") if store is None else nullcontext(store) as kept:
        run = _Run(space, tuple(objectives), evaluate, settings, kept, tuple(constraints), tuple(seeds),
                   progress, stop, box, guides or {}, announce, frozenset(maximised), revise,
                   make_optimiser or OPTIMISERS[settings.optimiser], exchange)
        return run.go()


class _Stopped(Exception):
    """`stop` said so."""


class _Run:
    """One search under way."""

    def __init__(self, space: Space, objectives: tuple[str, ...], evaluate: Evaluate, settings: SearchSettings,
                 store: Store, constraints: tuple[Constraint, ...], seeds: tuple[Genome, ...],
                 progress: Progress | None, stop: Callable[[], bool] | None, box: ReferenceBox | None,
                 guides: Mapping[str, str], announce: Callable[[Rivals], None] | None,
                 maximised: frozenset[str], revise: Revise | None, make_optimiser: MakeOptimiser,
                 exchange: Exchange | None) -> None:
        self.space, self.objectives, self.evaluate, self.settings = space, objectives, evaluate, settings
        self.store, self.constraints, self.seeds = store, constraints, seeds
        self.progress, self.stop, self.box = progress, stop, box
        self.history: list[Generation] = []
        self.announce, self.revise, self.make_optimiser = announce, revise, make_optimiser
        self.exchange = exchange
        self.guides = tuple(guides.get(name, name) for name in objectives)
        self.points: dict[Genome, NDArray[np.float64]] = {}
        self.maximised = maximised & set(objectives)
        self.signs, self.guide_signs = signs(objectives, maximised), signs(self.guides, maximised)
        self.front = make_front(objectives, (), np.empty((0, len(objectives))), (), self.maximised)
        self.guided = make_front(self.guides, (), np.empty((0, len(objectives))), ())
        self.rivals = Rivals({}, 1)
        self.closest: Closest | None = None
        self.reason = ""
        self.generation = self.done = self.new = self.cached = self.failed = 0
        # the first population holds all seeds, even where they are more than `population`
        more = max(0, len(set(seeds)) - settings.population)
        self.total = min(settings.evaluations + more, space.size)

    def go(self) -> Result:
        start, interrupted, message = perf_counter(), False, ""
        if self.progress:
            self.progress.start(self.status())
        try:
            optimiser = self.optimiser = self.make_optimiser(
                self.space, self.settings, self.seeds, len(self.objectives))
            for generation in range(1, self.settings.generations + 1):
                if not self.step(optimiser, generation):
                    break
            message = self.conclusion()
        except (KeyboardInterrupt, _Stopped):
            interrupted = True
            message = f"stopped after {self.done} of {self.total} evaluations; all of them are kept"
        finally:
            if self.progress:
                self.progress.finish(self.status(), message)
        return Result(self.front, tuple(self.history), self.box, self.done, self.new, self.failed,
                      perf_counter() - start, interrupted, None if len(self.front) else self.closest, message)

    def step(self, optimiser: Optimiser, generation: int) -> bool:
        """One generation; False where nothing is left to try."""
        genomes = optimiser.ask()
        if not genomes:
            return False
        self.generation = generation
        fronts = (self.front, self.guided)
        self.rivals = Rivals({g: v for f in fronts for g, v in zip(f.genomes, f.values, strict=True)}, generation)
        before = self.done, self.new, self.cached, self.failed
        outcomes: list[Outcome] = []
        try:
            with closing(self.outcomes(genomes)) as stream:
                for outcome in stream:
                    outcomes.append(outcome)
        finally:
            # whatever cut the generation short: what is finished belongs to the result
            points, guided, violations = self.judge(genomes, outcomes)
        if self.generation == 1:
            self.begin(genomes, outcomes, points)
        elif self.revise is not None:
            self.rethink(optimiser, self.revise(generation, optimiser.population[0]))
        optimiser.tell(guided, violations)
        self.note(optimiser, before)
        if self.exchange is not None:
            optimiser.invite(self.exchange(generation, self.front))
        return True

    def rethink(self, optimiser: Optimiser, revised: Mapping[Genome, Outcome]) -> None:
        """Take other outcomes for survivors, in the front too."""
        if revised:
            old = self.front
            kept = [i for i, genome in enumerate(old.genomes) if genome not in revised]
            self.front = make_front(self.objectives, [old.genomes[i] for i in kept], old.points[kept],
                                    [old.values[i] for i in kept], self.maximised)
            _, guided, violations = self.judge(list(revised), [self.checked(o) for o in revised.values()])
            optimiser.revise(list(revised), guided, violations)

    def outcomes(self, genomes: Sequence[Genome]) -> Generator[Outcome, None, None]:
        """The outcomes of a generation, in order, from the store or new and then stored."""
        keys = [self.space.key(genome) for genome in genomes]
        known = self.store.get(keys)
        missing = [genome for genome, key in zip(genomes, keys, strict=True) if key not in known]
        if self.announce is not None and missing:
            self.announce(self.rivals)
        fresh = self.evaluate(missing) if missing else iter(())
        try:
            for genome, key in zip(genomes, keys, strict=True):
                outcome = known.get(key)
                if outcome is None:
                    outcome = next(fresh, None)
                    if outcome is None:
                        raise RuntimeError(f"evaluate gave fewer outcomes than the {len(missing)} genomes it got")
                    outcome = self.checked(outcome)
                    self.store.put(key, genome, outcome, self.generation)
                    self.new += 1
                else:
                    self.cached += 1
                self.done += 1
                self.failed += outcome.values is None
                yield outcome
                if key not in known:
                    self.tick()
        finally:
            close = getattr(fresh, "close", None)
            if close is not None:
                close()

    def violation(self, values: Mapping[str, float]) -> float:
        """By how much values break the constraints, in all."""
        return sum(c.violation(Table("value to constrain", values)[c.name]) for c in self.constraints)

    def tick(self) -> None:
        if self.progress:
            self.progress.update(self.status())
        # a KeyboardInterrupt may have been lost on the way, in a destructor or a callback
        if interrupts.pending() or (self.stop is not None and self.stop()):
            raise _Stopped

    def checked(self, outcome: Outcome) -> Outcome:
        """The outcome with plain finite floats; failed, with a reason, where a value is not finite."""
        if outcome.values is None:
            return Outcome(None, outcome.reason or "no reason was given", float(outcome.seconds))
        values = {name: float(value) for name, value in outcome.values.items()}
        for name in (*self.objectives, *self.guides):
            _ = Table("objective", values)[name]
        for constraint in self.constraints:
            _ = Table("value to constrain", values)[constraint.name]
        for name, value in values.items():
            if not math.isfinite(value):
                return Outcome(None, f"'{name}' is {value}", float(outcome.seconds))
        return Outcome(values, None, float(outcome.seconds), outcome.beacon, outcome.dropped)

    def judge(self, genomes: Sequence[Genome], outcomes: Sequence[Outcome]
              ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Points as measured and the costs that guide selection [n, objectives], violations [n], of the genomes that
        have an outcome; extends the front."""
        points = np.full((len(outcomes), len(self.objectives)), np.nan)
        guided = points.copy()
        violations = np.full(len(outcomes), np.inf)
        kept: list[int] = []
        for i, outcome in enumerate(outcomes):
            if outcome.values is None:
                self.reason = self.reason or outcome.reason or ""
                continue
            # stored by a search with other objectives, it may lack one of ours
            values = Table("objective", outcome.values)
            points[i] = [values[name] for name in self.objectives]
            guided[i] = self.guide_signs * [values[name] for name in self.guides]
            violations[i] = self.violation(outcome.values)
            if outcome.dropped is not None:
                continue
            if violations[i] == 0:
                kept.append(i)
            elif self.closest is None or violations[i] < self.closest.violation:
                self.closest = Closest(genomes[i], outcome.values, float(violations[i]))
        if kept:
            old, values_of = self.front, [outcome.values or {} for outcome in outcomes]
            self.front = make_front(self.objectives, [*old.genomes, *(genomes[i] for i in kept)],
                                    np.concatenate([old.points, points[kept]]),
                                    [*old.values, *(values_of[i] for i in kept)], self.maximised)
            old = self.guided
            self.guided = make_front(self.guides, [*old.genomes, *(genomes[i] for i in kept)],
                                     np.concatenate([old.points, guided[kept]]),
                                     [*old.values, *(values_of[i] for i in kept)])
        self.points.update(zip(genomes, points, strict=False))
        return points, guided, violations

    def begin(self, genomes: Sequence[Genome], outcomes: Sequence[Outcome], points: NDArray[np.float64]) -> None:
        """After the first generation: refuse to go on where nothing works, and fix the box."""
        if all(outcome.values is None for outcome in outcomes):
            self.store.forget_failures()
            raise BittailorError(f"all {len(outcomes)} evaluations of the first generation failed; "
                                 f"the first because: {self.reason}")
        if self.box is None:
            seeds = set(self.seeds)
            of_seeds = points[[genome in seeds for genome in genomes]]
            self.box = ReferenceBox.around(of_seeds if np.isfinite(of_seeds).any() else points, self.signs)

    def note(self, optimiser: Optimiser, before: tuple[int, int, int, int]) -> None:
        """Write the generation into the history and show it."""
        genomes, _, feasible = optimiser.population
        points = np.array([self.points[genome] for genome in genomes]).reshape(-1, len(self.objectives))
        _, new, cached, failed = before
        self.history.append(Generation(
            self.generation, self.done, self.new - new, self.cached - cached, self.failed - failed,
            len(self.front), self.hypervolume() or 0.0, self.front.best, points, feasible))
        self.tick()

    def hypervolume(self) -> float | None:
        return None if self.box is None else self.box.hypervolume(self.front.points)

    def status(self) -> Status:
        known = self.history[-1].hypervolume if self.history else None
        return Status(max(1, self.generation), self.settings.generations, self.done, self.total, self.new,
                      self.cached, self.failed, self.front, known, len(self.history))

    def conclusion(self) -> str:
        """What to say at the regular end."""
        if not len(self.front) and self.closest is not None:
            values = ", ".join(f"{name} {self.closest.values[name]:.6g}"
                               for name in dict.fromkeys([*self.objectives, *(c.name for c in self.constraints)]))
            broken = ", ".join(f"{c.violation(self.closest.values[c.name]):.1%} beyond {c}"
                               for c in self.constraints if c.violation(self.closest.values[c.name]))
            return (f"none of {self.done} solutions keeps {', '.join(map(str, self.constraints))}. "
                    f"The closest has {values}: {broken}. Relax the constraint or search longer")
        if self.done >= self.space.size:
            return f"all {self.space.size} plans of the space '{self.space.name}' are evaluated"
        return ""
