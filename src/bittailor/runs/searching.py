"""`run_search`: a search from its first check to the result that is written last, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from bittailor._version import __version__
from bittailor.common import units
from bittailor.common.data import Data, Splits
from bittailor.common.files import save_json
from bittailor.common.processors import processors
from bittailor.core.network import Network
from bittailor.cost import Platform
from bittailor.engines import ENGINES, best_engine
from bittailor.errors import BittailorError
from bittailor.evaluate.early_stopping import DROPPED, EarlyStopping
from bittailor.evaluate.evaluator import Evaluator, Objective, check_task, objectives_with
from bittailor.evaluate.family import CandidateEvaluation, OneNetwork
from bittailor.evaluate.metrics import METRICS, Metric
from bittailor.quantise.calibration import Calibration, CalibrationSettings
from bittailor.quantise.spaces import BASELINES, SPACES, WIDTHS, homogeneous_widths
from bittailor.runs.choice import SEEDINGS, SolutionEvaluators, front_of, pick
from bittailor.runs.folder import calibrated, prepare, take_beacons
from bittailor.runs.retraining import note_figures, polish_front
from bittailor.runs.run import RESULT_KIND, RESULT_VERSION, Run, Solution
from bittailor.search.constraints import Constraint, parse
from bittailor.search.executors import Executor, make_executor
from bittailor.search.front import ReferenceBox, signs
from bittailor.search.loop import Evaluate, Progress, Result, Revise, Rivals, search
from bittailor.search.optimisers import OPTIMISERS
from bittailor.search.progress import ValueDisplay
from bittailor.search.settings import SearchSettings
from bittailor.search.space import Genome, Space
from bittailor.search.store import Row, Store
from bittailor.train.beacons import Beacon, BeaconSearch, BeaconSettings, Region, Trainer


def run_search(
    network: Network,
    data: Splits,
    out: Path | str,
    *,
    metric: str = "error",
    space: str | Space = "per_operator",
    objectives: Sequence[str] = ("error", "size"),
    constraints: Sequence[str] = (),
    guide: str = "loss",
    seeding: str = "sensitivity",
    settings: SearchSettings | None = None,
    calibration: CalibrationSettings | None = None,
    early_stop: bool = False,
    engine: str = "auto",
    workers: int = 0,
    resume: bool = False,
    task: Mapping[str, Any] | None = None,
    command: str = "",
    progress: Callable[[ValueDisplay], Progress] | None = None,
    platforms: Sequence[Platform] = (),
    beacons: BeaconSettings | None = None,
    beacons_from: Sequence[Path | str] = (),
    say: Callable[[str], None] | None = None,
    executor: Executor | None = None,
) -> Run:
    """Search the widths of a network and write a run directory.

    network      from `from_torch`
    data         training data calibrate, validation data are searched on, test data are used once at the end
    out          the run directory; new, or with `resume` an earlier one of the same search (the number of
                 generations may differ: a finished search can be made longer)
    space        a name in `SPACES`, or a space
    objectives   names in `OBJECTIVES`, or of `platforms`, two or more
    constraints  such as "size<=32KiB"
    guide        what selection looks at in place of the error: "loss" (smooth; a small validation set has few error
                 values and many lucky solutions) or "error" itself. The front is of the error either way
    seeding      a name in `SEEDINGS`: what the first population holds besides random solutions
    settings     optimiser, population, generations, seed, genetic operators
    early_stop   give up on candidates that are certainly hopeless after a part of the data; front and `smallest` are
                 the same as without (see `screen`)
    engine       "auto" takes the fastest that runs here; results do not depend on it
    workers      threads of an engine that has them, otherwise processes; 0 takes every core for threads and no
                 extra process. Results do not depend on it
    task         what the data came from, kept in run.json for reports
    command      the command line that asked for it, likewise
    progress     makes a display, given how to show values; such as `bittailor.search.progress.make_display`
    platforms    hardware beside that of the package (`bittailor.cost.load_platform`); kept in run.json
    beacons      retrain some candidates during the search and members of its front afterwards; None for neither
    beacons_from  runs (or folders of beacons) of the same network and data whose beacons serve from the start
    say          told in words what is being done where no display shows it, such as a calibration
    executor     evaluates candidates instead of `workers` of this machine, such as `bittailor.search.Given` on a
                 cluster; it is not closed
    Raises DataError, FileError, FormatError or another BittailorError, before anything long has begun.
    """
    engine = best_engine() if engine == "auto" else engine
    table = objectives_with(platforms)
    problem = Problem(
        network=network, data=data, folder=Path(out), metric=METRICS[metric],
        space=SPACES[space](network.graph) if isinstance(space, str) else space,
        objectives=tuple(table[name] for name in objectives),
        limits=tuple(parse(text, {o.name: o.unit for o in table.values()}) for text in constraints),
        guide=guide, seeding=seeding, settings=settings or SearchSettings(),
        calibration=calibration or CalibrationSettings(), early_stop=early_stop, engine=engine,
        workers=workers or (processors() if ENGINES[engine].threaded else 1), platforms=tuple(platforms),
        beacons=beacons, beacons_from=tuple(beacons_from), tell=say or (lambda text: None), display=progress,
        executor=executor,
    )
    problem.check()
    prepare(problem.folder, problem.to_json(task or {}, command), resume)
    began = time.monotonic()
    ready = calibrate_run(problem)
    store = Store(problem.folder / "evaluations.sqlite", ready.identity)
    with store, evaluation(problem, ready, store) as way:
        result = _search(problem, ready, store, way, seed(problem, ready))
        chosen = select(problem, ready, store, way, result)
    if not result.interrupted:
        chosen = test(problem, ready, chosen)
    return save(problem, ready, result, chosen, time.monotonic() - began)


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """What is searched, every name looked up; see `run_search`."""

    network: Network
    data: Splits
    folder: Path
    metric: Metric
    space: Space
    objectives: tuple[Objective, ...]
    limits: tuple[Constraint, ...]
    guide: str
    seeding: str
    settings: SearchSettings
    calibration: CalibrationSettings
    early_stop: bool
    engine: str
    workers: int
    platforms: tuple[Platform, ...]
    beacons: BeaconSettings | None
    beacons_from: tuple[Path | str, ...]
    tell: Callable[[str], None]
    display: Callable[[ValueDisplay], Progress] | None
    executor: Executor | None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the objectives."""
        return tuple(objective.name for objective in self.objectives)

    @property
    def maximised(self) -> set[str]:
        """The objectives of which more is better."""
        return {objective.name for objective in self.objectives if objective.maximise}

    @property
    def guides(self) -> dict[str, str]:
        """Objective -> the value that selection looks at in its place."""
        return {"error": self.guide}

    @property
    def reported(self) -> tuple[str, ...]:
        """Every value that an evaluation reports beside the error."""
        return tuple(dict.fromkeys((*self.names, *(c.name for c in self.limits), "loss", "size", "stored")))

    def check(self) -> None:
        """BittailorError where parts do not go together."""
        if self.guide not in ("loss", "error"):
            raise BittailorError(f"guide '{self.guide}' is unknown; choose loss or error")
        _ = SEEDINGS[self.seeding]
        if len(set(self.names)) < 2:
            raise BittailorError(f"a search needs two or more objectives; got {', '.join(self.names) or 'none'}")
        for part in (self.data.train, self.data.valid, self.data.test):
            check_task(self.network, part, self.metric)
        if self.beacons is not None and self.early_stop:
            raise BittailorError("early stopping and beacons exclude each other: what is hopeless from the float "
                                 "network may not be from a beacon. Leave out one of them")
        if self.early_stop and not OPTIMISERS[self.settings.optimiser].early_stopping:
            raise BittailorError(f"early stopping leaves the front as it is with nsga2, not with "
                                 f"{self.settings.optimiser}. Leave out one of them")
        if self.beacons is None and self.beacons_from:
            raise BittailorError("beacons of other runs are given, but this search uses none; give beacons or polish, "
                                 "too")

    def to_json(self, task: Mapping[str, Any], command: str) -> dict[str, Any]:
        """What run.json holds."""
        return {
            "bittailor_version": __version__,
            "task": dict(task),
            "command": command,
            "metric": self.metric.name,
            "objectives": list(self.names),
            "constraints": [limit.text for limit in self.limits],
            "guide": self.guide,
            "seeding": self.seeding,
            "search": asdict(self.settings),
            "calibration": asdict(self.calibration),
            "space": self.space.to_dict(),
            "fingerprints": {"network": self.network.fingerprint, "data": self.data.fingerprint},
            **({"platforms": [dict(platform.document) for platform in self.platforms]} if self.platforms else {}),
            **({} if self.beacons is None else {"beacons": asdict(self.beacons)}),
        }


