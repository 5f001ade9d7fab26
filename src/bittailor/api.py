"""From a task or a user's own file to a run: what the command line calls, and what notebooks may."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bittailor.calibration import Settings as CalibrationSettings
from bittailor.data import Splits
from bittailor.errors import BittailorError
from bittailor.metrics import METRICS
from bittailor.network import Network
from bittailor.qformat import Kind, check_width
from bittailor.runs import Run, run_search
from bittailor.search.nsga2 import Settings as SearchSettings
from bittailor.search.progress import make_display
from bittailor.spaces import SPACES

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
) -> Prepared:
    """Load a task's data and train its float network, or read it from the cache."""
    from bittailor.read import from_torch
    from bittailor.tasks import TASKS
    from bittailor.train.floats import train

    task = TASKS[name]
    if hidden is not None and hidden < 1:
        raise BittailorError(f"hidden is {hidden}; a GRU needs at least 1 unit")
    if seed < 0:
        raise BittailorError(f"seed is {seed}; expected 0 or more")
    splits = task.load(data, seed)
    trained = train(task, splits, hidden=hidden, seed=seed, cache=cache, progress=progress)
    network = from_torch(trained.module, task.inputs)
    metric = METRICS[task.metric]
    units = hidden or task.hidden
    how = "read from the cache" if trained.cached else "trained"
    summary = (f"{name}: GRU of {units} units, {how} ({trained.seconds:.0f} s), "
               f"{metric.title} {trained.valid:.4g} {metric.unit} on {len(splits.valid)} validation items")
    about = {"task": name, "title": task.title, "hidden": units, "seed": seed, "source": task.source,
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


def search_task(
    name: str,
    out: Path,
    *,
    space: str = "per_operator",
    widths: Sequence[int] | None = None,
    activations: Sequence[int] | None = None,
    biases: Sequence[int] | None = None,
    objectives: Sequence[str] = ("error", "size"),
    constraints: Sequence[str] = (),
    guide: str = "loss",
    population: int = 40,
    generations: int = 40,
    method: str = "mse",
    rounding: str = "inputs",
    per_row: bool = False,
    early_stop: bool = False,
    engine: str = "auto",
    workers: int = 0,
    resume: bool = False,
    hidden: int | None = None,
    seed: int = 0,
    data: Path | None = None,
    cache: Path | None = None,
    quiet: bool = True,
    epochs: Epochs | None = None,
    command: str = "",
) -> Run:
    """Prepare a task (or FILE.py:FUNCTION) and search it; see `runs.run_search`."""
    make = SPACES[space]
    kinds: tuple[tuple[Kind, Sequence[int] | None], ...] = (
        ("weight", widths), ("activation", activations), ("bias", biases))
    for kind, given in kinds:
        # before anything long begins
        for bits in given or ():
            check_width(kind, bits)
    settings = SearchSettings(population=population, generations=generations, seed=seed)
    calibration = CalibrationSettings(method=method, rounding=rounding, per_row=per_row)
    if ":" in name:
        prepared = load_own(name)
    else:
        prepared = train_task(name, hidden=hidden, seed=seed, data=data, cache=cache, progress=epochs)
    chosen: dict[str, Any] = {"widths": widths, "activations": activations, "biases": biases}
    if not quiet:
        print(prepared.summary)
    return run_search(
        prepared.network, prepared.data, out,
        metric=prepared.metric,
        space=make(prepared.network.graph, **{k: v for k, v in chosen.items() if v is not None}),
        objectives=objectives, constraints=constraints, guide=guide, settings=settings, calibration=calibration,
        early_stop=early_stop, engine=engine, workers=workers or len(os.sched_getaffinity(0)), resume=resume,
        task=prepared.about, command=command, progress=None if quiet else make_display,
    )
