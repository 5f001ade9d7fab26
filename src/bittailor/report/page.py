"""The page of a report: one HTML file that loads nothing from anywhere.

Its parts lie beside this file: `page.html` the frame, `page.css` the style, `page.js` the interactive front. All
text of a user is escaped here, or set as text by the script.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from bittailor.report.facts import Facts, headline, small_print
from bittailor.report.figures import Drawn

GLOSSARY: Mapping[str, str] = {
    "site": "a named place that holds a quantised tensor: a weight matrix, a bias, an operator's output, a state",
    "width": "the bits of an integer at a site; every site has its own",
    "homogeneous": "one width for every weight and activation, biases at 16 bits: the baseline",
    "mixed precision": "a width of its own for every gene, found by the search",
    "front": "the solutions of which none is better than another in every objective",
    "smallest, careful": "the smallest solutions no worse than homogeneous 8 bit on validation data: by error "
                         "alone, and by error and loss, which leaves less to luck",
    "loss": "cross-entropy or squared error: smoother than the error, it tells how sure a network is",
    "validation": "data that the search saw; test data were kept away from it and used once",
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
        "figures": "".join(_figure(one) for one in drawn),
        "command": escape(command(facts)),
        "versions": escape(_versions(facts)),
        "config": escape(json.dumps(dict(facts.config), indent=1, ensure_ascii=False)),
        "glossary": _definitions(GLOSSARY),
        "data": script_json(_data(facts)),
        "plotly": get_plotlyjs(),
        "script": _static("page.js"),
    }
    return Template(_static("page.html")).substitute(parts)


def command(facts: Facts) -> str:
    """The command line that made the run, or where to look if it was made from Python."""
    return facts.config["command"] or "made from Python with bittailor.run_search; run.json holds its configuration"


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element, whatever text it holds."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _static(name: str) -> str:
    return (resources.files("bittailor.report") / name).read_text("utf-8")


def _prose(text: str) -> str:
    """Text for the page; a number stays on the line of its unit."""
    return re.sub(r"(?<=\d) (?=%|KiB|bit)", "&nbsp;", escape(text))
