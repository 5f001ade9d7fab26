"""Ladders and beacons at equal sizes, results/ladder.csv; elastic weights and widths by gradient beside them,
results/elastic.csv."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from tables.common import Row, by_task, markdown_table, read_csv

READINGS = {"": "the front, by its lowest error", ": retrained": "retrained itself, by its lowest loss",
            ": within": "**`--pick 'size<=X'`**"}
"""What the name of a method ends with -> how its search is read."""


def ladder() -> str:
    """Test error of each method, mean over sizes and seeds, in every reading."""
    made = []
    for task, rows in by_task("ladder.csv").items():
        rows = [r for r in rows if r["at_percent"] != "100"]
        methods = [m for m in dict.fromkeys(r["method"] for r in rows) if ":" not in m]
        for ending, reading in READINGS.items():
            means = []
            for method in methods:
                here = [r for r in rows if r["method"] == method + ending]
                seeds = sorted({r["seed"] for r in here})
                each = [statistics.mean(float(r["error_test"]) for r in here if r["seed"] == s) for s in seeds]
                means.append(_spread(each))
            made.append([task, str(len({r["seed"] for r in rows})), reading, *means])
    return markdown_table(["task", "seeds", "read", *methods], made)


def ladder_sizes() -> str:
    """What a pick within a size errs by, mean over seeds; retrainings and their seconds."""
    every = read_csv("ladder.csv")
    sizes = sorted({float(r["at_percent"]) for r in every if ":" not in r["method"] and r["at_percent"] != "100"})
    made = []
    for task, rows in by_task("ladder.csv").items():
        whole = {name: _mean([r for r in rows if r["method"] == name]) for name in ("int8", "int8 retrained")}
        for method in (m for m in dict.fromkeys(r["method"] for r in rows) if ":" not in m and m not in whole):
            here = [r for r in rows if r["method"] == f"{method}: within"]
            at = [_mean([r for r in here if float(r["at_percent"]) == size]) for size in sizes]
            spent = [statistics.mean(float(r[key]) for r in here) for key in ("retrainings", "training_seconds")]
            made.append([task, f"{whole['int8']} / {whole['int8 retrained']}", method, *at, f"{spent[0]:.1f}",
                         f"{spent[1]:.0f}"])
    return markdown_table(["task", "8 bit / retrained", "method", *(f"at {size:.0f} %" for size in sizes),
                           "retrainings", "their seconds"], made)


def ladder_picks() -> str:
    """The pick `retrained` of each method, mean over the seeds that have one."""
    made = []
    for task, rows in by_task("ladder.csv").items():
        seeds = len({r["seed"] for r in rows})
        for method in dict.fromkeys(r["method"] for r in rows if r["method"].endswith(": pick")):
            here = [r for r in rows if r["method"] == method]
            smaller = statistics.mean(100 - float(r["at_percent"]) for r in here)
            made.append([task, method.removesuffix(": pick"), f"{len(here)} of {seeds}", f"{smaller:.0f}", _mean(here),
                         *(_mean([r for r in rows if r["method"] == name and r["seed"] in {h["seed"] for h in here}])
                           for name in ("int8", "int8 retrained"))])
    return markdown_table(["task", "method", "seeds with one", "smaller by [%]", "its test error", "8 bit",
                           "8 bit retrained"], made)


def elastic() -> str:
    """Test errors of elastic weights and widths by gradient, and of other searches of the same task and seed."""
    rows = read_csv("elastic.csv")
    places = dict.fromkeys((r["task"], r["seed"]) for r in rows)
    rows = [*read_csv("ladder.csv"), *rows]
    made = []
    for task, seed in places:
        here = [r for r in rows if (r["task"], r["seed"]) == (task, seed) and r["at_percent"] != "100"]
        for method in dict.fromkeys(r["method"] for r in here if not r["method"].endswith((": pick", ": within"))):
            mine = sorted((r for r in here if r["method"] == method), key=lambda r: float(r["at_percent"]))
            valid = statistics.mean(float(r["error_valid"]) for r in mine)
            made.append([task, seed, method, *(f"{float(r['error_test']):.2f}" for r in mine), f"**{_mean(mine)}**",
                         f"{valid:.2f}"])
    sizes = [f"at {size} %" for size in (15, 20, 25, 30, 40)]
    return markdown_table(["task", "seed", "method", *sizes, "mean", "the same, validation"], made)


def _spread(values: list[float]) -> str:
    """Mean (least to largest)."""
    if not values:
        return "–"
    several = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{several}"


def _mean(rows: list[Row]) -> str:
    return f"{statistics.mean(float(r['error_test']) for r in rows):.2f}" if rows else "–"


TABLES: dict[str, Callable[[], str]] = {
    "ladder": ladder, "ladder-sizes": ladder_sizes, "ladder-picks": ladder_picks, "elastic": elastic,
}
