"""Several machines: results/cluster.csv, cluster_simulated.csv, islands.csv, long_run.csv."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from tables.common import markdown_table, number, read_csv


def waiting() -> str:
    """results/cluster.csv: efficiency with workers that wait."""
    rows = sorted(read_csv("cluster.csv"), key=lambda r: (int(r["evaluation_ms"]), int(r["workers"])))
    return markdown_table(
        ["evaluation [ms]", "workers", "a generation", "evaluations", "efficiency [%]", "overhead [ms]",
         "of it computing here [ms]", "load before"],
        [[r["evaluation_ms"], r["workers"], r["population"], r["evaluations"], f"**{r['efficiency_percent']}**",
          r["overhead_ms_per_evaluation"], r["cpu_ms_per_evaluation"], r["load"]] for r in rows])


def simulated() -> str:
    """results/cluster_simulated.csv: efficiency by workers, duration and what a generation holds."""
    rows = read_csv("cluster_simulated.csv")
    columns = list(dict.fromkeys((r["population"], r["islands"]) for r in rows))
    found = {(r["evaluation_ms"], r["workers"], r["population"], r["islands"]): r for r in rows}
    lines = []
    for ms, workers in dict.fromkeys((r["evaluation_ms"], r["workers"]) for r in rows):
        cells = [found[ms, workers, *column] for column in columns]
        lines.append([ms, workers, *(f"{number(r['efficiency_percent'], 0)} ({number(r['tasks_a_second'], 0)}, "
                                     f"{number(r['coordinator_busy_percent'], 0)})" for r in cells)])
    forms = [f"{p} a generation" if n == "1" else f"{n} x {p} a generation" for p, n in columns]
    return markdown_table(["evaluation [ms]", "workers", *forms], lines)


def islands() -> str:
    """results/islands.csv: hypervolume of the forms, and how often each beats one search."""
    rows = read_csv("islands.csv")
    forms = list(dict.fromkeys(r["form"] for r in rows))
    lines = []
    for task in dict.fromkeys(r["task"] for r in rows):
        of = {(r["form"], r["seed"]): float(r["hypervolume"]) for r in rows if r["task"] == task}
        seeds = sorted({seed for _, seed in of if all((form, seed) in of for form in forms)})
        if not seeds:
            continue
        base = [of[forms[0], seed] for seed in seeds]
        cells = []
        for form in forms:
            values = [of[form, seed] for seed in seeds]
            wins = sum(value > one for value, one in zip(values, base, strict=True))
            won = "" if form == forms[0] else f", better in {wins} of {len(seeds)}"
            cells.append(f"{statistics.mean(values):.4f}{won}")
        lines.append([task, str(len(seeds)), *cells])
    return markdown_table(["task", "seeds", *forms], lines)


def long_run() -> str:
    """results/long_run.csv: what more evaluations gain."""
    return markdown_table(
        ["evaluations", "hypervolume", "of the last [%]", "front", "best error [%]", "seconds of these",
         "memory [MiB]"],
        [[f"{int(r['evaluations']):,}", r["hypervolume"], r["of_the_last_percent"], r["front"], r["best_error"],
          r["seconds_of_these"].replace("nan", "–"), r["resident_mib"].replace("nan", "–")]
         for r in read_csv("long_run.csv")])


TABLES: dict[str, Callable[[], str]] = {
    "cluster-waiting": waiting, "cluster-simulated": simulated, "islands": islands, "long-run": long_run,
}
