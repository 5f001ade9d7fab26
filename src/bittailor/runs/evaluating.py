"""How the candidates of a search are evaluated: plainly, by racing, or with beacons; here or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from bittailor.engines import ENGINES
from bittailor.evaluate.evaluator import MEASURED
from bittailor.evaluate.racing import LEAST, PartialEvaluation, Racing, stops, suits
from bittailor.runs.calibrating import Calibrated
from bittailor.runs.folder import take_beacons
from bittailor.runs.problem import Problem
from bittailor.search.executors import Executor, make_executor
from bittailor.search.islands import InTurns
from bittailor.search.loop import Evaluate, Revise, Rivals
from bittailor.search.store import Store
from bittailor.train.beacons import Beacon, BeaconSearch, Region, Trainer


@dataclass(frozen=True, eq=False)
class BeaconWork:
    """Retraining in this search: what was given, who trains, what is decided."""

    given: Sequence[Beacon]
    region: Region
    trainer: Trainer
    search: BeaconSearch


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How candidates are evaluated, and what the search must tell or ask on the way. `again` makes another of its kind,
    for another island; None where this one knows nothing of its search."""

    evaluate: Evaluate
    announce: Callable[[Rivals], None] | None = None
    revise: Revise | None = None
    retraining: BeaconWork | None = None
    again: Callable[[], Evaluation] | None = None


@contextmanager
def evaluation(problem: Problem, ready: Calibrated, store: Store) -> Iterator[Evaluation]:
    """The way candidates are evaluated: plainly, by racing, or with beacons."""
    with ExitStack() as stack:
        executor = problem.executor or stack.enter_context(
            make_executor(problem.workers, ENGINES[problem.engine].threaded))
        if problem.spec.islands.number > 1 and not executor.remote:
            executor = InTurns(executor)
        plain = executor.evaluation(ready.candidates)
        if problem.spec.beacons.used:
            work = _beacon_work(problem, ready, store, plain, executor)
            # of islands only the front of all is polished
            yield (Evaluation(plain, retraining=work) if problem.spec.islands.number > 1 else
                   Evaluation(work.search, work.search.announce, work.search.revise, work))
        elif races(problem, ready):
            def racing() -> Evaluation:
                own = _racing(problem, ready, executor)
                return Evaluation(own, own.announce, again=racing)

            yield racing()
        else:
            yield Evaluation(plain)


def races(problem: Problem, ready: Calibrated) -> bool:
    """Whether racing is asked for, pays, and suits the metric."""
    few = problem.roles.select[:2]
    return (problem.spec.racing and len(problem.roles.select) >= LEAST
            and suits(ready.evaluator.metric, problem.network(few.x, few.lengths), few.targets))


def _racing(problem: Problem, ready: Calibrated, executor: Executor) -> Racing:
    candidates, data, metric = ready.candidates, problem.roles.select, ready.evaluator.metric
    if problem.roles.training is None:  # as they came, perhaps sorted; mixed ones stand for all from the first on
        data = data[np.random.default_rng(problem.spec.roles.seed).permutation(len(data))]
        candidates = replace(candidates, data=data)
    parts = stops(len(data))
    exact = {o.name: -1.0 if o.maximise else 1.0 for o in problem.objectives if o.name not in MEASURED}
    return Racing(executor.evaluation(PartialEvaluation(candidates, parts)), parts, metric, data.targets, exact,
                  problem.spec.guide)


def _beacon_work(
    problem: Problem, ready: Calibrated, store: Store, plain: Evaluate, executor: Executor
) -> BeaconWork:
    settings = problem.spec.beacons
    trainer = Trainer(ready.statistics, problem.data.train, problem.metric, settings.recipe,
                      problem.folder / "beacons")
    given = take_beacons(store, settings.given, problem.network.fingerprint, problem.data.train.fingerprint,
                         trainer.folder)
    region = Region.around(ready.base.values, [s.values for s in ready.homogeneous.values()], settings, problem.metric)
    known: dict[str, Evaluate] = {}

    def from_weights_of(beacon: Beacon) -> Evaluate:
        if beacon.name not in known:
            ready.beacons[beacon.name] = beacon
            known[beacon.name] = executor.evaluation(ready.weights_of(beacon.name))
        return known[beacon.name]

    return BeaconWork(given, region, trainer, BeaconSearch(
        plain, from_weights_of, problem.space, problem.network.graph, settings, region, trainer, store, given=given,
        seed=problem.spec.search.seed, workers=problem.workers,
        climb=settings.climbs(problem.spec.search.generations), say=problem.display.tell, executor=problem.executor))
