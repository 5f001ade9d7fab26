"""`run_search`: a search from its first check to the result that is written last, step by step."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any

from bittailor._version import __version__
from bittailor.common import units
from bittailor.common.data import Splits
from bittailor.common.files import save_json
from bittailor.common.records import expect
from bittailor.core.network import Network
from bittailor.engines import ENGINES
from bittailor.engines.native import variant_here
from bittailor.errors import BittailorError
from bittailor.evaluate.evaluator import Objective, check_task
from bittailor.evaluate.racing import LEAST
from bittailor.quantise.spaces import WIDTHS
from bittailor.runs.calibrating import Calibrated, calibrate_run, float_error
from bittailor.runs.choice import STOPPED_SECONDS, SolutionEvaluators, front_of, pick
from bittailor.runs.confirming import Chosen, confirm, former_looks, test
from bittailor.runs.evaluating import BeaconWork, Evaluation, evaluation, races
from bittailor.runs.folder import begin, check_store
from bittailor.runs.forms import Solution
from bittailor.runs.islands import Archipelago, island_facts
from bittailor.runs.opened import RESULT_KIND, RESULT_VERSION
from bittailor.runs.problem import SHOWN, Display, Problem
from bittailor.runs.retraining import polish_front
from bittailor.runs.run import Run
from bittailor.runs.seeding import SEEDINGS
from bittailor.runs.spec import DEFAULTS, Origin, SearchSpec
from bittailor.search.executors import Executor
from bittailor.search.executors.connecting import connect
from bittailor.search.islands import Together
from bittailor.search.loop import Exchange, MakeOptimiser, Progress, Result, Status, search
from bittailor.search.progress import ValueDisplay
from bittailor.search.settings import SearchSettings
from bittailor.search.space import Genome
from bittailor.search.store import SEEDED, Row, Store
from bittailor.train.beacons import fitting_beacons, need_torch

UNKNOWN = Origin()
LEFT = "; the careful pick, which takes more evaluations, is left to --resume"


def run_search(
    network: Network,
    data: Splits,
    out: Path | str,
    spec: SearchSpec = DEFAULTS,
    *,
    resume: bool = False,
    origin: Origin = UNKNOWN,
    executor: Executor | None = None,
    optimiser: MakeOptimiser | None = None,
    display: Display = SHOWN,
    on_generation: Callable[[Status], None] | None = None,
) -> Run:
    """Search the widths of a network and write a run directory.

    network    from `from_torch`
    data       training data calibrate; what the spec's `roles` make of training and validation data is searched on, or
               confirms what was chosen; test data are used once at the end
    out        the run directory; new, or with `resume` an earlier one of the same search (the number of generations may
               be larger: a finished search can be made longer)
    spec       what to search and how; its `task` is only noted
    origin     where network and data came from, kept in run.json for reports
    executor   evaluates candidates instead of the spec's workers on this machine, such as `bittailor.search.Given` on a
               cluster's pool
    optimiser  an `Optimiser` class of one's own in place of the one that the spec names; to resume, hand it in again
    display    shows progress and says what is being done; if not given, a line a generation by the logger `bittailor`,
               and a bar in a notebook. Off: `logging.getLogger("bittailor").setLevel(logging.WARNING)`
    on_generation  called with the search's `Status` (generation, front, hypervolume, …) after every generation, also
               after those that a resumed search replays; what it raises ends the search, and nothing evaluated is lost
    Raises     DataError, FileError, FormatError or another BittailorError, before anything is written.
    """
    expect(network, Network, "network", "from_torch(module, features) makes one")
    expect(data, Splits, "data", "bittailor.Splits(train, valid, test)")
    expect(spec, SearchSpec, "spec", "bittailor.SearchSpec(...)")
    problem = Problem(network, data, Path(out), spec, display, executor, optimiser, on_generation)
    with staffed(problem) as problem:  # before anything is written: nobody may answer
        prepare(problem, origin, resume)
        began = time.monotonic()
        ready = calibrate_run(problem)
        store = Store(problem.folder / "evaluations.sqlite", ready.identity)
        check_store(problem.folder, store)
        with store, evaluation(problem, ready, store) as way:
            result = _search(problem, ready, store, way, seeded(problem, ready, store))
            chosen = select(problem, ready, store, way, result)
        if not result.interrupted:
            chosen = test(problem, ready, confirm(problem, ready, chosen))
        return save(problem, ready, result, chosen, time.monotonic() - began)


# --- prepare -----------------------------------------------------------------------------------------------------


def prepare(problem: Problem, origin: Origin, resume: bool) -> None:
    """Find every mistake that a spec alone cannot show; then write run.json, or find the same search there."""
    network, data, spec = problem.network, problem.data, problem.spec
    for part in (data.train, data.valid, data.test):
        check_task(network, part, problem.metric)
    missing = ENGINES[problem.engine].available()
    if missing:
        raise BittailorError(f"the engine '{problem.engine}' cannot run here: {missing}")
    if spec.beacons.used:
        need_torch()
    if resume and spec.wish is not None:
        former_looks(problem.folder)  # what a damaged result hides would be missed at the very end
    if not resume:
        for place in spec.beacons.given:
            fitting_beacons(Path(place), network.fingerprint, data.train.fingerprint)
    begin(problem.folder, {
        "bittailor_version": __version__,
        "origin": asdict(origin),
        "spec": replace(spec, metric=problem.metric).to_dict(),
        "space": problem.space.to_dict(),
        "items": {"train": len(data.train), **problem.roles.counts(), "test": len(data.test)},
        "fingerprints": {"network": network.fingerprint, "data": data.fingerprint, **problem.own_optimiser},
    }, resume)


@contextmanager
def staffed(problem: Problem) -> Iterator[Problem]:
    """The problem with the cluster that its spec names, connected as long as this lasts."""
    if problem.executor is not None or not problem.spec.cluster.address:
        yield problem
        return
    with connect(problem.spec.cluster, problem.display.tell) as cluster:
        if problem.engine == "native":
            variants = Counter(cluster.ask(variant_here).values())
            problem.display.tell("workers by variant of the native engine: " + ", ".join(
                f"{name} {n}" for name, n in sorted(variants.items())))
        yield replace(problem, executor=cluster)


# --- seed --------------------------------------------------------------------------------------------------------


def seeded(problem: Problem, ready: Calibrated, store: Store) -> list[Genome]:
    """What the first population holds besides random solutions: of a resumed search, from its store."""
    kept = store.decisions().get(SEEDED)
    if kept is not None:
        return [problem.space.check(genome) for genome in kept]
    made = seed(problem, ready)
    store.decide(SEEDED, made)
    return made


def seed(problem: Problem, ready: Calibrated) -> list[Genome]:
    """The same, made."""
    problem.display.tell(f"making the first population by {problem.spec.seeding}")
    evaluator = ready.evaluator
    if races(problem, ready) and problem.roles.training is not None:  # the first items stand for all
        evaluator = ready.evaluators_with_values(problem.roles.select[:LEAST]).of(None)
    return SEEDINGS[problem.spec.seeding](problem.space, problem.network.graph, evaluator, problem.display.tell)


def _search(
    problem: Problem, ready: Calibrated, store: Store, way: Evaluation, seeds: Sequence[Genome]
) -> Result:
    """The optimiser at work; evaluations that the store holds are taken from it."""
    spec, look = problem.spec, _value_display(problem, ready)

    def one(settings: SearchSettings, seeds: Sequence[Genome], store: Store, progress: Progress | None,
            exchange: Exchange | None = None, stop: Callable[[], bool] | None = None) -> Result:
        own = way if way.again is None else way.again()
        return search(
            problem.space, spec.objectives, own.evaluate, settings, store, spec.limits, seeds, progress, stop,
            box=ready.box, guides=problem.guides, maximised=problem.maximised, announce=own.announce,
            revise=own.revise, make_optimiser=problem.optimiser, exchange=exchange)

    if spec.islands.number == 1:
        return one(spec.search, seeds, store, problem.progress(look))
    inner, together = problem.progress(replace(look, beside=lambda: _beside(look, together))), None
    if inner is not None:
        together = Together(inner, spec.islands.number, lambda front: ready.box.hypervolume(front.points))
    islands = Archipelago(spec.islands, spec.search, problem.folder / "islands", ready.identity, ready.box, spec.limits)
    return islands.go(one, seeds, store, together)


def _beside(look: ValueDisplay, together: Together | None) -> str:
    """Who is at work, and how far each island is."""
    return "  ".join(words for words in (look.beside(), together.words() if together else "") if words)


def _value_display(problem: Problem, ready: Calibrated) -> ValueDisplay:
    """How a display shows objectives: with units, and some baselines to compare with."""
    def text(objective: Objective) -> Callable[[float], str]:
        unit, divisor = units.shown(objective.unit)
        return lambda value: f"{units.number(value) if divisor == 1 else f'{value / divisor:.2f}'} {unit}".rstrip()

    return ValueDisplay({"error": problem.metric.title}, {o.name: text(o) for o in problem.objectives},
                        {f"homogeneous {bits}": ready.homogeneous[bits].values for bits in (4, 8)},
                        problem.executor.standing if problem.executor else lambda: "")


# --- select ------------------------------------------------------------------------------------------------------


def select(problem: Problem, ready: Calibrated, store: Store, way: Evaluation, result: Result) -> Chosen:
    """The front, with members retrained where that is asked for, and the picks of everything evaluated."""
    space, names, rows, front = problem.space, problem.spec.objectives, list(store.rows()), result.front
    dropped = [row.outcome.dropped for row in rows if row.outcome.dropped is not None]
    retraining = None
    if way.retraining is not None:
        rows = way.retraining.search.final(rows, again=not result.interrupted)
        front = front_of(rows, names, problem.spec.limits, problem.maximised)
        ready.beacons.update({beacon.name: beacon for beacon in way.retraining.search.beacons})
        if not result.interrupted:
            retraining = _polish(problem, ready, way.retraining, rows)
    _keep_fitted(problem, ready, rows)
    picks = pick(rows, space, ready.base, ready.evaluator.metric, _second_look(problem, ready), problem.spec.limits,
                 names, problem.maximised, problem.spec.least, STOPPED_SECONDS if result.interrupted else inf)
    message = result.message
    if result.interrupted and "careful" not in picks:
        message += LEFT
    beacon_of = {row.genome: row.outcome.beacon for row in rows}
    solutions = [Solution(space.key(g), space.widths(g), dict(v), None, beacon_of[g])
                 for g, v in zip(front.genomes, front.values, strict=True)]
    real = {"select": float_error(problem, ready, problem.roles.select), "test": None}
    (held,) = ready.evaluators_with_values(problem.roles.held).evaluate([ready.base])
    return Chosen(solutions, picks, list(ready.homogeneous.values()), real, dropped, retraining, held,
                  length=len(result.history), message=message)


def _second_look(problem: Problem, ready: Calibrated) -> SolutionEvaluators:
    """Evaluators on training items alone, on those that selected where some did: what the careful pick must stand."""
    return ready.evaluators(problem.roles.training or problem.data.train)


def _polish(problem: Problem, ready: Calibrated, work: BeaconWork, rows: Sequence[Row]) -> dict[str, Any]:
    """Retrain members of the front. Returns what result.json says: names, and how many trainings the run paid for."""
    settings = problem.spec.beacons
    if settings.polish:
        problem.display.tell(f"retraining up to {settings.polish} members of the front")
    polished = polish_front(
        rows, problem.space, work.region, ready.base.values, replace(work.trainer, shown=problem.display.shows),
        ready.select, ready.beacons, settings, problem.spec.limits, problem.spec.search.seed, problem.workers,
        problem.executor)
    given = [beacon.name for beacon in work.given]
    new = [beacon for beacon in work.search.beacons if beacon.name not in given]
    paid = list({beacon.name: beacon for beacon in (*new, *polished)}.values())
    return {"given": given, "search": [b.name for b in new], "polish": [b.name for b in polished],
            "retrainings": len(paid), "failed": sum(b.failed is not None for b in paid),
            "seconds": sum(float(b.about["seconds"]) for b in paid)}


def _keep_fitted(problem: Problem, ready: Calibrated, rows: Sequence[Row]) -> None:
    """Write statistics with the weights fitted for everything evaluated, so that every program of this run is the same
    on any machine; and nothing else, so that a search that was killed and resumed writes the same."""
    beacons = {beacon.name: beacon for beacon in ready.beacons.values() if beacon.failed is None}
    used: dict[str | None, set[tuple[str, int]]] = {
        None: {item for solution in ready.homogeneous.values() for item in solution.widths.items()}}
    for name, beacon in beacons.items():
        used[name] = set(beacon.widths.items())
        used[None] |= used[name]
    for row in rows:
        if row.outcome.values is not None:
            widths = problem.space.widths(row.genome).items()
            used[None].update(widths)
            used[row.outcome.beacon].update(widths)
    ready.statistics.settle(used[None])
    ready.statistics.save(problem.folder / "calibration.safetensors")
    for name, beacon in beacons.items():
        beacon.calibration.settle(used[name])
        beacon.calibration.save(beacon.folder / "calibration.safetensors")


# --- save --------------------------------------------------------------------------------------------------------


def save(problem: Problem, ready: Calibrated, result: Result, chosen: Chosen, seconds: float) -> Run:
    """Write result.json and open the run."""
    names, box, items, dropped = problem.spec.objectives, ready.box, len(problem.roles.select), chosen.dropped
    points = [[s.values[n] for n in names] for s in chosen.front]
    body = {
        "metric": problem.metric.to_json(),
        "objectives": list(names),
        "engine": problem.engine,
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        "items": {"train": len(problem.data.train), **problem.roles.counts(), "test": len(problem.data.test)},
        "seconds": seconds,
        "evaluations": result.evaluations,
        "failed": result.failed,
        "dropped": len(dropped),
        "saved_percent": 100 * sum(1 - n / items for n in dropped) / max(1, result.evaluations),
        "interrupted": result.interrupted,
        "message": chosen.message,
        "float": dict(chosen.real),
        "held": dict(chosen.held),
        "certificate": chosen.certificate,
        "homogeneous": [s.to_json() for s in chosen.homogeneous],
        "front": [s.to_json() for s in chosen.front],
        "picks": {name: s.to_json() for name, s in chosen.picks.items()},
        "hypervolume": {
            "front": box.hypervolume(points) if points else 0.0,
            "homogeneous": box.hypervolume([[ready.homogeneous[b].values[n] for n in names] for b in WIDTHS]),
            "ideal": list(box.ideal),
            "reference": list(box.reference),
        },
        "islands": [island_facts(box, island) for island in result.islands],
        "history": [generation.to_dict() for generation in result.history],
        **({} if chosen.retraining is None else {"beacons": dict(chosen.retraining)}),
    }
    save_json(problem.folder / "result.json", RESULT_KIND, RESULT_VERSION, body)
    return Run.open(problem.folder)
