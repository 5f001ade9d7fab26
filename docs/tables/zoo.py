"""Networks as their public originals are, from results/zoo.csv (`tests/zoo.py` writes it)."""

from __future__ import annotations

import csv

from tables.common import ROOT, markdown_table


def rows() -> list[dict[str, str]]:
    """The lines of the file."""
    with (ROOT / "results" / "zoo.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def read() -> str:
    """Those that are read."""
    body = [[row["network"], f"`{row['as']}`", f"< {row['difference']}", row["onnx"], row["keras"] or "–"]
            for row in rows() if row["read"] == "yes"]
    return markdown_table(["network", "read as", "float difference", "its ONNX file", "in Keras"], body)


def refused() -> str:
    """Those that are refused."""
    body = [[row["network"], row["as"]] for row in rows() if row["read"] == "no"]
    return markdown_table(["network", "message"], body)


TABLES = {"zoo": read, "zoo_refused": refused}
