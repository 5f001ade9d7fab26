"""digits: handwritten digits of 8 x 8 pixels, read row by row. Comes with scikit-learn; nothing to fetch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bittailor.common.data import Data
from bittailor.common.roles import holdout
from bittailor.tasks.base import Recipe, Task, need

TEST_ITEMS = 360  # of 1,797; scikit-learn's file has no official split, so this project fixes one
TEST_SEED = 0


def read(folder: Path | None) -> tuple[Data, Data]:
    need("sklearn", "tasks")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = (bunch.images / 16).astype(np.float32)  # a pixel counts ink in a 4 x 4 block: 0..16
    y = bunch.target.astype(np.int64)
    rest, test = holdout(y, TEST_ITEMS, TEST_SEED)
    return Data(x[rest], y[rest]), Data(x[test], y[test])


DIGITS = Task(
    name="digits",
    title="8x8 handwritten digits, row by row (8 steps of 8 pixels); built in, trains in seconds",
    metric="classification_error",
    inputs=8,
    outputs=10,
    hidden=32,
    recipe=Recipe(epochs=30, batch=32, rate=1.5e-2, weight_decay=0.01, noise=0.1),
    source="scikit-learn's load_digits: the test part of UCI's Optical Recognition of Handwritten Digits",
    licence="CC BY 4.0",
    citation="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning Repository, 1998",
    read=read,
)
