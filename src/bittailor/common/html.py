"""Small tables for notebooks: what `_repr_html_` returns. No script, no style beyond alignment."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bittailor.common.console import visible


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as HTML; the first column is text, the others are numbers. Everything is escaped."""
    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(f'<{tag} style="text-align: {"right" if i else "left"}">{escape(visible(text))}</{tag}>'
                       for i, text in enumerate(texts))

    lines = [f"<tr>{cells('td', row)}</tr>" for row in rows]
    return "\n".join([f"<table><caption>{escape(visible(caption))}</caption>",
                      f"<thead><tr>{cells('th', head)}</tr></thead>", "<tbody>", *lines, "</tbody></table>"])
