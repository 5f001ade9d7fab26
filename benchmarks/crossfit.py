"""Cross-fitting on trial: does it choose better than the careful pick where data are few?

    python benchmarks/crossfit.py --data DIR          # writes results/crossfit.csv, two minutes a row on 2 cores
    python benchmarks/crossfit.py --tasks digits --seeds 0 --generations 6 --csv look.csv     # a look, a minute

A careful pick looks at training items that its float network has learnt. Cross-fitting looks at none: of training and
validation items together, each fold is judged by a float network that was trained on the other folds, quantised at the
same widths. So all items are new ones, but the networks are not the one that is shipped. Chosen is the smallest
candidate whose cross-fitted error is at most 0.1 points above that of homogeneous 8 bit and its loss at most a fifth,
as `careful` has it; `both` is the smallest that the careful rule would take as well. Candidates are those of the
post-training search that no other beats in loss and size. Test errors are of the network that is shipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from command import as_command, read_rows, write_rows
from searches import SEEDS, search_arguments, searched, task_of

import bittailor as bt
from bittailor.cli.own import Prepared
from bittailor.cli.show import smaller
from bittailor.common.data import Data, Splits
from bittailor.engines import best_engine
from bittailor.evaluate.evaluator import Evaluator
from bittailor.runs import Run, Solution
from bittailor.runs.choice import LOSS_SLACK
from bittailor.search.front import nondominated
from bittailor.tasks import TASKS
from bittailor.train.floats import train

Widths = Mapping[str, int]


def candidates(run: Run) -> list[Solution]:
    """The post-training solutions that no other beats in loss and size, smaller than homogeneous 8 bit, smallest
    first."""
    with run.store() as store:
        rows = [(row.genome, values) for row in store.rows() for values in [row.outcome.known] if values is not None]
    front = nondominated(np.array([[v["loss"], v["size"]] for _, v in rows]))
    found = [Solution(run.space.key(g), run.space.widths(g), dict(v), None) for g, v in (rows[i] for i in front)]
    largest = run.baseline(8).values["size"]
    return sorted((s for s in found if s.values["size"] < largest), key=lambda s: s.values["size"])


def joined(a: Data, b: Data) -> Data:
    """The items of both."""
    groups = np.concatenate([a.groups, b.groups]) if a.groups.size else a.groups
    return Data(np.concatenate([a.x, b.x]), np.concatenate([a.y, b.y]), np.concatenate([a.lengths, b.lengths]), groups)


def folds(data: Data, number: int, seed: int) -> list[np.ndarray]:
    """Items of each fold; whole groups go one way."""
    names = data.groups if data.groups.size else np.arange(len(data))
    order = np.random.default_rng(seed).permutation(np.unique(names))
    return [np.flatnonzero(np.isin(names, part)) for part in np.array_split(order, number)]


def crossfitted(prepared: Prepared, all_widths: Sequence[Widths], options: Mapping[str, Any]) -> np.ndarray:
    """Error and loss of each, over all folds: [widths, 2]."""
    data = joined(prepared.data.train, prepared.data.valid)
    task, total = prepared.task, np.zeros((len(all_widths), 2))
    for fold in folds(data, options["folds"], task.seed):
        rest = np.setdiff1d(np.arange(len(data)), fold)
        splits = Splits(data[rest], data[fold], prepared.data.test)
        trained = train(TASKS[task.name], splits, hidden=task.hidden, seed=task.seed, cache=options["cache"])
        calibration = bt.calibrate(bt.from_torch(trained.module, data.x.shape[2]), splits.train.x, splits.train.lengths)
        evaluator = Evaluator(calibration, splits.valid, prepared.metric, best_engine(), ("loss",))
        rows = evaluator.evaluate([dict(widths) for widths in all_widths])
        total += len(fold) * np.array([[row["error"], row["loss"]] for row in rows])
    return total / len(data)


def row(task: str, seed: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """One task and seed."""
    prepared = task_of(task, seed, options)
    run = searched(prepared, "post-training", options)
    base, careful, known = run.baseline(8), run.picks.get("careful"), candidates(run)
    found = crossfitted(prepared, [base.widths, *(s.widths for s in known)], options)
    (error, loss), rest = found[0], found[1:]
    good = [s for s, own in zip(known, rest, strict=True)
            if own[0] <= prepared.metric.as_good(error) and own[1] <= (1 + LOSS_SLACK) * loss]
    held = Evaluator(run.calibration, prepared.data.train, prepared.metric, best_engine(), ("loss",))
    (learnt,) = held.evaluate([dict(base.widths)])
    both = [s for s in good if s.values["error"] <= base.values["error"]
            and s.values["loss"] <= (1 + LOSS_SLACK) * base.values["loss"]
            and held.evaluate([dict(s.widths)])[0]["error"] <= prepared.metric.as_good(learnt["error"])]
    tested = Evaluator(run.calibration, prepared.data.test, prepared.metric, best_engine(), ())
    columns: dict[str, Any] = {"task": task, "seed": seed, "folds": options["folds"], "candidates": len(known),
                               "test_int8": base.test}
    for name, picked in (("careful", [careful]), ("crossfit", good), ("both", both)):
        chosen = next(iter(picked), None) or base
        (values,) = tested.evaluate([dict(chosen.widths)])
        columns |= {f"{name}_smaller_percent": smaller(chosen, base),
                    f"{name}_diff": values["error"] - float(base.test or 0)}
    return columns


def main() -> int:
    """Compute what is missing, then print the means."""
    parser = search_arguments(__doc__)
    parser.add_argument("--tasks", nargs="+", default=["vowels", "mnist1d"])
    parser.add_argument("--seeds", nargs="+", type=int, help="default: those of holds.py")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--csv", type=Path, default=Path("results/crossfit.csv"))
    options = vars(parser.parse_args())
    for task in options["tasks"]:
        for seed in options["seeds"] or SEEDS.get(task, range(3)):
            rows = read_rows(options["csv"])
            if not any((r["task"], int(r["seed"])) == (task, seed) for r in rows):
                write_rows(options["csv"], [*rows, row(task, seed, options)])
                print(f"{task} {seed}: done", flush=True)
    rows = read_rows(options["csv"])
    for task in dict.fromkeys(r["task"] for r in rows):
        for name in ("careful", "crossfit", "both"):
            size, diff = (mean(float(r[f"{name}_{what}"]) for r in rows if r["task"] == task)
                          for what in ("smaller_percent", "diff"))
            print(f"{task} {name}: {size:.1f} % smaller, {diff:+.2f} on test data")
    return 0


if __name__ == "__main__":
    as_command(main)
