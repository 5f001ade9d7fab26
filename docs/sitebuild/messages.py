"""Every text that the source can print, with … where a value stands."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "bittailor"


def text_of(node: ast.AST) -> str | None:
    """A string, or a formatted one with … for its values; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return None


@functools.cache
def messages() -> set[str]:
    """All of them; white space is one blank."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            text = text_of(node)
            if text:
                found.add(" ".join(text.split()))
    return found
