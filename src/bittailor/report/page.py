"""The page of a report: one HTML file that loads nothing from anywhere.

Its parts lie beside this file: `page.html` the frame, `page.css` the style, `page.js` the interactive front. All
text of a user is escaped here, or set as text by the script.
"""

from __future__ import annotations

import base64
import json
import platform
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from bittailor._version import __version__
from bittailor.core.qformat import QFormat
from bittailor.report import retraining
from bittailor.report.facts import PARTS, Detail, Facts, bits_of, headline, number, small_print
from bittailor.report.figures import Drawn
from bittailor.report.genomes import all_widths
from bittailor.report.style import width_palette
from bittailor.runs import Solution

GLOSSARY: Mapping[str, str] = {
    "site": "a named place that holds a quantised tensor: a weight matrix, a bias, an operator's output, a state",
    "width": "the bits of an integer at a site; every site has its own",
    "homogeneous": "one width for every weight and activation, biases at 16 bits: the baseline",
    "mixed precision": "a width of its own for every gene, found by the search",
    "front": "the solutions of which none is better than another in every objective",
    "smallest, careful": "the smallest solutions no worse than homogeneous 8 bit: by selection error alone, and by "
                         "selection error and loss and by the error on training items alone, which leaves less to luck",
    "certified": "the smallest solution of the front that a test in a fixed sequence found to be at most so much worse "
                 "than homogeneous 8 bit, with so much confidence, on items that no search saw",
    "paired": "two solutions answer the same items, and only where they differ tells them apart; so the difference is "
              "known better than either error",
    "beacon": "a retrained network from whose weights its neighbours in the space of widths are quantised without "
              "training; the better of that and the float network's result counts",
    "retrained": "the smallest of the solutions that were retrained themselves and are no worse than homogeneous 8 bit "
                 "in error and loss on validation data that no training saw",
    "error": "the metric of the task as it is commonly given, so of an accuracy or a ratio in dB more is better",
    "loss": "cross-entropy, squared error or the like: smoother than the error, it tells how sure a network is",
    "selection": "items that the search looked at: validation items and, where nothing is retrained, training items; "
                 "confirm and test items were kept away from it and used once, after it",
    "size": "weights and biases times their widths",
    "stored bytes": "every constant of the program as shipped: packed weights, offsets (biases and zero-point "
                    "corrections), multipliers, lookup tables",
    "scale, zero-point": "a stored integer q stands for the real number scale × (q − zero-point)",
    "accumulator": "a bias has no scale of its own: it follows the sum that it is added to",
    "hypervolume": "the share of objective space that a front dominates; larger is better",
    "boxen plot": "letter-value plot: the median, then the middle half, then half of the rest on each side, and so on",
    "t-SNE": "a map of many dimensions on two that keeps neighbours together; distances far apart mean little",
}


def page(facts: Facts, drawn: Sequence[Drawn]) -> str:
    """The whole page."""
    from plotly.offline import get_plotlyjs

    said = headline(facts)
    parts = {
        "title": escape(facts.title),
        "style": _static("page.css"),
        "facts": _definitions(_about(facts)),
        "kind": "answer" if facts.front else "answer nothing-found",
        "headline": _prose(said[0]),
        "more": "".join(f"<p>{_prose(sentence)}</p>" for sentence in said[1:]),
        "banner": _banner(facts),
        "summary": _summary(facts),
        "notes": "".join(f"<li>{_prose(sentence)}</li>" for sentence in small_print(facts)),
        "table": _solutions(facts, facts.front, "s") + _beside(facts) or f"<p>{escape(said[0])}</p>",
        "homogeneous": _solutions(facts, facts.homogeneous, "b"),
        "retrained": _retrained(facts),
        "sounds": _sounds(facts),
        "figures": "".join(_figure(one) for one in drawn),
        "command": escape(command(facts)),
        "versions": escape(_versions(facts)),
        "config": escape(json.dumps(dict(facts.config), indent=1, ensure_ascii=False)),
        "glossary": _definitions(GLOSSARY),
        "several": _static("several.html") if len(facts.objectives) > 2 and facts.front else "",
        "data": script_json(_data(facts)),
        "plotly": get_plotlyjs(),
        "script": _static("several.js") + _static("page.js"),
    }
    return Template(_static("page.html")).substitute(parts)


def command(facts: Facts) -> str:
    """The command line that made the run, or where to look if it was made from Python."""
    return facts.run.origin.command or "made from Python with bittailor.run_search; run.json holds its configuration"


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element, whatever text it holds."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _static(name: str) -> str:
    return (resources.files("bittailor.report") / name).read_text("utf-8")


def _prose(text: str) -> str:
    """Text for the page; a number stays on the line of its unit."""
    return re.sub(r"(?<=\d) (?=%|KiB|bit)", "&nbsp;", escape(text))


