"""`run_search`: a search from its first check to the result that is written last, step by step."""

from __future__ import annotations

import time
from collections import Counter
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
from bittailor.common.processors import workers_of
from bittailor.common.records import expect
from bittailor.common.roles import Roles
from bittailor.core.network import Network
from bittailor.engines import ENGINES, best_engine
from bittailor.engines.native import variant_here
from bittailor.errors import BittailorError
from bittailor.evaluate.evaluator import Evaluator, Objective, check_task
from bittailor.evaluate.family import CandidateEvaluation, OneNetwork
from bittailor.evaluate.masks import RATE
from bittailor.evaluate.metrics import Metric
from bittailor.evaluate.racing import LEAST, PartialEvaluation, Racing, stops, suits
from bittailor.quantise.calibration import Calibration
from bittailor.quantise.fitting import fit_all, widths_of
from bittailor.quantise.spaces import BASELINES, WIDTHS, homogeneous_widths
from bittailor.runs.certificate import Part, certify
from bittailor.runs.choice import SolutionEvaluators, front_of, pick
from bittailor.runs.folder import begin, calibrated, check_store, take_beacons
from bittailor.runs.forms import Solution
from bittailor.runs.islands import Archipelago, island_facts
from bittailor.runs.listening import HEARD, write_sounds
from bittailor.runs.retraining import note_figures, polish_front
from bittailor.runs.run import RESULT_KIND, RESULT_VERSION, Run
from bittailor.runs.seeding import SEEDINGS
from bittailor.runs.spec import DEFAULTS, Origin, SearchSpec
from bittailor.search.executors import Executor, make_executor
from bittailor.search.executors.connecting import connect
from bittailor.search.front import ReferenceBox, signs
from bittailor.search.islands import InTurns, Together
from bittailor.search.loop import Evaluate, Exchange, MakeOptimiser, Progress, Result, Revise, Rivals, search
from bittailor.search.progress import ValueDisplay
from bittailor.search.settings import SearchSettings
from bittailor.search.space import Genome, Space
from bittailor.search.store import Row, Store
from bittailor.train.beacons import Beacon, BeaconSearch, Region, Trainer, fitting_beacons, need_torch

UNKNOWN = Origin()


class Display:
    """What a user sees of a search: nothing, but for what a subclass shows."""

    def progress(self, look: ValueDisplay) -> Progress | None:
        """A display of the search as it runs, given how to show values."""
        return None

    def tell(self, text: str) -> None:
        """Told in words what is being done where no progress shows it, such as a calibration."""


QUIET = Display()


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
    display: Display = QUIET,
) -> Run:
    """Search the widths of a network and write a run directory.

    network    from `from_torch`
    data       training data calibrate; what the spec's `roles` make of training and validation data is searched on, or
               confirms what was chosen; test data are used once at the end
    out        the run directory; new, or with `resume` an earlier one of the same search (the number of generations may
               differ: a finished search can be made longer)
    spec       what to search and how; its `task` is only noted
    origin     where network and data came from, kept in run.json for reports
    executor   evaluates candidates instead of the spec's workers on this machine, such as `bittailor.search.Given` on a
               cluster's pool
    optimiser  an `Optimiser` class of one's own in place of the one that the spec names; to resume, hand it in again
    display    shows progress and says what is being done
    Raises     DataError, FileError, FormatError or another BittailorError, before anything is written.
    """
    expect(network, Network, "network", "from_torch(module, features) makes one")
    expect(data, Splits, "data", "bittailor.Splits(train, valid, test)")
    expect(spec, SearchSpec, "spec", "bittailor.SearchSpec(...)")
    problem = Problem(network, data, Path(out), spec, display, executor, optimiser)
    with staffed(problem) as problem:  # before anything is written: nobody may answer
        prepare(problem, origin, resume)
        began = time.monotonic()
        ready = calibrate_run(problem)
        store = Store(problem.folder / "evaluations.sqlite", ready.identity)
        check_store(problem.folder, store)
        with store, evaluation(problem, ready, store) as way:
            result = _search(problem, ready, store, way, seed(problem, ready))
            chosen = select(problem, ready, store, way, result)
        if not result.interrupted:
            chosen = test(problem, ready, confirm(problem, ready, chosen))
        return save(problem, ready, result, chosen, time.monotonic() - began)


