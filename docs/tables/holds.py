"""What picks are worth on new data, what is certified, what racing saves: results/holds.csv, headline.csv,
coverage.csv, racing.csv, budget.csv."""

from __future__ import annotations

from statistics import mean

from tables.common import Row, by_task, markdown_table, read_csv

ORDER = ("mnist", "spoken-digits", "vowels", "mnist1d", "pendigits", "phones")


def _rows(kind: str) -> dict[str, list[Row]]:
    """Task -> rows of a kind, in the order of `ORDER`."""
    found = [r for r in read_csv("holds.csv") if r["kind"] == kind]
    return {task: here for task in ORDER if (here := [r for r in found if r["task"] == task])}


def _mean(rows: list[Row], name: str) -> float:
    return mean(float(r[name]) for r in rows)


def _bounded(rows: list[Row], name: str = "diff_test") -> str:
    """The mean difference and how far single rows are from it."""
    values = [float(r[name]) for r in rows]
    return f"{mean(values):+.2f} ({min(values):+.2f} to {max(values):+.2f})"


def story() -> str:
    """What a user gets, without retraining, and with it within a quarter of the size: six columns for README."""
    quarter = by_task("headline.csv")

    def found(rows: list[Row], seeds: int, size: str, difference: str) -> list[str]:
        if not rows:
            return ["–", "–"]
        fewer = f" ({len(rows)} seeds)" if len(rows) != seeds else ""
        return [f"**{_mean(rows, size):.0f}**{fewer}", _bounded(rows, difference)]

    return markdown_table(
        ["task (seeds)", "8 bit: error [%]", "smaller by [%]", "difference [points]",
         "retrained, within a quarter: smaller by [%]", "difference [points]"],
        [[f"{task} ({len(rows)})", f"{_mean(rows, 'test_int8'):.2f}",
          *found(rows, len(rows), "smaller_percent", "diff_test"),
          *found(quarter.get(task, []), len(rows), "at_25_smaller_percent", "at_25_against_int8")]
         for task, rows in _rows("post-training").items()])


def holds_rows() -> str:
    """Every row, of all kinds."""
    def certified(r: Row) -> str:
        return f"{float(r['certified_margin']):.1f}" if r["certified_margin"] else "–"

    return markdown_table(
        ["task", "seed", "kind", "the pick: smaller by [%]", "difference on test [points]", "margin certified (items)",
         "smallest: smaller by [%]", "difference on test"],
        [[r["task"], r["seed"], kind, f"{float(r['smaller_percent']):.0f}",
          f"{float(r['diff_test']):+.2f} ({float(r['diff_low']):+.2f} to {float(r['diff_high']):+.2f})",
          f"{certified(r)} ({r['items_confirm']})", f"{float(r['smallest_percent']):.0f}",
          f"{float(r['smallest_diff']):+.2f}"]
         for kind in ("post-training", "flash", "retrained") for rows in _rows(kind).values() for r in rows])


def crossfit() -> str:
    """Cross-fitting on trial: results/crossfit.csv."""
    return markdown_table(
        ["task, seed", "careful: smaller by [%]", "difference on test", "cross-fitted: smaller by [%]",
         "difference on test", "both: smaller by [%]", "difference on test"],
        [[f"{r['task']} {r['seed']}", *(text for name in ("careful", "crossfit", "both") for text in (
            f"{float(r[f'{name}_smaller_percent']):.0f}", f"{float(r[f'{name}_diff']):+.2f}"))]
         for r in read_csv("crossfit.csv")])


def certificates() -> str:
    """Coverage: how often a certified pick was above its margin on the held-back truth."""
    return markdown_table(
        ["task, seed", "margin [points]", "items: confirm, truth", "above", "certified",
         "median size, of 8 bit [%]", "smallest within it on truth [%]"],
        [[f"{r['task']} {r['seed']}", f"{float(r['margin']):g}", f"{r['items_confirm']}, {r['items_truth']}",
          f"**{r['exceeded']}** of {r['divisions']}", f"{r['certified']} of {r['divisions']}",
          f"{float(r['certified_percent']):.0f}" if r["certified_percent"] else "–",
          f"{float(r['oracle_percent']):.0f}"]
         for r in read_csv("coverage.csv")])


def racing() -> str:
    """What racing saves."""
    return markdown_table(
        ["task, seed", "items", "sequences, of without", "processor time", "wall time", "hypervolume: with", "without"],
        [[f"{r['task']} {r['seed']}", r["items"], f"{float(r['sequences_ratio']):.2f}",
          f"{float(r['processor_ratio']):.2f}", f"{float(r['wall_ratio']):.2f}", f"{float(r['hypervolume']):.4f}",
          f"{float(r['hypervolume_without']):.4f}"] for r in read_csv("racing.csv")])


RULES = {"error": "lowest error, then smallest", "loss": "lowest loss", "pick": "**`--pick`**"}


def budget() -> str:
    """Rules for a pick within a budget: mean test error by rule and budget."""
    rows, lines = read_csv("budget.csv"), []
    budgets = sorted({int(r["at_percent"]) for r in rows})
    for method in dict.fromkeys(r["method"] for r in rows):
        for task in ORDER:
            for rule, title in RULES.items():
                here = [r for r in rows if (r["task"], r["method"], r["rule"]) == (task, method, rule)]
                means = (_mean([r for r in here if int(r["at_percent"]) == at], "error_test") for at in budgets if here)
                if here:
                    lines.append([f"{method}, {task}", title, *(f"{value:.2f}" for value in means)])
    return markdown_table(["search, task", "rule", *(f"{at} %" for at in budgets)], lines)


TABLES = {
    "budget": budget,
    "story": story,
    "holds-rows": holds_rows,
    "certificates": certificates,
    "crossfit": crossfit,
    "racing": racing,
}