def _about(facts: Facts) -> dict[str, str]:
    spec, result = facts.run.spec, facts.result
    graph = facts.run.network.graph
    weights = sum(site.count for site in graph.free if site.kind in ("weight", "bias"))
    layers = ", ".join(dict.fromkeys(site.layer for site in facts.sites if site.layer not in graph.inputs))
    space = facts.run.space
    about = {"task": spec.task.name or facts.title}
    if spec.task.hidden:
        about["hidden units"] = str(spec.task.hidden)
    about |= {
        "network": f"{layers}; {weights:,} parameters, {len(facts.sites)} sites",
        "metric": facts.metric.label,
        "objectives": ", ".join(f"{name} (more is better)" if facts.axes[name].maximise else name
                                for name in facts.objectives),
        "constraints": ", ".join(spec.constraints) or "none",
        "space": f"{space.name}, {len(space.genes)} genes",
        "evaluations": f"{result['evaluations']:,}" + (f" ({result['failed']} failed)" if result["failed"] else ""),
        "time": f"{number(result['seconds'])} s, engine {result['engine']}",
        "seed": str(spec.search.seed),
        "finished": facts.finished.strftime("%Y-%m-%d %H:%M ") + (facts.finished.tzname() or ""),
        "bittailor": str(facts.config["bittailor_version"]),
    }
    names = {"train": "training", "select": "selection", "confirm": "confirm", "test": "test"}
    counted = [f"{facts.items[part]:,} {name}" for part, name in names.items() if part in facts.items]
    return about | ({"items": ", ".join(counted)} if counted else {})


def _banner(facts: Facts) -> str:
    if facts.result["interrupted"]:
        return f'<p class="banner">The search was {escape(facts.result["message"])}. Test data have not been used.</p>'
    if facts.result["message"] and facts.front:
        return f'<p class="banner">{escape(facts.result["message"])}</p>'
    return ""


def _summary(facts: Facts) -> str:
    """Float, homogeneous 8 bit and what was found."""
    real = facts.result["float"]
    rows = [["float network", "", "", "", number(real["select"]), number(real["test"])]]
    chosen = [("homogeneous 8 bit", facts.base)]
    for name, solution in facts.picks.items():
        where = "beside the front" if solution in facts.extras else facts.name_of(solution)
        chosen.append((f"{name} ({where})", solution))
    rows += [[name, *_figures(facts, solution)] for name, solution in chosen]
    return _table(["", *_columns(facts)], rows, "summary")


def _columns(facts: Facts) -> list[str]:
    size, stored, unit = facts.axes["size"], facts.axes["stored"], facts.error.unit
    suffix = f" [{unit}]" if unit else ""
    return [f"size [{size.unit}]", "of 8 bit [%]", f"stored [{stored.unit}]", f"selection{suffix}", f"test{suffix}"]


def _figures(facts: Facts, solution: Solution) -> list[str]:
    return [number(facts.axes["size"].of(solution)),
            f"{100 * solution.values['size'] / facts.base.values['size']:.0f}",
            number(facts.axes["stored"].of(solution)), number(solution.values["error"]), number(solution.test)]


def _solutions(facts: Facts, solutions: Sequence[Solution], letter: str) -> str:
    if not solutions:
        return ""
    extra = [axis for name, axis in facts.axes.items() if name not in ("error", "size", "stored")]
    rows = []
    for i, solution in enumerate(solutions):
        name = str(i) if letter == "s" else facts.name_of(solution)
        link = f'<a href="#{letter}{i}">{escape(name)}</a> {escape(facts.marks_of(solution))}'
        rows.append([link, *_figures(facts, solution), *(number(a.of(solution)) for a in extra)])
    first = "solution" if letter == "s" else "width"
    more = [f"{a.name} [{a.unit}]" if a.unit else a.name for a in extra]
    if facts.beacons:
        more.append("weights of")
        rows = [[*row, s.beacon or "the float network"] for row, s in zip(rows, solutions, strict=True)]
    return _table([first, *_columns(facts), *more], rows, raw_first=True)


def _beside(facts: Facts) -> str:
    return f"<h3>Beside the front</h3>{_solutions(facts, facts.extras, 'p')}" if facts.extras else ""


def _retrained(facts: Facts) -> str:
    """The section of retrained networks, where there are any."""
    header, rows = retraining.shown(facts)
    if not rows:
        return ""
    return ('<section id="retrained"><h2>Retrained networks</h2><p>Before → after: post-training quantisation of the '
            "float network, then the same widths with their own training. A beacon also gives its weights to "
            f"neighbours, quantised without training.</p>{_table(header, rows)}</section>")


def _sounds(facts: Facts) -> str:
    """What a few test items sound like, where the run has written that."""
    if not facts.sounds:
        return ""
    names = list(dict.fromkeys(sound.name for sound in facts.sounds))
    by_place = {(sound.item, sound.name): sound.wav for sound in facts.sounds}
    rows = []
    for item in dict.fromkeys(sound.item for sound in facts.sounds):
        players = "".join(f"<td>{_player(by_place.get((item, name)), f'item {item}, {name}')}</td>" for name in names)
        rows.append(f'<tr><th scope="row">test item {item}</th>{players}</tr>')
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in ("", *names))
    return ('<section id="sounds"><h2>To listen to</h2><p>The first items of the test data, all of one item at the '
            'same gain: as given, and what each network makes of it.</p><div class="scroll" tabindex="0" role="region" '
            f'aria-label="sounds"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
            "</section>")


