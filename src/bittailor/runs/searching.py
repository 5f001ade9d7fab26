"""`run_search`: a search from its first check to the result that is written last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bittailor._version import __version__
from bittailor.common.data import Data, Splits
from bittailor.common.files import save_json
from bittailor.common.processors import processors
from bittailor.core.network import Network
from bittailor.cost import Platform
from bittailor.engines import ENGINES, best_engine
from bittailor.errors import BittailorError
from bittailor.evaluate.early_stopping import DROPPED, EarlyStopping
from bittailor.evaluate.evaluator import (
    Evaluator,
    Objective,
    WorkerFactory,
    check_task,
    evaluate_together,
    objectives_with,
)
from bittailor.evaluate.metrics import METRICS, Metric
from bittailor.quantise.calibration import CalibrationSettings
from bittailor.quantise.spaces import BASELINES, SPACES, WIDTHS, homogeneous_widths
from bittailor.runs.choice import SEEDINGS, Evaluators, front_of, pick
from bittailor.runs.folder import calibrated, prepare, take_beacons
from bittailor.runs.retraining import note_figures, polish_front
from bittailor.runs.run import RESULT_KIND, RESULT_VERSION, Run, Solution
from bittailor.search.constraints import parse
from bittailor.search.executors import make_evaluate
from bittailor.search.front import ReferenceBox, signs
from bittailor.search.loop import Evaluate, Progress, search
from bittailor.search.nsga2 import SearchSettings
from bittailor.search.progress import ValueDisplay
from bittailor.search.space import Space
from bittailor.search.store import Store
from bittailor.train.beacons import Beacon, BeaconSearch, BeaconSettings, Region, Trainer

UNIT_BITS = {"bit": 1, "B": 8}


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
    settings     population, generations, seed, operators of NSGA-II
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
    Raises DataError, FileError, FormatError or another BittailorError, before anything long has begun.
    """
    say = say or (lambda text: None)
    settings = settings or SearchSettings()
    calibration_settings = calibration or CalibrationSettings()
    names = tuple(objectives)
    if guide not in ("loss", "error"):
        raise BittailorError(f"guide '{guide}' is unknown; choose loss or error")
    make_seeds = SEEDINGS[seeding]
    table = objectives_with(platforms)
    known = [table[name] for name in names]
    if len(set(names)) < 2:
        raise BittailorError(f"a search needs two or more objectives; got {', '.join(names) or 'none'}")
    limits = [parse(text, {o.name: o.unit for o in table.values()}) for text in constraints]
    for part in (data.train, data.valid, data.test):
        check_task(network, part, metric)
    chosen = SPACES[space](network.graph) if isinstance(space, str) else space
    engine = best_engine() if engine == "auto" else engine
    workers = workers or (processors() if ENGINES[engine].threaded else 1)
    reported = tuple(dict.fromkeys((*names, *(c.name for c in limits), "loss", "size", "stored")))
    folder = Path(out)
    config: dict[str, Any] = {
        "bittailor_version": __version__,
        "task": dict(task or {}),
        "command": command,
        "metric": metric,
        "objectives": list(names),
        "constraints": list(constraints),
        "guide": guide,
        "seeding": seeding,
        "search": asdict(settings),
        "calibration": asdict(calibration_settings),
        "space": chosen.to_dict(),
        "fingerprints": {"network": network.fingerprint, "data": data.fingerprint},
    }
    if platforms:
        config["platforms"] = [dict(platform.document) for platform in platforms]
    if beacons is not None:
        config["beacons"] = asdict(beacons)
        if early_stop:
            raise BittailorError("early stopping and beacons exclude each other: what is hopeless from the float "
                                 "network may not be from a beacon. Leave out one of them")
    elif beacons_from:
        raise BittailorError("beacons of other runs are given, but this search uses none; give beacons or polish, too")
    prepare(folder, config, resume)
    began = time.monotonic()
    if METRICS[metric].fit is not None:
        say(f"learning to decode for the metric {metric}")
    measure = METRICS[metric].fitted(data.train.y, lambda: network(data.valid.x, data.valid.lengths), data.valid.y)
    if not (folder / "calibration.safetensors").exists():
        say(f"calibrating on {min(calibration_settings.items, len(data.train)):,} sequences")
    statistics = calibrated(folder, network, data.train, calibration_settings)
    factory = WorkerFactory(chosen, statistics, data.valid, measure, engine, reported, tuple(platforms))
    evaluator = factory.evaluator()
    baselines = {bits: homogeneous_widths(network.graph, bits) for bits in BASELINES}
    # some hardware has no 16 bits; without 8 there is nothing to compare with
    baselines = {bits: widths for bits, widths in baselines.items() if bits == 8 or evaluator.runs(widths)}
    rows = dict(zip(baselines, evaluator.evaluate(list(baselines.values())), strict=True))
    maximised = {objective.name for objective in known if objective.maximise}
    box = ReferenceBox.around([[rows[bits][name] for name in names] for bits in WIDTHS], signs(names, maximised))
    identity = {"network": network.fingerprint, "data": data.valid.fingerprint, "metric": metric,
                "calibration": repr(calibration_settings), "space": chosen.name}
    lit: dict[str, Beacon] = {}
    about: dict[str, Any] = {}

    def evaluators(part: Data, values: tuple[str, ...] = ()) -> Evaluators:
        return Evaluators(lambda weights: Evaluator(weights, part, measure, engine, values, tuple(platforms)),
                          statistics, lit)

    valid, base = evaluators(data.valid, reported), Solution("homogeneous 8", baselines[8], rows[8], None)
    with ExitStack() as stack:
        store = stack.enter_context(Store(folder / "evaluations.sqlite", identity))
        plain = stack.enter_context(_evaluate(factory, evaluator, engine, workers))
        served: BeaconSearch | None = None
        if beacons is not None:
            trainer = Trainer(statistics, data.train, metric, beacons.recipe, folder / "beacons")
            trainer.settings()
            given = take_beacons(store, beacons_from, network.fingerprint, data.train.fingerprint, trainer.folder)
            region = Region.around(rows[8], rows.values(), beacons)
            ways: dict[str, Evaluate] = {}

            def through(beacon: Beacon) -> Evaluate:
                if beacon.name not in ways:
                    lit[beacon.name] = beacon
                    there = replace(factory, calibration=beacon.calibration)
                    ways[beacon.name] = stack.enter_context(
                        _evaluate(there, valid.of(beacon.name), engine, workers))
                return ways[beacon.name]

            served = BeaconSearch(plain, through, chosen, network.graph, beacons, region, trainer, store, given=given,
                                  seed=settings.seed, workers=workers, say=say)
        guides = {"error": guide}
        say(f"making the first population by {seeding}")
        screen = EarlyStopping(evaluator, chosen, names, guides, limits) if early_stop else None
        result = search(
            chosen, names, served or screen or plain, settings, store, limits,
            make_seeds(chosen, network.graph, evaluator),
            progress(_look(known, metric, rows)) if progress else None,
            box=box, guides=guides, maximised=maximised,
            announce=screen.announce if screen else served.announce if served else None,
            revise=served.revise if served else None,
        )
        dropped = [int((row.outcome.reason or "")[len(DROPPED) :].split()[0]) for row in store.rows()
                   if (row.outcome.reason or "").startswith(DROPPED)]
        stored, found = list(store.rows()), result.front
        if served and beacons:
            stored = served.final(stored, again=not result.interrupted)
            found = front_of(stored, names, limits, maximised)
            lit |= {beacon.name: beacon for beacon in served.beacons}
        if served and beacons and not result.interrupted:
            if beacons.polish:
                say(f"retraining up to {beacons.polish} members of the front")
            polished = polish_front(stored, chosen, region, rows[8], trainer, valid, lit, beacons, limits,
                                    settings.seed, workers)
            about["beacons"] = _about_beacons(given, served.beacons, polished)
        # with what was fitted on the way, so that every program of this run is the same on any machine
        statistics.save(folder / "calibration.safetensors")
        for beacon in lit.values():
            if beacon.failed is None:
                beacon.calibration.save(beacon.folder / "calibration.safetensors")
        picks = pick(stored, chosen, base, evaluators(data.train), limits, names, maximised)
    by = {row.genome: row.outcome.beacon for row in stored}
    front = [Solution(chosen.key(g), chosen.widths(g), dict(v), None, by[g])
             for g, v in zip(found.genomes, found.values, strict=True)]
    homogeneous = [Solution(f"homogeneous {bits}", w, rows[bits], None) for bits, w in baselines.items()]
    real = {"valid": _float_error(network, data.valid, measure), "test": None}
    if not result.interrupted:
        say("measuring front, picks and baselines on test data")
        # the one use of the test data: for the finished front, its picks and its baselines
        test = evaluators(data.test)
        front, homogeneous = test.tested(front), test.tested(homogeneous)
        picks = dict(zip(picks, test.tested(list(picks.values())), strict=True))
        note_figures(lit.values(), valid, test)
        real["test"] = _float_error(network, data.test, measure)
    body = {
        "metric": metric,
        "objectives": list(names),
        "engine": engine,
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        "items": {name: len(getattr(data, name)) for name in ("train", "valid", "test")},
        "seconds": time.monotonic() - began,
        "evaluations": result.evaluations,
        "failed": result.failed - len(dropped),
        "dropped": len(dropped),
        "saved_percent": 100 * sum(1 - n / len(data.valid) for n in dropped) / max(1, result.evaluations),
        "interrupted": result.interrupted,
        "message": result.message,
        "float": real,
        "homogeneous": [s.to_json() for s in homogeneous],
        "front": [s.to_json() for s in front],
        "picks": {name: s.to_json() for name, s in picks.items()},
        "hypervolume": {
            "front": box.hypervolume([[s.values[n] for n in names] for s in front]) if front else 0.0,
            "homogeneous": box.hypervolume([[rows[b][n] for n in names] for b in WIDTHS]),
            "ideal": list(box.ideal),
            "reference": list(box.reference),
        },
        "history": [generation.to_dict() for generation in result.history],
        **about,
    }
    save_json(folder / "result.json", RESULT_KIND, RESULT_VERSION, body)
    return Run.open(folder)


