"""Whole searches and what is in them: results/headline.csv, beacons.csv, operators.csv."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from matplotlib.figure import Figure

from bittailor.report.style import BLUE, DOT, GREEN, ORANGE
from bittailor.search.optimisers import OPTIMISERS
from bittailor.search.optimisers.nsga2 import Nsga2
from bittailor.search.settings import SearchSettings
from tables.common import Row, by_task, markdown_table, number, pair, read_csv, spread

AGAINST = {"int8": "8 bit", "int8_retrained": "8 bit retrained"}


def headline() -> str:
    """What `--pick` takes within a quarter of the size of homogeneous 8 bit, per task: in six columns."""
    return _of_pick("at_25", "within a quarter of 8 bit")


def headline_smallest() -> str:
    """The smallest retrained solution that stands, per task: in six columns."""
    return _of_pick("final", "final")


def _of_pick(name: str, title: str) -> str:
    return markdown_table(
        ["task (seeds)", f"{title}: smaller by [%]", "its test error",
         *(f"that of {base}" for base in AGAINST.values()), "its flash, of 8 bit [%]"],
        [[f"{task} ({len(rows)})", f"**{spread(rows, f'{name}_smaller_percent', 1)}**", spread(rows, f"{name}_test"),
          *(f"{spread(rows, f'{base}_test')}: {_difference(rows, name, base)}" for base in AGAINST),
          f"{statistics.mean(100 * float(r[f'{name}_flash_bytes']) / float(r['int8_flash_bytes']) for r in rows):.0f}"]
         for task, rows in by_task("headline.csv").items()],
    )


def _difference(rows: list[Row], name: str, base: str) -> str:
    """By how much the solution is worse, on average, and in how many rows that is beyond chance."""
    one = f"{name}_against_{base}"
    found = [r for r in rows if r[one]]
    worse = sum(float(r[f"{one}_low"]) > 0 for r in found)
    better = sum(float(r[f"{one}_high"]) < 0 for r in found)
    beyond = ", ".join(f"{n} {word}" for n, word in ((worse, "worse"), (better, "better")) if n)
    mean = statistics.mean(float(r[one]) for r in found)
    return f"{mean:+.2f} ({beyond})" if beyond else f"{mean:+.2f}"


def headline_means() -> str:
    """Per task: mean and spread over seeds of everything else in results/headline.csv."""
    return markdown_table(
        ["task", "post-training: smaller by [%]", "test", "float, test", "validation: 8 bit", "8 bit retrained",
         "within 25 %", "final", "within 30 %: smaller by [%]", "test"],
        [[task, spread(rows, "ptq_careful_smaller_percent", 1), spread(rows, "ptq_careful_test"),
          *(spread(rows, f"{k}_valid" if k != "float" else "float_test")
            for k in ("float", "int8", "int8_retrained", "at_25", "final")),
          spread(rows, "at_30_smaller_percent", 1), spread(rows, "at_30_test")]
         for task, rows in by_task("headline.csv").items()],
    )


def headline_rows() -> str:
    """Every row of results/headline.csv."""
    def solution(r: Row, name: str) -> list[str]:
        if not r[f"{name}_size_bits"]:
            return ["–", "–"]
        return [f"{number(r[f'{name}_smaller_percent'])} %, {r[f'{name}_flash_bytes']} B", pair(r, name)]

    def against(r: Row, one: str) -> str:
        if not r[one]:
            return "–"
        return f"{float(r[one]):+.2f} ({float(r[f'{one}_low']):+.2f} to {float(r[f'{one}_high']):+.2f})"

    shown = {"at_25": "within 25 %", "final": "final"}
    return markdown_table(
        ["task", "H", "seed", "8 bit: flash", "valid / test", "post-training: smaller, flash", "valid / test",
         *(text for title in shown.values() for text in (f"{title}: smaller, flash", "valid / test", *(
             f"against {base}, test" for base in AGAINST.values()))), "final is"],
        [[r["task"], r["hidden"], r["seed"], f"{r['int8_flash_bytes']} B", pair(r, "int8"),
          *solution(r, "ptq_careful"),
          *(text for name in shown for text in (*solution(r, name), *(against(r, f"{name}_against_{base}")
                                                                      for base in AGAINST))), r["final_is"]]
         for r in read_csv("headline.csv")],
    )


def headline_gains() -> str:
    """What beacons take off the front, at equal size."""
    rows = by_task("headline.csv")
    at = [k for k in next(iter(rows.values()), [{}])[0] if k.startswith("gain_at_")]
    return markdown_table(
        ["task", *(f"at {k.split('_')[2]} % of 8 bit" for k in at), "mean", "mean, test", "retrainings",
         "seconds each"],
        [[task, *(spread(here, k) for k in (*at, "gain_valid", "gain_test")),
          f"{statistics.mean(map(_trainings, here)):.1f}",
          f"{statistics.mean(float(r['training_seconds']) / _trainings(r) for r in here):.0f}"]
         for task, here in rows.items()],
    )


def _trainings(r: Row) -> int:
    return max(1, int(r["beacons"]) + int(r["polished"]))


def beacons() -> str:
    """results/beacons.csv: predicted against own error, over the neighbours of one beacon per task; near ones are
    those that a search serves from the beacon."""
    lines = []
    for task, rows in by_task("beacons.csv").items():
        here = [r for r in rows if int(r["sample"])]
        near = [r for r in here if float(r["distance"]) <= float(r["threshold"])]
        far = [r for r in here if r not in near]
        for which, part in (("near", near), ("farther", far)):
            if len(part) < 2:
                continue
            for what in ("error", "loss"):
                own, served, base = ([float(r[f"{n}_{what}"]) for r in part] for n in ("own", "beacon", "base"))
                together = [f"{_correlation(v, own):.2f}" for v in (base, served)]
                lines.append([task, f"{which}, {len(part)}", what,
                              *(f"{statistics.mean(v):.3g}" for v in (base, served, own)), *together])
    return markdown_table(
        ["task", "neighbours", "", "from the float network", "from the beacon", "own retraining",
         "correlation with own: float network", "beacon"],
        lines,
    )


def _correlation(a: list[float], b: list[float]) -> float:
    return statistics.correlation(a, b) if len(set(a)) > 1 and len(set(b)) > 1 else float("nan")


def operators() -> str:
    """results/operators.csv, NSGA-II with other operators: see `_ranked`."""
    return _ranked(_of_operators(), _default_variant())


def optimisers() -> str:
    """results/operators.csv, every optimiser by sets of objectives: see `_ranked`."""
    rows = [r for r in read_csv("operators.csv") if r["variant"] in _titles()]
    tables = [f"Objectives {objectives.replace(' ', ', ')}:\n\n"
              + _ranked([r for r in rows if r["objectives"] == objectives], Nsga2.title)
              for objectives in dict.fromkeys(r["objectives"] for r in rows)]
    return "\n\n".join(tables)


def _titles() -> set[str]:
    return {optimiser.title for optimiser in OPTIMISERS.values()}


def _of_operators() -> list[dict[str, str]]:
    return [r for r in read_csv("operators.csv") if r["variant"] not in _titles()]


def _ranked(rows: list[dict[str, str]], default: str) -> str:
    """At the largest budget: mean over tasks' seeds, and mean rank over all (1 is best); the default in bold."""
    if not rows:
        return ""
    tasks = list(dict.fromkeys(r["task"] for r in rows))
    tables = []
    for at in (min(int(r["evaluations"]) for r in rows), max(int(r["evaluations"]) for r in rows)):
        here = [r for r in rows if int(r["evaluations"]) == at]
        value = {(r["variant"], r["task"], r["seed"]): float(r["hypervolume_loss"]) for r in here}
        variants = list(dict.fromkeys(v for v, _, _ in value))
        cases = list(dict.fromkeys((t, s) for _, t, s in value))
        rank: dict[str, list[int]] = {v: [] for v in variants}
        for t, s in cases:
            for i, v in enumerate(sorted(variants, key=lambda v: -value[v, t, s])):
                rank[v].append(i + 1)
        tables.append((at, value, {v: statistics.mean(r) for v, r in rank.items()}))
    (early, _, first), (late, value, last) = tables
    body = []
    for v in sorted(last, key=lambda v: last[v]):
        means = [f"{statistics.mean(x for (w, t, _), x in value.items() if (w, t) == (v, task)):.4f}" for task in tasks]
        name = f"**{v}**" if v == default else v
        body.append([name, *means, f"{last[v]:.1f}", f"{first[v]:.1f}"])
    return markdown_table(["variant", *tasks, f"mean rank after {late}", f"after {early}"], body)