def _player(wav: bytes | None, label: str) -> str:
    if wav is None:
        return "–"
    source = base64.b64encode(wav).decode()
    return f'<audio controls preload="none" aria-label="{escape(label)}" src="data:audio/wav;base64,{source}"></audio>'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "", raw_first: bool = False) -> str:
    """An HTML table; `raw_first`: the first column is HTML already."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in header)
    body = "".join(
        f'<tr><th scope="row">{row[0] if raw_first else escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return (f'<div class="scroll" tabindex="0" role="region" aria-label="table"><table class="{kind}">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>")


def _figure(one: Drawn) -> str:
    kind = "card wide" if one.wide else "card"
    if one.png is None:
        body = f'<p class="nothing">{escape(one.reason)}</p>'
    else:
        image = base64.b64encode(one.png).decode()
        body = (f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(one.title)}">'
                f'<img class="{one.name}" alt="{escape(one.title)}. {escape(one.caption)}" '
                f'src="data:image/png;base64,{image}"></div>')
    return (f'<figure class="{kind}" id="figure-{one.name}"><h3>{escape(one.title)}</h3>{body}'
            f"<figcaption>{escape(one.caption)}</figcaption></figure>")


def _definitions(items: Mapping[str, str]) -> str:
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in items.items())


def _versions(facts: Facts) -> str:
    import numpy

    prints = facts.config["fingerprints"]
    return (f"Network {prints['network']}, data {prints['data']}. Searched by bittailor "
            f"{facts.config['bittailor_version']}, reported by bittailor {__version__} "
            f"(Python {platform.python_version()}, NumPy {numpy.__version__}).")


def _data(facts: Facts) -> dict[str, Any]:
    """What the script needs."""
    axes = {a.name: {"title": a.title, "label": a.label, "unit": a.unit, "divisor": a.divisor,
                         "maximise": a.maximise}
            for a in facts.axes.values()}
    costs = dict.fromkeys([*(a.name for a in facts.costs), "size", "stored"])
    solutions = [_solution(facts, s, d) for s, d in zip(facts.solutions, facts.details, strict=True)]
    marks = {names: solutions[facts.solutions.index(s)]["id"] for names, s in facts.marks}
    start = next(iter(marks.values()), solutions[facts.solutions.index(facts.base)]["id"])
    return {
        "axes": axes, "costs": list(costs), "tested": facts.tested, "start": start, "marks": marks,
        "float": facts.result["float"], "objectives": list(facts.objectives),
        "metric": facts.error.label.removeprefix("selection "),
        "colours": width_palette(all_widths(facts))[1],
        "sites": [{"name": s.name, "layer": s.layer, "short": s.short, "role": s.role,
                   "shape": "×".join(map(str, s.shape))} for s in facts.sites],
        "solutions": solutions,
    }


def _solution(facts: Facts, solution: Solution, detail: Detail) -> dict[str, Any]:
    formats = [detail.plan.formats[site.name] for site in facts.sites]
    letter, group = next((letter, group) for letter, group in
                         (("b", facts.homogeneous), ("s", facts.front), ("p", facts.extras)) if solution in group)
    return {
        "id": f"{letter}{group.index(solution)}", "mark": facts.marks_of(solution),
        "name": ("homogeneous " if letter == "b" else "") + facts.name_of(solution),
        "short": str(bits_of(solution)) if letter == "b" else "",
        "values": dict(solution.values), "test": solution.test,
        "against": [f"{PARTS[part]}: {c.text(facts.error.unit)}" for part in PARTS
                    for c in [solution.against("8bit", part)] if c is not None],
        "interval": _interval(facts, solution),
        "widths": [fmt.bits for fmt in formats], "scales": [_scale(fmt) for fmt in formats],
        "zeros": ["" if fmt.kind == "bias" else str(fmt.zero_point) for fmt in formats],
        "account": {"weights": detail.account.weights, "biases and zero-point corrections": detail.account.offsets,
                    "multipliers": detail.account.multipliers, "tables": detail.account.tables},
        "total": detail.account.total, "wide": list(detail.wide),
    }


def _interval(facts: Facts, solution: Solution) -> list[float] | None:
    """What the test error may be, by its difference to that of homogeneous 8 bit."""
    compared, base = solution.against("8bit", "test"), facts.base.test
    if compared is None or base is None or solution in facts.homogeneous:
        return None
    ends = (base - compared.low, base - compared.high) if facts.error.maximise else (
        base + compared.low, base + compared.high)
    return [min(ends), max(ends)]


def _scale(fmt: QFormat) -> str:
    if not fmt.scale:
        return "accumulator"
    if len(fmt.scale) == 1:
        return f"{fmt.scale[0]:.4g}"
    return f"{min(fmt.scale):.3g} … {max(fmt.scale):.3g} ({len(fmt.scale)} rows)"
