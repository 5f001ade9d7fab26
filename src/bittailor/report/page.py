"""The page of a report: one HTML file that loads nothing from anywhere.

Its parts lie beside this file: `page.html` the frame, `page.css` the style, and the scripts of `SCRIPTS`. All text of a
user is escaped here, or set as text by the scripts.
"""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Sequence
from html import escape
from string import Template

from bittailor._version import __version__
from bittailor.export import EXPORTERS
from bittailor.report import sections
from bittailor.report.facts import Facts
from bittailor.report.figures import Figured
from bittailor.report.html import definitions, prose, static
from bittailor.report.payload import payload, script_json
from bittailor.report.words import GLOSSARY, headline, leading, small_print, worse_on_test

SCRIPTS = ("base.js", "chart.js", "parallel.js", "cell.js", "solution.js", "limits.js", "page.js")
"""In the order in which they need each other."""


def page(facts: Facts, figures: Sequence[Figured]) -> str:
    """The whole page."""
    said = headline(facts)
    parts = {
        "title": escape(facts.title),
        "style": static("page.css"),
        "facts": definitions(sections.about(facts)),
        "kind": f"answer{_tone(facts)}",
        "headline": prose(said[0]),
        "more": "".join(f"<p>{prose(sentence)}</p>" for sentence in said[1:]),
        "banner": sections.banner(facts),
        "summary": sections.summary(facts),
        "notes": "".join(f"<li>{prose(sentence)}</li>" for sentence in small_print(facts)),
        "table": sections.solutions(facts, facts.front, "s") + sections.beside(facts) or f"<p>{escape(said[0])}</p>",
        "homogeneous": sections.solutions(facts, facts.homogeneous, "b"),
        "certified": sections.certified(facts),
        "retrained": sections.retrained(facts, figures),
        "sounds": sections.listening(facts),
        "exporters": "".join(f'<option value="{escape(name)}">{escape(one.title)}</option>'
                             for name, one in EXPORTERS.items()),
        "sensitivity": escape(f"bittailor sensitivity {shlex.quote(str(facts.run.path))}"),
        "drawings": sections.drawn(facts),
        "figures": "".join(sections.figure(one) for one in figures if one.name != "retraining"),
        "command": escape(command(facts)),
        "versions": escape(_versions(facts)),
        "config": escape(json.dumps(dict(facts.config), indent=1, ensure_ascii=False)),
        "glossary": definitions(GLOSSARY),
        "several": static("several.html") if len(facts.objectives) > 2 and facts.front else "",
        "data": script_json(payload(facts)),
        "script": "".join(map(static, SCRIPTS)),
    }
    return Template(static("page.html")).substitute(parts)


def _tone(facts: Facts) -> str:
    """Whether the answer is a good one."""
    found = leading(facts)
    if found is None:
        return " nothing-found"
    return " at-a-price" if "certified" not in facts.picks and worse_on_test(facts, found) else ""


def command(facts: Facts) -> str:
    """The command line that made the run, or where to look if it was made from Python."""
    return facts.run.origin.command or "made from Python with bittailor.run_search; run.json holds its configuration"


def _versions(facts: Facts) -> str:
    import numpy

    prints = facts.config["fingerprints"]
    return (f"Network {prints['network']}, data {prints['data']}. Searched by bittailor "
            f"{facts.config['bittailor_version']}, reported by bittailor {__version__} "
            f"(Python {platform.python_version()}, NumPy {numpy.__version__}).")