@dataclass(frozen=True, eq=False)
class Problem:
    """What is searched; see `run_search`. The spec's parts that need network and data are looked up here."""

    network: Network
    data: Splits
    folder: Path
    spec: SearchSpec
    display: Display
    executor: Executor | None
    optimiser: MakeOptimiser | None

    @cached_property
    def metric(self) -> Metric:
        """What the error is."""
        return self.spec.known_metric

    @cached_property
    def roles(self) -> Roles:
        """Which items select, and which confirm."""
        return self.spec.divide(self.data)

    @cached_property
    def space(self) -> Space:
        """What may be chosen."""
        return self.spec.make_space(self.network.graph)

    @cached_property
    def engine(self) -> str:
        """Name of the engine that runs candidates."""
        return best_engine() if self.spec.engine == "auto" else self.spec.engine

    @property
    def door(self) -> Executor | None:
        """What works on other machines, if anything does."""
        return self.executor if self.executor is not None and self.executor.remote else None

    @cached_property
    def workers(self) -> int:
        """Threads or processes, 1 or more."""
        return workers_of(self.spec.workers)

    @property
    def objectives(self) -> list[Objective]:
        """What is improved."""
        return [self.spec.known_objectives[name] for name in self.spec.objectives]

    @property
    def maximised(self) -> set[str]:
        """The objectives of which more is better."""
        return {objective.name for objective in self.objectives if objective.maximise}

    @property
    def own_optimiser(self) -> dict[str, str]:
        """What run.json says of an optimiser that was handed in."""
        return {} if self.optimiser is None else {"optimiser": getattr(self.optimiser, "__qualname__", "own")}

    @property
    def guides(self) -> dict[str, str]:
        """Objective -> the value that selection looks at in its place."""
        return {"error": self.spec.guide}

    @property
    def reported(self) -> tuple[str, ...]:
        """Every value that an evaluation reports beside the error."""
        limited = (limit.name for limit in self.spec.limits)
        return tuple(dict.fromkeys((*self.spec.objectives, *limited, "loss", "size", "stored")))


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


# --- calibrate ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Calibrated:
    """What a search knows before its first candidate.

    statistics   of the float network
    candidates   evaluates candidates from the float network's weights on the items that select; its metric has learnt
                 what it has to learn
    homogeneous  bits -> baseline
    box          where hypervolume is measured
    identity     what the evaluations depend on
    wanted       site -> every width that may be asked for
    beacons      name -> retrained network, filled as they come to be
    """

    statistics: Calibration
    candidates: CandidateEvaluation
    homogeneous: Mapping[int, Solution]
    box: ReferenceBox
    identity: Mapping[str, str]
    wanted: Mapping[str, set[int]]
    beacons: dict[str, Beacon] = field(default_factory=dict)
    _from_beacons: dict[str, CandidateEvaluation] = field(default_factory=dict)

    @property
    def base(self) -> Solution:
        """Homogeneous 8 bit, with which everything is compared."""
        return self.homogeneous[8]

    @property
    def evaluator(self) -> Evaluator:
        """That of the float network on the items that select."""
        return self.candidates.evaluator()

    @cached_property
    def select(self) -> SolutionEvaluators:
        """Evaluators on the items that select."""
        return SolutionEvaluators(lambda beacon: self.weights_of(beacon).evaluator())

    def evaluators(self, part: Data) -> SolutionEvaluators:
        """Evaluators of the error of solutions on a part of the data."""
        return SolutionEvaluators(
            lambda beacon: replace(self.weights_of(beacon), data=part, objectives=()).evaluator())

    def evaluators_with_values(self, part: Data) -> SolutionEvaluators:
        """Evaluators of every value of solutions on a part of the data."""
        return SolutionEvaluators(lambda beacon: replace(self.weights_of(beacon), data=part).evaluator())

    def weights_of(self, beacon: str | None) -> CandidateEvaluation:
        """What evaluates candidates from the weights of a beacon (its name) or of the float network, kept."""
        if beacon is None:
            return self.candidates
        if beacon not in self._from_beacons:
            calibration = self.beacons[beacon].calibration
            if self.candidates.door is not None:
                fit_all(calibration, self.wanted, self.candidates.door)
            family = OneNetwork(calibration)
            self._from_beacons[beacon] = replace(self.candidates, family=family)
        return self._from_beacons[beacon]


