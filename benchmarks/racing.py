"""What racing saves: the same search with and without it, one after the other.

    python benchmarks/racing.py --data DIR                                  # mnist with 10,000 items that select
    python benchmarks/racing.py --data DIR --tasks mnist1d pendigits vowels --seeds 0 1
    python benchmarks/racing.py --tasks digits --generations 6              # a look, below the least number of items

It first checks that candidates that finished a race have the values of a plain evaluation. Then it prints sequences
(runs of a network on an item), wall time and processor time with racing over without, and the hypervolumes of both
fronts by error and size. Without confirm items, so that all validation items select.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from command import SIZE, arguments, as_command, write_rows
from searches import HIDDEN

import bittailor as bt
from bittailor.cli.actions import train_task
from bittailor.common.roles import RoleSettings
from bittailor.engines import best_engine
from bittailor.errors import BittailorError
from bittailor.evaluate.evaluator import Evaluator
from bittailor.runs import Run

CHECKED = 12


def searched(prepared: Any, folder: Path, racing: bool, options: Any) -> tuple[Run, float, float]:
    """A search, its wall time and its processor time in seconds, all threads together."""
    spec = bt.SearchSpec(
        metric=prepared.metric, racing=racing, objectives=SIZE,
        space=bt.per_operator(prepared.network.graph, tuple(range(1, 9))),
        search=bt.SearchSettings(population=options.population, generations=options.generations,
                                 seed=prepared.task.seed),
        roles=RoleSettings(confirm=0.0, seed=prepared.task.seed))
    wall, processor = time.perf_counter(), time.process_time()
    run = bt.run_search(prepared.network, prepared.data, folder, spec)
    return run, time.perf_counter() - wall, time.process_time() - processor


def check(run: Run, data: bt.Splits) -> None:
    """Some candidates that finished, evaluated again on all items."""
    select = run.spec.divide(data).select
    evaluator = Evaluator(run.calibration, select, run.metric, best_engine(), ())
    found = run.front[:: max(1, len(run.front) // CHECKED)]
    for solution, row in zip(found, evaluator.evaluate([dict(s.widths) for s in found]), strict=True):
        if row["error"] != solution.values["error"]:
            raise BittailorError(f"{solution.key} has another error when it is evaluated again: no time is worth "
                                 "printing")


def main() -> None:
    """A row per task and seed."""
    parser = arguments(__doc__, data=True)
    parser.add_argument("--tasks", nargs="+", default=["mnist"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--csv", type=Path, help="also write the rows to this file")
    parser.add_argument("--population", type=int, default=50)
    parser.add_argument("--generations", type=int, default=50)
    options = parser.parse_args()
    rows = []
    for task in options.tasks:
        for seed in options.seeds:
            prepared = train_task(bt.TaskSettings(task, hidden=HIDDEN.get(task, 32), seed=seed, data=options.data),
                                  cache=options.cache)
            with tempfile.TemporaryDirectory() as folder:
                on, wall, processor = searched(prepared, Path(folder) / "on", True, options)
                check(on, prepared.data)
                off, whole_wall, whole_processor = searched(prepared, Path(folder) / "off", False, options)
                rows.append({
                    "task": task, "seed": seed, "items": on.result["items"]["select"],
                    "sequences_ratio": 1 - on.result["saved_percent"] / 100, "wall_ratio": wall / whole_wall,
                    "processor_ratio": processor / whole_processor, "wall_seconds": wall,
                    "wall_seconds_without": whole_wall, "hypervolume": on.result["hypervolume"]["front"],
                    "hypervolume_without": off.result["hypervolume"]["front"]})
            r = rows[-1]
            print(f"{task} {seed}, {r['items']} items: sequences x{r['sequences_ratio']:.2f}, "
                  f"wall x{r['wall_ratio']:.2f} ({wall:.0f} s and {whole_wall:.0f} s), "
                  f"processor x{r['processor_ratio']:.2f}; "
                  f"hypervolume {r['hypervolume']:.4f} and {r['hypervolume_without']:.4f}", flush=True)
            if options.csv:
                write_rows(options.csv, rows)


if __name__ == "__main__":
    as_command(main)
