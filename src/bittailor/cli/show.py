"""Runs as text: tables for the terminal. Figures and pages are in `report`."""

from __future__ import annotations

import csv as csv_format
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bittailor.common import units
from bittailor.common.console import console
from bittailor.common.files import read_bytes, write_whole
from bittailor.cost import PLATFORMS, account, load_platform
from bittailor.engines import ENGINES
from bittailor.errors import FileError
from bittailor.evaluate.evaluator import OBJECTIVES, of_platform
from bittailor.evaluate.sensitivity import Sensitivity
from bittailor.export.checking import Checked
from bittailor.export.verify import Report
from bittailor.runs import Retrained, Run, Solution
from bittailor.runs.certificate import said

PARTS = {"confirm": "items that no search saw", "test": "test data"}
"""Role -> its items, in words."""


def _kib(bits: float) -> str:
    return f"{bits / units.shown('bit')[1]:.2f}"


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
        "task": run.spec.task.name or run.path.name,
        "hidden": run.spec.task.hidden or "",
        "seed": run.spec.search.seed,
        "metric": run.metric.name,
        "evaluations": result["evaluations"],
        "float_valid": result["float"]["select"],
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
    result, metric = run.result, run.metric
    screen = console()
    others = [run.objectives[n] for n in result["objectives"] if n not in ("error", "size", "stored")]
    table = Table("", f"{metric.label}: selection", "test", "size [KiB]", "stored [B]", "of 8 bit",
                  *(f"{o.name.replace('.', ' ')} [{o.unit}]" if o.unit else o.name for o in others),
                  title=f"{run.path}: {run.title}")
    for column in (table.columns[0], *table.columns[6:]):
        column.no_wrap = column is table.columns[0]
        column.overflow = "fold"
    base = run.baseline(8)

    def add(name: str, s: Solution) -> None:
        table.add_row(name, _value(s.values["error"]), _value(s.test), _kib(s.values["size"]),
                      f"{s.values['stored']:.0f}", f"{100 * s.values['size'] / base.values['size']:.0f} %",
                      *(_value(s.values[o.name]) for o in others))

    table.add_row("float", _value(result["float"]["select"]), _value(result["float"]["test"]), "", "", "")
    for s in run.homogeneous:
        add(s.key, s)
    table.add_section()
    for i, s in enumerate(run.front):
        add(str(i), s)
    screen.print(table)
    print_picks(screen, run)
    if "beacons" in result:
        made = result["beacons"]
        screen.print(f"retrainings: {len(made['search'])} beacons during the search, {len(made['polish'])} members of "
                      f"the front after it, {made['failed']} failed; {made['seconds']:.0f} s of training")
    if result.get("islands"):
        each = " ".join(f"{island['hypervolume']:.4f}" for island in result["islands"])
        screen.print(f"islands: hypervolume {each}; of all together {result['hypervolume']['front']:.4f}")
    if result["dropped"]:
        screen.print(f"racing: {result['dropped']} of {result['evaluations']} candidates given up, "
                      f"{result['saved_percent']:.1f} % of the sequences not run")
    if result["message"]:
        screen.print(result["message"])


def print_picks(screen: Console, run: Run) -> None:
    """The picks, what they are chosen by, and how they compare with homogeneous 8 bit; then the roles of items."""
    metric, base, result = run.metric, run.baseline(8), run.result
    chosen_by = {"certified": "tested on items that no search saw",
                 "careful": f"by selection {metric.noun} and loss, and training {metric.noun}",
                 "smallest": f"by selection {metric.noun} alone: luck is in it",
                 "retrained": f"by {metric.noun} and loss on validation data, itself retrained"}
    for name, by in chosen_by.items():
        found = run.picks.get(name)
        if found is None:
            continue
        screen.print(f"{name} ({by}): {_kib(found.values['size'])} KiB, {smaller(found, base):.0f} % smaller; "
                      f"selection {_value(found.values['error'])} against {_value(base.values['error'])}",
                      highlight=False)
        for part in ("confirm", "test"):
            compared = found.against("8bit", part)
            if compared is not None:
                screen.print(f"    against 8 bit on {PARTS[part]}: {compared.text(metric.unit)}", highlight=False)
    if result.get("certificate"):
        screen.print(said(result["certificate"], metric.unit), highlight=False)
    items = result["items"]
    screen.print(f"items: {items['select']:,} selected ({items['select_from_training']:,} of them training items), "
                  f"{items['confirm']:,} confirmed, {items['test']:,} tested; pick to ship: {run.holds}",
                  highlight=False)


