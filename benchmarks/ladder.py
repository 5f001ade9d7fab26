"""Ladder or beacons: the error of fronts at equal sizes, after equally many training steps.

    python benchmarks/ladder.py --data DIR       # writes results/ladder.csv, ten to forty minutes a task and seed
    python benchmarks/ladder.py --tasks digits --seeds 0 --generations 6 --epochs 2 --csv look.csv    # a look

One row per task, seed, method and size, with a test error measured once, when the search had ended. Of what is at most
`at_percent` of the size of homogeneous 8 bit a row shows, of the front, the member with the lowest error on the items
that select; and in rows whose method ends with `: retrained`, of what was retrained itself, the solution with the
lowest loss there (of the front where nothing so small was retrained). `: within` is what `--pick 'size<=X'` takes
there, `: pick` the pick `retrained`. Methods, all searches of equal settings:

    post-training   nothing is retrained
    beacons         as in MOHAQ: candidates retrained during the search, and members of the front after it
    ladder          rungs along the front, each retrained from one before it
    ladder-long     shorter rungs, and members of the front retrained long after the search

A recipe's updates are shared out evenly, so that the last three take as many training steps, about; `training_seconds`
are those of a possibly busy machine. `int8` is homogeneous 8 bit, as it is and retrained by the same recipe. Rows that
are in the file are not computed again, an interrupted search goes on, and two commands of different tasks may run side
by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from command import as_command, read_rows, stop_after, write_rows
from searches import SHARES, methods, retrained_8bit, search_arguments, searched, smallest_error, task_of, within

import bittailor as bt
from bittailor.runs import Run, Solution

METHODS = tuple(name for name in methods(bt.Retraining()) if name != "flash")
READINGS = ("", "retrained", "within", "pick")
"""How a search is read: what the name of its method ends with."""
TASKS = ("vowels", "mnist1d", "spoken-digits", "mnist")


def lowest_loss(retrained: Iterable[Solution], size: float) -> Solution | None:
    """The solution with the lowest loss up to a size."""
    return min((s for s in retrained if s.values["size"] <= size), default=None,
               key=lambda s: (s.values["loss"], s.values["size"]))


def rows_of(task: str, seed: int, method: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All sizes of one front; with the post-training one, the two of homogeneous 8 bit."""
    prepared = task_of(task, seed, options)
    run = searched(prepared, method, options)
    about = run.result.get("beacons", {"retrainings": 0, "seconds": 0.0})
    same = {"task": task, "seed": seed, "method": method}
    paid = {"retrainings": about["retrainings"], "training_seconds": round(about["seconds"], 1)}
    base = run.baseline(8)
    made = []
    if method == "post-training":
        again = retrained_8bit(run, prepared, options)
        for name, solution, cost in (("int8", base, (0, 0.0)), ("int8 retrained", again, (1, None))):
            if solution is not None:
                spent = cost[1] if solution.beacon is None else run.beacons[solution.beacon].about["seconds"]
                made.append({**same, "method": name, "at_percent": 100, "error_valid": solution.values["error"],
                             "error_test": solution.test, "retrainings": cost[0], "training_seconds": spent})
    made += front_rows(run, same, paid, method != "post-training")
    for share in SHARES:
        found = within(run, prepared, share)
        made.append({**same, "method": f"{method}: within", "at_percent": round(100 * share),
                     "error_valid": found.values["error"], "error_test": found.test, **paid})
    pick = run.picks.get("retrained")
    if pick is not None:
        made.append({**same, "method": f"{method}: pick", "error_valid": pick.values["error"], "error_test": pick.test,
                     "at_percent": round(100 * pick.values["size"] / base.values["size"], 1), **paid})
    return made


def front_rows(run: Run, same: Mapping[str, Any], paid: Mapping[str, Any], retrained: bool) -> list[dict[str, Any]]:
    """Rows of a front at all sizes, and of what was `retrained` itself if that is asked for; `same` has the method."""
    made, method, base = [], same["method"], run.baseline(8)
    for share in SHARES:
        size = share * base.values["size"]
        best = smallest_error(run.front, size)
        own = lowest_loss(run.retrained.values(), size) or best
        for name, solution in ((method, best), (f"{method}: retrained", own)):
            if solution is not None and (name == method or retrained):
                made.append({**same, "method": name, "at_percent": round(100 * share),
                             "error_valid": solution.values["error"], "error_test": solution.test, **paid})
    return made


def add_missing(
    rows_of: Callable[[str, int, str, Mapping[str, Any]], list[dict[str, Any]]],
    place: Callable[[Mapping[str, Any]], tuple[Any, ...]], options: Mapping[str, Any],
) -> None:
    """Compute the rows of seeds, tasks and methods that the file lacks, and write it after each.

    rows_of  of a task, seed and method
    place    of a row within its task and seed
    """
    if options["minutes"]:
        stop_after(60 * options["minutes"])
    for seed in options["seeds"]:
        for task in options["tasks"]:
            for method in options["methods"]:
                if any((r["task"], int(r["seed"]), r["method"]) == (task, seed, method)
                       for r in read_rows(options["csv"])):
                    continue
                made = rows_of(task, seed, method, options)
                rows = read_rows(options["csv"]) + made
                rows.sort(key=lambda r: (r["task"], int(r["seed"]), *place(r)))
                write_rows(options["csv"], rows)
                print(f"{task} {seed} {method}: done", flush=True)


def main() -> int:
    """Compute what is missing, then print the means."""
    parser = search_arguments(__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--csv", type=Path, default=Path("results/ladder.csv"))
    parser.add_argument("--minutes", type=float, help="stop after so long, as Ctrl-C does; the same command goes on")
    options = vars(parser.parse_args())
    add_missing(rows_of, lambda r: place(str(r["method"]), METHODS), options)
    rows = read_rows(options["csv"])
    print("means over the sizes of SHARES, and seeds")
    for task in dict.fromkeys(r["task"] for r in rows):
        for method in dict.fromkeys(r["method"] for r in rows if r["task"] == task):
            here = [r for r in rows if (r["task"], r["method"]) == (task, method)]
            print(f"{task} {method}: mean test error {mean(float(r['error_test']) for r in here):.2f}, "
                  f"{len({r['seed'] for r in here})} seeds")
    print(f"written: {options['csv']}")
    return 0


def place(method: str, methods: Sequence[str]) -> tuple[int, str]:
    """Fronts, then what was retrained itself or is picked, and baselines, each in the order of the methods."""
    name, _, what = method.partition(": ")
    kind = READINGS.index(what) if name in methods else len(READINGS)
    return kind * len(methods) + (methods.index(name) if name in methods else 0), method


if __name__ == "__main__":
    as_command(main)
