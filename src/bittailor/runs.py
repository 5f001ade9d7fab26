"""A run: a directory that holds one search and everything it depends on.

    run.json                 what was asked for: configuration, versions, fingerprints (written first)
    network.safetensors      the float network
    calibration.safetensors  the frozen statistics that give every range
    evaluations.sqlite       every evaluation, the cache that a resumed search replays from
    result.json              fronts, baselines and history, with test figures (written last)

Killing the process loses at most the evaluations in flight; `resume=True` goes on to the same result.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from bittailor._version import __version__
from bittailor.calibration import Calibration, calibrate
from bittailor.calibration import Settings as CalibrationSettings
from bittailor.constraints import Constraint, parse
from bittailor.data import Data, Splits
from bittailor.engines import ENGINES, best_engine
from bittailor.errors import BittailorError, FileError
from bittailor.evaluate import OBJECTIVES, Evaluator, WorkerFactory, check_task, evaluate_together
from bittailor.files import load_json, save_json
from bittailor.graph import Graph
from bittailor.metrics import METRICS
from bittailor.network import Network
from bittailor.plan import Plan
from bittailor.program import Program
from bittailor.screen import DROPPED, Screen
from bittailor.search.executors import make_evaluate
from bittailor.search.front import Box, knee
from bittailor.search.loop import Evaluate, Progress, search
from bittailor.search.nsga2 import Settings as SearchSettings
from bittailor.search.progress import Look
from bittailor.search.space import Genome, Space
from bittailor.search.store import Store
from bittailor.spaces import BASELINES, SPACES, WIDTHS, homogeneous_widths

RUN_KIND, RUN_VERSION = "run", 1
RESULT_KIND, RESULT_VERSION = "result", 1
TEMPLATE_BIASES = (6, 8)
"""Bias widths of the seeds that pair narrow weights with wide activations."""
PICK_BATCH = 16
UNIT_BITS = {"bit": 1, "B": 8}


@dataclass(frozen=True)
class Solution:
    """One point of a finished run.

    key     canonical text of its widths
    widths  site -> bits
    values  validation error, size, …, by objective name
    test    the metric on test data, None where it was not measured
    """

    key: str
    widths: Mapping[str, int]
    values: Mapping[str, float]
    test: float | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"key": self.key, "widths": dict(self.widths), "values": dict(self.values), "test": self.test}

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> Solution:
        """The inverse of `to_json`."""
        return cls(item["key"], dict(item["widths"]), dict(item["values"]), item["test"])


@dataclass(frozen=True)
class Run:
    """An opened run directory."""

    path: Path
    config: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Open a run directory; FileError if it is none, damaged or of another version."""
        folder = Path(path)
        if not (folder / "run.json").is_file():
            raise FileError(f"{folder} is no run directory: it has no run.json. "
                            "Make one: bittailor search TASK --out DIR")
        return cls(folder, load_json(folder / "run.json", RUN_KIND, RUN_VERSION))

    @cached_property
    def network(self) -> Network:
        """The float network."""
        return Network.load(self.path / "network.safetensors")

    @cached_property
    def calibration(self) -> Calibration:
        """The frozen statistics."""
        return Calibration.load(self.path / "calibration.safetensors", self.network)

    @cached_property
    def space(self) -> Space:
        """What the search could choose."""
        return Space.from_dict(self.config["space"])

    @cached_property
    def result(self) -> Mapping[str, Any]:
        """result.json; FileError if the search has not finished or been stopped yet."""
        path = self.path / "result.json"
        if not path.is_file():
            raise FileError(f"the search in {self.path} has not ended; go on with it: the same command with --resume")
        return load_json(path, RESULT_KIND, RESULT_VERSION)

    @property
    def front(self) -> list[Solution]:
        """The non-dominated solutions, from the lowest first objective to the highest."""
        return [Solution.from_json(item) for item in self.result["front"]]

    @property
    def homogeneous(self) -> list[Solution]:
        """The baselines, one per width."""
        return [Solution.from_json(item) for item in self.result["homogeneous"]]

    def baseline(self, bits: int = 8) -> Solution:
        """The homogeneous solution of one width."""
        for solution in self.homogeneous:
            if solution.key == f"homogeneous {bits}":
                return solution
        raise BittailorError(f"the run has no homogeneous baseline of {bits} bits")

    @property
    def picks(self) -> dict[str, Solution]:
        """The smallest solutions, of all evaluated, that are no worse than homogeneous 8 bits.

        smallest  by validation error alone: what papers compare; on a small validation set, luck is in it
        careful   by validation error and validation loss, and confirmed on the training data, which no solution was
                  chosen by: an error of at most 0.1 points (`Metric.as_good`) above that of homogeneous 8 bits there
        Absent where there is none.
        """
        return {name: Solution.from_json(item) for name, item in self.result["picks"].items()}

    def smallest(self, limit: float) -> Solution | None:
        """The smallest solution of the front with a validation error of at most `limit`; None if there is none."""
        good = [s for s in self.front if s.values["error"] <= limit]
        return min(good, key=lambda s: (s.values["size"], s.values["error"]), default=None)

    def pick(self, text: str) -> Solution:
        """A solution by words: an index of the front, `smallest` or `careful` (see `picks`), `best` (lowest error),
        `knee`, `8bit` and the like (a baseline), or `error<=X` (the smallest within)."""
        front = self.front
        if not front:
            raise BittailorError(f"the front of {self.path} is empty: {self.result['message'] or 'nothing was found'}")
        if text.isdigit():
            if int(text) >= len(front):
                raise BittailorError(f"there is no solution {text}; the front has 0..{len(front) - 1}")
            return front[int(text)]
        if text == "best":
            return min(front, key=lambda s: (s.values["error"], s.values["size"]))
        if text == "knee":
            at = knee([[s.values[n] for n in self.result["objectives"]] for s in front])
            return front[at or 0]
        if text.endswith("bit") and text[:-3].isdigit():
            return self.baseline(int(text[:-3]))
        if text in ("smallest", "careful"):
            if text not in self.picks:
                raise BittailorError(f"no solution is '{text}': none is as good as homogeneous 8 bits "
                                     "on validation data")
            return self.picks[text]
        if text.startswith("error"):
            found = self.smallest(parse(text, {"error": ""}).limit)
            if found is None:
                raise BittailorError(f"no solution has a validation error that low; the best has "
                                     f"{min(s.values['error'] for s in front):.4g}")
            return found
        raise BittailorError(f"cannot pick '{text}'; say an index 0..{len(front) - 1}, smallest, careful, best, knee, "
                             "8bit or 'error<=X'")

    def plan(self, solution: Solution | Mapping[str, int]) -> Plan:
        """The plan of a solution or of widths."""
        return self.calibration.plan(solution.widths if isinstance(solution, Solution) else solution)

    def program(self, solution: Solution | Mapping[str, int]) -> Program:
        """The integer program of a solution: what is shipped."""
        return self.calibration.binder().bind(self.plan(solution))

    def store(self) -> Store:
        """Every evaluation, read-only."""
        return Store(self.path / "evaluations.sqlite", readonly=True)


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
    settings: SearchSettings | None = None,
    calibration: CalibrationSettings | None = None,
    early_stop: bool = False,
    engine: str = "auto",
    workers: int = 0,
    resume: bool = False,
    task: Mapping[str, Any] | None = None,
    command: str = "",
    progress: Callable[[Look], Progress] | None = None,
) -> Run:
    """Search the widths of a network and write a run directory.

    network      from `from_torch`
    data         training data calibrate, validation data are searched on, test data are used once at the end
    out          the run directory; new, or with `resume` an earlier one of the same search (the number of
                 generations may differ: a finished search can be made longer)
    space        a name in `SPACES`, or a space
    objectives   names in `OBJECTIVES`, two or more, all minimised
    constraints  such as "size<=32KiB"
    guide        what selection looks at in place of the error: "loss" (smooth; a small validation set has few error
                 values and many lucky solutions) or "error" itself. The front is of the error either way
    settings     population, generations, seed, operators of NSGA-II
    early_stop   give up on candidates that are certainly hopeless after a part of the data; front and `smallest` are
                 the same as without (see `screen`)
    engine       "auto" takes the fastest that runs here; results do not depend on it
    workers      threads of an engine that has them, otherwise processes; 0 takes every core for threads and no
                 extra process. Results do not depend on it
    task         what the data came from, kept in run.json for reports
    command      the command line that asked for it, likewise
    progress     makes a display, given how to show values; such as `bittailor.search.progress.make_display`
    Raises DataError, FileError, FormatError or another BittailorError, before anything long has begun.
    """
    settings = settings or SearchSettings()
    calibration_settings = calibration or CalibrationSettings()
    names = tuple(objectives)
    if guide not in ("loss", "error"):
        raise BittailorError(f"guide '{guide}' is unknown; choose loss or error")
    for name in names:
        OBJECTIVES[name]
    if len(set(names)) < 2:
        raise BittailorError(f"a search needs two or more objectives; got {', '.join(names) or 'none'}")
    limits = [parse(text, {o.name: o.unit for o in OBJECTIVES.values()}) for text in constraints]
    for part in (data.train, data.valid, data.test):
        check_task(network, part, metric)
    chosen = SPACES[space](network.graph) if isinstance(space, str) else space
    engine = best_engine() if engine == "auto" else engine
    workers = workers or (len(os.sched_getaffinity(0)) if ENGINES[engine].threaded else 1)
    reported = tuple(dict.fromkeys((*names, *(c.name for c in limits), "loss", "size", "stored")))
    folder = Path(out)
    config = {
        "bittailor_version": __version__,
        "task": dict(task or {}),
        "command": command,
        "metric": metric,
        "objectives": list(names),
        "constraints": list(constraints),
        "guide": guide,
        "search": asdict(settings),
        "calibration": asdict(calibration_settings),
        "space": chosen.to_dict(),
        "fingerprints": {"network": network.fingerprint, "data": data.fingerprint},
    }
    _prepare(folder, config, resume)
    began = time.monotonic()
    statistics = _calibrated(folder, network, data.train, calibration_settings)
    factory = WorkerFactory(chosen, statistics, data.valid, metric, engine, reported)
    evaluator = factory.evaluator()
    baselines = {bits: homogeneous_widths(network.graph, bits) for bits in BASELINES}
    rows = dict(zip(baselines, evaluator.evaluate(list(baselines.values())), strict=True))
    box = Box.around([[rows[bits][name] for name in names] for bits in WIDTHS])
    identity = {"network": network.fingerprint, "data": data.valid.fingerprint, "metric": metric,
                "calibration": repr(calibration_settings), "space": chosen.name}
    with (
        Store(folder / "evaluations.sqlite", identity) as store,
        _evaluate(factory, evaluator, engine, workers) as plain,
    ):
        guides = {"error": guide}
        screen = Screen(evaluator, chosen, names, guides, limits) if early_stop else None
        result = search(
            chosen, names, screen or plain, settings, store, limits, seeds(chosen, network.graph),
            progress(_look(names, metric, rows)) if progress else None,
            box=box, guides=guides, announce=screen.announce if screen else None,
        )
        dropped = [int((row.outcome.reason or "")[len(DROPPED) :].split()[0]) for row in store.rows()
                   if (row.outcome.reason or "").startswith(DROPPED)]
        # with what was fitted on the way, so that every program of this run is the same on any machine
        statistics.save(folder / "calibration.safetensors")
        picks = _picks(store, chosen, baselines[8], evaluator,
                       Evaluator(statistics, data.train, metric, engine, ()), limits)
    front = [Solution(chosen.key(g), chosen.widths(g), dict(v), None)
             for g, v in zip(result.front.genomes, result.front.values, strict=True)]
    homogeneous = [Solution(f"homogeneous {bits}", w, rows[bits], None) for bits, w in baselines.items()]
    real = {"valid": _float_error(network, data.valid, metric), "test": None}
    if not result.interrupted:
        # the one use of the test data: for the finished front, its picks and its baselines
        test = Evaluator(statistics, data.test, metric, engine, ())
        front, homogeneous = _tested(test, front), _tested(test, homogeneous)
        picks = dict(zip(picks, _tested(test, list(picks.values())), strict=True))
        real["test"] = _float_error(network, data.test, metric)
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
    }
    save_json(folder / "result.json", RESULT_KIND, RESULT_VERSION, body)
    return Run.open(folder)


