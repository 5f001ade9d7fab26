"""Tables of the command line: nothing is ever cut. On a terminal they fit its width; piped, they are plain lines.

On a terminal a long column folds, and where the others are wider than the terminal as well, the table goes on below
with its first column repeated. In a pipe or a file every row is one line, its cells parted by two spaces or more.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from bittailor.common.console import console, visible

GAP = 2
LEAST_FOLD = 20
"""Characters that a column that folds keeps."""

Line = tuple[str, str]
"""Text and style."""


def say(screen: Console, text: str, style: str | None = None) -> None:
    """Words as they are: wrapped on a terminal, one line in a pipe."""
    screen.print(text, style=style, highlight=False, soft_wrap=not screen.is_terminal)


class Grid:
    """A table.

    columns  heads; a line break in one is kept on a terminal
    text     places of the columns that are words, and stand to the left; the first is always one of them
    fold     the column that folds where there is no room; None if none does
    """

    def __init__(self, *columns: str, text: Sequence[int] = (), fold: int | None = None, title: str = "") -> None:
        self._heads = columns
        self._left = {0, *text} | ({fold} if fold is not None else set())
        self._fold = fold
        self._title = title
        self._rows: list[tuple[tuple[str, ...], str] | None] = []

    def add(self, *cells: str, style: str = "") -> None:
        """A row; cells that are missing at its end are empty."""
        whole = (*cells, *("",) * (len(self._heads) - len(cells)))
        self._rows.append((tuple(visible(" ".join(cell.split())) for cell in whole), style))

    def section(self) -> None:
        """An empty line, where the table goes on."""
        self._rows.append(None)

    def show(self, screen: Console | None = None) -> None:
        """Print it."""
        screen = screen or console()
        for text, style in self.lines(screen.width if screen.is_terminal else None):
            screen.print(Text(text), style=style or None, soft_wrap=True, highlight=False)

    def lines(self, width: int | None = None) -> Iterator[Line]:
        """Its lines with their styles; `width` is a terminal's, None that of a pipe."""
        if self._title:
            yield from ((line, "bold") for line in _folded(visible(self._title), width))
        if width is None:
            heads = [[head.replace("\n", " ")] for head in self._heads]
            yield from self._block(range(len(heads)), heads, self._widths(heads), False)
            return
        heads = [head.split("\n") for head in self._heads]
        widths = self._widths(heads)
        if self._fold is not None:
            room = width - sum(widths) + widths[self._fold] - GAP * (len(widths) - 1)
            widths[self._fold] = min(widths[self._fold], max(LEAST_FOLD, room))
        for i, block in enumerate(_blocks(widths, width)):
            if i:
                yield "", ""
            yield from self._block(block, heads, widths, True)

    def _widths(self, heads: Sequence[Sequence[str]]) -> list[int]:
        rows = [cells for cells, _ in filter(None, self._rows)]
        return [max(map(cell_len, [*head, *(cells[i] for cells in rows)])) for i, head in enumerate(heads)]

    def _block(self, places: Sequence[int], heads: Sequence[Sequence[str]], widths: Sequence[int], rule: bool
               ) -> Iterator[Line]:
        """Some columns, the head first."""
        tall = max(len(heads[i]) for i in places)
        for line in range(tall):
            cells = {i: ("",) * (tall - len(heads[i])) + tuple(heads[i]) for i in places}
            yield self._line({i: cells[i][line] for i in places}, widths), "bold"
        if rule:
            yield "─" * (sum(widths[i] for i in places) + GAP * (len(places) - 1)), "dim"
        for row in self._rows:
            if row is None:
                yield "", ""
                continue
            parts = {i: _folded(row[0][i], widths[i] if rule and i == self._fold else None) for i in places}
            for n in range(max(map(len, parts.values()))):
                yield self._line({i: part[n] if n < len(part) else "" for i, part in parts.items()}, widths), row[1]

    def _line(self, cells: dict[int, str], widths: Sequence[int]) -> str:
        parts = []
        for i, cell in cells.items():
            space = " " * (widths[i] - cell_len(cell))
            parts.append(cell + space if i in self._left else space + cell)
        return (" " * GAP).join(parts).rstrip()


def _folded(text: str, width: int | None) -> list[str]:
    return [text] if width is None else textwrap.wrap(text, max(1, width)) or [""]


def _blocks(widths: Sequence[int], room: int) -> list[list[int]]:
    """Columns that stand beside each other; the first stands in every block."""
    blocks, used = [[0]], widths[0]
    for i in range(1, len(widths)):
        if used + GAP + widths[i] > room and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0]
        blocks[-1].append(i)
        used += GAP + widths[i]
    return blocks