# --- calibrate ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Calibrated:
    """What a search knows before its first candidate.

    statistics   of the float network
    candidates   evaluates candidates from the float network's weights on validation data; its metric has learnt what it
                 has to learn
    homogeneous  bits -> baseline
    box          where hypervolume is measured
    identity     what the evaluations depend on
    beacons      name -> retrained network, filled as they come to be
    """

    statistics: Calibration
    candidates: CandidateEvaluation
    homogeneous: Mapping[int, Solution]
    box: ReferenceBox
    identity: Mapping[str, str]
    beacons: dict[str, Beacon] = field(default_factory=dict)
    _from_beacons: dict[str, CandidateEvaluation] = field(default_factory=dict)

    @property
    def base(self) -> Solution:
        """Homogeneous 8 bit, with which everything is compared."""
        return self.homogeneous[8]

    @property
    def evaluator(self) -> Evaluator:
        """That of the float network on validation data."""
        return self.candidates.evaluator()

    @cached_property
    def valid(self) -> SolutionEvaluators:
        """Evaluators on validation data."""
        return SolutionEvaluators(lambda beacon: self.weights_of(beacon).evaluator())

    def evaluators(self, part: Data) -> SolutionEvaluators:
        """Evaluators of the error of solutions on a part of the data."""
        return SolutionEvaluators(
            lambda beacon: replace(self.weights_of(beacon), data=part, objectives=()).evaluator())

    def weights_of(self, beacon: str | None) -> CandidateEvaluation:
        """What evaluates candidates from the weights of a beacon (its name) or of the float network, kept."""
        if beacon is None:
            return self.candidates
        if beacon not in self._from_beacons:
            family = OneNetwork(self.beacons[beacon].calibration)
            self._from_beacons[beacon] = replace(self.candidates, family=family)
        return self._from_beacons[beacon]


