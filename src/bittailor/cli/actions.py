"""From a task or a user's own file to a run: what the command line calls, and what notebooks may."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bittailor.cli.own import Prepared, load_own
from bittailor.common import records
from bittailor.common.data import Data, Splits
from bittailor.common.data_files import read_splits
from bittailor.common.files import read_values
from bittailor.common.records import overlaid
from bittailor.compile.layouts import DEFAULT_CORE
from bittailor.core.program import Program
from bittailor.engines import ENGINES, best_engine
from bittailor.errors import BittailorError, FileError
from bittailor.evaluate.metrics import ForeignMetric, Measure, Metric, metric_of
from bittailor.runs import Retrained, Run, retrain_picks, run_search, run_sensitivity
from bittailor.runs.presets import PRESETS
from bittailor.runs.problem import QUIET, Display
from bittailor.runs.retraining import same_data
from bittailor.runs.spec import Origin, SearchSpec, TaskSettings, layered
from bittailor.search.executors import Executor
from bittailor.search.executors.connecting import ClusterSettings, connect
from bittailor.search.loop import Progress
from bittailor.search.progress import ValueDisplay, make_progress
from bittailor.train.recipe import Retraining

if TYPE_CHECKING:
    from bittailor.evaluate.sensitivity import Sensitivity
    from bittailor.export import Exported
    from bittailor.export.checking import Checked
    from bittailor.export.verify import Report

Epochs = Callable[[int, int, float], None]


def train_task(
    task: TaskSettings | str, *, metric: str | Metric | Measure = "", cache: Path | None = None,
    progress: Epochs | None = None,
) -> Prepared:
    """Load a task's data and train its float network, or read it from the cache.

    task      a name, or with cell, hidden, seed and data folder
    metric    a name in `METRICS`, for which the network is trained; empty: the task's own
    cache     folder for trained float networks; the user's cache if not given
    progress  called after every epoch
    Returns   network, data and metric, as `run_search` takes them
    Raises    UnknownName for a name that no table has, DataError where data are missing or not what they should be.
    """
    from bittailor.read import from_torch
    from bittailor.tasks import TASKS
    from bittailor.train.floats import train

    wanted = TaskSettings(task) if isinstance(task, str) else task
    known = TASKS[wanted.name]
    known = replace(known, metric=metric_of(metric or known.metric).name)
    wanted = replace(wanted, hidden=wanted.hidden or known.hidden)
    splits = known.load(wanted.data or None, wanted.seed)
    trained = train(known, splits, hidden=wanted.hidden, seed=wanted.seed, cache=cache, progress=progress,
                    cell=wanted.cell)
    network = from_torch(trained.module, known.inputs)
    measure = metric_of(known.metric)
    how = "read from the cache" if trained.cached else "trained"
    summary = (f"{known.name}: {wanted.cell.upper()} of {wanted.hidden} units, {how} ({trained.seconds:.0f} s), "
               f"{measure.title} {trained.valid:.4g} {measure.unit} on {len(splits.valid)} validation items")
    origin = Origin(known.title, known.source, known.licence, trained.key)
    return Prepared(network, splits, measure, wanted, origin, summary)


def export_solution(
    source: Path,
    folder: Path,
    *,
    to: str = "c",
    pick: str = "holds",
    prefix: str = "model",
    force: bool = False,
    steps: int | None = None,
    core: str | None = None,
    items: int = 4,
    seed: int = 0,
    data: Path | None = None,
) -> Exported:
    """Export a solution of a run, or a program file; see `export.export_program`.

    source  a run directory, or a file that `Program.save` wrote
    pick    which solution of the run (`Run.pick`)
    core    whose layouts weights have; None: the default
    data    a data folder: the self-test then runs validation items of the run's task. Without it, that is done for a
            run that was itself searched without one; otherwise the self-test runs random integers
    """
    from bittailor.export import export_program

    if source.is_file():
        return export_program(Program.load(source), folder, to, prefix=prefix, force=force, steps=steps,
                              core=core or DEFAULT_CORE, items=items, seed=seed, about=f"the network of {source.name}")
    run = Run.open(source)
    solution = run.pick(pick)
    task, metric = run.spec.task.name, run.metric
    samples = _validation(run, data)
    longest = steps if samples is None or steps is not None else samples.x.shape[1]
    pick = run.holds if pick == "holds" else pick
    compared = solution.against("8bit", "confirm")
    facts = {"task": run.origin.title, "solution": f"{pick}, of {len(run.front)} on the front",
             "against homogeneous 8 bit, on items that no search saw":
                 "" if compared is None else compared.text(metric.unit),
             f"selection {metric.noun}": f"{solution.values['error']:.4g} {metric.unit}",
             f"test {metric.noun}": "" if solution.test is None else f"{solution.test:.4g} {metric.unit}",
             "weights and biases times their widths": f"{solution.values['size'] / 8:.0f} bytes"}
    return export_program(
        run.program(solution), folder, to, prefix=prefix, force=force, steps=longest, core=core or DEFAULT_CORE,
        items=items, seed=seed, x=None if samples is None else samples.x,
        lengths=None if samples is None else samples.lengths,
        about=f"task {task}, solution {pick}" if task else f"solution {pick} of a search",
        facts={name: text for name, text in facts.items() if text},
    )


def verify_export(
    folder: Path,
    *,
    cores: Sequence[str] | None = None,
    items: int | None = None,
    seed: int = 0,
    run: Path | None = None,
    data: Path | None = None,
) -> Report | Checked:
    """Verify an exported directory; see `export.verifying.verify_folder`.

    run   a run directory: the exported program has to be one of its solutions, and validation items of its task are
          run in place of random ones, where they are at hand (`data`: the data folder)
    """
    from bittailor.export import fingerprint, read_export
    from bittailor.export.verify import ITEMS
    from bittailor.export.verifying import verify_folder

    count = ITEMS if items is None else items
    if run is None:
        return verify_folder(folder, cores, count, seed)
    opened = Run.open(run)
    exported = read_export(folder)["program"]
    solutions = [*opened.picks.values(), *opened.front, *opened.homogeneous, *opened.retrained.values()]
    if not any(fingerprint(opened.program(solution)) == exported for solution in solutions):
        raise FileError(f"{folder} holds none of the solutions of {run}; export it again, or name its own run")
    samples = _validation(opened, data)
    if samples is None:
        return verify_folder(folder, cores, count, seed)
    return verify_folder(folder, cores, count, seed, samples.x, samples.lengths)


def _validation(run: Run, folder: Path | None) -> Data | None:
    """Validation items of a run's task, or of its file of data, where they are at hand."""
    from bittailor.tasks import TASKS

    task = run.spec.task
    try:
        if (file := _file(folder, task)) is not None:
            return read_splits(file, task.seed).valid
        if task.name not in TASKS:
            return None
        return TASKS[task.name].load(_folder(folder, task), task.seed).valid
    except BittailorError:
        if folder is not None:
            raise
        return None


