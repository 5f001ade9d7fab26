"""What the page's script is given: solutions, evaluations and formats as JSON values, as compact as they can be."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bittailor.core.qformat import QFormat
from bittailor.evaluate.certify import Comparison
from bittailor.report.facts import PARTS, Detail, Facts, bits_of, sample
from bittailor.report.genomes import all_widths
from bittailor.report.style import MARKS, SHAPES, ramp, width_palette
from bittailor.report.words import leading
from bittailor.runs import Solution

CLOUD = 3000
"""Evaluations beside the front that a page holds at most; of more, a sample that is the same every time."""
RISES = 7
"""Colours that tell how much a site's width costs."""
DIGITS = 5
"""Significant digits of an evaluation's values: more than a screen can show."""


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element, whatever text it holds."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def payload(facts: Facts) -> dict[str, Any]:
    """What the script of a run's page needs."""
    solutions = [solution_of(facts, s, d) for s, d in zip(facts.solutions, facts.details, strict=True)]
    name = {s.key: item["id"] for s, item in zip(reversed(facts.solutions), reversed(solutions), strict=True)}
    marks = {names: name[s.key] for names, s in facts.marks}
    return {
        "axes": axes_of(facts), "tested": facts.tested, "marks": marks,
        "start": name[(leading(facts) or facts.base).key], "base": name[facts.base.key],
        "float": facts.result["float"], "metric": facts.error.label,
        "objectives": list(facts.objectives), "least": facts.least.name,
        "colours": width_palette(all_widths(facts))[1], "rise_colours": ramp("Oranges", RISES),
        "shapes": {name: SHAPES[how["marker"]] for name, how in MARKS.items()},
        "sites": [{"name": s.name, "layer": s.layer, "role": s.role, "shape": "×".join(map(str, s.shape))}
                  for s in facts.sites],
        "formats": _formats(facts), "solutions": solutions, "cloud": _cloud(facts), "sensitivity": _rises(facts),
        "run": shlex.quote(str(facts.run.path)),
    }


def axes_of(facts: Facts) -> dict[str, Any]:
    """What can be drawn along an axis or limited: objectives, the test metric, and everything else that is known."""
    found = {a.name: {"title": a.title, "label": a.label, "unit": a.unit, "divisor": a.divisor, "maximise": a.maximise}
             for a in facts.axes.values()}
    if facts.tested:
        error = found["error"]
        title = f"test {facts.metric.title}"
        label = facts.error.label.replace(f"selection {facts.metric.title}", title)
        found = {"error": error, "test": {**error, "title": title, "label": label}, **found}
    return found


def solution_of(facts: Facts, solution: Solution, detail: Detail) -> dict[str, Any]:
    """A solution: who it is, its values, its widths in the order of the sites, and what it ships."""
    letter, group = next((letter, group) for letter, group in
                         (("b", facts.homogeneous), ("s", facts.front), ("p", facts.extras)) if solution in group)
    place = group.index(solution)
    values = {**solution.values} | ({} if solution.test is None else {"test": solution.test})
    return {
        "id": f"{letter}{place}", "mark": facts.marks_of(solution),
        "name": ("homogeneous " if letter == "b" else "") + facts.name_of(solution),
        "short": str(bits_of(solution)) if letter == "b" else "",
        "pick": pick_text(facts, solution), "values": values, "beacon": solution.beacon,
        "against": {part: list(_compared(c)) for part in PARTS for c in [solution.against("8bit", part)]
                    if c is not None},
        "intervals": {name: ends for name, part in (("test", "test"),)
                      for ends in [interval(facts, solution, part)] if ends is not None},
        "widths": [solution.widths[site.name] for site in facts.sites],
        "account": {"weights": detail.account.weights, "biases and zero-point corrections": detail.account.offsets,
                    "multipliers": detail.account.multipliers, "tables": detail.account.tables,
                    **({"starts of states": detail.account.starts} if detail.account.starts else {})},
        "total": detail.account.total, "wide": list(detail.wide),
    }


def pick_text(facts: Facts, solution: Solution) -> str:
    """What `--pick` takes for a solution."""
    if solution in facts.homogeneous:
        return f"{bits_of(solution)}bit"
    keys = [s.key for s in facts.front]
    return str(keys.index(solution.key)) if solution in facts.front else facts.marks_of(solution).split(" ")[0]


def _compared(c: Comparison) -> Iterable[float]:
    return c.difference, c.low, c.high, c.items


def interval(facts: Facts, solution: Solution, part: str) -> list[float] | None:
    """What the test metric may be, by its paired difference to that of homogeneous 8 bit."""
    compared, base = solution.against("8bit", part), facts.base.test
    if compared is None or base is None or solution in facts.homogeneous:
        return None
    ends = (base - compared.low, base - compared.high) if facts.error.maximise else (
        base + compared.low, base + compared.high)
    return [min(ends), max(ends)]


def _formats(facts: Facts) -> dict[str, list[dict[int, list[str]]]]:
    """Beacon ("" for the float network) -> of each site, width -> scale and zero-point: a format depends on these."""
    found: dict[str, list[dict[int, list[str]]]] = {}
    for solution, detail in zip(facts.solutions, facts.details, strict=True):
        table = found.setdefault(solution.beacon or "", [{} for _ in facts.sites])
        for known, site in zip(table, facts.sites, strict=True):
            fmt = detail.plan.formats[site.name]
            if fmt.bits not in known:
                known[fmt.bits] = [_scale(fmt), "" if fmt.kind == "bias" else str(fmt.zero_point)]
    return found


def _scale(fmt: QFormat) -> str:
    if not fmt.scale:
        return "accumulator"
    if len(fmt.scale) == 1:
        return f"{fmt.scale[0]:.4g}"
    return f"{min(fmt.scale):.3g} … {max(fmt.scale):.3g} ({len(fmt.scale)} rows)"


def _cloud(facts: Facts) -> dict[str, Any]:
    """Values of evaluations, by name, in the axes' units; a sample of them where there are many."""
    rows = [values for values in facts.outcomes if values is not None]
    kept = sample(len(rows), CLOUD)
    names = [name for name in facts.axes if rows and all(name in rows[i] for i in kept)]
    return {"total": len(rows), "shown": len(kept),
            "values": {name: [_rounded(rows[i][name] / facts.axes[name].divisor) for i in kept] for name in names}}


def _rounded(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None


def _rises(facts: Facts) -> dict[str, Any] | None:
    """Of each site, width -> rise of the loss when it alone gets that width; None where that was not analysed."""
    found = facts.sensitivity
    if found is None:
        return None
    by_site: dict[str, Mapping[int, float]] = {}
    for gene, sites in found.genes.items():
        rises = {bits: values["loss"] - found.base["loss"] for bits, values in found.of(gene).items()}
        by_site |= dict.fromkeys(sites, rises)
    return {"at": found.at, "sites": [{bits: _rounded(rise) for bits, rise in by_site.get(s.name, {}).items()}
                                      for s in facts.sites]}
