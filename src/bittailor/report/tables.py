"""The tables of a report as CSV: values as stored, with the unit in the column's name."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bittailor.report import retraining
from bittailor.report.facts import Facts, bits_of
from bittailor.runs import Solution

Rows = tuple[Sequence[str], Sequence[Sequence[Any]]]
"""Column names and rows."""


def front_rows(facts: Facts) -> Rows:
    """One row per solution of the front; `index` is what `show --pick` takes."""
    return _solutions(facts, "index", [(i, s) for i, s in enumerate(facts.front)])


def homogeneous_rows(facts: Facts) -> Rows:
    """One row per baseline."""
    return _solutions(facts, "bits", [(bits_of(s), s) for s in facts.homogeneous])


def pick_rows(facts: Facts) -> Rows:
    """One row per pick of the run."""
    return _solutions(facts, "pick", list(facts.picks.items()))


def evaluation_rows(facts: Facts) -> Rows:
    """Every evaluation, failed ones with the reason, and the width of every gene."""
    genes = facts.run.space.width_genes
    names = list(facts.axes)
    header = ["ordinal", "generation", "key", "beacon", *(facts.axes[n].column for n in names), "seconds", "failed",
              *(f"gene {gene.name}" for gene in genes)]
    rows = []
    for row in facts.evaluations:
        values = row.outcome.values or {}
        rows.append([row.ordinal, row.generation, row.key, row.outcome.beacon, *(values.get(n) for n in names),
                     row.outcome.seconds, row.outcome.reason,
                     *(g.widths[i] for g, i in zip(genes, row.genome, strict=True))])
    return header, rows


def history_rows(facts: Facts) -> Rows:
    """One row per generation."""
    plain = ("number", "evaluations", "new", "cached", "failed", "front_size", "hypervolume")
    header = ["generation", *plain[1:], *(f"best_{facts.axes[n].column}" for n in facts.objectives)]
    return header, [[*(g[name] for name in plain), *(g["best"].get(n) for n in facts.objectives)]
                    for g in facts.result["history"]]


def csv_text(rows: Rows) -> str:
    """Rows as CSV; numbers with every digit they have, what is not known empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header, body = rows
    writer.writerow(header)
    writer.writerows(body)
    return text.getvalue()


def _solutions(facts: Facts, first: str, solutions: Sequence[tuple[int | str, Solution]]) -> Rows:
    names = list(facts.axes)
    sites = [site.name for site in facts.sites]
    header = [first, "key", "beacon", *(facts.axes[n].column for n in names), "test",
              *(f"bits {site}" for site in sites)]
    return header, [[number, s.key, s.beacon, *(s.values.get(n) for n in names), s.test,
                     *(s.widths[site] for site in sites)]
                    for number, s in solutions]


TABLES: Mapping[str, Callable[[Facts], Rows]] = {
    "front": front_rows,
    "picks": pick_rows,
    "homogeneous": homogeneous_rows,
    "evaluations": evaluation_rows,
    "history": history_rows,
    "retrained": retraining.rows,
}
"""File name -> rows."""
