"""What stands beside the error by default: `size` or `flash`. The same searches with either, measured in both.

    python benchmarks/second_objective.py --data DIR       # writes results/second_objective.csv, a quarter of an hour
    python benchmarks/second_objective.py --tasks digits --seeds 0 --generations 6          # a look, ten seconds

A row is one search: the settings of `bittailor search`, post-training, the float network and the search of a seed. Of
every front the flash of its members is known, too, so the two are compared by what a user gets: hypervolume of error
and flash, and of error and size, in one box for both; the least flash of everything evaluated that is no worse than
homogeneous 8 bit on validation, by error, and by error and loss; the same for size. Validation data only. Rows that are
in the file already are not computed again.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from command import arguments, as_command, read_rows, write_rows

import bittailor as bt
from bittailor.cli.actions import train_task
from bittailor.cli.own import Prepared
from bittailor.evaluate.metrics import Metric
from bittailor.runs import Run
from bittailor.search.front import ReferenceBox, signs

HIDDEN = {"mnist": 64}
TASKS = ("mnist", "spoken-digits", "vowels", "mnist1d")
COSTS = ("size", "flash")
NO_LIMIT = "flash<=1000MiB"
"""Holds for everything, and has the flash of every candidate reported."""


def searched(prepared: Prepared, cost: str, settings: bt.SearchSettings, folder: Path) -> Run:
    """One search of error and a cost."""
    spec = bt.SearchSpec(metric=prepared.metric, objectives=("error", cost), constraints=(NO_LIMIT,),
                         task=prepared.task, search=settings)
    return bt.run_search(prepared.network, prepared.data, folder, spec)


def volume(run: Run, cost: str) -> float:
    """Hypervolume of the front a run returns, of error and a cost, in the box around the homogeneous solutions."""
    values = [solution.values for solution in run.homogeneous if solution.narrowest <= 8]
    sign = signs(("error", cost), {"error"} if run.metric.maximise else set())
    box = ReferenceBox.around([[v["error"], v[cost]] for v in values], sign)
    return box.hypervolume([[s.values["error"], s.values[cost]] for s in run.front])


def least(rows: Sequence[Mapping[str, float]], base: Mapping[str, float], metric: Metric, cost: str, loss: bool
          ) -> float:
    """The least cost of what is no worse than homogeneous 8 bit, of it, in %."""
    good = [v[cost] for v in rows if metric.cost(v["error"]) <= metric.cost(base["error"])
            and (not loss or v["loss"] <= base["loss"])]
    return 100 * min(good, default=base[cost]) / base[cost]


def measure(prepared: Prepared, cost: str, settings: bt.SearchSettings) -> dict[str, Any]:
    """One row."""
    with tempfile.TemporaryDirectory(prefix="bittailor-") as folder:
        began = time.perf_counter()
        run = searched(prepared, cost, settings, Path(folder) / "run")
        seconds = time.perf_counter() - began
        with run.store() as store:
            rows = [row.outcome.values for row in store.rows() if row.outcome.values is not None]
        base, metric = run.baseline(8).values, run.metric
        found = {"task": prepared.task.name, "seed": settings.seed, "beside the error": cost,
                 "evaluations": len(rows), "front": len(run.front), "seconds": seconds}
        found |= {f"hypervolume_error_{c}": volume(run, c) for c in COSTS}
        found |= {f"{c}_of_8bit{'_by_loss' * loss}_percent": least(rows, base, metric, c, loss)
                  for loss in (False, True) for c in COSTS}
        for name in ("smallest", "careful"):
            pick = run.picks.get(name, run.baseline(8)).values
            found |= {f"{name}_{c}_percent": 100 * pick[c] / base[c] for c in COSTS}
        return found


def main() -> int:
    """Measure what is missing, then print the means of either."""
    parser = arguments(__doc__, data=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--population", type=int, default=bt.SearchSettings().population)
    parser.add_argument("--generations", type=int, default=bt.SearchSettings().generations)
    parser.add_argument("--csv", type=Path, default=Path("results/second_objective.csv"))
    options = parser.parse_args()
    rows = read_rows(options.csv)
    done = {(r["task"], int(r["seed"]), r["beside the error"]) for r in rows}
    for task in options.tasks:
        for seed in options.seeds:
            missing = [cost for cost in COSTS if (task, seed, cost) not in done]
            if not missing:
                continue
            prepared = train_task(bt.TaskSettings(task, hidden=HIDDEN.get(task, 0), seed=seed, data=options.data),
                                  cache=options.cache)
            settings = bt.SearchSettings(population=options.population, generations=options.generations, seed=seed)
            for cost in missing:
                rows.append(measure(prepared, cost, settings))
                write_rows(options.csv, rows)
                print(f"{task} {seed} {cost}: {rows[-1]['seconds']:.0f} s", flush=True)
    for task in dict.fromkeys(r["task"] for r in rows):
        for cost in COSTS:
            here = [r for r in rows if r["task"] == task and r["beside the error"] == cost]
            figures = [name for name in here[0] if name.startswith("hypervolume") or name.endswith("percent")]
            print(f"{task}, {cost} ({len(here)} seeds): "
                  + ", ".join(f"{name} {mean(float(r[name]) for r in here):.4g}" for name in figures))
    print(f"written: {options.csv}")
    return 0


if __name__ == "__main__":
    as_command(main)