def _look(names: Sequence[str], metric: str, rows: Mapping[int, Mapping[str, float]]) -> Look:
    """How a display shows objectives: with units, and some baselines to compare with."""
    def text(name: str) -> Callable[[float], str]:
        if OBJECTIVES[name].unit in UNIT_BITS:
            return lambda value: f"{value * UNIT_BITS[OBJECTIVES[name].unit] / 8192:.2f} KiB"
        unit = METRICS[metric].unit if name == "error" else OBJECTIVES[name].unit
        return lambda value: f"{value:.4g} {unit}".rstrip()

    return Look({}, {name: text(name) for name in names}, {f"homogeneous {bits}": rows[bits] for bits in (4, 8)})


def _picks(
    store: Store, space: Space, baseline: Mapping[str, int], valid: Evaluator, train: Evaluator,
    limits: Sequence[Constraint],
) -> dict[str, Solution]:
    """`Run.picks`, of everything evaluated that keeps the constraints (ties: lower error, loss, key)."""
    (base,), (seen,) = valid.evaluate([dict(baseline)]), train.evaluate([dict(baseline)])
    good = [
        Solution(row.key, space.widths(row.genome), dict(row.outcome.values), None)
        for row in store.rows()
        if row.outcome.values is not None and row.outcome.values["error"] <= base["error"]
        and not any(c.violation(row.outcome.values[c.name]) for c in limits)
    ]
    good.sort(key=lambda s: (s.values["size"], s.values["error"], s.values["loss"], s.key))
    found = {"smallest": good[0]} if good else {}
    steady = [s for s in good if s.values["loss"] <= base["loss"]]
    highest = valid.metric.as_good(seen["error"])
    for start in range(0, len(steady), PICK_BATCH):
        batch = steady[start : start + PICK_BATCH]
        rows = train.evaluate([dict(s.widths) for s in batch])
        passed = [s for s, row in zip(batch, rows, strict=True) if row["error"] <= highest]
        if passed:
            found["careful"] = passed[0]
            break
    return found


