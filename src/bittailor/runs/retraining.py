"""Retraining in a run: the polish after a search, and solutions that someone asks for later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bittailor.common.aside import sweep
from bittailor.common.data import Data, Splits
from bittailor.common.log import visible
from bittailor.common.processors import workers_of
from bittailor.common.records import LARGEST_SEED, expect, whole
from bittailor.engines import best_engine
from bittailor.errors import BittailorError, DataError
from bittailor.evaluate.family import CandidateEvaluation, OneNetwork
from bittailor.evaluate.metrics import Measure, Metric
from bittailor.evaluate.sensitivity import Sensitivity, analyse
from bittailor.runs.certificate import Part
from bittailor.runs.choice import SolutionEvaluators
from bittailor.runs.forms import Solution
from bittailor.runs.run import Run
from bittailor.search.constraints import Constraint
from bittailor.search.executors import Executor
from bittailor.search.front import nondominated
from bittailor.search.space import Space
from bittailor.search.store import Row
from bittailor.train.beacons import Beacon, BeaconSettings, Region, Trainer, need_torch, polish, train_all
from bittailor.train.beacons.polish import Member
from bittailor.train.recipe import Retraining

RECIPE = Retraining()


def polish_front(
    rows: Iterable[Row], space: Space, region: Region, base: Mapping[str, float], trainer: Trainer,
    valid: SolutionEvaluators, beacons: dict[str, Beacon], settings: BeaconSettings, limits: Sequence[Constraint],
    seed: int, workers: int, executor: Executor | None = None,
) -> list[Beacon]:
    """Retrain members of a final front (of loss and size, in the region's sizes): see `beacons.polish`.

    beacons  those of the search; extended by what is trained here
    Returns what was trained, in that order. One holds if it is as good as `base` on the items that select
    (`Metric.stands`).
    """
    members = [(row, values) for row in rows for values in [row.outcome.known] if values is not None
               and region.small(values) and not any(c.violation(values[c.name]) for c in limits)]
    front = nondominated(np.array([[v["loss"], v["size"]] for _, v in members]).reshape(-1, 2))
    members = [members[i] for i in front]
    trained: list[Beacon] = []
    stands = trainer.metric.stands

    def train(chosen: list[int]) -> list[bool]:
        jobs = []
        for i in chosen:
            row, _ = members[i]
            # from the weights that gave the better result, the float network's or a beacon's
            parent = row.outcome.beacon if settings.warm_start else None
            jobs.append(trainer.job(space.widths(row.genome), seed, parent, "polish", row.key))
        made = train_all(trainer, jobs, workers, executor)
        trained.extend(made)
        beacons.update((b.name, b) for b in made)
        return [b.failed is None and stands(valid.evaluate([as_trained(b)])[0], base) for b in made]

    if members:
        polish([Member(values["size"], stands(values, base)) for _, values in members], train, settings.polish,
               settings.together)
    return trained


def as_trained(beacon: Beacon) -> Solution:
    """A beacon's own widths with its own weights."""
    return Solution(str(beacon.about["label"]), beacon.widths, {}, None, beacon.name)


def note_figures(beacons: Iterable[Beacon], valid: SolutionEvaluators, test: Part, confirm: Part | None) -> None:
    """Write what every beacon is worth beside it: values before (post-training, from the float network) and after,
    the error on test data, and comparisons there and on the items that confirm."""
    for beacon in beacons:
        if beacon.failed is not None:
            continue
        after = as_trained(beacon)
        before = Solution(after.key, after.widths, {}, None)
        values = dict(zip(("before", "after"), valid.evaluate([before, after]), strict=True))
        figures: dict[str, Any] = {**beacon.about["figures"], **values}
        ((error, _),) = test.evaluators.measured([before])
        (seen,) = test.compared([after] if confirm is None else confirm.compared([after]))
        figures |= {"test_before": error, "test": seen.test, "compared": [asdict(c) for c in seen.compared]}
        if figures != beacon.about["figures"]:
            # what was fitted on the way stays, so that programs are the same on any machine
            beacon.calibration.save(beacon.folder / "calibration.safetensors")
            beacon.noted(**figures)


@dataclass(frozen=True)
class Retrained:
    """A solution before and after it was retrained.

    pick           in words, as it was asked for
    before, after  the solution; `after` is None where the training failed
    failed         why there is no after
    worse          says that it is as before, because the training ended worse than it began
    """

    pick: str
    before: Solution
    after: Solution | None
    failed: str | None = None
    worse: str | None = None


def retrain_picks(
    run: Run, data: Splits, picks: Sequence[str], *, recipe: Retraining = RECIPE, seed: int = 0,
    workers: int = 0, engine: str = "auto", metric: Metric | Measure | None = None, executor: Executor | None = None,
) -> list[Retrained]:
    """Retrain solutions of a run and store them beside the originals, in RUN/beacons, with their history.

    data     what the run was searched with
    picks    in words, see `Run.pick`; "8bit" gives the fair baseline
    recipe   how they are trained
    seed     of the training, 0 .. 2**32 - 1
    engine   measures what was trained; results do not depend on it
    workers  trainings at a time; 0: every core of this process. Results do not depend on it
    metric   of a run that was searched with one of your own: that metric
    executor where to train and measure, in place of this machine, such as a cluster
    Raises   DataError for other data, BittailorError for a pick or a setting that does not exist.
    """
    expect(run, Run, "run", "bittailor.Run.open(folder)")
    whole(seed, "seed", 0, LARGEST_SEED)
    same_data(run, data)
    solutions = [run.pick(text) for text in picks]
    need_torch()
    sweep(*(run.path / "beacons").glob("*"))
    plain = run.metric_given(metric)
    trainer = Trainer(run.calibration, data.train, plain, recipe, run.path / "beacons", visible())
    jobs = [trainer.job(s.widths, seed, s.beacon, "retrained", text) for text, s in zip(picks, solutions, strict=True)]
    made = train_all(trainer, jobs, workers_of(workers), executor)
    measure = run.measure(data, plain)
    roles = run.spec.divide(data)
    valid = run_evaluators(run, roles.held, engine, metric=measure, executor=executor)

    def part(name: str, items: Data) -> Part:
        tested = run_evaluators(run, items, engine, tested=True, metric=measure, executor=executor)
        return Part.of(name, items, run.baseline(8), tested, lambda d: run.network(d.x, d.lengths))

    test = part("test", data.test)
    note_figures({b.name: b for b in made}.values(), valid, test,
                 None if roles.confirm is None else part("confirm", roles.confirm))
    after, figures = run.retrained, {name: b.about["figures"] for name, b in run.beacons.items()}
    found = []
    for text, solution, beacon in zip(picks, solutions, made, strict=True):
        before = solution if solution.test is not None else test.evaluators.tested([solution])[0]
        if solution.beacon is None and beacon.failed is None:
            # on validation items alone, as after it: where training items selected, its values are of those, too
            before = replace(before, values={**before.values, **figures[beacon.name]["before"]})
        found.append(Retrained(text, before, after.get(beacon.name), beacon.failed, beacon.worse))
    return found


def run_evaluators(run: Run, part: Data, engine: str = "auto", tested: bool = False, *,
                   metric: Metric | None = None, executor: Executor | None = None) -> SolutionEvaluators:
    """Evaluators of a run's solutions on one part of its data; `tested`: of the error alone.

    metric  the run's, from `Run.measure` where it has to learn first or is a user's own
    """
    engine = best_engine() if engine == "auto" else engine
    names = () if tested else tuple(name for name in run.baseline(8).values if name != "error")
    platforms = run.platforms
    measure = metric or run.metric
    door = executor if executor is not None and executor.remote else None
    return SolutionEvaluators(lambda beacon: CandidateEvaluation(
        run.space, OneNetwork(run.calibration if beacon is None else run.beacons[beacon].calibration), part, measure,
        engine, tuple(names), platforms, door).evaluator())


def run_sensitivity(
    run: Run, data: Splits, at: str = "8bit", engine: str = "auto", metric: Metric | Measure | None = None,
    executor: Executor | None = None,
) -> Sensitivity:
    """What every gene of a run's space does to the validation error, all others kept as in a pick.

    data      what the run was searched with
    at        in words, see `Run.pick`: where all others are kept
    engine    computes; results do not depend on it
    metric    of a run that was searched with one of your own: that metric
    executor  where to evaluate, in place of this process, such as a cluster
    Raises    DataError for other data, BittailorError for a pick that does not exist.
    """
    expect(run, Run, "run", "bittailor.Run.open(folder)")
    expect(data, Splits, "data", "bittailor.Splits(train, valid, test)")
    solution = run.pick(at)
    measure = run.measure(data, run.metric_given(metric))
    evaluator = run_evaluators(run, run.spec.divide(data).select, engine, metric=measure, executor=executor).of(
        solution.beacon)
    return analyse(evaluator, run.space.width_genes, solution.widths, at)


def same_data(run: Run, data: Splits) -> None:
    """DataError unless these are the data that the run was searched with."""
    expect(data, Splits, "data", "bittailor.Splits(train, valid, test)")
    if not run.config.get("fingerprints"):
        raise BittailorError(f"{run.path} does not say which data it was searched with; search again")
    wanted = run.config["fingerprints"]["data"]
    if data.fingerprint != wanted:
        raise DataError(f"these are not the data of {run.path}: their fingerprint is {data.fingerprint}, "
                        f"the run's {wanted}; give the same data (and seed) that it was searched with")
