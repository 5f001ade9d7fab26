"""A pick within a budget: by the lowest error, or by the lowest loss? What each gives on test data.

    python benchmarks/budget.py --data DIR            # writes results/budget.csv; the searches are those of headline.py
    python benchmarks/budget.py --tasks digits --seeds 0 --methods post-training --generations 6 --csv look.csv

Who has so many bytes takes the best solution that fits: of everything that a search evaluated, a few thousand, or of
what was retrained itself, a dozen. Rules, by values on the items that select:

    error    the lowest error, then the smallest; `--pick 'size<=X'` took that before, without what was retrained
    ties     the lowest error, then the lowest loss
    loss     the lowest loss
    own      the lowest loss of what was retrained itself, if anything of it is within the budget; otherwise as `ties`
    near     the same, but `loss` where what was retrained itself has a loss more than a fifth above the lowest
    stands   the lowest loss of what was retrained itself and is as good as 8 bit; without such, as `ties`
    pick     what `--pick 'size<=X'` takes (`bittailor.runs.choice.best_of`): `stands`, and without such the retrained
             one of `near`

A row has the error of each on test items, measured once, when the search had ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from command import as_command, read_rows, write_rows
from searches import HEADLINE_SEEDS, SHARES, search_arguments, searched, task_of

from bittailor.runs import Run, Solution
from bittailor.runs.choice import LOSS_SLACK
from bittailor.runs.retraining import run_evaluators

METHODS = ("post-training", "ladder-long")


def everything(run: Run) -> list[Solution]:
    """What a search evaluated, and what was retrained itself."""
    with run.store() as store:
        found = [Solution(r.key, run.space.widths(r.genome), values, None, r.outcome.beacon)
                 for r in store.rows() for values in [r.outcome.known] if values is not None]
    return found + list(run.retrained.values())


def chosen(run: Run, size: float) -> dict[str, Solution]:
    """Rule -> its solution within a size."""
    def error(s: Solution) -> float:
        return run.metric.cost(s.values["error"])

    fitting = [s for s in everything(run) if s.values["size"] <= size]
    if not fitting:
        return {}
    found = {"error": min(fitting, key=lambda s: (error(s), s.values["size"], s.values["loss"])),
             "ties": min(fitting, key=lambda s: (error(s), s.values["loss"])),
             "loss": min(fitting, key=lambda s: s.values["loss"])}
    retrained = [s for s in run.retrained.values() if s.values["size"] <= size]
    own = min(retrained, key=lambda s: s.values["loss"], default=None)
    lowest = found["loss"].values["loss"]
    near = own is not None and own.values["loss"] <= lowest + LOSS_SLACK * abs(lowest)
    stands = min((s for s in retrained if run.metric.stands(s.values, run.held)), key=lambda s: s.values["loss"],
                 default=found["ties"])
    return found | {"own": own or found["ties"], "near": own if own and near else found["loss" if own else "ties"],
                    "stands": stands, "pick": run.pick(f"size<={int(size)}bit")}


def rows_of(task: str, seed: int, method: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per budget and rule."""
    prepared = task_of(task, seed, options)
    run = searched(prepared, method, options)
    base = run.baseline(8)
    test = run_evaluators(run, prepared.data.test, tested=True)
    rows = []
    for share in SHARES:
        for rule, solution in chosen(run, share * base.values["size"]).items():
            rows.append({"task": task, "seed": seed, "method": method, "at_percent": round(100 * share), "rule": rule,
                         "percent": 100 * solution.values["size"] / base.values["size"],
                         "error_valid": solution.values["error"], "error_test": test.tested([solution])[0].test,
                         "int8_test": base.test})
    return rows


def main() -> int:
    """Compute what is missing, then print the means."""
    parser = search_arguments(__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(HEADLINE_SEEDS))
    parser.add_argument("--seeds", nargs="+", type=int, help="instead of those of headline.py")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--csv", type=Path, default=Path("results/budget.csv"))
    options = vars(parser.parse_args())
    rows = read_rows(options["csv"])
    done = {(r["task"], int(r["seed"]), r["method"]) for r in rows}
    for task in options["tasks"]:
        for seed in options["seeds"] or HEADLINE_SEEDS[task]:
            for method in options["methods"]:
                if (task, seed, method) not in done:
                    rows += rows_of(task, seed, method, options)
                    write_rows(options["csv"], rows)
    for method in options["methods"]:
        for task in dict.fromkeys(r["task"] for r in rows):
            here = [r for r in rows if (r["task"], r["method"]) == (task, method)]
            print(f"{method}, {task}: " + "; ".join(
                f"{rule} " + " ".join(f"{mean(float(r['error_test']) for r in part):.2f}" for share in SHARES
                                      for part in [[r for r in here if r["rule"] == rule
                                                    and int(r["at_percent"]) == round(100 * share)]] if part)
                for rule in dict.fromkeys(r["rule"] for r in here)))
    print(f"written: {options['csv']}")
    return 0


if __name__ == "__main__":
    as_command(main)
