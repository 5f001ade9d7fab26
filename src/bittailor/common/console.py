"""What is printed: names and texts of others, as they stand. The one place where a terminal's own signs are escaped.

Rich reads `[red]` and `:smile:` in what it prints, a terminal reads control characters; a title or a file's name may
hold any of them. Rich is loaded when the first console is made.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_KEPT = "\n\t"


def visible(text: str) -> str:
    r"""A text with its control characters as words, lines and tabs excepted.

    >>> visible("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(c if c in _KEPT or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else
                   c.encode("unicode_escape").decode() for c in text)


def console(**options: Any) -> Console:
    """A console that prints texts as they are: no markup, no emoji, no control characters.

    options  of `rich.console.Console`
    """
    from rich.console import Console
    from rich.text import Text

    class Plain(Console):
        def render_str(self, text: str, **how: Any) -> Text:
            return super().render_str(visible(text), **{**how, "markup": False, "emoji": False})

    return Plain(markup=False, emoji=False, **options)