def seeds(space: Space, graph: Graph) -> list[Genome]:
    """The first solutions of a search: the homogeneous ones (so that a front never loses to its baseline), and
    each weight width paired with the widest activations, whose width costs no parameter."""
    found = [space.nearest(homogeneous_widths(graph, bits)) for bits in WIDTHS]
    for bits in WIDTHS:
        for bias in TEMPLATE_BIASES:
            widths = {
                site.name: {"weight": bits, "bias": bias, "activation": max(WIDTHS)}[site.kind] for site in graph.free
            }
            found.append(space.nearest(widths))
    return list(dict.fromkeys(found))


def _prepare(folder: Path, config: Mapping[str, Any], resume: bool) -> None:
    """Write run.json, or check that an earlier one asked for the same search."""
    file = folder / "run.json"
    if not file.exists():
        if resume:
            raise FileError(f"nothing to resume: {folder} has no run.json; leave out --resume to begin")
        if folder.is_dir() and any(folder.iterdir()):
            raise FileError(f"{folder} is not empty and no run directory; choose another --out")
        save_json(file, RUN_KIND, RUN_VERSION, config)
        return
    old = Run.open(folder).config
    asked, begun = _plain(config), dict(old)
    # more generations only make the same search longer
    begun["search"] = {**old.get("search", {}), "generations": asked["search"]["generations"]}
    for name, value in asked.items():
        if name not in ("bittailor_version", "command") and begun.get(name) != value:
            was, now = _short(old.get(name)), _short(value)
            raise FileError(f"{folder} belongs to another search: its {name} is {was}, now it is {now}; "
                            "choose another --out")
    if not resume:
        raise FileError(f"{folder} holds this search already; add --resume to go on, or choose another --out")
    if old.get("bittailor_version") != config["bittailor_version"]:
        raise FileError(f"{folder} was begun by bittailor {old.get('bittailor_version')}; "
                        f"this is {config['bittailor_version']}: its evaluations may differ. Choose another --out")
    if begun["search"] != old["search"]:
        save_json(file, RUN_KIND, RUN_VERSION, {**begun, "command": config["command"]})


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 90 else f"{text[:87]}…"


def _calibrated(folder: Path, network: Network, train: Data, settings: CalibrationSettings) -> Calibration:
    """The run's frozen statistics: read where they are, otherwise made and kept."""
    network.save(folder / "network.safetensors")
    file = folder / "calibration.safetensors"
    if file.exists():
        return Calibration.load(file, network)
    statistics = calibrate(network, train.x, train.lengths, settings)
    statistics.save(file)
    return statistics


@contextmanager
def _evaluate(factory: WorkerFactory, evaluator: Evaluator, engine: str, workers: int) -> Iterator[Evaluate]:
    """Threads inside an engine that has them, processes for one that has not."""
    if ENGINES[engine].threaded or workers == 1:
        yield evaluate_together(evaluator, factory.space, 4 * workers)
    else:
        with make_evaluate(factory, workers) as evaluate:
            yield evaluate


def _float_error(network: Network, data: Data, metric: str) -> float:
    return METRICS[metric].of(network(data.x, data.lengths), data.y)


def _tested(evaluator: Evaluator, solutions: Sequence[Solution]) -> list[Solution]:
    rows = evaluator.evaluate([dict(s.widths) for s in solutions]) if solutions else []
    return [replace(s, test=row["error"]) for s, row in zip(solutions, rows, strict=True)]
