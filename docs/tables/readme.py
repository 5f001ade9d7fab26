"""What README shows: results/front_door.json."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bittailor.cost.firmware import cores
from tables.common import markdown_table, read_json

SHOWN = {
    "search": (r"^--pick ", r"^float ", r"^8bit ", r"= holds", r"^(careful|smallest) \(",
               r"against 8 bit on test", r"^holds"),
    "export": (r"flash",),
    "verify": (r"^core ", r"Cortex-M4", r"compared with"),
}
"""Command -> which lines of its output are shown; others are left out, which is marked."""
LONGEST = 108


def abridged(lines: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The lines that match, each cut at a word where it is long; `…` stands for what is left out."""
    found: list[str] = []
    for line in filter(str.strip, lines):
        if any(re.search(pattern, line) for pattern in wanted):
            found.append(line if len(line) <= LONGEST else f"{line[:LONGEST].rsplit(' ', 1)[0]} …")
        elif not found or found[-1] != "…":
            found.append("…")
    return found[:-1] if found and found[-1] == "…" else found


def session() -> str:
    """Commands with their output, abridged, and how long each kept a processor busy."""
    blocks = []
    for part in read_json("front_door.json")["session"]["commands"]:
        name = part["command"].split()[1]
        if name in SHOWN:
            head = f"$ {part['command']}"
            blocks.append("\n".join([f"{head}{' ' * max(3, 70 - len(head))}# {part['busy']:.0f} s",
                                     *abridged(part["output"], SHOWN[name])]))
    return "```text\n" + "\n\n".join(blocks) + "\n```"


def _network() -> dict[str, Any]:
    found: dict[str, Any] = read_json("front_door.json")["network"]
    return found


def network() -> str:
    """One network before and after."""
    found = _network()
    before, after = found["before"], found["after"]
    first = next(iter(before["cores"]))

    def row(what: str, old: float, new: float) -> list[str]:
        return [what, f"{old:,.0f}", f"{new:,.0f}", f"{100 * (new / old - 1):+.0f} %"]

    difference, low, high = found["difference"]
    default = "m4" if "m4" in before["cores"] else first
    rows = [
        row("weights and biases, each at its width [bytes]", before["size_bits"] / 8, after["size_bits"] / 8),
        row(f"flash of all constants, {cores()[default].title} [bytes]", before["cores"][default]["flash"],
            after["cores"][default]["flash"]),
        row(f"code, {cores()[default].title} [bytes]", before["cores"][default]["code"],
            after["cores"][default]["code"]),
        [f"error on {found['items']:,} new items [{found['unit']}]", f"{before['test']:.2f}", f"{after['test']:.2f}",
         f"{difference:+.2f} points ({low:+.2f} to {high:+.2f})"],
        *(row(f"instructions per step, {cores()[core].title}", before["cores"][core]["instructions"],
              after["cores"][core]["instructions"]) for core in before["cores"]),
    ]
    return markdown_table(["mnist, GRU of 64 units, row by row", "8 bit everywhere", f"tailored (`{found['holds']}`)",
                           "difference"], rows)


TABLES = {"readme-session": session, "readme-network": network}
VALUES = {
    "network-command": lambda: f"`{_network()['command']}`",
    "network-seconds": lambda: f"{_network()['busy'] / 60:.0f} minutes",
}
