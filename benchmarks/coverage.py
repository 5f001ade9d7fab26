"""Does the certificate keep its word? Many divisions of items, each with a certified pick and a truth to hold it to.

    python benchmarks/coverage.py --data DIR                      # writes results/coverage.csv
    python benchmarks/coverage.py --tasks digits --seeds 0 --generations 6 --divisions 20 --csv look.csv

For every task and seed the candidates of a post-training search (the one of `holds.py`) are judged once on all items
that neither training nor search saw: confirm and test items. Then, so many times: these items are divided at random
into select (a fifth), confirm and truth (half of the rest each); the front is formed again by the error on select; its
members are tested in sequence on confirm, by the functions of the package; and the certified pick is held to truth.
`exceeded` counts the divisions in which its difference to homogeneous 8 bit there is above the margin: at most 5 % may
be, at 95 % confidence. Truth is a sample itself, so a true difference just below the margin may exceed it as well.
`oracle_percent` is the size of the smallest candidate that keeps the margin on truth, which nobody could know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from command import as_command, read_rows, write_rows
from numpy.typing import NDArray
from searches import OTHER_SEEDS, SEEDS, search_arguments, searched, task_of

import bittailor as bt
from bittailor.engines import best_engine
from bittailor.evaluate.certify import Differences, fallback, item_costs
from bittailor.evaluate.evaluator import Evaluator
from bittailor.runs import Run, Solution
from bittailor.runs.certificate import STARTS, sequence
from bittailor.search.front import nondominated

MARGINS = {"mnist": (0.5, 1.0), "pendigits": (1.0, 2.0)}
"""Task -> margins in points; others have 2."""
RISK = 0.05
REACH = 5.0
"""Points above homogeneous 8 bit where the search looked, above which no candidate is judged again."""
LAYERS = 4
"""Fronts, one behind the other, whose members are judged again."""


def candidates(run: Run) -> list[Solution]:
    """The first few fronts of everything that the search judged on all its items."""
    base = run.baseline(8).values
    with run.store() as store:
        found = [Solution(r.key, run.space.widths(r.genome), r.outcome.known, None) for r in store.rows()
                 if r.outcome.known is not None]
    found = [s for s in found if s.values["size"] < base["size"] and s.values["error"] <= base["error"] + REACH]
    kept: list[Solution] = []
    for _ in range(LAYERS):
        first = set(nondominated(np.array([[s.values["error"], s.values["size"]] for s in found]).reshape(-1, 2)))
        kept += [s for i, s in enumerate(found) if i in first]
        found = [s for i, s in enumerate(found) if i not in first]
    return kept


def judged(run: Run, data: bt.Data, solutions: list[Solution]) -> NDArray[np.float64]:
    """Item costs of homogeneous 8 bit and of solutions: [1 + solutions, items]."""
    evaluator = Evaluator(run.calibration, data, run.metric, best_engine(), ())
    widths = [dict(s.widths) for s in (run.baseline(8), *solutions)]
    rows = [item_costs(run.metric, outputs, data.targets) for outputs in evaluator.each_output(widths)]
    return np.array([row for row in rows if row is not None])


def certified(
    differences: NDArray[np.float64], solutions: list[Solution], run: Run, select: NDArray[np.int64],
    confirm: NDArray[np.int64], margin: float,
) -> int | None:
    """Place of the certified pick of a division; None where none is certified. `differences`: [solutions, items]."""
    rated = [replace(s, values={**s.values, "error": float(row[select].mean())})
             for s, row in zip(solutions, differences, strict=True)]
    front = nondominated(np.array([[s.values["error"], s.values["size"]] for s in rated]))
    base = replace(run.baseline(8), values={**run.baseline(8).values, "error": 0.0})
    tried = sequence([rated[i] for i in front], base, run.metric, margin, "size")
    place = {s.key: i for i, s in enumerate(rated)}
    none = np.empty(0, np.int64)

    def p_value(i: int) -> float:
        values = differences[place[tried[i].key]][confirm]
        return Differences(values, 100.0, np.ones(len(confirm)), none).p_value(margin)

    passed = fallback(len(tried), [s for s in STARTS if s < max(1, len(tried))], RISK, p_value)
    return min((place[tried[i].key] for i in passed), key=lambda i: solutions[i].values["size"], default=None)


def rows_of(task: str, seed: int, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per margin."""
    prepared = task_of(task, seed, options)
    run = searched(prepared, "post-training", options)
    solutions, confirm = candidates(run), run.spec.divide(prepared.data).confirm
    parts = [prepared.data.test, *([] if confirm is None else [confirm])]
    costs = np.concatenate([judged(run, part, solutions) for part in parts], axis=1)
    differences, items = costs[1:] - costs[0], costs.shape[1]
    sizes = np.array([s.values["size"] for s in solutions]) / run.baseline(8).values["size"] * 100
    first, second = items // 5, items // 5 + (items - items // 5) // 2
    found = []
    for margin in MARGINS.get(task, (2.0,)):
        rng = np.random.default_rng(0)
        picked, best, exceeded = [], [], 0
        for _ in range(options["divisions"]):
            order = rng.permutation(items)
            truth = differences[:, order[second:]].mean(axis=1)
            best.append(float(sizes[truth <= margin].min(initial=100.0)))
            at = certified(differences, solutions, run, order[:first], order[first:second], margin)
            if at is not None:
                picked.append(float(sizes[at]))
                exceeded += bool(truth[at] > margin)
        found.append({
            "task": task, "seed": seed, "margin": margin, "confidence": 1 - RISK, "divisions": options["divisions"],
            "items_select": first, "items_confirm": second - first, "items_truth": items - second,
            "candidates": len(solutions), "certified": len(picked), "exceeded": exceeded,
            "certified_percent": median(picked) if picked else None, "oracle_percent": median(best)})
    return found


def main() -> int:
    """Compute what is missing, then print the counts."""
    parser = search_arguments(__doc__)
    parser.add_argument("--tasks", nargs="+", default=["mnist", "pendigits"])
    parser.add_argument("--seeds", nargs="+", type=int, help="instead of those of holds.py")
    parser.add_argument("--csv", type=Path, default=Path("results/coverage.csv"))
    parser.add_argument("--divisions", type=int, default=200)
    options = vars(parser.parse_args())
    rows = read_rows(options["csv"])
    done = {(r["task"], int(r["seed"])) for r in rows}
    for task in options["tasks"]:
        for seed in options["seeds"] or SEEDS.get(task, OTHER_SEEDS):
            if (task, seed) not in done:
                rows += rows_of(task, seed, options)
                write_rows(options["csv"], rows)
    for r in rows:
        print(f"{r['task']} {r['seed']}, {r['margin']} points: {r['exceeded']} of {r['divisions']} above it on truth; "
              f"{r['certified']} certified, {r['certified_percent'] or '–'} % of 8 bit, oracle {r['oracle_percent']} %")
    return 0


if __name__ == "__main__":
    as_command(main)
