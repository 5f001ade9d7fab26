"""The packages of bittailor and their imports, as a table and a drawing (docs/packages.svg), read from the code."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable, Mapping
from html import escape

from tables.common import ROOT, markdown_table

SOURCE = ROOT / "src" / "bittailor"
BOX, HEIGHT, NARROW, GAP, STEP, MARGIN = 146, 56, 16, 14, 92, 10
"""Width and height of a box, width of a passing arrow, between two in a row, from row to row, around all; in pixels."""
LETTERS = 25
"""That a line in a box has room for; a box has two."""

STYLE = """
text { font-family: ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; text-anchor: middle }
.name { font-size: 14px; font-weight: 600; fill: #22272e } .what { font-size: 10.5px; fill: #57606a }
rect { fill: #f6f8fa; stroke: #0072b2; stroke-width: 1.2 }
path { fill: none; stroke: #8a94a0; stroke-width: 1.2 } marker path { fill: #8a94a0; stroke: none }
@media (prefers-color-scheme: dark) {
  .name { fill: #e6edf3 } .what { fill: #9da7b1 } rect { fill: #1b222b; stroke: #56b4e9 }
  path { stroke: #77818c } marker path { fill: #77818c }
}"""

Imports = Mapping[str, set[str]]
"""Package -> the packages that it imports."""


def packages() -> dict[str, str]:
    """Package -> the first sentence of its docstring, without what it lists."""
    found = {}
    for path in sorted(SOURCE.glob("*/__init__.py")):
        sentence = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].replace("\n", " ")
        found[path.parent.name] = re.split(r"[.:;](?:\s|$)", sentence)[0].replace("`", "")
    return found


def imports() -> Imports:
    """What every package imports, also inside functions."""
    names = packages()
    found: dict[str, set[str]] = {name: set() for name in names}
    for name in names:
        for path in (SOURCE / name).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bittailor."):
                    found[name].add(str(node.module).split(".")[1])
    return {name: (others & names.keys()) - {name} for name, others in found.items()}


def below(package: str, needed: Imports) -> set[str]:
    """All that a package stands on."""
    return needed[package].union(*(below(other, needed) for other in needed[package]))


def direct(needed: Imports) -> Imports:
    """Without the imports that follow from others."""
    return {name: {other for other in others if not any(other in below(o, needed) for o in others)}
            for name, others in needed.items()}


def level(package: str, needed: Imports) -> int:
    """How many packages stand below it, one on the other."""
    return max((1 + level(other, needed) for other in needed[package]), default=0)


def rows_of(needed: Imports) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """Packages by level, and arrows from a row to the next; what passes a row has a place there, called "a>b"."""
    levels = {name: level(name, needed) for name in needed}
    rows: list[list[str]] = [[] for _ in range(max(levels.values()) + 1)]
    for name in sorted(needed):
        rows[levels[name]].append(name)
    arrows = []
    for name, others in sorted(direct(needed).items()):
        for other in sorted(others):
            upper = name
            for between in range(levels[name] - 1, levels[other], -1):
                passing = f"{name}>{other}>{between}"
                rows[between].append(passing)
                arrows.append((upper, passing))
                upper = passing
            arrows.append((upper, other))
    return rows, arrows


def placed(rows: list[list[str]], arrows: list[tuple[str, str]]) -> dict[str, float]:
    """The middle of everything, sorted so that arrows cross little: each row by where its neighbours stand."""
    at: dict[str, float] = {}
    for turn in range(24):
        for row in rows if turn % 2 else rows[::-1]:
            ends = {name: [at[end] for arrow in arrows if name in arrow for end in arrow if end != name and end in at]
                    for name in row}
            row.sort(key=lambda n: (sum(ends[n]) / max(1, len(ends[n])), n))
            widths = [NARROW if ">" in n else BOX for n in row]
            x = -(sum(widths) + GAP * (len(row) - 1)) / 2
            for name, width in zip(row, widths, strict=True):
                at[name] = x + width / 2
                x += width + GAP
    left = min(x - (NARROW if ">" in n else BOX) / 2 for n, x in at.items())
    return {name: x - left + MARGIN for name, x in at.items()}


def draw() -> str:
    """The drawing as SVG: who stands on whom, from the bottom to the top."""
    rows, arrows = rows_of(imports())
    at, what = placed(rows, arrows), packages()
    y = {name: MARGIN + STEP * (len(rows) - 1 - i) for i, row in enumerate(rows) for name in row}
    width, height = max(at.values()) + BOX / 2 + MARGIN, 2 * MARGIN + STEP * (len(rows) - 1) + HEIGHT
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
             f'height="{height:.0f}" role="img" aria-label="The packages of bittailor and what they import">',
             f"<style>{STYLE}</style>",
             '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
             '<path d="M0,0 L8,4 L0,8 Z"/></marker></defs>']
    for upper, lower in arrows:
        start, end = y[upper] + HEIGHT, y[lower]
        head = "" if ">" in lower else ' marker-end="url(#head)"'
        through = f"M{at[upper]:.0f},{y[upper]} V{start} " if ">" in upper else f"M{at[upper]:.0f},{start} "
        parts.append(f'<path d="{through}C{at[upper]:.0f},{start + 22} {at[lower]:.0f},{end - 22} '
                     f'{at[lower]:.0f},{end}"{head}/>')
    for name, text in what.items():
        lines = textwrap.wrap(text, LETTERS)
        if len(lines) > 2:
            raise ValueError(f"the docstring of bittailor.{name} begins with '{text}', too long for its box: let a "
                             f"clause of two lines of {LETTERS} letters end with a dot or a colon")
        parts.append(f'<rect x="{at[name] - BOX / 2:.0f}" y="{y[name]}" width="{BOX}" height="{HEIGHT}" rx="7"/>')
        parts.append(f'<text class="name" x="{at[name]:.0f}" y="{y[name] + 18}">{name}</text>')
        parts += [f'<text class="what" x="{at[name]:.0f}" y="{y[name] + 33 + 13 * i}">{escape(line)}</text>'
                  for i, line in enumerate(lines)]
    return "\n".join([*parts, "</svg>", ""])


def table() -> str:
    """What each package is for, from the bottom to the top."""
    needed, what = imports(), packages()
    order = sorted(needed, key=lambda name: (level(name, needed), name))
    return markdown_table(["package", "what it is for"], [[f"`{name}`", what[name]] for name in order])


TABLES: dict[str, Callable[[], str]] = {"packages": table}
DRAWINGS: dict[str, Callable[[], str]] = {"packages.svg": draw}