def calibrate_run(problem: Problem) -> Calibrated:
    """Freeze the statistics, and evaluate the baselines."""
    network, data, names = problem.network, problem.data, problem.names
    metric = problem.metric
    if metric.fit is not None:
        problem.tell(f"learning to decode for the metric {metric.name}")
    measure = metric.fitted(data.train.y, lambda: network(data.valid.x, data.valid.lengths), data.valid.y)
    if not (problem.folder / "calibration.safetensors").exists():
        problem.tell(f"calibrating on {min(problem.calibration.items, len(data.train)):,} sequences")
    statistics = calibrated(problem.folder, network, data.train, problem.calibration)
    candidates = CandidateEvaluation(problem.space, OneNetwork(statistics), data.valid, measure, problem.engine,
                                     problem.reported, problem.platforms)
    evaluator = candidates.evaluator()
    widths = {bits: homogeneous_widths(network.graph, bits) for bits in BASELINES}
    # some hardware has no 16 bits; without 8 there is nothing to compare with
    widths = {bits: w for bits, w in widths.items() if bits == 8 or evaluator.runs(w)}
    rows = dict(zip(widths, evaluator.evaluate(list(widths.values())), strict=True))
    identity = {"network": network.fingerprint, "data": data.valid.fingerprint, "metric": metric.name,
                "calibration": repr(problem.calibration), "space": problem.space.name}
    return Calibrated(
        statistics, candidates,
        {bits: Solution(f"homogeneous {bits}", w, rows[bits], None) for bits, w in widths.items()},
        ReferenceBox.around([[rows[bits][name] for name in names] for bits in WIDTHS], signs(names, problem.maximised)),
        identity,
    )


# --- seed --------------------------------------------------------------------------------------------------------


def seed(problem: Problem, ready: Calibrated) -> list[Genome]:
    """What the first population holds besides random solutions."""
    problem.tell(f"making the first population by {problem.seeding}")
    return SEEDINGS[problem.seeding](problem.space, problem.network.graph, ready.evaluator)