def calibrate_run(problem: Problem) -> Calibrated:
    """Freeze the statistics, and evaluate the baselines."""
    network, data, names = problem.network, problem.data, problem.spec.objectives
    metric = problem.metric
    if metric.learns:
        problem.display.tell(f"learning to decode for the metric {metric.name}")
    held = problem.roles.held
    measure = metric.fitted(data.train.targets, lambda: network(held.x, held.lengths), held.targets)
    if not (problem.folder / "calibration.safetensors").exists():
        problem.display.tell(f"calibrating on {min(problem.spec.calibration.items, len(data.train)):,} sequences")
    statistics = calibrated(problem.folder, network, data.train, problem.spec.calibration)
    wanted = widths_of(problem.space, network.graph)
    if problem.door is not None:
        problem.display.tell("fitting formats and weights")
        fit_all(statistics, wanted, problem.door)
        statistics.save(problem.folder / "calibration.safetensors")
    candidates = CandidateEvaluation(problem.space, OneNetwork(statistics), problem.roles.select, measure,
                                     problem.engine, problem.reported, problem.spec.platforms, problem.door)
    evaluator = candidates.evaluator()
    widths = {bits: homogeneous_widths(network.graph, bits) for bits in BASELINES}
    # some hardware has no 16 bits; without 8 there is nothing to compare with
    widths = {bits: w for bits, w in widths.items() if bits == 8 or evaluator.runs(w)}
    rows = dict(zip(widths, evaluator.evaluate(list(widths.values())), strict=True))
    identity = {"network": network.fingerprint, "data": problem.roles.select.fingerprint, "metric": metric.key,
                "calibration": repr(problem.spec.calibration), "space": problem.space.name}
    return Calibrated(
        statistics, candidates,
        {bits: Solution(f"homogeneous {bits}", w, rows[bits], None) for bits, w in widths.items()},
        ReferenceBox.around([[rows[bits][name] for name in names] for bits in WIDTHS], signs(names, problem.maximised)),
        identity, wanted,
    )


# --- seed --------------------------------------------------------------------------------------------------------


def seed(problem: Problem, ready: Calibrated) -> list[Genome]:
    """What the first population holds besides random solutions."""
    problem.display.tell(f"making the first population by {problem.spec.seeding}")
    return SEEDINGS[problem.spec.seeding](problem.space, problem.network.graph, ready.evaluator)


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
        elif _races(problem, ready):
            def racing() -> Evaluation:
                own = _racing(problem, ready, executor)
                return Evaluation(own, own.announce, again=racing)

            yield racing()
        else:
            yield Evaluation(plain)


def _races(problem: Problem, ready: Calibrated) -> bool:
    """Whether racing is asked for, pays, and suits the metric."""
    few = problem.roles.select[:2]
    return (problem.spec.racing and len(problem.roles.select) >= LEAST
            and suits(ready.evaluator.metric, problem.network(few.x, few.lengths), few.targets))


def _racing(problem: Problem, ready: Calibrated, executor: Executor) -> Racing:
    data, metric = problem.roles.select, ready.evaluator.metric
    parts = stops(len(data))
    exact = {o.name: -1.0 if o.maximise else 1.0 for o in problem.objectives if o.name not in ("error", "loss")}
    return Racing(executor.evaluation(PartialEvaluation(ready.candidates, parts)), parts, metric, data.targets, exact,
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
        seed=problem.spec.search.seed, workers=problem.workers, say=problem.display.tell, executor=problem.executor))


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
        return one(spec.search, seeds, store, problem.display.progress(look))
    inner, together = problem.display.progress(replace(look, beside=lambda: _beside(look, together))), None
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
        return lambda value: f"{value / divisor:{'.4g' if divisor == 1 else '.2f'}} {unit}".rstrip()

    return ValueDisplay({"error": problem.metric.title}, {o.name: text(o) for o in problem.objectives},
                        {f"homogeneous {bits}": ready.homogeneous[bits].values for bits in (4, 8)},
                        problem.executor.standing if problem.executor else lambda: "")


# --- select ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Chosen:
    """What a search shows: its front, picks and baselines.

    real        part of the data -> the float network's error; None where it was not measured
    dropped     items that each candidate given up by racing was run on
    retraining  what result.json says about beacons, where there were any
    held        values of homogeneous 8 bit on held-out items alone, with which retrained solutions are compared
    certificate what came of the wish, where there was one
    length      generations
    """

    front: Sequence[Solution]
    picks: Mapping[str, Solution]
    homogeneous: Sequence[Solution]
    real: Mapping[str, float | None]
    dropped: Sequence[int]
    retraining: Mapping[str, Any] | None
    held: Mapping[str, float]
    certificate: Mapping[str, Any] | None = None
    length: int = 0

    def each(self, change: Callable[[Sequence[Solution]], Sequence[Solution]]) -> Chosen:
        """Front, picks and baselines, changed."""
        picks = dict(zip(self.picks, change(list(self.picks.values())), strict=True))
        return replace(self, front=change(self.front), picks=picks, homogeneous=change(self.homogeneous))


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
                 names, problem.maximised)
    beacon_of = {row.genome: row.outcome.beacon for row in rows}
    solutions = [Solution(space.key(g), space.widths(g), dict(v), None, beacon_of[g])
                 for g, v in zip(front.genomes, front.values, strict=True)]
    real = {"select": _float_error(problem, ready, problem.roles.select), "test": None}
    (held,) = ready.evaluators_with_values(problem.roles.held).evaluate([ready.base])
    return Chosen(solutions, picks, list(ready.homogeneous.values()), real, dropped, retraining, held,
                  length=len(result.history))


