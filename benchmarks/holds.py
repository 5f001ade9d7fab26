"""Do picks hold? What the default pick is worth on test data, beside what the search said.

    python benchmarks/holds.py --data DIR                          # writes results/holds.csv; post-training rows
    python benchmarks/holds.py --data DIR --kinds flash            # the same searches, of flash
    python benchmarks/holds.py --data DIR --kinds retrained        # rows with retraining: about ten minutes each
    python benchmarks/holds.py --tasks digits --seeds 0 --generations 6 --csv look.csv    # a look, a minute

One row per task, seed and kind. `post-training` is the pick `careful` of a search of error and size, the figure of the
papers; `flash` that of a search with the default, error and flash; `retrained` is the pick `retrained` of a search that
retrains (`careful` where no retrained solution holds), the one of the headline. All are compared, item by item, with
homogeneous 8 bit on test data; a row of `retrained` has the error of homogeneous 8 bit retrained by the same recipe as
well. `certified_margin` is what the confirm items certify for the pick at 95 %. Differences are in the unit of the
metric, their interval is of 95 %. Test data are used once, after the search. Rows that are in the file already are not
computed again, an interrupted search goes on, and two commands of different tasks may run side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from command import as_command, read_rows, write_rows
from searches import OTHER_SEEDS, SEEDS, flash_of, retrained_8bit, search_arguments, searched, task_of

from bittailor.cli.show import smaller

TASKS = ("vowels", "pendigits", "mnist1d", "spoken-digits", "mnist", "phones")
KINDS = {"post-training": "post-training", "flash": "flash", "retrained": "ladder-long"}
"""Kind -> method of its search."""


def row(task: str, seed: int, kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """One task, seed and kind."""
    prepared = task_of(task, seed, options)
    run = searched(prepared, KINDS[kind], options)
    base, result, again = run.baseline(8), run.result, None
    found = run.picks.get("retrained" if kind == "retrained" else "careful") or run.picks.get("careful") or base
    if kind == "retrained":
        made = retrained_8bit(searched(prepared, "post-training", options), prepared, options)
        again = None if made is None else made.test
    test, confirm = found.against("8bit", "test"), found.against("8bit", "confirm")
    small = run.picks.get("smallest", base)
    other = small.against("8bit", "test")
    return {
        "task": task, "seed": seed, "kind": kind, "items_select": result["items"]["select"],
        "items_confirm": result["items"]["confirm"], "items_test": result["items"]["test"],
        "smaller_percent": smaller(found, base),
        "flash_percent": 100 * flash_of(run, prepared, found) / flash_of(run, prepared, base),
        "error_select": found.values["error"], "select_int8": base.values["error"], "error_test": found.test,
        "test_int8": base.test, "test_int8_retrained": again,
        "diff_test": 0.0 if found is base else None if test is None else test.difference,
        "diff_low": None if test is None else test.low,
        "diff_high": None if test is None else test.high,
        "diff_confirm": None if confirm is None else confirm.difference,
        "certified_margin": None if confirm is None else confirm.upper,
        "smallest_percent": smaller(small, base), "smallest_diff": None if other is None else other.difference,
        "evaluations": result["evaluations"], "saved_percent": result["saved_percent"], "seconds": result["seconds"],
    }


def summary(rows: list[dict[str, Any]]) -> None:
    """Means by task and kind."""
    for kind in KINDS:
        for task in TASKS:
            here = [r for r in rows if (r["task"], r["kind"]) == (task, kind)]
            if here:
                size, diff = (mean(float(r[name]) for r in here) for name in ("smaller_percent", "diff_test"))
                print(f"{kind:13} {task:13} {len(here)} seeds: {size:5.1f} % smaller, {diff:+.2f} on test data")


def main() -> int:
    """Compute what is missing, then print the means."""
    parser = search_arguments(__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, help="default: those by which no rule was chosen")
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=["post-training"])
    parser.add_argument("--csv", type=Path, default=Path("results/holds.csv"))
    options = vars(parser.parse_args())
    for kind in options["kinds"]:
        for task in options["tasks"]:
            for seed in options["seeds"] or SEEDS.get(task, OTHER_SEEDS):
                if any((r["task"], int(r["seed"]), r["kind"]) == (task, seed, kind)
                       for r in read_rows(options["csv"])):
                    continue
                made = row(task, seed, kind, options)
                rows = [*read_rows(options["csv"]), made]
                rows.sort(key=lambda r: (list(KINDS).index(r["kind"]), r["task"], int(r["seed"])))
                write_rows(options["csv"], rows)
                print(f"{task} {seed} {kind}: {made}", flush=True)
    rows = read_rows(options["csv"])
    summary(rows)
    return 0


if __name__ == "__main__":
    as_command(main)
