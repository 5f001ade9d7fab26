"""mnist1d: ten noisy, shifted curves told apart from their values alone, one value a step. Generated."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from bittailor.common.data import Data
from bittailor.tasks.base import Recipe, Task, need


def read(folder: Path | None) -> tuple[Data, Data]:
    need("mnist1d", "tasks")
    from mnist1d.data import get_dataset_args, make_dataset

    # The generator seeds and draws from the global generators of NumPy and random: put them back.
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        made = make_dataset(get_dataset_args())
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
    return Data(made["x"][:, :, None], made["y"]), Data(made["x_test"][:, :, None], made["y_test"])


MNIST1D = Task(
    name="mnist1d",
    title="ten noisy curves (40 steps of 1 value); generated, 4,000 for training and 1,000 for test",
    metric="classification_error",
    inputs=1,
    outputs=10,
    hidden=32,
    recipe=Recipe(epochs=80, batch=128, rate=1.5e-2),
    source="the generator of the package mnist1d with its default arguments and seed 42",
    licence="Apache-2.0 (the generator)",
    citation="S. Greydanus, D. Kobak: Scaling Down Deep Learning with MNIST-1D. ICML 2024",
    read=read,
)