def _folder(given: Path | None, task: TaskSettings) -> Path | None:
    """The data folder of a run: the one given, or that of its search, where that is still there."""
    return given or (Path(task.data) if task.data and Path(task.data).is_dir() else None)


def _file(given: Path | None, task: TaskSettings) -> Path | None:
    """The file of data of a run whose network is a user's own: the one given, or that of its search."""
    if not task.own:
        return None
    return given or (Path(task.data) if task.data else None)


def make_spec(
    options: Mapping[str, Any], *, task: str | None = None, file: Path | None = None, preset: str | None = None
) -> SearchSpec:
    """The spec that a command line asks for: its options, above a file, above a preset, above the defaults.

    options  as from `cli.options.values_of`
    task     a task, FILE.py:FUNCTION or FILE.onnx
    file     TOML or JSON, or a run directory, whose spec is taken
    preset   a name in `PRESETS`
    Raises   BittailorError, in one line that names the field, for whatever is wrong.
    """
    from bittailor.tasks import TASKS

    given = overlaid(options, {} if task is None else {"task": {"name": task}})
    read: Mapping[str, Any] = {}
    if file is not None and file.is_dir():
        read, name = (spec := Run.open(file).spec).to_dict(), spec.task.name
        if ":" in name and task is None:
            raise BittailorError(f"{file} was searched with {name}, and searching it again runs that file; if you "
                                 f"trust it, name it:  bittailor search {name} --spec {file}")
    elif file is not None:
        read = read_values(file)
    layers = [read, given]
    if preset is not None:
        space = overlaid(read, given).get("space", {})
        where = space.get("name", "") if isinstance(space, Mapping) else ""
        layers.insert(0, PRESETS[preset].in_space(str(where)).to_dict())
    spec = layered(*layers)
    if not spec.beacons.used and options.get("beacons", {}).keys() - {"budget", "polish", "ladder"}:
        raise BittailorError("--beacon-rule and --recipe are about retraining; add --retrain, or --ladder, --beacons "
                             "or --polish")
    own = TASKS.get(spec.task.name)
    if own is None:
        _check_own(spec.task, options.get("task", {}))
        return spec
    return replace(spec, metric=spec.metric or own.metric,
                   task=replace(spec.task, hidden=spec.task.hidden or own.hidden))


def _check_own(task: TaskSettings, asked: Mapping[str, Any]) -> None:
    """BittailorError for settings of the package's tasks where the network is a user's own."""
    usual = TaskSettings(task.name, seed=task.seed)
    wrong = [name for name in ("cell", "hidden") if name in asked or getattr(task, name) != getattr(usual, name)]
    if task.own and wrong:
        raise BittailorError(f"{wrong[0]} (--{wrong[0]}) is about bittailor's tasks; {task.name} brings its own "
                             "network. Leave it out")


