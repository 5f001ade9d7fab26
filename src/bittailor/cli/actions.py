"""From a task or a user's own file to a run: what the command line calls, and what notebooks may."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bittailor.common.data import Data, Splits
from bittailor.common.processors import processors
from bittailor.common.registry import Table
from bittailor.core.cells import CELLS
from bittailor.core.network import Network
from bittailor.core.program import Program
from bittailor.core.qformat import Kind, check_width
from bittailor.cost import load_platform
from bittailor.errors import BittailorError, FileError
from bittailor.evaluate.evaluator import objectives_with
from bittailor.evaluate.metrics import METRICS
from bittailor.quantise.calibration import CalibrationSettings
from bittailor.quantise.spaces import SPACES, of_platform
from bittailor.runs import Retrained, Run, retrain_picks, run_search, run_sensitivity
from bittailor.runs.retraining import same_data
from bittailor.search.presets import PRESETS
from bittailor.search.progress import make_display
from bittailor.search.settings import SearchSettings
from bittailor.search.space import Space
from bittailor.train.beacons import BeaconSettings

if TYPE_CHECKING:
    from bittailor.evaluate.sensitivity import Sensitivity
    from bittailor.export import Exported
    from bittailor.export.verify import Report

Epochs = Callable[[int, int, float], None]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A float network with its data, ready to be searched.

    about    what it is, kept in run.json: task, hidden, seed, …
    summary  one line for people
    """

    network: Network
    data: Splits
    metric: str
    about: dict[str, Any]
    summary: str


def train_task(
    name: str,
    *,
    hidden: int | None = None,
    seed: int = 0,
    data: Path | None = None,
    cache: Path | None = None,
    progress: Epochs | None = None,
    cell: str = "gru",
    metric: str | None = None,
) -> Prepared:
    """Load a task's data and train its float network, or read it from the cache.

    cell    of its recurrent layer, a name in `CELLS`
    metric  a name in `METRICS` in place of the task's own; the network is trained for it
    """
    from bittailor.read import from_torch
    from bittailor.tasks import TASKS
    from bittailor.train.floats import train

    task = TASKS[name]
    if metric is not None:
        task = replace(task, metric=METRICS[metric].name)
    _ = CELLS[cell]
    if hidden is not None and hidden < 1:
        raise BittailorError(f"hidden is {hidden}; a layer needs at least 1 unit")
    if seed < 0:
        raise BittailorError(f"seed is {seed}; expected 0 or more")
    splits = task.load(data, seed)
    trained = train(task, splits, hidden=hidden, seed=seed, cache=cache, progress=progress, cell=cell)
    network = from_torch(trained.module, task.inputs)
    measure = METRICS[task.metric]
    units = hidden or task.hidden
    how = "read from the cache" if trained.cached else "trained"
    summary = (f"{name}: {cell.upper()} of {units} units, {how} ({trained.seconds:.0f} s), "
               f"{measure.title} {trained.valid:.4g} {measure.unit} on {len(splits.valid)} validation items")
    about = {"task": name, "title": task.title, "cell": cell, "hidden": units, "seed": seed, "source": task.source,
             "licence": task.licence, "float_key": trained.key}
    return Prepared(network, splits, task.metric, about, summary)


