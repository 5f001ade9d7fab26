"""Beacon-based search: an `evaluate` that retrains a few candidates and judges their neighbours from them.

Per generation: all candidates are evaluated post-training from the float network; the generation decides, in a fixed
order, which of them become beacons, and notes that in the store before anything is trained; then every candidate that
is small enough is evaluated from its nearest beacon as well, and the better result counts. Survivors of earlier
generations whose nearest beacon is a new one are judged again. A resumed search reads the decisions and trains what is
missing, so it takes the same course wherever it was cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from bittailor.core.graph import Graph
from bittailor.evaluate.metrics import Metric
from bittailor.search.executors import Executor
from bittailor.search.front import nondominated
from bittailor.search.loop import Evaluate, Rivals
from bittailor.search.space import Genome, Space
from bittailor.search.store import GIVEN, Outcome, Row, Store
from bittailor.train.beacons.base import Beacon, BeaconSettings, distance, nearest, site_weights
from bittailor.train.beacons.ladder import NARROWEST, parents, rungs
from bittailor.train.beacons.training import Job, Trainer, train_all


@dataclass(frozen=True)
class Region:
    """Where beacons are worth their training.

    size   bits at most
    error  at most; worse is hopeless
    good   error and loss of homogeneous 8 bit: a candidate with both no worse needs no retraining
    metric whose direction says what is worse
    """

    size: float
    error: float
    good: Mapping[str, float]
    metric: Metric

    @classmethod
    def around(
        cls, base: Mapping[str, float], others: Iterable[Mapping[str, float]], settings: BeaconSettings, metric: Metric,
    ) -> Region:
        """The region that the baselines give: `base` homogeneous 8 bit, `others` all of them."""
        worst = max((row["error"] for row in others), key=metric.cost)
        return cls(settings.share * base["size"], base["error"] + settings.hopeless * (worst - base["error"]), base,
                   metric)

    def small(self, values: Mapping[str, float]) -> bool:
        """Whether a candidate is small enough to be evaluated from beacons."""
        return values["size"] <= self.size

    def holds(self, values: Mapping[str, float]) -> bool:
        """Whether a candidate may become a beacon."""
        cost = self.metric.cost
        return (self.small(values) and cost(values["error"]) <= cost(self.error)
                and not self.metric.no_worse(values, self.good))

    def better(self, a: Outcome, b: Outcome) -> Outcome:
        """The outcome with the better error, of equal ones the lower loss, of equal ones the first."""
        if b.values is None:
            return a
        if a.values is None:
            return b
        ranks = [(self.metric.cost(v["error"]), v["loss"]) for v in (a.values, b.values)]
        return b if ranks[1] < ranks[0] else a


class BeaconSearch:
    """An `evaluate` for a search, with the hooks `announce` and `revise` that the search must call.

    plain     evaluates post-training from the float network
    through   beacon -> the same from its weights
    space     decodes genomes
    trainer   trains beacons
    given     beacons known from the start, such as those of an earlier run
    seed      of the trainings
    workers   trainings at a time
    climb     the generation in which the rungs of a ladder are trained; 0: none
    say       told in words what is being trained
    executor  trains where its workers are on other machines, side by side with evaluations
    """

    def __init__(
        self, plain: Evaluate, through: Callable[[Beacon], Evaluate], space: Space, graph: Graph,
        settings: BeaconSettings, region: Region, trainer: Trainer, store: Store, *, given: Sequence[Beacon] = (),
        seed: int = 0, workers: int = 1, climb: int = 0, say: Callable[[str], None] | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._plain, self._through, self._space, self._settings = plain, through, space, settings
        self._region, self._trainer, self._store = region, trainer, store
        self._seed, self._workers, self._say, self._executor = seed, workers, say, executor
        self._climb = climb
        self._climber = replace(trainer, recipe=trainer.recipe.shorter(settings.rung, len(trainer.train)))
        self._weights = site_weights(space, graph, settings.weighted)
        self._threshold = settings.threshold * sum(self._weights.values())
        self._generation = 0
        self._decided: dict[int, list[Job]] = {
            generation: [Job(**item) for item in items] for generation, items in store.decisions().items()
            if generation > GIVEN}
        # the generation that knew a beacon first -> beacons, in the order in which they came
        self._entered: dict[int, list[Beacon]] = {0: list(given)}
        self._latest: dict[Genome, Outcome] = {}

    @property
    def beacons(self) -> list[Beacon]:
        """All that are known, failed ones too, in the order in which they came."""
        return self._known(max(self._entered))

    def announce(self, rivals: Rivals) -> None:
        """Which generation is next."""
        self._generation = rivals.generation

    def __call__(self, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        """Outcomes of a generation, in order."""
        found = list(self._plain(genomes))
        if self._generation not in self._decided and (
                self._generation == self._climb or self._settings.offers(self._generation)):
            jobs = self._rungs(genomes, found) if self._generation == self._climb else []
            if self._settings.offers(self._generation):
                jobs += self._choose(genomes, found, [job.widths for job in jobs])
            self._store.decide(self._generation, [job.to_json() for job in jobs])
            self._decided[self._generation] = jobs
        yield from self._served_meanwhile(genomes, found)

    def _served_meanwhile(self, genomes: Sequence[Genome], found: Sequence[Outcome]) -> list[Outcome]:
        """Outcomes once this generation's beacons are there. On a cluster, candidates that no new beacon can serve are
        evaluated while those are trained."""
        jobs = self._decided.get(self._generation, [])
        if self._generation in self._entered or not jobs or self._executor is None or not self._executor.remote:
            self._enter(self._generation)
            return list(self._served(genomes, found, self._known(self._generation)))
        self._enter(self._generation - 1)
        before = self._known(self._generation - 1)
        best = list(found)
        sure = [i for i, genome in enumerate(genomes) if self._nearer(genome, before, jobs)]
        with ThreadPoolExecutor(1) as thread:
            training = thread.submit(self._enter, self._generation)
            served = list(self._served([genomes[i] for i in sure], [found[i] for i in sure], before))
            training.result()
        for i, outcome in zip(sure, served, strict=True):
            best[i] = outcome
        left = sorted(set(range(len(genomes))) - set(sure))
        late = self._served([genomes[i] for i in left], [found[i] for i in left], self._known(self._generation))
        for i, outcome in zip(left, late, strict=True):
            best[i] = outcome
        return best

    def _nearer(self, genome: Genome, beacons: Sequence[Beacon], jobs: Sequence[Job]) -> bool:
        """Whether a beacon is as near as any of the jobs, so that it serves whatever becomes of them."""
        widths = self._space.widths(genome)
        nearest_job = min(distance(widths, job.widths, self._weights) for job in jobs)
        beacon = self._nearest(genome, beacons)
        return beacon is not None and distance(widths, beacon.widths, self._weights) <= nearest_job

    def revise(self, generation: int, survivors: Sequence[Genome]) -> Mapping[Genome, Outcome]:
        """Survivors whose nearest beacon is one that this generation made, judged from it, where that is better."""
        self._enter(generation)
        new = {beacon.name for beacon in self._entered.get(generation, []) if beacon.failed is None}
        if not new:
            return {}
        stored = self._store.get([self._space.key(genome) for genome in survivors])
        known = self._known(generation)
        asked = {}
        for genome in survivors:
            outcome = self._latest.get(genome, stored[self._space.key(genome)])
            beacon = self._nearest(genome, known)
            if outcome.values is not None and self._region.small(outcome.values) and beacon and beacon.name in new:
                asked[genome] = outcome
        served = self._served(list(asked), list(asked.values()), known)
        changed = {genome: now for (genome, was), now in zip(asked.items(), served, strict=True) if now is not was}
        self._latest |= changed
        return changed

    def final(self, rows: Iterable[Row], again: bool = True) -> list[Row]:
        """Every stored evaluation as it stands at the end; with `again`, judged from its nearest of all beacons that
        came to be, too."""
        rows = list(rows)
        known = self._known(max(self._entered))
        asked: dict[int, Outcome] = {}
        for i, row in enumerate(rows):
            now = self._latest.get(row.genome, row.outcome)
            rows[i] = replace(row, outcome=now)
            if again and now.values is not None and self._region.small(now.values):
                then = self._nearest(row.genome, self._known(row.generation))
                if self._nearest(row.genome, known) is not then:
                    asked[i] = now
        served = self._served([rows[i].genome for i in asked], list(asked.values()), known)
        for i, outcome in zip(asked, served, strict=True):
            rows[i] = replace(rows[i], outcome=outcome)
        return rows

    def _known(self, generation: int) -> list[Beacon]:
        return [b for g in sorted(self._entered) if g <= generation for b in self._entered[g]]

    def _nearest(self, genome: Genome, beacons: Iterable[Beacon]) -> Beacon | None:
        alive = (beacon for beacon in beacons if beacon.failed is None)
        return nearest(self._space.widths(genome), alive, self._weights)[0]

    def _enter(self, generation: int) -> None:
        """Make sure that the beacons decided up to this generation exist, and know them."""
        for earlier in sorted(self._decided):
            if earlier > generation or earlier in self._entered:
                continue
            made: list[Beacon] = []
            for kind, trainer in (("rung", self._climber), ("beacon", self._trainer)):
                jobs = [job for job in self._decided[earlier] if job.kind == kind]
                if self._say and jobs:
                    self._say(f"generation {earlier}: retraining {len(jobs)} {kind}{'s' * (len(jobs) > 1)}")
                made += train_all(trainer, jobs, self._workers, self._executor)
            self._entered[earlier] = made

    def _rungs(self, genomes: Sequence[Genome], found: Sequence[Outcome]) -> list[Job]:
        """The rungs of the ladder: members of the front of loss and size of everything evaluated so far."""
        before = {row.genome: self._latest.get(row.genome, row.outcome).values for row in self._store.rows()
                  if row.generation < self._generation}
        values = {genome: known for genome, known in {**before, **{
            genome: outcome.values for genome, outcome in zip(genomes, found, strict=True)}}.items() if known}
        order = sorted(values)
        points = np.array([[values[genome]["loss"], values[genome]["size"]] for genome in order]).reshape(-1, 2)
        size = self._region.good["size"]
        chosen = rungs(points, self._settings.ladder, NARROWEST * size, self._region.size)
        places = [self._space.widths(order[i]) for i in chosen]
        known = [b for b in self._known(self._generation - 1) if b.failed is None]
        origins = parents(places, [b.widths for b in known], lambda a, b: distance(a, b, self._weights),
                          self._settings.together)
        jobs: list[Job] = []
        for i, (widths, origin) in enumerate(zip(places, origins, strict=True)):
            names = [b.name for b in known] + [job.name for job in jobs]
            parent = None if origin is None or not self._settings.warm_start else names[origin]
            jobs.append(self._climber.job(widths, self._seed, parent, "rung", f"{i + 1} of {len(places)}"))
        return jobs

    def _choose(self, genomes: Sequence[Genome], found: Sequence[Outcome], taken: Sequence[Mapping[str, int]]
                ) -> list[Job]:
        """The candidates of this generation that become beacons.

        Of those in the region: by rank of non-domination in (loss, size), then the farthest from every beacon, then
        the smallest, then by key; each no nearer than the threshold to any, those `taken` before it included. Failed
        trainings count as beacons here, so that they are not tried again next door, and in the budget.
        """
        known = self._known(self._generation - 1)
        left = self._settings.budget - sum(job.kind == "beacon" for jobs in self._decided.values() for job in jobs)
        inside = [(genome, outcome.values) for genome, outcome in zip(genomes, found, strict=True)
                  if outcome.values is not None and self._region.holds(outcome.values)]
        if not inside or left <= 0:
            return []
        rank = _ranks(np.array([[values["loss"], values["size"]] for _, values in inside]))
        places = [*(beacon.widths for beacon in known), *taken]
        chosen: list[Job] = []
        while len(chosen) < min(left, self._settings.together):
            far = [min((distance(self._space.widths(genome), place, self._weights) for place in places),
                       default=float("inf")) for genome, _ in inside]
            best = min((i for i in range(len(inside)) if far[i] > self._threshold), default=None,
                       key=lambda i: (rank[i], -far[i], inside[i][1]["size"], self._space.key(inside[i][0])))
            if best is None:
                break
            genome = inside[best][0]
            parent = self._nearest(genome, known) if self._settings.warm_start else None
            places.append(self._space.widths(genome))
            chosen.append(self._trainer.job(places[-1], self._seed, parent.name if parent else None, "beacon",
                                            f"generation {self._generation}"))
        return chosen

    def _served(self, genomes: Sequence[Genome], found: Sequence[Outcome], known: Sequence[Beacon]
                ) -> Iterator[Outcome]:
        """The better of what was found and what the nearest beacon gives, in order."""
        groups: dict[str, tuple[Beacon, list[int]]] = {}
        for i, (genome, outcome) in enumerate(zip(genomes, found, strict=True)):
            if outcome.values is not None and self._region.small(outcome.values):
                beacon = self._nearest(genome, known)
                if beacon is not None:
                    groups.setdefault(beacon.name, (beacon, []))[1].append(i)
        best = list(found)
        for name, (beacon, members) in groups.items():
            outcomes = self._through(beacon)([genomes[i] for i in members])
            for i, outcome in zip(members, outcomes, strict=True):
                seconds = best[i].seconds + outcome.seconds
                kept = self._region.better(best[i], replace(outcome, beacon=name))
                if kept is not best[i]:
                    best[i] = replace(kept, seconds=seconds)
        yield from best


def _ranks(points: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> list[float]:
    """The rank of non-domination of every point, from 0."""
    rank = np.zeros(len(points))
    left = np.arange(len(points))
    while len(left):
        first = nondominated(points[left])
        rank[left] += 1
        rank[left[first]] -= 1
        left = np.delete(left, first)
    return rank.tolist()
