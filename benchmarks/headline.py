"""The headline: how small a network may become that is no worse than homogeneous 8 bit, with retraining.

    python benchmarks/headline.py --data DIR              # writes results/headline.csv, two hours and more on 2 cores
    python benchmarks/headline.py --tasks digits --seeds 0 --generations 6 --epochs 2   # a look, a few minutes

One row per task and seed. Each has two searches of equal settings, one post-training, one that retrains (`method`, see
`searches.methods`); and homogeneous 8 bit retrained by the same recipe, so that the comparison is fair. Test errors are
measured once, when a search has ended; nothing is chosen by them. `at_25` and `at_30` are what `--pick 'size<=X'`
takes, where X is 25 or 30 % of the size of homogeneous 8 bit: who has a budget says it, and gets the best that fits.
`final` is the run's pick `retrained`, the smallest that is no worse than homogeneous 8 bit in validation error and
loss, or `careful` where no retrained solution is. `*_against_*` are the differences of their test errors to that of
homogeneous 8 bit, as it is and retrained, item by item, with their interval of 95 %. Rows that are in the file already
are not computed again, and an interrupted row goes on where it stopped. `jobs` rows are computed side by side, each on
a core of its own; results do not depend on that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

from command import as_command, read_rows, write_rows
from searches import (
    HEADLINE_SEEDS,
    HIDDEN,
    SHARES,
    flash_of,
    methods,
    paired,
    retrained_8bit,
    search_arguments,
    searched,
    smallest_error,
    task_of,
    within,
)

import bittailor as bt
from bittailor.cli.show import smaller
from bittailor.common.processors import processors
from bittailor.runs import Run, Solution

METHODS = tuple(name for name, how in methods(bt.Retraining()).items() if how.used)


def held(solution: Solution) -> float:
    """Its error on validation items that nothing was trained on, and no post-training search preferred to others."""
    return solution.errors.get("held", solution.values["error"])


def described(name: str, solution: Solution | None, base: Solution, flash: float | None) -> dict[str, Any]:
    """The columns of one solution; `valid` is its error on held validation items."""
    columns: dict[str, Any] = dict.fromkeys(
        [f"{name}_{c}" for c in ("size_bits", "smaller_percent", "flash_bytes", "valid", "loss", "test")])
    if solution is not None:
        v = solution.values
        columns |= {f"{name}_size_bits": int(v["size"]), f"{name}_smaller_percent": smaller(solution, base),
                    f"{name}_flash_bytes": int(flash or 0), f"{name}_valid": held(solution), f"{name}_loss": v["loss"],
                    f"{name}_test": solution.test}
    return columns


def gains(plain: Run, lit: Run) -> dict[str, Any]:
    """Error of the post-training front minus error of the front with retraining, at equal size, on held validation
    items and on test data."""
    base = plain.baseline(8).values["size"]
    found: dict[str, Any] = {}
    valid, test = [], []
    for share in SHARES:
        a, b = (smallest_error(run.front, share * base) for run in (plain, lit))
        gain = None if a is None or b is None else held(a) - held(b)
        found[f"gain_at_{100 * share:.0f}_percent"] = gain
        if a and b and gain is not None and a.test is not None and b.test is not None:
            valid.append(gain)
            test.append(a.test - b.test)
    return found | {"gain_valid": mean(valid) if valid else None, "gain_test": mean(test) if test else None}


def row(task: str, seed: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """All of one task and seed."""
    prepared = task_of(task, seed, options)
    plain, lit = (searched(prepared, method, options) for method in ("post-training", options["method"]))
    again = retrained_8bit(plain, prepared, options)
    base, about = lit.baseline(8), lit.result["beacons"]
    final = lit.picks.get("retrained") or lit.picks.get("careful")
    chosen = {
        "int8": (plain, base), "int8_retrained": (plain, again),
        "ptq_smallest": (plain, plain.picks.get("smallest")), "ptq_careful": (plain, plain.picks.get("careful")),
        "beacons_careful": (lit, lit.picks.get("careful")), "retrained": (lit, lit.picks.get("retrained")),
        "final": (lit, final), "at_30": (lit, within(lit, prepared, 0.3)), "at_25": (lit, within(lit, prepared, 0.25)),
    }
    columns: dict[str, Any] = {
        "task": task, "hidden": HIDDEN.get(task, 32), "seed": seed, "metric": prepared.metric.name,
        "method": options["method"], "items_test": len(prepared.data.test),
        "evaluations": lit.result["evaluations"], "float_valid": lit.result["float"]["select"],
        "float_test": lit.result["float"]["test"],
    }
    for name, (run, solution) in chosen.items():
        columns |= described(name, solution, base, None if solution is None else flash_of(run, prepared, solution))
    for one, other in ((o, b) for o in ("final", "at_30", "at_25") for b in ("int8", "int8_retrained")):
        found = paired(prepared, chosen[one], chosen[other])
        columns |= {f"{one}_against_{other}{end}": None if found is None else getattr(found, what)
                    for end, what in (("", "difference"), ("_low", "low"), ("_high", "high"))}
    columns["final_is"] = None if final is None else "retrained" if "retrained" in lit.picks else "careful"
    return columns | gains(plain, lit) | {
        "beacons": len(about["search"]), "polished": len(about["polish"]), "failed": about["failed"],
        "training_seconds": about["seconds"], "hypervolume_post_training": plain.result["hypervolume"]["front"],
        "hypervolume_beacons": lit.result["hypervolume"]["front"],
    }


def alone(cores: Any) -> None:
    """Keep a worker process on a core of its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cores.get()})


