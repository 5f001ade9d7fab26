"""How far convolutions, embeddings and normalisations are from their floats: results/new_operators.csv."""

from __future__ import annotations

from collections.abc import Callable

from tables.common import markdown_table, number, read_csv


def new_operators() -> str:
    """Signal to error by width, and what integer arithmetic adds to a rounding."""
    rows = read_csv("new_operators.csv")
    if not rows:
        return ""
    widths = list(dict.fromkeys(row["bits"] for row in rows))
    lines = []
    for name in dict.fromkeys(row["operator"] for row in rows):
        mine = {row["bits"]: row for row in rows if row["operator"] == name}
        steps = [row["steps"] for row in mine.values() if row["steps"]]
        lines.append([name, *(number(mine[bits]["signal_db"]) for bits in widths),
                      number(max(steps, key=float), 2) if steps else "two roundings"])
    return markdown_table(["operator", *(f"{bits} bits [dB]" for bits in widths), "most, in steps"], lines)


TABLES: dict[str, Callable[[], str]] = {"new_operators": new_operators}