def _second_look(problem: Problem, ready: Calibrated) -> SolutionEvaluators:
    """Evaluators on training items alone, on those that selected where some did: what the careful pick must stand."""
    return ready.evaluators(problem.roles.training or problem.data.train)


def _polish(problem: Problem, ready: Calibrated, work: BeaconWork, rows: Sequence[Row]) -> dict[str, Any]:
    """Retrain members of the front. Returns what result.json says: names, and how many trainings the run paid for."""
    settings = problem.spec.beacons
    if settings.polish:
        problem.display.tell(f"retraining up to {settings.polish} members of the front")
    polished = polish_front(
        rows, problem.space, work.region, ready.base.values, work.trainer,
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


def _float_error(problem: Problem, ready: Calibrated, part: Data) -> float:
    measure = ready.evaluator.metric
    return measure.value(problem.network(part.x, part.lengths), part.targets)


# --- confirm and test --------------------------------------------------------------------------------------------


def confirm(problem: Problem, ready: Calibrated, chosen: Chosen) -> Chosen:
    """The one use of the items that confirm: for what was chosen, and for the certificate."""
    roles, wish = problem.roles, problem.spec.wish
    parts = {"held": roles.held, **({} if roles.training is None else {"training": roles.training})}
    for name, data in parts.items():
        chosen = _noted(chosen, name, ready.evaluators(data))
    if roles.confirm is None:
        return chosen
    problem.display.tell("comparing front, picks and baselines on items that no search saw")
    part = _part(problem, ready, "confirm", roles.confirm)
    if wish is not None:
        looks = _looks(problem, chosen)
        found, about = certify(part, wish, chosen.front, ready.base, chosen.picks, looks.index(chosen.length))
        picks = {**({} if found is None else {"certified": found}), **chosen.picks}
        chosen = replace(chosen, picks=picks, certificate={**about, "looks": looks})
    return _compared(chosen, part)


def test(problem: Problem, ready: Calibrated, chosen: Chosen) -> Chosen:
    """The one use of the test data: for the finished front, its picks and its baselines."""
    problem.display.tell("measuring front, picks and baselines on test data")
    chosen = _compared(chosen, _part(problem, ready, "test", problem.data.test))
    note_figures(ready.beacons.values(), ready.evaluators_with_values(problem.roles.held),
                 ready.evaluators(problem.data.test))
    real = {**chosen.real, "test": _float_error(problem, ready, problem.data.test)}
    _listen(problem, ready, chosen.picks)
    return replace(chosen, real=real)


def _part(problem: Problem, ready: Calibrated, name: str, data: Data) -> Part:
    return Part.of(name, data, ready.base, ready.evaluators(data), lambda d: problem.network(d.x, d.lengths))


def _compared(chosen: Chosen, part: Part) -> Chosen:
    """Front, picks and baselines with what they are worth on a part of the data."""
    return chosen.each(part.compared)


def _noted(chosen: Chosen, name: str, evaluators: SolutionEvaluators) -> Chosen:
    """Front, picks and baselines with their error on a part of what selected."""
    def noted(solutions: Sequence[Solution]) -> list[Solution]:
        return [replace(s, errors={**s.errors, name: row["error"]})
                for s, row in zip(solutions, evaluators.evaluate(solutions), strict=True)]

    return chosen.each(noted)


def _looks(problem: Problem, chosen: Chosen) -> list[int]:
    """Lengths of this search, in generations, at which the items that confirm were used, this time included: a search
    that is made longer uses them again."""
    file = problem.folder / "result.json"
    former = (Run.open(problem.folder).result.get("certificate") or {}) if file.is_file() else {}
    looks = list(former.get("looks", []))
    return looks if chosen.length in looks else [*looks, chosen.length]


def _listen(problem: Problem, ready: Calibrated, picks: Mapping[str, Solution]) -> None:
    """Signals of a few test items, where the metric makes any."""
    some, metric = problem.data.test[:HEARD], ready.evaluator.metric
    references = metric.references(some.targets) if RATE in some.extras else {}
    if not references:
        return
    evaluators = ready.evaluators(some)
    outputs = {"float": problem.network(some.x, some.lengths)}
    for name, solution in {"8 bit": ready.base, **picks}.items():
        evaluator = evaluators.of(solution.beacon)
        outputs[name] = evaluator.outputs([evaluator.program(dict(solution.widths))[1]])[0]
    made = {name: metric.heard(values, some.targets) for name, values in outputs.items()}
    write_sounds(problem.folder, some, {**references, **made})


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
        "message": result.message,
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