def main() -> int:
    """Compute what is missing, then print the means."""
    parser = search_arguments(__doc__)
    parser.set_defaults(workers=1)
    parser.add_argument("--tasks", nargs="+", default=list(HEADLINE_SEEDS))
    parser.add_argument("--seeds", nargs="+", type=int, help="default: those by which no rule or recipe was chosen")
    parser.add_argument("--csv", type=Path, default=Path("results/headline.csv"))
    parser.add_argument("--method", choices=METHODS, default="ladder-long")
    parser.add_argument("--jobs", type=int, default=min(2, processors()))
    options = vars(parser.parse_args())
    rows = read_rows(options["csv"])
    done = {(r["task"], int(r["seed"])) for r in rows}
    order = {(task, seed): i for i, (task, seed) in enumerate((t, s) for t in HEADLINE_SEEDS for s in range(100))}
    missing = [(t, s) for t in options["tasks"] for s in options["seeds"] or HEADLINE_SEEDS.get(t, range(3))
               if (t, s) not in done]
    context = get_context("spawn")
    cores = context.Queue()
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(processors()))
    for i in range(options["jobs"]):
        cores.put(available[i % len(available)])
    if missing:
        with ProcessPoolExecutor(options["jobs"], context, alone, (cores,)) as pool:
            waiting = {pool.submit(row, task, seed, options): (task, seed) for task, seed in missing}
            try:
                for future in as_completed(waiting):
                    rows.append(future.result())
                    rows.sort(key=lambda r: order.get((r["task"], int(r["seed"])), len(order)))
                    write_rows(options["csv"], rows)
                    print(f"{waiting[future]}: done", flush=True)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    for task in dict.fromkeys(r["task"] for r in rows):
        here = [r for r in rows if r["task"] == task]

        def average(name: str, here: list[dict[str, Any]] = here) -> str:
            values = [float(r[name]) for r in here if r[name] not in (None, "")]
            return f"{mean(values):.2f}" if values else "–"

        print(f"{task} ({len(here)} seeds): within a quarter {average('at_25_smaller_percent')} % smaller, test "
              f"{average('at_25_test')} against {average('int8_test')} of 8 bit, {average('int8_retrained_test')} "
              f"retrained; the smallest as good as 8 bit {average('final_smaller_percent')} % smaller, test "
              f"{average('final_test')}; retraining takes {average('gain_valid')} points off (test "
              f"{average('gain_test')})")
    print(f"written: {options['csv']}")
    return 0


if __name__ == "__main__":
    as_command(main)
