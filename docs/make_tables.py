"""Render the tables in docs/ from results/*.csv and from the tables in the code.

    python docs/make_tables.py           # rewrite what stands between the markers
    python docs/make_tables.py --check   # exit 1 if something is out of date (a test does this)
"""

from __future__ import annotations

import csv
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from bittailor.cells import CELLS
from bittailor.engines import ENGINES
from bittailor.evaluate import OBJECTIVES
from bittailor.ops import OPS
from bittailor.spaces import SPACES
from bittailor.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _read(name: str) -> list[dict[str, str]]:
    path = ROOT / "results" / name
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _number(text: str, digits: int = 1) -> str:
    return f"{float(text):.{digits}f}" if text else "–"


def _kib(row: dict[str, str], name: str) -> str:
    return f"{int(row[f'{name}_size_bits']) / 8192:.2f}"


def _pair(row: dict[str, str], name: str) -> str:
    return f"{_number(row[f'{name}_valid'], 2)} / {_number(row[f'{name}_test'], 2)}"


def ptq_rows() -> str:
    """Every row of results/ptq.csv."""
    return _table(
        ["task", "H", "seed", "float: valid / test", "8 bit: valid / test", "KiB", "smallest: valid / test", "KiB",
         "smaller", "careful: valid / test", "KiB", "smaller", "hypervolume mixed / homogeneous"],
        [[r["task"], r["hidden"], r["seed"], _pair(r, "float"), _pair(r, "int8"), _kib(r, "int8"),
          _pair(r, "smallest"), _kib(r, "smallest"), f"{_number(r['smallest_smaller_percent'])} %",
          _pair(r, "careful"), _kib(r, "careful"), f"{_number(r['careful_smaller_percent'])} %",
          f"{_number(r['hypervolume_front'], 3)} / {_number(r['hypervolume_homogeneous'], 3)}"]
         for r in _read("ptq.csv")],
    )


def ptq_means() -> str:
    """Per task: mean and spread over seeds."""
    by_task: dict[str, list[dict[str, str]]] = {}
    for row in _read("ptq.csv"):
        by_task.setdefault(row["task"], []).append(row)

    def spread(rows: list[dict[str, str]], key: str, digits: int = 2) -> str:
        values = [float(r[key]) for r in rows]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        return f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}"

    return _table(
        ["task", "seeds", "smallest: smaller by [%]", "careful: smaller by [%]",
         "validation: 8 bit", "smallest", "careful", "test: float", "8 bit", "smallest", "careful"],
        [[task, str(len(rows)), *(f"**{spread(rows, f'{k}_smaller_percent', 1)}**" for k in ("smallest", "careful")),
          *(spread(rows, k) for k in ("int8_valid", "smallest_valid", "careful_valid",
                                      "float_test", "int8_test", "smallest_test", "careful_test"))]
         for task, rows in by_task.items()],
    )


def coverage() -> str:
    """Operators against engines."""
    return _table(
        ["operator", "parameters", "over time", *ENGINES],
        [[f"`{op.name}`", ", ".join(op.roles) or "–", "yes" if op.over_time else "–",
          *("yes" for _ in ENGINES)] for op in OPS.values()],
    )


def names() -> str:
    """What exists, by name."""
    rows = [["cell", ", ".join(f"`{n}`" for n in CELLS)], ["engine", ", ".join(f"`{n}`" for n in ENGINES)],
            ["space", ", ".join(f"`{n}`" for n in SPACES)],
            ["objective", ", ".join(f"`{o.name}` ({o.title})" for o in OBJECTIVES.values())],
            ["task", ", ".join(f"`{n}`" for n in TASKS)]]
    return _table(["kind", "names"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "ptq-rows": ptq_rows, "ptq-means": ptq_means, "coverage": coverage, "names": names,
}


def main() -> int:
    """Rewrite, or check."""
    check, stale = "--check" in sys.argv, []
    for path in [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]:
        text = path.read_text()
        new = text
        for name, make in TABLES.items():
            pattern = re.compile(rf"(<!-- table:{name} -->\n).*?(<!-- end -->)", re.S)
            new = pattern.sub(lambda m, make=make: f"{m[1]}{make()}\n{m[2]}", new)
        if new != text:
            stale.append(path.name)
            if not check:
                path.write_text(new)
    print(("out of date: " if check else "rewritten: ") + (", ".join(stale) or "nothing"))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