def print_solution(run: Run, solution: Solution) -> None:
    """Every site of a solution with its format, and what it stores."""
    screen = console()
    plan, program = run.plan(solution), run.program(solution)
    table = Table("site", "role", "shape", "bits", "scale", "zero-point", title=f"{run.path}: {solution.key}")
    for site in run.network.graph.free:
        fmt = plan.formats[site.name]
        scale = "accumulator" if not fmt.scale else f"{fmt.scale[0]:.4g}" + (" …" if len(fmt.scale) > 1 else "")
        table.add_row(site.name, site.role, "×".join(map(str, site.shape)), str(fmt.bits), scale, str(fmt.zero_point))
    screen.print(table)
    items = account(program)
    screen.print(f"stored: {items.total} bytes = weights {items.weights} + biases and zero-point corrections "
                  f"{items.offsets} + multipliers {items.multipliers} + tables {items.tables}")
    screen.print(f"weights and biases times their widths: {solution.values['size'] / 8:.0f} bytes; "
                  f"selection {_value(solution.values['error'])}, test {_value(solution.test)}; "
                  f"64-bit operators: {', '.join(program.wide()) or 'none'}")


def print_platforms(file: Path | None = None) -> None:
    """The platforms of the package, or that of a file."""
    screen = console()
    for platform in PLATFORMS.values() if file is None else [load_platform(file)]:
        weights, inputs = (", ".join(map(str, bits)) for bits in (platform.weights, platform.activations))
        screen.print(f"{platform.name}: {platform.title}", style="bold", highlight=False)
        screen.print(f"  products    weights of {weights} bits, inputs of "
                      f"{'the same width' if platform.same_width else f'{inputs} bits'}", highlight=False)
        for objective in of_platform(platform):
            more = ", more is better" if objective.maximise else ""
            screen.print(f"  objective   {objective.name:<22} {objective.title} [{objective.unit}]{more}",
                          highlight=False)
        screen.print(f"  space       {platform.name}\n  source      {platform.source}", highlight=False)


def print_verification(report: Report | Checked) -> None:
    """What was found in an exported directory: a row per target, sizes from the linker; or per comparison."""
    screen = console()
    if isinstance(report, Checked):
        _print_checked(screen, report)
        return
    table = Table("core", "", "flash", "RAM", "code", "runtime", "step", "output",
                  title="bytes from the linker; instructions per step and output", title_justify="left")
    table.columns[0].no_wrap = True
    for v in report.verdicts:
        sizes = ("–",) * 4 if v.sizes is None else tuple(
            str(n) for n in (v.sizes.flash, v.sizes.ram, v.sizes.model, v.sizes.runtime))
        counts = ("–", "–") if v.counts is None else (f"{v.counts.per_step:.0f}", f"{v.counts.read_out:.0f}")
        found = Text("ok") if v.problem is None else Text("WRONG" if v.fits else "no room", "red")
        table.add_row(v.target.title, found, *sizes, *counts)
    screen.print(table)
    screen.print(f"every output of {report.words} and every site of one compared with the engines, the self-test run, "
                  f"program {report.facts['program']}", highlight=False)
    for reason in report.absent:
        screen.print(f"not tried: {reason}", highlight=False)
    if report.problem:
        screen.print(report.problem, style="red", highlight=False, soft_wrap=True)


def _print_checked(screen: Console, report: Checked) -> None:
    table = Table("compared", "", title=report.runner, title_justify="left")
    for what, problem in report.verdicts.items():
        table.add_row(what, Text("ok") if problem is None else Text("WRONG", "red"))
    screen.print(table)
    screen.print(f"{report.words}, program {report.facts['program']}", highlight=False)
    if report.problem:
        screen.print(report.problem, style="red", highlight=False, soft_wrap=True)


