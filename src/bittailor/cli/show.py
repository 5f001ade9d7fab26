"""Runs as text: tables for the terminal. Figures and pages are in `report`."""

from __future__ import annotations

import csv as csv_format
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bittailor.cli.tables import Grid, say
from bittailor.common import units
from bittailor.common.console import console
from bittailor.common.files import read_bytes, write_whole
from bittailor.cost import account
from bittailor.errors import FileError
from bittailor.evaluate.sensitivity import Sensitivity
from bittailor.export.checking import Checked
from bittailor.export.verify import Report
from bittailor.runs import Retrained, Run, Solution
from bittailor.runs.certificate import said
from bittailor.runs.frames import names_of

COMPARED = ("smallest", "careful", "retrained")
"""The picks of a comparison."""
PARTS = {"confirm": "items that no search saw", "test": "test data"}
"""Role -> its items, in words."""


def _kib(bits: float) -> str:
    return f"{bits / units.shown('bit')[1]:.2f}"


def _value(value: float | None) -> str:
    return "–" if value is None else units.number(value)


def size_words(solution: Solution, base: Solution, least: str) -> str:
    """How much smaller or larger than a baseline, in words."""
    percent = smaller(solution, base, least)
    return f"{abs(percent):.0f} % {'smaller' if percent >= 0 else 'larger'}"


def smaller(solution: Solution, base: Solution, least: str = "size") -> float:
    """How much smaller than a baseline, in %, by an objective that counts constants (`SearchSpec.least`)."""
    return 100 * (1 - solution.values[least] / base.values[least])


def summary_row(run: Run) -> dict[str, Any]:
    """The row of a run in a comparison: float, homogeneous 8 bits, and the run's two picks (`Run.picks`).

    Sizes in bits (weights and biases times their widths) and in stored bytes; metrics in the task's unit.
    """
    result, base = run.result, run.baseline(8)
    solutions = {"int8": base, **{name: run.picks.get(name) for name in COMPARED}}
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
            row[f"{name}_smaller_percent"] = None if solution is None else smaller(solution, base, run.spec.least)
    row["hypervolume_front"] = result["hypervolume"]["front"]
    row["hypervolume_homogeneous"] = result["hypervolume"]["homogeneous"]
    return row


def print_run(run: Run) -> None:
    """The front of a run with its picks, the baselines, and the one-line answer."""
    result = run.result
    screen = console()
    _run_grid(run).show(screen)
    screen.print()
    print_picks(screen, run)
    if "beacons" in result:
        made = result["beacons"]
        say(screen, f"retrainings: {len(made['search'])} beacons and rungs during the search, {len(made['polish'])} "
                    f"members of the front after it, {made['failed']} failed; {made['seconds']:.0f} s of training")
    if result.get("islands"):
        each = " ".join(f"{island['hypervolume']:.4f}" for island in result["islands"])
        say(screen, f"islands: hypervolume {each}; of all together {result['hypervolume']['front']:.4f}")
    if result["dropped"]:
        say(screen, f"racing: {result['dropped']} of {result['evaluations']} candidates given up, "
                    f"{result['saved_percent']:.1f} % of the sequences not run")
    if result["message"]:
        say(screen, result["message"])


def _run_grid(run: Run) -> Grid:
    """A row per solution, called what `--pick` takes."""
    result, metric, base = run.result, run.metric, run.baseline(8)
    others = [run.objectives[n] for n in result["objectives"] if n not in ("error", "size", "stored")]
    unit = f"\n[{metric.unit}]" if metric.unit else ""
    grid = Grid("--pick", "picks", f"selection{unit}", f"test{unit}", "size\n[KiB]", "stored\n[bytes]",
                f"{run.spec.least} of\n8 bit", *(f"{o.name}\n[{o.unit}]" if o.unit else o.name for o in others),
                text=(1,), title=f"{run.path}: {run.title}; {metric.label}")
    grid.add("float", "", _value(result["float"]["select"]), _value(result["float"]["test"]))
    kinds = {"bit": "the baselines"}
    for name, s in sorted(run.named.items(), key=lambda item: _place(item[0])):
        kind = _place(name)[1]
        if kind not in kinds:
            grid.section()
            kinds[kind] = name
        picks = [f"{p} = holds" if p == run.holds else p for p in names_of(s, run.picks)]
        grid.add(name, ", ".join(picks), _value(s.values["error"]), _value(s.test), _kib(s.values["size"]),
                 _value(s.values["stored"]), f"{100 - smaller(s, base, run.spec.least):.0f} %",
                 *(_value(s.values.get(o.name)) for o in others))
    return grid