def _look(objectives: Sequence[Objective], metric: str, rows: Mapping[int, Mapping[str, float]]) -> ValueDisplay:
    """How a display shows objectives: with units, and some baselines to compare with."""
    def text(objective: Objective) -> Callable[[float], str]:
        if objective.unit in UNIT_BITS:
            return lambda value: f"{value * UNIT_BITS[objective.unit] / 8192:.2f} KiB"
        unit = METRICS[metric].unit if objective.name == "error" else objective.unit
        return lambda value: f"{value:.4g} {unit}".rstrip()

    return ValueDisplay({}, {o.name: text(o) for o in objectives},
                        {f"homogeneous {bits}": rows[bits] for bits in (4, 8)})


def _about_beacons(given: Sequence[Beacon], served: Sequence[Beacon], polished: Sequence[Beacon]) -> dict[str, Any]:
    """What result.json says about beacons: names, and how many trainings the run paid for."""
    new = [beacon for beacon in served if beacon.name not in {g.name for g in given}]
    paid = list({beacon.name: beacon for beacon in (*new, *polished)}.values())
    return {"given": [b.name for b in given], "search": [b.name for b in new], "polish": [b.name for b in polished],
            "retrainings": len(paid), "failed": sum(b.failed is not None for b in paid),
            "seconds": sum(float(b.about["seconds"]) for b in paid)}


@contextmanager
def _evaluate(factory: WorkerFactory, evaluator: Evaluator, engine: str, workers: int) -> Iterator[Evaluate]:
    """Threads inside an engine that has them, processes for one that has not."""
    if ENGINES[engine].threaded or workers == 1:
        yield evaluate_together(evaluator, factory.space, 4 * workers)
    else:
        with make_evaluate(factory, workers) as evaluate:
            yield evaluate


def _float_error(network: Network, data: Data, metric: Metric) -> float:
    return metric.of(network(data.x, data.lengths), data.y)
