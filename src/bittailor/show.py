"""Runs as text: tables for the terminal. Figures and pages are in `report`."""

from __future__ import annotations

import csv as csv_format
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bittailor.cost import account
from bittailor.files import write_whole
from bittailor.metrics import METRICS
from bittailor.runs import Run, Solution


def _kib(bits: float) -> str:
    return f"{bits / 8 / 1024:.2f}"


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def smaller(solution: Solution, base: Solution) -> float:
    """How much smaller than a baseline, in %."""
    return 100 * (1 - solution.values["size"] / base.values["size"])


def summary_row(run: Run) -> dict[str, Any]:
    """The row of a run in a comparison: float, homogeneous 8 bits, and the run's two picks (`Run.picks`).

    Sizes in bits (weights and biases times their widths) and in stored bytes; metrics in the task's unit.
    """
    result, base = run.result, run.baseline(8)
    solutions = {"int8": base, "smallest": run.picks.get("smallest"), "careful": run.picks.get("careful")}
    row: dict[str, Any] = {
        "task": run.config["task"].get("task", run.path.name),
        "hidden": run.config["task"].get("hidden", ""),
        "seed": run.config["search"]["seed"],
        "metric": run.config["metric"],
        "evaluations": result["evaluations"],
        "float_valid": result["float"]["valid"],
        "float_test": result["float"]["test"],
    }
    for name, solution in solutions.items():
        row[f"{name}_size_bits"] = None if solution is None else int(solution.values["size"])
        row[f"{name}_stored_bytes"] = None if solution is None else int(solution.values["stored"])
        row[f"{name}_valid"] = None if solution is None else solution.values["error"]
        row[f"{name}_test"] = None if solution is None else solution.test
        if name != "int8":
            row[f"{name}_smaller_percent"] = None if solution is None else smaller(solution, base)
    row["hypervolume_front"] = result["hypervolume"]["front"]
    row["hypervolume_homogeneous"] = result["hypervolume"]["homogeneous"]
    return row


def print_run(run: Run) -> None:
    """The front of a run, the baselines, and the one-line answer."""
    result, metric = run.result, METRICS[run.result["metric"]]
    console = Console()
    unit = f" [{metric.unit}]" if metric.unit else ""
    table = Table("", f"{metric.title}{unit}: validation", "test", "size [KiB]", "stored [B]", "of 8 bit",
                  title=f"{run.path}: {run.config['task'].get('title', '')}")
    base = run.baseline(8)

    def add(name: str, s: Solution) -> None:
        table.add_row(name, _value(s.values["error"]), _value(s.test), _kib(s.values["size"]),
                      f"{s.values['stored']:.0f}", f"{100 * s.values['size'] / base.values['size']:.0f} %")

    table.add_row("float", _value(result["float"]["valid"]), _value(result["float"]["test"]), "", "", "")
    for s in run.homogeneous:
        add(s.key, s)
    table.add_section()
    for i, s in enumerate(run.front):
        add(str(i), s)
    console.print(table)
    for name, by in (("smallest", "validation error"), ("careful", "validation error and loss, and training error")):
        found = run.picks.get(name)
        if found is not None:
            test = "" if found.test is None else f", test {_value(found.test)} against {_value(base.test)}"
            console.print(f"{name} (no worse than homogeneous 8 bit by {by}): "
                          f"{_kib(found.values['size'])} KiB, {smaller(found, base):.0f} % smaller; validation "
                          f"{_value(found.values['error'])} against {_value(base.values['error'])}{test}")
    if result["dropped"]:
        console.print(f"early stopping: {result['dropped']} of {result['evaluations']} candidates dropped, "
                      f"{result['saved_percent']:.1f} % of the sequences not run")
    if result["message"]:
        console.print(result["message"])


def print_solution(run: Run, solution: Solution) -> None:
    """Every site of a solution with its format, and what it stores."""
    console = Console()
    plan, program = run.plan(solution), run.program(solution)
    table = Table("site", "role", "shape", "bits", "scale", "zero-point", title=f"{run.path}: {solution.key}")
    for site in run.network.graph.free:
        fmt = plan.formats[site.name]
        scale = "accumulator" if not fmt.scale else f"{fmt.scale[0]:.4g}" + (" …" if len(fmt.scale) > 1 else "")
        table.add_row(site.name, site.role, "×".join(map(str, site.shape)), str(fmt.bits), scale, str(fmt.zero_point))
    console.print(table)
    items = account(program)
    console.print(f"stored: {items.total} bytes = weights {items.weights} + biases and zero-point corrections "
                  f"{items.offsets} + multipliers {items.multipliers} + tables {items.tables}")
    console.print(f"weights and biases times their widths: {solution.values['size'] / 8:.0f} bytes; "
                  f"validation {_value(solution.values['error'])}, test {_value(solution.test)}; "
                  f"64-bit operators: {', '.join(program.wide()) or 'none'}")


def comparison_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of `summary_row` as CSV text."""
    text = io.StringIO()
    writer = csv_format.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else ("" if v is None else v) for k, v in row.items()})
    return text.getvalue()


def print_comparison(runs: Sequence[Run], csv: Path | None = None) -> None:
    """Several runs side by side."""
    rows = [summary_row(run) for run in runs]
    table = Table("run", "solution", "smaller", "validation", "test", "hypervolume")
    for run, row in zip(runs, rows, strict=True):
        table.add_row(run.path.name, "float", "", _value(row["float_valid"]), _value(row["float_test"]), "")
        table.add_row("", "homogeneous 8", "", _value(row["int8_valid"]), _value(row["int8_test"]),
                      f"{row['hypervolume_homogeneous']:.3f}")
        for name in ("smallest", "careful"):
            percent = row[f"{name}_smaller_percent"]
            table.add_row("", name, "–" if percent is None else f"{percent:.1f} %", _value(row[f"{name}_valid"]),
                          _value(row[f"{name}_test"]), f"{row['hypervolume_front']:.3f}")
        table.add_section()
    Console().print(table)
    if csv is not None:
        write_whole(csv, comparison_csv(rows).encode())