def search_spec(
    spec: SearchSpec, out: Path | str, *, resume: bool = False, cache: Path | None = None, command: str = "",
    progress: Epochs | None = None,
) -> Run:
    """Train (or read) the float network that a spec names, and search it; see `runs.run_search`.

    cache     folder for trained float networks; the user's cache if not given
    command   the command line that asked for it
    progress  shown on standard error, with the training's epochs by this; nothing is shown without it
    """
    if not spec.task.name:
        raise BittailorError("which task? Give one, such as digits (see `bittailor tasks`), FILE.py:FUNCTION or "
                             "FILE.onnx")
    if spec.task.own:
        _check_own(spec.task, {})
        prepared = load_own(spec.task.name, spec.task, spec.metric)
        if spec.metric and spec.known_metric.to_json() != prepared.metric.to_json():
            raise BittailorError(f"metric (--metric) is for tasks; let {spec.task.name} return (module, Splits, "
                                 "metric)")
    else:
        prepared = train_task(spec.task, metric=spec.metric, cache=cache, progress=progress)
    origin = replace(prepared.origin, command=command)
    spec = replace(spec, task=prepared.task, metric=prepared.metric)
    if progress is None:
        return run_search(prepared.network, prepared.data, out, spec, resume=resume, origin=origin, display=QUIET)
    print(prepared.summary)
    engine = ENGINES[best_engine() if spec.engine == "auto" else spec.engine]
    if engine.available() is None:
        print(f"engine: {engine.words}")
    return run_search(prepared.network, prepared.data, out, spec, resume=resume, origin=origin, display=Terminal())


class Terminal(Display):
    """Progress and words on standard error: live on a terminal, lines elsewhere."""

    shows = True

    def progress(self, look: ValueDisplay) -> Progress:
        return make_progress("auto", look)

    def tell(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def run_data(run: Run, data: Path | None = None, own: str = "") -> tuple[Splits, Metric]:
    """The data that a run was searched with, and its metric, read again: of its task, of its file, or of its own
    FILE.py:FUNCTION.

    data    a data folder, or a file of data; that of the search if not given, where it is still there
    own     FILE.py:FUNCTION, where the run was searched with one: its code runs only if the user names it, since a run
            may come from anybody
    Raises  BittailorError where the run does not say what it searched, or `own` is missing; DataError for other data.
    """
    from bittailor.tasks import TASKS

    task = run.spec.task
    if task.name in TASKS:
        splits, metric = TASKS[task.name].load(_folder(data, task), task.seed), run.metric
    elif not own and (file := _file(data, task)) is not None:
        if isinstance(run.metric, ForeignMetric) and ":" in task.name:
            raise BittailorError(f"{run.path} was searched with the metric '{run.metric.name}' of {task.name}, and "
                                 f"computing it runs that file; if you trust it, add:  --from {task.name}")
        splits, metric = read_splits(file, task.seed), run.metric_given(None)
    elif own:
        prepared = load_own(own, replace(task, data=str(data or task.data)))
        splits, metric = prepared.data, run.metric_given(prepared.metric)
    elif ":" in task.name:
        raise BittailorError(f"{run.path} was searched with {task.name}, and reading its data again runs that file; "
                             f"if you trust it, add:  --from {task.name}")
    else:
        raise BittailorError(f"{run.path} does not say where its data came from: it was made from Python. "
                             "Call bittailor.retrain_picks or bittailor.run_sensitivity with the data")
    same_data(run, splits)
    return splits, metric


def retrain_run(
    path: Path, picks: Sequence[str], *, recipe: Mapping[str, Any] | None = None, seed: int = 0,
    data: Path | None = None, own: str = "", workers: int = 0, cluster: str = "",
) -> list[Retrained]:
    """Retrain solutions of a run and store them beside the originals; see `runs.retrain_picks`.

    recipe  what differs from the recipe of the search
    """
    run = Run.open(path)
    for text in picks:
        run.pick(text)
    asked = records.make(Retraining, {**asdict(run.spec.beacons.recipe), **(recipe or {})}, "recipe")
    splits, metric = run_data(run, data, own)
    with _cluster(cluster) as executor:
        return retrain_picks(run, splits, picks, recipe=asked, seed=seed, workers=workers, metric=metric,
                             executor=executor)


def _cluster(address: str) -> AbstractContextManager[Executor | None]:
    """An executor on a cluster, said on standard error; none without an address."""
    return connect(ClusterSettings(address), Terminal().tell) if address else nullcontext()


def sensitivity_run(
    path: Path, at: str = "8bit", *, data: Path | None = None, own: str = "", cluster: str = ""
) -> tuple[Sensitivity, Path]:
    """Analyse what every operator of a run does to the error, at a pick; writes RUN/sensitivity/PICK.json, .csv and
    .png; returns the analysis and the path of the CSV file."""
    from bittailor.report.sensitivity import write_sensitivity

    run = Run.open(path)
    run.pick(at)
    splits, metric = run_data(run, data, own)
    with _cluster(cluster) as executor:
        found = run_sensitivity(run, splits, at, metric=metric, executor=executor)
    return found, write_sensitivity(run, found)
