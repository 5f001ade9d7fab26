"""What the subjects share: reading results, number formats, a markdown table."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

Row = dict[str, str]


def read_csv(name: str) -> list[Row]:
    """The rows of a file in results/; none if it is missing."""
    path = ROOT / "results" / name
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_json(name: str) -> Any:
    """What a file in results/ holds; None if it is missing."""
    path = ROOT / "results" / name
    return json.loads(path.read_text()) if path.exists() else None


def by_task(name: str) -> dict[str, list[Row]]:
    """The rows of a file in results/, by their task."""
    found: dict[str, list[Row]] = {}
    for row in read_csv(name):
        found.setdefault(row["task"], []).append(row)
    return found


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A table in markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def number(text: str, digits: int = 1) -> str:
    """A number of a csv file, rounded; a dash for none."""
    return f"{float(text):.{digits}f}" if text else "–"


def pair(row: Row, name: str) -> str:
    """The errors of one solution: validation / test."""
    return f"{number(row[f'{name}_valid'], 2)} / {number(row[f'{name}_test'], 2)}"


def spread(rows: list[Row], key: str, digits: int = 2) -> str:
    """Mean ± standard deviation over the rows that have a value."""
    values = [float(r[key]) for r in rows if r[key]]
    if not values:
        return "–"
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}"
