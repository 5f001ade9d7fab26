"""adding: the sum of the two marked values among fifty; a regression that a coarse state cannot hold. Generated."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bittailor.common.data import Data
from bittailor.tasks.base import Recipe, Task

STEPS = 50
TRAIN_ITEMS, TEST_ITEMS = 10_000, 2_000


def read(folder: Path | None) -> tuple[Data, Data]:
    return generate(TRAIN_ITEMS, seed=0), generate(TEST_ITEMS, seed=1)


def generate(items: int, seed: int, steps: int = STEPS) -> Data:
    """Sequences of (value in 0..1, mark 0 or 1); one mark in each half; the target 0..2 is the sum of the two values.

    items, steps   how many, and how long
    Source         Q. V. Le, N. Jaitly, G. Hinton (2015), after S. Hochreiter, J. Schmidhuber (1997).
    """
    rng = np.random.default_rng(seed)
    value = rng.random((items, steps), np.float32)
    mark = np.zeros_like(value)
    rows, half = np.arange(items), steps // 2
    mark[rows, rng.integers(0, half, items)] = 1
    mark[rows, rng.integers(half, steps, items)] = 1
    return Data(np.stack([value, mark], axis=2), (value * mark).sum(axis=1, keepdims=True))


ADDING = Task(
    name="adding",
    title="the sum of the two marked values in a sequence (50 steps of 2 values); a stress test for the state's width",
    metric="mse",
    inputs=2,
    outputs=1,
    hidden=32,
    recipe=Recipe(epochs=25, batch=64, rate=2e-2),
    source="generated with fixed seeds",
    licence="Apache-2.0 (this package)",
    citation="S. Hochreiter, J. Schmidhuber: Long Short-Term Memory. Neural Computation 9(8), 1997; the form of "
             "Q. V. Le, N. Jaitly, G. Hinton, arXiv:1504.00941",
    read=read,
)
