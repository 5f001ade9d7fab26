"""Templates: text files beside this one, with @{name} where something goes in."""

from __future__ import annotations

import string
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

TEMPLATES = Path(__file__).resolve().parent / "templates"


class _At(string.Template):
    """Dollars and braces belong to C, make and CMake."""

    delimiter = "@"
    # only @{name}; the other groups must exist and never match
    pattern: ClassVar[Any] = r"@\{(?P<braced>[A-Za-z_]\w*)\} | (?!)(?P<escaped>.)(?P<named>.)(?P<invalid>.)"


@cache
def _template(name: str) -> _At:
    return _At((TEMPLATES / name).read_text(encoding="utf-8"))


def fill(name: str, /, **values: object) -> str:
    """A template with its blanks filled; KeyError for one without a value."""
    return _template(name).substitute(values)