# --- search ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BeaconWork:
    """Retraining in this search: what was given, who trains, what is decided."""

    given: Sequence[Beacon]
    region: Region
    trainer: Trainer
    search: BeaconSearch


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How candidates are evaluated, and what the search must tell or ask on the way."""

    evaluate: Evaluate
    announce: Callable[[Rivals], None] | None = None
    revise: Revise | None = None
    retraining: BeaconWork | None = None


@contextmanager
def evaluation(problem: Problem, ready: Calibrated, store: Store) -> Iterator[Evaluation]:
    """The way candidates are evaluated: plainly, with early stopping, or with beacons."""
    with ExitStack() as stack:
        executor = problem.executor or stack.enter_context(
            make_executor(problem.workers, ENGINES[problem.engine].threaded))
        plain = executor.evaluation(ready.candidates)
        if problem.beacons is not None:
            work = _beacon_work(problem, problem.beacons, ready, store, plain, executor)
            yield Evaluation(work.search, work.search.announce, work.search.revise, work)
        elif problem.early_stop:
            stopping = EarlyStopping(ready.evaluator, problem.space, problem.names, problem.guides, problem.limits)
            yield Evaluation(stopping, stopping.announce)
        else:
            yield Evaluation(plain)


def _beacon_work(
    problem: Problem, settings: BeaconSettings, ready: Calibrated, store: Store, plain: Evaluate,
    executor: Executor,
) -> BeaconWork:
    trainer = Trainer(ready.statistics, problem.data.train, problem.metric.name, settings.recipe,
                      problem.folder / "beacons")
    trainer.settings()
    given = take_beacons(store, problem.beacons_from, problem.network.fingerprint, problem.data.train.fingerprint,
                         trainer.folder)
    region = Region.around(ready.base.values, [s.values for s in ready.homogeneous.values()], settings)
    known: dict[str, Evaluate] = {}

    def from_weights_of(beacon: Beacon) -> Evaluate:
        if beacon.name not in known:
            ready.beacons[beacon.name] = beacon
            known[beacon.name] = executor.evaluation(ready.weights_of(beacon.name))
        return known[beacon.name]

    return BeaconWork(given, region, trainer, BeaconSearch(
        plain, from_weights_of, problem.space, problem.network.graph, settings, region, trainer, store, given=given,
        seed=problem.settings.seed, workers=problem.workers, say=problem.tell))


def _search(
    problem: Problem, ready: Calibrated, store: Store, way: Evaluation, seeds: Sequence[Genome]
) -> Result:
    """The optimiser at work; evaluations that the store holds are taken from it."""
    display = problem.display(_value_display(problem, ready)) if problem.display else None
    return search(
        problem.space, problem.names, way.evaluate, problem.settings, store, problem.limits, seeds, display,
        box=ready.box, guides=problem.guides, maximised=problem.maximised, announce=way.announce, revise=way.revise)


def _value_display(problem: Problem, ready: Calibrated) -> ValueDisplay:
    """How a display shows objectives: with units, and some baselines to compare with."""
    def text(objective: Objective) -> Callable[[float], str]:
        unit, divisor = units.shown(problem.metric.unit if objective.name == "error" else objective.unit)
        return lambda value: f"{value / divisor:{'.4g' if divisor == 1 else '.2f'}} {unit}".rstrip()

    return ValueDisplay({}, {o.name: text(o) for o in problem.objectives},
                        {f"homogeneous {bits}": ready.homogeneous[bits].values for bits in (4, 8)})


# --- select ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Chosen:
    """What a search shows: its front, picks and baselines.

    real        part of the data -> the float network's error; None where it was not measured
    dropped     items that each candidate dropped by early stopping was run on
    retraining  what result.json says about beacons, where there were any
    """

    front: Sequence[Solution]
    picks: Mapping[str, Solution]
    homogeneous: Sequence[Solution]
    real: Mapping[str, float | None]
    dropped: Sequence[int]
    retraining: Mapping[str, Any] | None


def select(problem: Problem, ready: Calibrated, store: Store, way: Evaluation, result: Result) -> Chosen:
    """The front, with members retrained where that is asked for, and the picks of everything evaluated."""
    space, names, rows, front = problem.space, problem.names, list(store.rows()), result.front
    dropped = [int((row.outcome.reason or "")[len(DROPPED) :].split()[0]) for row in rows
               if (row.outcome.reason or "").startswith(DROPPED)]
    retraining = None
    if way.retraining is not None:
        rows = way.retraining.search.final(rows, again=not result.interrupted)
        front = front_of(rows, names, problem.limits, problem.maximised)
        ready.beacons.update({beacon.name: beacon for beacon in way.retraining.search.beacons})
        if not result.interrupted:
            retraining = _polish(problem, ready, way.retraining, rows)
    _keep_fitted(problem, ready)
    picks = pick(rows, space, ready.base, ready.evaluators(problem.data.train), problem.limits, names,
                 problem.maximised)
    beacon_of = {row.genome: row.outcome.beacon for row in rows}
    solutions = [Solution(space.key(g), space.widths(g), dict(v), None, beacon_of[g])
                 for g, v in zip(front.genomes, front.values, strict=True)]
    real = {"valid": _float_error(problem, ready, problem.data.valid), "test": None}
    return Chosen(solutions, picks, list(ready.homogeneous.values()), real, dropped, retraining)


def _polish(problem: Problem, ready: Calibrated, work: BeaconWork, rows: Sequence[Row]) -> dict[str, Any]:
    """Retrain members of the front. Returns what result.json says: names, and how many trainings the run paid for."""
    assert problem.beacons is not None
    if problem.beacons.polish:
        problem.tell(f"retraining up to {problem.beacons.polish} members of the front")
    polished = polish_front(
        rows, problem.space, work.region, ready.base.values, work.trainer,
        ready.valid, ready.beacons, problem.beacons, problem.limits, problem.settings.seed, problem.workers)
    given = [beacon.name for beacon in work.given]
    new = [beacon for beacon in work.search.beacons if beacon.name not in given]
    paid = list({beacon.name: beacon for beacon in (*new, *polished)}.values())
    return {"given": given, "search": [b.name for b in new], "polish": [b.name for b in polished],
            "retrainings": len(paid), "failed": sum(b.failed is not None for b in paid),
            "seconds": sum(float(b.about["seconds"]) for b in paid)}


def _keep_fitted(problem: Problem, ready: Calibrated) -> None:
    """Write statistics with the weights fitted on the way, so that every program of this run is the same on any
    machine."""
    ready.statistics.save(problem.folder / "calibration.safetensors")
    for beacon in ready.beacons.values():
        if beacon.failed is None:
            beacon.calibration.save(beacon.folder / "calibration.safetensors")


def _float_error(problem: Problem, ready: Calibrated, part: Data) -> float:
    measure = ready.evaluator.metric
    return measure.of(problem.network(part.x, part.lengths), part.y)


# --- test --------------------------------------------------------------------------------------------------------


def test(problem: Problem, ready: Calibrated, chosen: Chosen) -> Chosen:
    """The one use of the test data: for the finished front, its picks and its baselines."""
    problem.tell("measuring front, picks and baselines on test data")
    evaluators = ready.evaluators(problem.data.test)
    front, homogeneous = evaluators.tested(chosen.front), evaluators.tested(chosen.homogeneous)
    picks = dict(zip(chosen.picks, evaluators.tested(list(chosen.picks.values())), strict=True))
    note_figures(ready.beacons.values(), ready.valid, evaluators)
    real = {**chosen.real, "test": _float_error(problem, ready, problem.data.test)}
    return replace(chosen, front=front, picks=picks, homogeneous=homogeneous, real=real)


# --- save --------------------------------------------------------------------------------------------------------


def save(problem: Problem, ready: Calibrated, result: Result, chosen: Chosen, seconds: float) -> Run:
    """Write result.json and open the run."""
    names, box, items, dropped = problem.names, ready.box, len(problem.data.valid), chosen.dropped
    points = [[s.values[n] for n in names] for s in chosen.front]
    body = {
        "metric": problem.metric.name,
        "objectives": list(names),
        "engine": problem.engine,
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        "items": {name: len(getattr(problem.data, name)) for name in ("train", "valid", "test")},
        "seconds": seconds,
        "evaluations": result.evaluations,
        "failed": result.failed - len(dropped),
        "dropped": len(dropped),
        "saved_percent": 100 * sum(1 - n / items for n in dropped) / max(1, result.evaluations),
        "interrupted": result.interrupted,
        "message": result.message,
        "float": dict(chosen.real),
        "homogeneous": [s.to_json() for s in chosen.homogeneous],
        "front": [s.to_json() for s in chosen.front],
        "picks": {name: s.to_json() for name, s in chosen.picks.items()},
        "hypervolume": {
            "front": box.hypervolume(points) if points else 0.0,
            "homogeneous": box.hypervolume([[ready.homogeneous[b].values[n] for n in names] for b in WIDTHS]),
            "ideal": list(box.ideal),
            "reference": list(box.reference),
        },
        "history": [generation.to_dict() for generation in result.history],
        **({} if chosen.retraining is None else {"beacons": dict(chosen.retraining)}),
    }
    save_json(problem.folder / "result.json", RESULT_KIND, RESULT_VERSION, body)
    return Run.open(problem.folder)