def _default_variant() -> str:
    return f"{SearchSettings().crossover}, {SearchSettings().mutation}"


def draw_operators() -> Figure | None:
    """results/operators.csv: hypervolume by evaluations; the default, the other first populations, the rest grey."""
    rows = _of_operators()
    if not rows:
        return None
    tasks = list(dict.fromkeys(r["task"] for r in rows))
    marked = {_default_variant(): BLUE, "seeding templates": ORANGE, "seeding homogeneous": GREEN}
    figure = Figure(figsize=(4.2 * len(tasks), 3.3), layout="constrained")
    axes = figure.subplots(1, len(tasks), squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=True):
        for variant in dict.fromkeys(r["variant"] for r in rows):
            at: dict[int, list[float]] = {}
            for r in rows:
                if (r["task"], r["variant"]) == (task, variant):
                    at.setdefault(int(r["evaluations"]), []).append(float(r["hypervolume_loss"]))
            name = f"{variant} (default)" if variant == _default_variant() else variant
            ax.plot(list(at), [statistics.mean(v) for v in at.values()], "-", color=marked.get(variant, DOT),
                    lw=2 if variant in marked else 1, zorder=3 if variant in marked else 2,
                    label=name if variant in marked else None)
        ax.set(title=task, xlabel="evaluations")
        ax.grid(alpha=0.3)
    axes[0][0].set_ylabel("hypervolume (validation loss, size)")
    axes[0][0].legend(frameon=False, loc="lower right")
    return figure


TABLES: dict[str, Callable[[], str]] = {
    "headline": headline,
    "headline-smallest": headline_smallest,
    "headline-means": headline_means,
    "headline-rows": headline_rows,
    "headline-gains": headline_gains,
    "beacons": beacons,
    "operators": operators,
    "optimisers": optimisers,
}

FIGURES: dict[str, Callable[[], Figure | None]] = {
    "operators.png": draw_operators,
}
