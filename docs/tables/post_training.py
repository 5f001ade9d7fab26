"""Searches without training: results/ptq.csv, ptq_widths.csv, calibration.csv."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from tables.common import Row, by_task, markdown_table, number, pair, read_csv, spread


def ptq_rows() -> str:
    """Every row of results/ptq.csv."""
    return markdown_table(
        ["task", "H", "seed", "float: select / test", "8 bit: select / test", "KiB", "smallest: select / test", "KiB",
         "smaller", "careful: select / test", "KiB", "smaller", "hypervolume mixed / homogeneous"],
        [[r["task"], r["hidden"], r["seed"], pair(r, "float"), pair(r, "int8"), _kib(r, "int8"),
          pair(r, "smallest"), _kib(r, "smallest"), f"{number(r['smallest_smaller_percent'])} %",
          pair(r, "careful"), _kib(r, "careful"), f"{number(r['careful_smaller_percent'])} %",
          f"{number(r['hypervolume_front'], 3)} / {number(r['hypervolume_homogeneous'], 3)}"]
         for r in read_csv("ptq.csv")],
    )


def _kib(row: Row, name: str) -> str:
    return f"{int(row[f'{name}_size_bits']) / 8192:.2f}"


def ptq_means() -> str:
    """Per task: mean and spread over seeds."""
    return markdown_table(
        ["task", "seeds", "smallest: smaller by [%]", "careful: smaller by [%]",
         "selection: 8 bit", "smallest", "careful", "test: float", "8 bit", "smallest", "careful"],
        [[task, str(len(rows)), *(f"**{spread(rows, f'{k}_smaller_percent', 1)}**" for k in ("smallest", "careful")),
          *(spread(rows, k) for k in ("int8_valid", "smallest_valid", "careful_valid",
                                      "float_test", "int8_test", "smallest_test", "careful_test"))]
         for task, rows in by_task("ptq.csv").items()],
    )


def ptq_widths() -> str:
    """Mean width per site over seeds, of the smallest solutions; one column per task."""
    rows = [r for r in read_csv("ptq_widths.csv") if r["pick"] == "smallest"]
    tasks = list(dict.fromkeys(r["task"] for r in rows))
    sites = list(dict.fromkeys(r["site"] for r in rows))

    def mean(task: str, site: str) -> str:
        bits = [int(r["bits"]) for r in rows if r["task"] == task and r["site"] == site]
        return f"{statistics.mean(bits):.1f}" if bits else "–"

    return markdown_table(["site", *tasks], [[f"`{site}`", *(mean(task, site) for task in tasks)] for site in sites])


def calibration() -> str:
    """results/calibration.csv."""
    rows = read_csv("calibration.csv")
    widths = [key for key in (rows[0] if rows else {}) if key != "setting"]
    return markdown_table(
        ["calibration", *(f"{key[1:]} bit" for key in widths)],
        [[r["setting"], *(number(r[key], 2) for key in widths)] for r in rows],
    )


TABLES: dict[str, Callable[[], str]] = {
    "ptq-rows": ptq_rows,
    "ptq-means": ptq_means,
    "ptq-widths": ptq_widths,
    "calibration": calibration,
}
