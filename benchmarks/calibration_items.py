"""Which training sequences calibrate, and how many: does more variety hold better on test data at few bits?

    python benchmarks/calibration_items.py --data DIR        # writes results/calibration_items.csv, ten minutes
    python benchmarks/calibration_items.py --tasks digits --seeds 0 --csv look.csv      # a look, a minute

Homogeneous widths of weights and activations (biases of 16 bits), no retraining. `spread` takes sequences at equal
distances from the whole training set, as `calibrate` does; `first` those in front. `mixed` is the order of the training
set as the task gives it, `by class` sorts it by label, as folders of recordings often are. Draws are of other sequences
each: row k begins at the k-th one. `error` is the one on test data, where no calibration looks, `disagreement` the
share of test items that are answered otherwise than by the float network. Rows that are there already stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from command import arguments, as_command, read_rows, write_rows

import bittailor as bt
from bittailor.cli.actions import train_task
from bittailor.cli.own import Prepared
from bittailor.evaluate.evaluator import Evaluator
from bittailor.quantise.calibration import Calibration

TASKS = ("mnist", "mnist1d", "pendigits", "spoken-digits")
HIDDEN = {"mnist": 64}
WIDTHS = (5, 4, 3)
DRAWS = 3
FORMS = [("mixed", "spread", items) for items in (128, 512, 1024, 4096)] + [
    ("by class", "first", 1024), ("by class", "spread", 1024)]


def calibrated(prepared: Prepared, order: str, which: str, items: int, draw: int) -> Calibration:
    """A calibration on some training sequences."""
    train = prepared.data.train
    ranked = np.argsort(train.y, kind="stable") if order == "by class" else np.arange(len(train))
    if which == "first":
        chosen = ranked[draw * items :][:items]
    else:
        step = max(1, len(ranked) // items)
        chosen = ranked[(draw * step) // DRAWS :: step][:items]
    part = train[chosen]
    return bt.calibrate(prepared.network, part.x, part.lengths, bt.CalibrationSettings(items=len(part)))


def rows_of(prepared: Prepared, task: str, seed: int, form: tuple[str, str, int], draw: int) -> list[dict[str, Any]]:
    """One calibration: a row a width."""
    order, which, items = form
    network, test = prepared.network, prepared.data.test
    real = network(test.x, test.lengths).argmax(axis=-1)
    evaluator = Evaluator(calibrated(prepared, order, which, items, draw), test, prepared.metric, bt.best_engine(), ())
    widths = [{s.name: 16 if s.kind == "bias" else bits for s in network.graph.free} for bits in WIDTHS]
    rows = []
    for bits, outputs in zip(WIDTHS, evaluator.each_output(widths), strict=True):
        rows.append({"task": task, "seed": seed, "order": order, "which": which, "items": items, "draw": draw,
                     "bits": bits, "error": evaluator.metric.value(outputs, test.targets),
                     "disagreement": 100.0 * float(np.mean(outputs.argmax(axis=-1) != real))})
    return rows


def main() -> int:
    """Compute what is missing."""
    parser = arguments(__doc__, data=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--csv", type=Path, default=Path("results/calibration_items.csv"))
    options = parser.parse_args()
    rows = read_rows(options.csv)
    done = {(r["task"], int(r["seed"]), r["order"], r["which"], int(r["items"]), int(r["draw"])) for r in rows}
    for task in options.tasks:
        for seed in options.seeds:
            wanted = [(form, draw) for form in FORMS for draw in range(DRAWS) if (task, seed, *form, draw) not in done]
            if not wanted:
                continue
            prepared = train_task(bt.TaskSettings(task, hidden=HIDDEN.get(task, 32), seed=seed, data=options.data),
                                  cache=options.cache)
            for form, draw in wanted:
                rows += rows_of(prepared, task, seed, form, draw)
                write_rows(options.csv, rows)
            print(task, seed, flush=True)
    return 0


if __name__ == "__main__":
    as_command(main)
