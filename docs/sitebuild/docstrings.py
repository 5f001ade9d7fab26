"""The project's docstrings as reStructuredText, which autodoc expects.

They are plain text: paragraphs, a table of parameters (name, two spaces or more, meaning; continued lines are
indented), `Raises` and `Returns` in that table, examples after >>>. Signs that reStructuredText would read (*, |, _)
are meant as they are.
"""

from __future__ import annotations

import re

ENTRY = re.compile(r"(?P<name>\w+(?:, \w+)*)(?:  +|(?<=^Raises) |(?<=^Returns) )(?P<what>\S.*)")
SPECIAL = re.compile(r"([*|\\]|_(?=\W|$))")
LITERAL = re.compile(r"(`[^`]+`)")
FIELDS = {"Raises": "raises", "Returns": "returns", "Source": "source"}
RAISED = re.compile(r"(?P<error>[A-Z]\w+)\b,? ?(?P<when>.*)")


def plain(text: str) -> str:
    """A line in which nothing is markup but `code`."""
    parts = LITERAL.split(text)
    return "".join(f"`{part}`" if i % 2 else SPECIAL.sub(r"\\\1", part) for i, part in enumerate(parts))


def field(name: str, what: str) -> str:
    """One entry of a table of parameters."""
    if name == "Raises" and (match := RAISED.fullmatch(what)):
        return f":raises {match['error']}: {plain(match['when'])}"
    return f":{FIELDS[name]}: {plain(what)}" if name in FIELDS else f":param {name}: {plain(what)}"


def blocks(lines: list[str]) -> list[list[str]]:
    """Lines parted at empty ones."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [block for block in found if block]


def converted_block(block: list[str]) -> list[str]:
    """A paragraph, a table of parameters, an example or what is indented as it stands."""
    if block[0].lstrip().startswith(">>>"):
        return ["", *block, ""]
    if block[0].startswith(" "):
        return ["", "::", "", *(f"    {line}" for line in block), ""]
    out: list[str] = []
    inside = False
    for line in block:
        entry = ENTRY.fullmatch(line)
        if entry is not None:
            out += [*([] if inside else [""]), field(entry["name"], entry["what"])]
            inside = True
        elif line.startswith(" ") and inside:
            out.append(f"    {plain(line.strip())}")
        else:
            out += [*([""] if inside else []), plain(line.strip())]
            inside = False
    return [*out, ""]


def converted(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText."""
    return [line for block in blocks(lines) for line in converted_block(block)]
