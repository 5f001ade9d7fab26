"""Pieces of HTML: tables, lists of definitions, prose; all text is escaped here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources


@dataclass(frozen=True)
class Row:
    """A row of a table: its cells, the first one its head; an id that links and scripts know it by; a word beside the
    head."""

    cells: Sequence[str]
    id: str = ""
    mark: str = ""


def static(name: str) -> str:
    """The text of a file beside this one."""
    return (resources.files("bittailor.report") / name).read_text("utf-8")


def prose(text: str) -> str:
    """Text for the page; a number stays on the line of its unit."""
    return re.sub(r"(?<=\d) (?=%|KiB|bit)", "&nbsp;", escape(text))


def table(header: Sequence[str], rows: Sequence[Row], kind: str = "", label: str = "table") -> str:
    """An HTML table that scrolls inside its box."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in header)
    body = "".join(_row(row) for row in rows)
    return (f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table class="{kind}">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>")


def _row(row: Row) -> str:
    name = escape(row.cells[0])
    first = f'<a href="#{row.id}">{name}</a> {escape(row.mark)}'.rstrip() if row.id else name
    known = f' data-id="{row.id}"' if row.id else ""
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in row.cells[1:])
    return f'<tr{known}><th scope="row">{first}</th>{cells}</tr>'


def definitions(items: Mapping[str, str]) -> str:
    """Terms and what they mean, to stand in a list of definitions."""
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in items.items())
