"""What there is, from the tables in the code."""

from __future__ import annotations

from collections.abc import Callable

from bittailor.core.cells import CELLS
from bittailor.core.ops import OPS
from bittailor.cost.firmware import cores
from bittailor.engines import ENGINES
from bittailor.evaluate.evaluator import OBJECTIVES
from bittailor.quantise.spaces import SPACES
from bittailor.tasks import TASKS
from tables.common import markdown_table


def coverage() -> str:
    """Operators against engines."""
    return markdown_table(
        ["operator", "parameters", "over time", *ENGINES],
        [[f"`{op.name}`", ", ".join(op.roles) or "–", "yes" if op.over_time else "–",
          *("yes" for _ in ENGINES)] for op in OPS.values()],
    )


def names() -> str:
    """What exists, by name."""
    figures = ("flash", "ram", "code", "instructions")
    per_core = {f"{what}.{core}" for what in figures for core in cores()}
    objectives = [f"`{o.name}` ({o.title})" for o in OBJECTIVES.values() if o.name not in per_core]
    objectives.append(f"{', '.join(f'`{what}.CORE`' for what in figures)} (the same on {', '.join(cores())})")
    rows = [["cell", ", ".join(f"`{n}`" for n in CELLS)], ["engine", ", ".join(f"`{n}`" for n in ENGINES)],
            ["space", ", ".join(f"`{n}`" for n in SPACES)],
            ["objective", ", ".join(objectives)],
            ["task", ", ".join(f"`{n}`" for n in TASKS)]]
    return markdown_table(["kind", "names"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "coverage": coverage,
    "names": names,
}
