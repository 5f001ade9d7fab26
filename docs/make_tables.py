"""Render the tables and figures in docs/ from results/* and from the tables in the code.

    python docs/make_tables.py           # rewrite what stands between the markers, and the figures
    python docs/make_tables.py --check   # exit 1 if a table or a drawing is out of date (a test does this)

A page asks for a table by a marker, `<!-- table:NAME -->`, and ends it by `<!-- end -->`; for a number in a sentence by
`<!-- value:NAME -->` and `<!-- / -->`. They are in docs/tables/, one file per subject, each with its names in TABLES,
VALUES, figures in FIGURES and SVG in DRAWINGS.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from tables import (
    api,
    cell,
    cluster,
    commands,
    coverage,
    enhance,
    everywhere,
    firmware,
    hardware,
    headline,
    holds,
    ladder,
    layers,
    metrics,
    packages,
    page,
    post_training,
    readme,
    speed,
    training,
    zoo,
)
from tables.common import ROOT

DOCS = ROOT / "docs"
SUBJECTS = (
    readme, post_training, headline, holds, ladder, training, firmware, speed, hardware, coverage, metrics, packages,
    cluster, everywhere, commands, api, cell, layers, zoo, enhance, page,
)
MARKER = re.compile(r"<!-- (?:table|value):(.*?) -->")
TABLE = re.compile(r"(<!-- table:([^\n]*?) -->\n).*?(<!-- end -->)", re.S)
VALUE = re.compile(r"(<!-- value:([^\n]*?) -->).*?(<!-- / -->)", re.S)


def merged(kind: str, subjects: tuple[ModuleType, ...] = SUBJECTS) -> dict[str, Callable[[], Any]]:
    """TABLES, VALUES, FIGURES or DRAWINGS of all subjects; one without figures has none to give."""
    found: dict[str, Callable[[], Any]] = {}
    for subject in subjects:
        for name, make in getattr(subject, kind, {}).items():
            if name in found:
                raise ValueError(f"{subject.__name__}: '{name}' of {kind} is in {found[name].__module__} already")
            found[name] = make
    return found


def main() -> int:
    """Rewrite, or check."""
    tables, values, figures = merged("TABLES"), merged("VALUES"), merged("FIGURES")
    check, stale, unknown = "--check" in sys.argv, [], []

    def render(match: re.Match[str]) -> str:
        return f"{match[1]}{tables[match[2]]()}\n{match[3]}" if match[2] in tables else match[0]

    def write(match: re.Match[str]) -> str:
        return f"{match[1]}{values[match[2]]()}{match[3]}" if match[2] in values else match[0]

    for path in [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]:
        text = path.read_text()
        unknown += [f"'{name}' in {path.name}" for name in MARKER.findall(text) if name not in {**tables, **values}]
        new = VALUE.sub(write, TABLE.sub(render, text))
        if new != text:
            stale.append(path.name)
            if not check:
                path.write_text(new)
    for name, draw in merged("DRAWINGS").items():
        path, new = DOCS / name, draw()
        if not path.exists() or path.read_text() != new:
            stale.append(name)
            if not check:
                path.write_text(new)
    if not check:
        for name, draw in figures.items():
            figure = draw()
            if figure is not None:
                figure.savefig(DOCS / name, dpi=110)
    print(("out of date: " if check else "rewritten: ") + (", ".join(stale) or "nothing"))
    if unknown:
        print(f"no such table: {', '.join(unknown)}")
    return 1 if unknown or (check and stale) else 0


if __name__ == "__main__":
    sys.exit(main())
