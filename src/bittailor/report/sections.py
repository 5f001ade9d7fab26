"""The parts of a run's page that need no script: what it is about, the summary, tables, the certificate, sounds."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from bittailor.evaluate.speech_quality import MEASURES
from bittailor.report import retraining
from bittailor.report.drawing import drawings
from bittailor.report.facts import PARTS, Axis, Facts, number
from bittailor.report.figures import Figured
from bittailor.report.html import Row, prose, table
from bittailor.report.style import themed
from bittailor.report.words import signed
from bittailor.runs import Solution
from bittailor.runs.certificate import said as certificate_sentence


def about(facts: Facts) -> dict[str, str]:
    """What the run is about, for the head of the page."""
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


def banner(facts: Facts) -> str:
    """What a reader has to know first, where the search was stopped or had a message."""
    if facts.result["interrupted"]:
        return f'<p class="banner">The search was {escape(facts.result["message"])}. Test data have not been used.</p>'
    if facts.result["message"] and facts.front:
        return f'<p class="banner">{escape(facts.result["message"])}</p>'
    return ""


def summary(facts: Facts) -> str:
    """Float, homogeneous 8 bit and what was picked; what fits on a phone stands first."""
    real = facts.result["float"]
    chosen = [("homogeneous 8 bit", facts.base)]
    for name, solution in facts.picks.items():
        where = "beside the front" if solution in facts.extras else facts.name_of(solution)
        chosen.append((f"{name} ({where})", solution))
    header = ["", *_columns(facts)]
    cells = [["float network", "", number(real["test"]), "", number(real["select"]), *[""] * len(_bytes(facts))]]
    cells += [[name, *_figures(facts, solution)] for name, solution in chosen]
    if not any(row[3] for row in cells):
        header, cells = [*header[:3], *header[4:]], [[*row[:3], *row[4:]] for row in cells]
    return table(header, [Row(row) for row in cells], "summary", "Float network, baseline and picks")


def _columns(facts: Facts) -> list[str]:
    unit = facts.error.unit
    suffix, points = (f" [{unit}]", " [points]" if unit == "%" else f" [{unit}]") if unit else ("", "")
    return [f"{facts.least.name} of 8 bit [%]", f"test{suffix}", f"worse than 8 bit, 95 %{points}",
            f"selection{suffix}", *(f"{axis.name} [{axis.unit}]" for axis in _bytes(facts))]


def _bytes(facts: Facts) -> list[Axis]:
    """What picks are the least of, and the count of constants that is nearest to it."""
    names = list(dict.fromkeys((facts.least.name, "size", "stored")))
    return [facts.axes[name] for name in names[:2]]


def _figures(facts: Facts, solution: Solution) -> list[str]:
    compared = solution.against("8bit", "test") if solution not in facts.homogeneous else None
    worse = "" if compared is None else (f"{signed(compared.difference)} ({signed(compared.low)} to "
                                         f"{signed(compared.high)})")
    least = facts.least.name
    return [f"{100 * solution.values[least] / facts.base.values[least]:.0f}", number(solution.test), worse,
            number(solution.values["error"]), *(number(axis.of(solution)) for axis in _bytes(facts))]


def solutions(facts: Facts, members: Sequence[Solution], letter: str) -> str:
    """A table of solutions, each with a link that chooses it."""
    if not members:
        return ""
    extra = [axis for axis in facts.axes.values() if axis not in (facts.error, *_bytes(facts))]
    rows = []
    for i, solution in enumerate(members):
        name = str(i) if letter == "s" else facts.name_of(solution)
        cells = [name, *_figures(facts, solution), *(number(a.of(solution)) for a in extra)]
        if facts.beacons:
            cells.append(solution.beacon or "the float network")
        rows.append(Row(cells, f"{letter}{i}", facts.marks_of(solution)))
    header = ["solution" if letter == "s" else "width" if letter == "b" else "pick", *_columns(facts),
              *(f"{a.name} [{a.unit}]" if a.unit else a.name for a in extra)]
    if facts.beacons:
        header.append("weights of")
    if not any(row.cells[3] for row in rows):
        header = [*header[:3], *header[4:]]
        rows = [Row([*row.cells[:3], *row.cells[4:]], row.id, row.mark) for row in rows]
    return table(header, rows, label="Solutions")


def beside(facts: Facts) -> str:
    """The picks that are not on the front."""
    return f"<h3>Beside the front</h3>{solutions(facts, facts.extras, 'p')}" if facts.extras else ""


def certified(facts: Facts) -> str:
    """What was certified, or how to have it certified; and how every pick compares on items that no search saw."""
    found = facts.result.get("certificate")
    body = []
    if found:
        pick = facts.picks.get("certified")
        unit = "points" if facts.error.unit == "%" else facts.error.unit
        rows = {"asked for": f"at most {found['margin']:g} {unit} worse than homogeneous 8 bit, with "
                             f"{100 * found['confidence']:g} % confidence",
                "items": f"{found['items']:,} that no search saw", "method": found["method"] or "–",
                "solutions tested, in a fixed sequence": str(found["tested"]),
                "certified": "none" if pick is None else facts.name_of(pick)}
        body.append(f"<p>{prose(certificate_sentence(found, facts.error.unit))}</p>")
        body.append(table(["certificate", ""], [Row(row) for row in rows.items()], "words", "Certificate"))
    else:
        body.append("<p>No certificate was asked for. <code>bittailor search … --certify 0.5@95</code> keeps items "
                    "from the search and says of the smallest solution that it can: at most 0.5 points worse than "
                    "homogeneous 8 bit, with 95 % confidence.</p>")
    compared = [Row([f"{names}, {PARTS[part]}", c.text(facts.error.unit)]) for names, solution in facts.marks
                for part in PARTS for c in [solution.against("8bit", part)] if c is not None]
    if compared:
        body.append(f"<h3>Picks against homogeneous 8 bit, item by item</h3>"
                    f"{table(['pick', 'worse by'], compared, 'words', 'Paired differences')}")
    return f'<section id="certified"><h2>What was certified</h2>{"".join(body)}</section>'


def retrained(facts: Facts, figures: Sequence[Figured]) -> str:
    """The section of retrained networks with the curves of their training, where there are any."""
    header, rows = retraining.shown(facts)
    if not rows:
        return ""
    curves = "".join(figure(one) for one in figures if one.name == "retraining")
    return ('<section id="retrained"><h2>Retrained networks</h2><p>Before → after: post-training quantisation of the '
            "float network, then the same widths with their own training. A beacon also gives its weights to "
            f"neighbours, quantised without training.</p>{table(header, [Row(row) for row in rows])}{curves}</section>")


def listening(facts: Facts) -> str:
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
            f"{_quality(facts)}</section>")


def _quality(facts: Facts) -> str:
    """PESQ and STOI of what is to be heard, where the run has measured them."""
    found = facts.quality
    if found is None:
        return ""
    rows = [Row([name, *("–" if (value := values.get(measure)) is None else f"{value:.3f}" for measure in MEASURES)])
            for name, values in found.values.items()]
    return (f"<p>Means over {found.items} test items: PESQ (ITU-T P.862, 1 to 4.6) and STOI (intelligibility, 0 to 1); "
            f"more is better.</p>{table(['signal', *MEASURES], rows, label='quality')}")


def _player(wav: bytes | None, label: str) -> str:
    if wav is None:
        return "–"
    source = base64.b64encode(wav).decode()
    return f'<audio controls preload="none" aria-label="{escape(label)}" src="data:audio/wav;base64,{source}"></audio>'


def drawn(facts: Facts) -> str:
    """The network and its cells as drawings; the script writes widths and colours on them."""
    names = [site.name for site in facts.sites]
    return "".join(
        f'<p class="drawing-title">{escape(one.title)}</p><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(one.title)}">{one.svg}</div>' for one in drawings(facts.run.network.graph, names))


def figure(one: Figured) -> str:
    """A figure as it stands in the page: its colours are those of the page."""
    kind = "card wide" if one.wide else "card"
    body = f'<p class="nothing">{escape(one.reason)}</p>' if one.svg is None else (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(one.title)}">'
        f"{themed(one.svg, one.name, f'{one.title}. {one.caption}')}</div>")
    return (f'<figure class="{kind}" id="figure-{one.name}"><h3>{escape(one.title)}</h3>{body}'
            f"<figcaption>{escape(one.caption)}</figcaption></figure>")
