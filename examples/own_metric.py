"""A metric of one's own, kept by every command: an item counts where its label is among the two largest outputs.

    bittailor search examples/own_metric.py:load --out runs/top2 && bittailor report runs/top2
    bittailor retrain runs/top2 --pick smallest                  && bittailor export runs/top2 firmware
"""

import numpy as np

import bittailor as bt
from bittailor.train.floats import train


def top2(output: np.ndarray, label: int) -> float:
    """Of one item's outputs [10] and its label: 100 if it is among the two largest outputs, else 0."""
    return 100.0 * (label in np.argsort(output)[-2:])


def load() -> tuple:
    """The float network, its data and the metric; few units, so that something is lost."""
    task = bt.TASKS["digits"]
    data = task.load()
    return train(task, data, hidden=6).module, data, bt.metric(top2, title="top-2 accuracy", unit="%", maximise=True)
