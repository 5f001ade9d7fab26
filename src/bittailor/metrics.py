"""Metrics: how well outputs answer the labels. All are minimised; each says its unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.registry import Table


@dataclass(frozen=True)
class Metric:
    """A measure of error.

    name      as written on the command line
    unit      as printed behind a value
    title     as printed above a column or beside an axis
    of        (outputs float [items, outputs] , labels) -> float
    as_good   a baseline's value -> the highest value that counts as no worse on data the solution was not chosen by
    """

    name: str
    unit: str
    title: str
    of: Callable[[NDArray[Any], NDArray[Any]], float]
    as_good: Callable[[float], float]


def _error(outputs: NDArray[Any], labels: NDArray[Any]) -> float:
    # argmax takes the first of equal outputs, in every engine alike
    return float(100.0 * np.mean(outputs.argmax(axis=-1) != labels))


def _mse(outputs: NDArray[Any], labels: NDArray[Any]) -> float:
    return float(np.mean((outputs.astype(np.float64) - labels) ** 2))


METRICS: Table[Metric] = Table("metric", {
    "error": Metric("error", "%", "classification error", _error, lambda base: base + 0.1),
    "mse": Metric("mse", "", "mean squared error", _mse, lambda base: 1.1 * base),
})