def print_engines() -> None:
    """A line for every engine, the fastest first: what it is here, or what it is waiting for."""
    for name in reversed(list(ENGINES)):
        engine = ENGINES[name]
        missing = engine.available()
        print(engine.words if missing is None else f"{name}: {missing}")


def print_objectives() -> None:
    """Everything that a search can improve or limit."""
    table = Table("name", "unit", "what")
    for o in OBJECTIVES.values():
        table.add_row(o.name, o.unit, o.title + (" (more is better)" if o.maximise else ""))
    console().print(table)
    console().print("size counts a bias at its width; what is stored of it is an offset, bias and zero-point "
                    "correction together, of 7 to 11 bits for a bias of 4: stored and flash count that")


def print_retrained(path: Path, found: Sequence[Retrained]) -> None:
    """Solutions before and after they were retrained, beside homogeneous 8 bit."""
    run = Run.open(path)
    base, unit = run.baseline(8), f" [{run.metric.unit}]" if run.metric.unit else ""
    table = Table("pick", "", f"validation{unit}", "loss", f"test{unit}", "of 8 bit", "name", title=str(path))

    def add(name: str, what: str, s: Solution) -> None:
        table.add_row(name, what, _value(s.values["error"]), _value(s.values["loss"]), _value(s.test),
                      f"{100 * s.values['size'] / base.values['size']:.0f} %", s.beacon or "")

    add("8bit", "", replace(base, values={**base.values, **run.result.get("held", {})}))
    for one in found:
        table.add_section()
        add(one.pick, "before", one.before)
        if one.after is not None:
            add("", "after", one.after)
    screen = console()
    screen.print(table)
    for one in found:
        if one.failed is not None:
            screen.print(f"{one.pick} could not be retrained: {one.failed}")
        if one.worse is not None:
            screen.print(f"{one.pick} was not retrained: {one.worse}")


def print_sensitivity(found: Sensitivity, noun: str = "error", name: str = "loss") -> None:
    """By how much the loss rises when one gene is narrowed and the others stay, the most sensitive gene first; `noun`
    is what the metric is called."""
    widths = sorted({r.bits for r in found.responses})
    table = Table(box=None, padding=(0, 1, 0, 0), title_justify="left",
                  title=f"rise of the selection {name} by width, all others at {found.at} "
                        f"({name} {_value(found.base[name])}, {noun} {_value(found.base['error'])}); · is below 0.005")
    table.add_column("gene", no_wrap=True)
    for bits in widths:
        table.add_column(str(bits), justify="right", no_wrap=True)
    for gene, _ in found.ranking(min(widths), name):
        known = {r.bits: found.rise(gene, r.bits, name) for r in found.responses if r.gene == gene}
        table.add_row(gene, *("" if bits not in known else "·" if abs(known[bits]) < 0.005 else f"{known[bits]:+.2f}"
                              for bits in widths))
    console().print(table)


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
    table = Table("run, metric", "solution", "smaller", "selection", "test", "hypervolume")
    for run, row in zip(runs, rows, strict=True):
        table.add_row(run.path.name, "float", "", _value(row["float_valid"]), _value(row["float_test"]), "")
        table.add_row(run.metric.label, "homogeneous 8", "", _value(row["int8_valid"]), _value(row["int8_test"]),
                      f"{row['hypervolume_homogeneous']:.3f}")
        for name in ("smallest", "careful"):
            percent = row[f"{name}_smaller_percent"]
            table.add_row("", name, "–" if percent is None else f"{percent:.1f} %", _value(row[f"{name}_valid"]),
                          _value(row[f"{name}_test"]), f"{row['hypervolume_front']:.3f}")
        table.add_section()
    console().print(table)
    if csv is not None:
        text = comparison_csv(rows)
        if csv.exists() and not read_bytes(csv).startswith(b"task,hidden,seed,"):
            raise FileError(f"{csv} is no comparison of runs, and is not overwritten; choose another --csv")
        write_whole(csv, text.encode())
