"""Networks of a user's own, from a Python or an ONNX file, with their data: what `search` takes in place of a task."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bittailor.common.data import Splits
from bittailor.common.data_files import SUFFIXES, read_splits
from bittailor.common.own_files import load_file, running
from bittailor.core.network import Network
from bittailor.errors import BittailorError
from bittailor.evaluate.metrics import Measure, Metric, metric_of
from bittailor.runs.spec import Origin, TaskSettings


@dataclass(frozen=True, eq=False)
class Prepared:
    """A float network with its data, ready to be searched.

    network  the float network
    data     its three parts
    metric   what it is judged by
    task     what it is
    origin   where it came from, kept in run.json
    summary  one line for people
    """

    network: Network
    data: Splits
    metric: Metric
    task: TaskSettings
    origin: Origin
    summary: str


def load_own(where: str, task: TaskSettings | None = None, metric: str | Metric | Measure = "") -> Prepared:
    """A user's network with its data, and what it is judged by.

    where   FILE.py:FUNCTION; FUNCTION() returns (torch module, Splits), and if need be a metric: a name, or what
            `metric_of` takes. With data in a file it returns the module, or (module, metric). In place of a torch
            module it may be a Keras model or a Network. Or FILE.onnx, whose data are in a file
    task    whose `data` names that file, and whose seed splits it
    metric  where it is not returned
    """
    settings = task or TaskSettings(where)
    settings = replace(settings, name=where)
    data = settings.data
    if data and Path(data).suffix not in SUFFIXES:
        raise BittailorError(f"data (--data) is {data}; beside a network of your own it is a file that ends in "
                             f"{' or '.join(SUFFIXES)} (docs/reading.md)")
    if where.endswith(".onnx"):
        if not data:
            raise BittailorError(f"{where} is a network without data; give them too: --data FILE.npz (docs/reading.md)")
        splits = read_splits(data, settings.seed)
        made: tuple[Any, ...] = (_of_onnx(Path(where), splits.train.x.shape[2]),)
    else:
        made, given = _made(where, bool(data))
        splits = given or read_splits(data, settings.seed)
    judged = metric_of(made[1] if len(made) > 1 else metric or "classification_error")
    network = read_network(made[0], splits.train.x.shape[2])
    if network.features != splits.train.x.shape[2]:
        raise BittailorError(f"the network takes {network.features} features a step, but x has "
                             f"{splits.train.x.shape[2]}")
    return Prepared(network, splits, judged, settings, Origin(title=where, source=data), f"{where}: read")


def _made(where: str, has_data: bool) -> tuple[tuple[Any, ...], Splits | None]:
    """What FUNCTION of FILE.py returns: (network, metric where there is one), and its data."""
    file, _, function = where.rpartition(":")
    make: Callable[[], Any] | None = getattr(load_file(file), function, None)
    if make is None:
        raise BittailorError(f"{file} has no function '{function}'")
    with running(file):
        found = make()
    made = found if isinstance(found, tuple) else (found,)
    splits = next((each for each in made if isinstance(each, Splits)), None)
    rest = tuple(each for each in made if each is not splits)
    if splits is not None and has_data:
        raise BittailorError(f"data (--data) is given, but {where} brings its own; leave one of them out")
    if splits is None and not has_data:
        raise BittailorError(f"{where} must return (torch module, bittailor.Splits) or (module, Splits, metric), or "
                             f"the module alone with the data in a file, --data FILE.npz; it returned {_kinds(found)}")
    if len(rest) not in (1, 2) or (splits is not None and made[1] is not splits):
        raise BittailorError(f"{where} must return a module{'' if has_data else ', Splits'} and at most a metric; it "
                             f"returned {_kinds(found)}")
    return rest, splits


def _kinds(found: Any) -> str:
    if not isinstance(found, tuple):
        return type(found).__name__
    return f"({', '.join(type(each).__name__ for each in found)})"


def read_network(found: Any, features: int) -> Network:
    """A torch module, a Keras model or a network, as a network."""
    from bittailor.read import from_keras, from_torch

    if isinstance(found, Network):
        return found
    if any(base.__module__.split(".")[0] == "keras" for base in type(found).__mro__):
        return from_keras(found)
    return from_torch(found, features)


def _of_onnx(path: Path, features: int) -> Network:
    from bittailor.read import from_onnx

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        network = from_onnx(path, features)
    for each in said:
        print(f"warning: {each.message}", file=sys.stderr, flush=True)
    return network