def load_own(where: str) -> Prepared:
    """A user's network: FILE.py:FUNCTION; FUNCTION() returns (torch module, Splits), and a metric's name if need be."""
    from bittailor.read import from_torch

    file, _, function = where.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise BittailorError(f"there is no file '{file}'; expected FILE.py:FUNCTION")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        made = getattr(module, function)()
    except BittailorError:
        raise
    except AttributeError:
        raise BittailorError(f"{path} has no function '{function}'") from None
    except Exception as error:
        raise BittailorError(f"{where} failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, tuple) or len(made) not in (2, 3) or not isinstance(made[1], Splits):
        raise BittailorError(f"{where} must return (torch module, bittailor.Splits) or (module, Splits, metric); "
                             f"it returned {type(made).__name__}")
    metric = made[2] if len(made) == 3 else "error"
    _ = METRICS[metric]
    network = from_torch(made[0], made[1].train.x.shape[2])
    return Prepared(network, made[1], metric, {"task": where, "title": where}, f"{where}: read")


def export_solution(
    source: Path,
    folder: Path,
    *,
    to: str = "c",
    pick: str = "smallest",
    prefix: str = "model",
    force: bool = False,
    steps: int | None = None,
    items: int = 4,
    seed: int = 0,
    data: Path | None = None,
) -> Exported:
    """Export a solution of a run, or a program file; see `export.export_program`.

    source  a run directory, or a file that `Program.save` wrote
    pick    which solution of the run (`Run.pick`)
    data    a data folder: the self-test then runs validation items of the run's task. Without it, that is done for a
            run that was itself searched without one; otherwise the self-test runs random integers
    """
    from bittailor.export import export_program

    if source.is_file():
        return export_program(Program.load(source), folder, to, prefix=prefix, force=force, steps=steps, items=items,
                              seed=seed, about=f"the network of {source.name}")
    run = Run.open(source)
    solution = run.pick(pick)
    task, unit = run.config["task"], METRICS[run.config["metric"]].unit
    samples = _validation(run, data)
    longest = steps if samples is None or steps is not None else samples.x.shape[1]
    facts = {"task": str(task.get("title", "")), "solution": f"{pick}, of {len(run.front)} on the front",
             "validation error": f"{solution.values['error']:.4g} {unit}",
             "test error": "" if solution.test is None else f"{solution.test:.4g} {unit}",
             "weights and biases times their widths": f"{solution.values['size'] / 8:.0f} bytes"}
    return export_program(
        run.program(solution), folder, to, prefix=prefix, force=force, steps=longest, items=items, seed=seed,
        x=None if samples is None else samples.x, lengths=None if samples is None else samples.lengths,
        about=f"task {task['task']}, solution {pick}" if "task" in task else f"solution {pick} of a search",
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
) -> Report:
    """Verify an exported directory; see `export.verify.verify`.

    run   a run directory: the exported program has to be one of its solutions, and validation items of its task are
          run in place of random ones, where they are at hand (`data`: the data folder)
    """
    from bittailor.export import fingerprint, read_export
    from bittailor.export.verify import ITEMS, verify

    count = ITEMS if items is None else items
    if run is None:
        return verify(folder, cores, count, seed)
    opened = Run.open(run)
    exported = read_export(folder)["program"]
    solutions = [*opened.picks.values(), *opened.front, *opened.homogeneous, *opened.retrained.values()]
    if not any(fingerprint(opened.program(solution)) == exported for solution in solutions):
        raise FileError(f"{folder} holds none of the solutions of {run}; export it again, or name its own run")
    samples = _validation(opened, data)
    if samples is None:
        return verify(folder, cores, count, seed)
    return verify(folder, cores, count, seed, samples.x, samples.lengths)


def _validation(run: Run, folder: Path | None) -> Data | None:
    """Validation items of a run's task, where they are at hand."""
    from bittailor.tasks import TASKS

    task = run.config["task"]
    searched_with_own = "--data" in shlex.split(run.config.get("command", ""))
    if task.get("task") not in TASKS or (folder is None and searched_with_own):
        return None
    try:
        return TASKS[task["task"]].load(folder, task.get("seed", 0)).valid
    except BittailorError:
        if folder is not None:
            raise
        return None


def search_task(
    name: str,
    out: Path,
    *,
    preset: str | None = None,
    platforms: Sequence[Path | str] = (),
    space: str | None = None,
    widths: Sequence[int] | None = None,
    activations: Sequence[int] | None = None,
    biases: Sequence[int] | None = None,
    objectives: Sequence[str] | None = None,
    constraints: Sequence[str] = (),
    guide: str | None = None,
    population: int | None = None,
    offspring: int | None = None,
    generations: int | None = None,
    method: str = "mse",
    rounding: str = "inputs",
    per_row: bool = False,
    early_stop: bool = False,
    seeding: str | None = None,
    beacons: BeaconSettings | None = None,
    beacons_from: Sequence[Path | str] = (),
    engine: str = "auto",
    workers: int = 0,
    resume: bool = False,
    hidden: int | None = None,
    cell: str = "gru",
    seed: int = 0,
    data: Path | None = None,
    cache: Path | None = None,
    metric: str | None = None,
    quiet: bool = True,
    epochs: Epochs | None = None,
    command: str = "",
) -> Run:
    """Prepare a task (or FILE.py:FUNCTION) and search it; see `runs.run_search`.

    preset     a name in `PRESETS`: what is None takes its values, otherwise those of `run_search`
    platforms  TOML files of hardware; the name of one is also a space (docs/hardware.md)
    metric     of a task, in place of its own; FILE.py:FUNCTION names its metric itself
    """
    taken = PRESETS[preset] if preset else None
    own = [load_platform(path) for path in platforms]
    table = objectives_with(own)
    space = space or (taken.space if taken else "per_operator")
    made: dict[str, Callable[..., Space]] = {p.name: partial(of_platform, platform=p) for p in own}
    make = Table("space", {**SPACES, **made})[space]
    objectives = objectives or (taken.objectives_for(space) if taken else ("error", "size"))
    for objective in objectives:
        _ = table[objective]
    guide = guide or (taken.guide if taken else "loss")
    seeding = seeding or (taken.seeding if taken else "sensitivity")
    kinds: tuple[tuple[Kind, Sequence[int] | None], ...] = (
        ("weight", widths), ("activation", activations), ("bias", biases))
    for kind, given in kinds:
        # before anything long begins
        for bits in given or ():
            check_width(kind, bits)
    if taken and generations is None:
        generations = taken.generations_for(space)
    numbers: dict[str, Any] = {"population": population, "offspring": offspring, "generations": generations}
    settings = replace(taken.settings if taken else SearchSettings(), seed=seed,
                       **{k: v for k, v in numbers.items() if v is not None})
    calibration = CalibrationSettings(method=method, rounding=rounding, per_row=per_row)
    if ":" in name:
        if metric is not None:
            raise BittailorError(f"--metric is for tasks; let {name} return (module, Splits, metric)")
        prepared = load_own(name)
    else:
        prepared = train_task(name, hidden=hidden, cell=cell, seed=seed, data=data, cache=cache, progress=epochs,
                              metric=metric)
    chosen: dict[str, Any] = {"widths": widths, "activations": activations, "biases": biases}
    if not quiet:
        print(prepared.summary)
    return run_search(
        prepared.network, prepared.data, out,
        metric=prepared.metric,
        space=make(prepared.network.graph, **{k: v for k, v in chosen.items() if v is not None}),
        objectives=objectives, constraints=constraints, guide=guide, settings=settings, calibration=calibration,
        early_stop=early_stop, engine=engine, workers=workers or processors(), resume=resume,
        task=prepared.about, command=command, progress=None if quiet else make_display, platforms=own,
        seeding=seeding, beacons=beacons, beacons_from=beacons_from, say=None if quiet else _tell,
    )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_data(run: Run, data: Path | None = None) -> Splits:
    """The data that a run was searched with, read again: of its task, or of its own FILE.py:FUNCTION.

    data    a data folder, as for the search
    Raises  BittailorError where the run does not say what it searched, DataError for other data.
    """
    from bittailor.tasks import TASKS

    about = run.config["task"]
    name = str(about.get("task", ""))
    if name in TASKS:
        splits = TASKS[name].load(data, about.get("seed", 0))
    elif ":" in name:
        splits = load_own(name).data
    else:
        raise BittailorError(f"{run.path} does not say where its data came from: it was made from Python. "
                             "Call bittailor.retrain_picks or bittailor.run_sensitivity with the data")
    same_data(run, splits)
    return splits


def retrain_run(
    path: Path, picks: Sequence[str], *, recipe: Mapping[str, Any] | None = None, seed: int = 0,
    data: Path | None = None, workers: int = 0,
) -> list[Retrained]:
    """Retrain solutions of a run and store them beside the originals; see `runs.retrain_picks`."""
    run = Run.open(path)
    for text in picks:
        run.pick(text)
    asked = {**run.config.get("beacons", {}).get("recipe", {}), **(recipe or {})}
    return retrain_picks(run, run_data(run, data), picks, recipe=asked, seed=seed, workers=workers)


def sensitivity_run(path: Path, at: str = "8bit", *, data: Path | None = None) -> tuple[Sensitivity, Path]:
    """Analyse what every operator of a run does to the error, at a pick; writes RUN/sensitivity/PICK.json, .csv and
    .png; returns the analysis and the path of the CSV file."""
    from bittailor.report.sensitivity import write_sensitivity

    run = Run.open(path)
    found = run_sensitivity(run, run_data(run, data), at)
    return found, write_sensitivity(run, found)