def _place(name: str) -> tuple[int, str]:
    """Where a solution stands in a table, and with which others."""
    if name.endswith("bit"):
        return 0, "bit"
    return (3, "retrained") if name.startswith("retrained:") else (1, "front") if name.isdigit() else (2, "behind")


def print_picks(screen: Console, run: Run) -> None:
    """The picks, what they are chosen by, and how they compare with homogeneous 8 bit; then the roles of items."""
    metric, base, result, least = run.metric, run.baseline(8), run.result, run.spec.least
    chosen_by = {"certified": "tested on items that no search saw",
                 "careful": f"by selection {metric.noun} and loss, and training {metric.noun}",
                 "smallest": f"by selection {metric.noun} alone: luck is in it",
                 "retrained": f"by {metric.noun} and loss on validation data, itself retrained"}
    for name, by in chosen_by.items():
        found = run.picks.get(name)
        if found is None:
            continue
        say(screen, f"{name} ({by}): {_kib(found.values['size'])} KiB, {least} {size_words(found, base, least)}; "
                    f"selection {_value(found.values['error'])} against {_value(base.values['error'])}")
        for part in ("confirm", "test"):
            compared = found.against("8bit", part)
            if compared is not None:
                say(screen, f"    against 8 bit on {PARTS[part]}: {compared.text(metric.unit)}")
    if "retrained" not in run.picks and run.retrained:
        say(screen, "retrained: none of them is smaller and as good on validation data as homogeneous 8 bit, "
                    "itself and with those of its size")
    if result.get("certificate"):
        say(screen, said(result["certificate"], metric.unit))
    items = result["items"]
    say(screen, f"items: {items['select']:,} selected ({items['select_from_training']:,} of them training items), "
                f"{items['confirm']:,} confirmed, {items['test']:,} tested")
    say(screen, f"holds, the pick to ship: {run.holds}")


def print_solution(run: Run, solution: Solution) -> None:
    """Every site of a solution with its format, and what it stores."""
    screen = console()
    plan, program = run.plan(solution), run.program(solution)
    names = names_of(solution, run.picks) or names_of(solution, run.named)
    grid = Grid("site", "role", "shape", "bits", "scale", "zero-point", text=(1,),
                title=f"{run.path}: {', '.join(names) or 'behind the front'}; {run.title}")
    for site in run.network.graph.free:
        fmt = plan.formats[site.name]
        scale = "accumulator" if not fmt.scale else f"{fmt.scale[0]:.4g}" + (" …" if len(fmt.scale) > 1 else "")
        grid.add(site.name, site.role, "×".join(map(str, site.shape)), str(fmt.bits), scale, str(fmt.zero_point))
    grid.show(screen)
    items = account(program)
    say(screen, f"\nstored: {items.total} bytes = weights {items.weights} + biases and zero-point corrections "
                f"{items.offsets} + multipliers {items.multipliers} + tables {items.tables}"
                + f" + starts {items.starts}" * bool(items.starts))
    say(screen, f"weights and biases times their widths: {solution.values['size'] / 8:.0f} bytes; "
                f"selection {_value(solution.values['error'])}, test {_value(solution.test)}; "
                f"64-bit operators: {', '.join(program.wide()) or 'none'}")


def print_verification(report: Report | Checked) -> None:
    """What was found in an exported directory: a row per target, sizes from the linker; or per comparison."""
    screen = console()
    if isinstance(report, Checked):
        _print_checked(screen, report)
        return
    grid = Grid("core", "", "flash", "RAM", "code", "runtime", "step", "output", text=(1,),
                title="bytes from the linker; instructions per step and output")
    for v in report.verdicts:
        sizes = ("–",) * 4 if v.sizes is None else tuple(
            str(n) for n in (v.sizes.flash, v.sizes.ram, v.sizes.model, v.sizes.runtime))
        counts = ("–", "–") if v.counts is None else (f"{v.counts.per_step:.0f}", f"{v.counts.read_out:.0f}")
        found = "ok" if v.problem is None else "WRONG" if v.fits else "no room"
        grid.add(v.target.title, found, *sizes, *counts, style="" if v.problem is None else "red")
    grid.show(screen)
    say(screen, f"every output of {report.words} and every site of one compared with the engines, the self-test run, "
                f"program {report.facts['program']}")
    for reason in report.absent:
        say(screen, f"not tried: {reason}")
    if report.problem:
        screen.print(report.problem, style="red", highlight=False, soft_wrap=True)


