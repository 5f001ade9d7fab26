"""Several runs in one page: their fronts in one chart, their picks in one table. It loads nothing from anywhere."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from string import Template
from typing import Any

from bittailor.report.facts import number
from bittailor.report.html import Row, static, table
from bittailor.report.payload import script_json
from bittailor.report.style import MARKS, SHAPES
from bittailor.report.words import signed
from bittailor.runs import Run, Solution
from bittailor.runs.spec import least_of

SCRIPTS = ("base.js", "chart.js", "comparison.js")

AXES = {
    "of8": "flash (or size, where flash was no objective), of homogeneous 8 bit [%]",
    "worse": "test: worse than homogeneous 8 bit [UNIT]",
    "test": "test [UNIT]",
    "error": "selection [UNIT]",
    "size": "weights and biases times their widths [KiB]",
    "stored": "bytes of constants as stored [KiB]",
}
"""What can be drawn along an axis; UNIT is the metric's."""


def page(runs: Sequence[Run]) -> str:
    """The whole page."""
    names = _names(runs)
    return Template(static("comparison.html")).substitute({
        "title": escape(f"{len(runs)} runs: {', '.join(names)}" if len(runs) < 5 else f"{len(runs)} runs"),
        "style": static("page.css"),
        "table": _picks(runs, names),
        "data": script_json({
            "axes": AXES, "shapes": {name: SHAPES[how["marker"]] for name, how in MARKS.items()},
            "runs": [_run(run, name) for run, name in zip(runs, names, strict=True)]}),
        "script": "".join(map(static, SCRIPTS)),
    })


def _names(runs: Sequence[Run]) -> list[str]:
    """What to call runs: their folders, with as much of the path as tells them apart."""
    for depth in range(1, 1 + max(len(run.path.resolve().parts) for run in runs)):
        names = ["/".join(run.path.resolve().parts[-depth:]) for run in runs]
        if len(set(names)) == len(names):
            return names
    return [f"{i}: {run.path}" for i, run in enumerate(runs)]


def _share(run: Run, solution: Solution) -> float:
    """What a solution takes of homogeneous 8 bit, in %: of flash where the search looked at it, else of size."""
    least = least_of(run.result["objectives"])
    return 100 * solution.values[least] / run.baseline(8).values[least]


def _worse(run: Run, solution: Solution) -> float | None:
    """By how much the test metric is worse than that of homogeneous 8 bit."""
    base = run.baseline(8).test
    if solution.test is None or base is None:
        return None
    return run.metric.cost(solution.test) - run.metric.cost(base)


def _run(run: Run, name: str) -> dict[str, Any]:
    """A run for the script; sizes in KiB, everything else in the metric's unit."""
    marks = _marks(run)
    on_front = {s.key for s in run.front}
    beside = [(names, s) for names, s in marks.items() if s.key not in on_front]
    members = [*((f"s{i}", str(i), f"solution {i}", s) for i, s in enumerate(run.front)),
               *((f"s{len(run.front) + i}", names.split(" ")[0], f"the {names} one", s)
                 for i, (names, s) in enumerate(beside)),
               *((f"b{i}", f"{s.narrowest}bit", f"homogeneous {s.narrowest} bit", s)
                 for i, s in enumerate(run.homogeneous))]
    mark = {s.key: names for names, s in marks.items()}
    solutions = [{"id": key, "pick": pick, "name": called, "mark": mark.get(s.key, ""), **_shown(run, s)}
                 for key, pick, called, s in members]
    return {"name": name, "path": shlex.quote(str(run.path)), "metric": run.metric.label, "unit": run.metric.unit,
            "solutions": solutions}


def _shown(run: Run, s: Solution) -> dict[str, Any]:
    """A solution's place on every axis, and the ends of its interval."""
    compared = s.against("8bit", "test")
    return {"ends": None if compared is None else [compared.low, compared.high],
            "values": {"of8": _share(run, s), "worse": _worse(run, s),
                       "test": s.test, "error": s.values["error"], "size": s.values["size"] / 8192,
                       "stored": s.values["stored"] / 1024}}


def _marks(run: Run) -> dict[str, Solution]:
    """The picks, those that are one solution together."""
    together: dict[str, list[str]] = {}
    for name, solution in run.picks.items():
        together.setdefault(solution.key, []).append(name)
    return {" and ".join(names): run.picks[names[0]] for names in together.values()}


def _picks(runs: Sequence[Run], names: Sequence[str]) -> str:
    """A row for the float network, homogeneous 8 bit and every pick of every run; what fits on a phone stands first."""
    rows = []
    for run, name in zip(runs, names, strict=True):
        result, base = run.result, run.baseline(8)
        rows.append(Row([f"{name}: float", "", number(result["float"]["test"]), "", number(result["float"]["select"]),
                         "", "", run.metric.label]))
        unit = result["hypervolume"]["homogeneous"]
        found = number(result["hypervolume"]["front"] / unit) if unit else "–"
        for called, s in (("homogeneous 8 bit", base), *_marks(run).items()):
            compared = None if s is base else s.against("8bit", "test")
            worse = "" if compared is None else (f"{signed(compared.difference)} ({signed(compared.low)} to "
                                                 f"{signed(compared.high)})")
            rows.append(Row([f"{name}: {called}", f"{_share(run, s):.0f}", number(s.test),
                             worse, number(s.values["error"]), number(s.values["stored"] / 1024),
                             "1" if s is base else found, run.metric.label]))
    header = ["run", "of 8 bit [%]", "test", "worse than 8 bit, 95 %", "selection", "stored [KiB]", "hypervolume",
              "metric"]
    return table(header, rows, "summary-all", "Picks of the runs")
