"""What the shell completes: names from the tables that commands look them up in."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bittailor.errors import BittailorError

Names = Callable[[], Iterable[str]]


def listed(where: str) -> Names:
    """The names in a table, given as module:NAME, or as a function that gives one; nothing is imported before they are
    asked for."""
    module, _, name = where.partition(":")

    def names() -> Iterable[str]:
        found: Any = getattr(importlib.import_module(f"bittailor.{module}"), name)
        table: Iterable[str] = found() if callable(found) else found
        return table

    return names


def completion(names: Names) -> Callable[[str], list[str]]:
    """Names that begin as what is typed; of a list with commas, its last."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in names() if name.startswith(last)]

    return complete


def picks(ctx: Any, incomplete: str) -> list[str]:
    """What --pick takes, of the run on the command line; only words without one."""
    from bittailor.runs import Run

    found = ["holds", "certified", "careful", "smallest", "retrained", "best", "knee", "8bit"]
    # an option that waits for its value leaves the arguments before it unread
    where = [ctx.params.get("run"), ctx.params.get("source"), *ctx.args]
    for path in where:
        with contextlib.suppress(BittailorError, OSError):
            found += [name for name in Run.open(Path(path)).named if name not in found] if path else []
    return [name for name in found if name.startswith(incomplete)]