def _print_checked(screen: Console, report: Checked) -> None:
    grid = Grid("compared", "", text=(1,), title=report.runner)
    for what, problem in report.verdicts.items():
        grid.add(what, "ok" if problem is None else "WRONG", style="" if problem is None else "red")
    grid.show(screen)
    say(screen, f"{report.words}, program {report.facts['program']}")
    if report.problem:
        screen.print(report.problem, style="red", highlight=False, soft_wrap=True)


def print_retrained(path: Path, found: Sequence[Retrained]) -> None:
    """Solutions before and after they were retrained, beside homogeneous 8 bit."""
    run = Run.open(path)
    base, unit = run.baseline(8), f" [{run.metric.unit}]" if run.metric.unit else ""
    grid = Grid("pick", "", f"validation{unit}", "loss", f"test{unit}", "of\n8 bit", "name", text=(1, 6),
                title=str(path))

    def add(name: str, what: str, s: Solution) -> None:
        grid.add(name, what, _value(s.values["error"]), _value(s.values["loss"]), _value(s.test),
                      f"{100 * s.values['size'] / base.values['size']:.0f} %", s.beacon or "")

    add("8bit", "", replace(base, values={**base.values, **run.result.get("held", {})}))
    for one in found:
        grid.section()
        add(one.pick, "before", one.before)
        if one.after is not None:
            add("", "after", one.after)
    screen = console()
    grid.show(screen)
    for one in found:
        if one.failed is not None:
            say(screen, f"{one.pick} could not be retrained: {one.failed}")
        if one.worse is not None:
            say(screen, f"{one.pick} was not retrained: {one.worse}")


def print_sensitivity(found: Sensitivity, noun: str = "error", name: str = "loss") -> None:
    """By how much the loss rises when one gene is narrowed and the others stay, the most sensitive gene first; `noun`
    is what the metric is called."""
    widths = sorted({r.bits for r in found.responses})
    grid = Grid("gene", *map(str, widths),
                title=f"rise of the selection {name} by width, all others at {found.at} "
                      f"({name} {_value(found.base[name])}, {noun} {_value(found.base['error'])}); · is below 0.005")
    for gene, _ in found.ranking(min(widths), name):
        known = {r.bits: found.rise(gene, r.bits, name) for r in found.responses if r.gene == gene}
        grid.add(gene, *("" if bits not in known else "·" if abs(known[bits]) < 0.005 else f"{known[bits]:+.2f}"
                         for bits in widths))
    grid.show()


def comparison_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of `summary_row` as CSV text."""
    text = io.StringIO()
    writer = csv_format.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else ("" if v is None else v) for k, v in row.items()})
    return text.getvalue()


def print_comparison(runs: Sequence[Run]) -> None:
    """Several runs side by side."""
    rows = [summary_row(run) for run in runs]
    grid = Grid("run", "pick", "smaller", "selection", "test", "hypervolume", text=(1,))
    for run, row in zip(runs, rows, strict=True):
        grid.add(run.path.name, "float", "", _value(row["float_valid"]), _value(row["float_test"]))
        grid.add("", "8bit", "", _value(row["int8_valid"]), _value(row["int8_test"]),
                 f"{row['hypervolume_homogeneous']:.3f}")
        for name in COMPARED:
            if name in run.picks or name != "retrained":
                percent = row[f"{name}_smaller_percent"]
                grid.add("", name, "–" if percent is None else f"{percent:.1f} %", _value(row[f"{name}_valid"]),
                         _value(row[f"{name}_test"]), f"{row['hypervolume_front']:.3f}")
        for name, s in run.retrained.items():
            grid.add("", f"retrained:{name}", f"{smaller(s, run.baseline(8), run.spec.least):.1f} %",
                     _value(s.values["error"]), _value(s.test))
        grid.section()
    grid.show()
    labels = {run.metric.label for run in runs}
    for run in runs[:1] if len(labels) == 1 else runs:
        say(console(), f"{'error' if len(labels) == 1 else run.path.name}: {run.metric.label}; of what was retrained, "
                       "on validation items in place of those that select")
    say(console(), "hypervolume: the share of the box around what the search began with that a front covers; above 1 "
                   "where it reaches beyond the best of these")


def write_comparison(rows: Sequence[dict[str, Any]], csv: Path) -> None:
    """Rows of `summary_row` as a CSV file; FileError where another file is in its place."""
    if csv.exists() and not read_bytes(csv).startswith(b"task,hidden,seed,"):
        raise FileError(f"{csv} is no comparison of runs, and is not overwritten; choose another --csv")
    write_whole(csv, comparison_csv(rows).encode())
