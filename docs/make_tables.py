"""Render the tables in docs/ from results/*.csv and from the tables in the code.

    python docs/make_tables.py           # rewrite what stands between the markers
    python docs/make_tables.py --check   # exit 1 if something is out of date (a test does this)
"""

from __future__ import annotations

import csv
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def ptq_widths() -> str:
    """Mean width per site over seeds, of the smallest solutions; one column per task."""
    rows = [r for r in _read("ptq_widths.csv") if r["pick"] == "smallest"]
    tasks = list(dict.fromkeys(r["task"] for r in rows))
    sites = list(dict.fromkeys(r["site"] for r in rows))

    def mean(task: str, site: str) -> str:
        bits = [int(r["bits"]) for r in rows if r["task"] == task and r["site"] == site]
        return f"{statistics.mean(bits):.1f}" if bits else "–"

    return _table(["site", *tasks], [[f"`{site}`", *(mean(task, site) for task in tasks)] for site in sites])


def calibration() -> str:
    """results/calibration.csv."""
    rows = _read("calibration.csv")
    widths = [key for key in (rows[0] if rows else {}) if key != "setting"]
    return _table(["calibration", *(f"{key[1:]} bit" for key in widths)],
                  [[r["setting"], *(_number(r[key], 2) for key in widths)] for r in rows])


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


def _json(name: str) -> Any:
    path = ROOT / "results" / name
    return json.loads(path.read_text()) if path.exists() else None


def engine() -> str:
    """results/engine.json: one row per case and width style."""
    found = _json("engine.json")
    if found is None:
        return ""
    lines = []
    for r in found["rows"]:
        floor = f"{r['times_floor']:.1f}" if "times_floor" in r else ""
        onnx = f"{r['ratio_onnxruntime']:.3f}" if "ratio_onnxruntime" in r else ""
        ours = f"**{r['ratio']:.3f}**" if r["variant"] else f"{r['ratio']:.3f}"
        name = f"{r['what']} ({r['variant']})" if r["variant"] else r["what"]
        low, high = r["quartiles"]
        lines.append([r["case"], name, f"{r['ms']:.2f} ({low:.2f} to {high:.2f})", ours, onnx, floor])
    return _table(["case", "what", "ms per genome: median (quartiles)", "of torch.nn.GRU", "of onnxruntime",
                   "times the floor"], lines)


def search() -> str:
    """results/search.json: where the time of a search goes."""
    s = _json("search.json")
    if s is None:
        return ""
    wall, threads, parts = s["seconds"], s["threads"], s["parts"]
    rows = [["evaluations", f"{s['evaluations']:,}"], ["engine, cores", f"{s['engine']}, {threads}"],
            ["wall time", f"{wall:.0f} s, {1e3 * wall / s['evaluations']:.1f} ms per evaluation"]]
    for part in ("kernel", "lowering"):
        rows.append([part, f"{100 * parts.get(part, 0) / threads / wall:.1f} % of the threads' time"])
    for part in ("plan and binding", "genetic operators", "store"):
        rows.append([part, f"{100 * parts.get(part, 0) / wall:.1f} % of the wall time"])
    (first, early), (last, late) = s["memory_mib"][0], s["memory_mib"][-1]
    rows.append(["memory", f"{early:.0f} MiB after {first:,} evaluations, {late:.0f} MiB after {last:,}"])
    return _table(["", ""], rows)


def growth() -> str:
    """results/growth.json as a table; `draw_growth` makes the figure."""
    rows = _json("growth.json")
    if rows is None:
        return ""
    lines = []
    for axis in ("items", "steps", "hidden", "genomes"):
        here = [r for r in rows if r["axis"] == axis]
        lines.append([axis, " · ".join(f"{r['value']}: {r['ms_per_genome']:.2f}" for r in here)])
    stored = [r for r in rows if r["axis"] == "stored"]
    lines.append(["rows stored: put", " · ".join(f"{r['value']}: {r['put_ms']:.3f}" for r in stored)])
    lines.append(["rows stored: look up 40", " · ".join(f"{r['value']}: {r['get40_ms']:.2f}" for r in stored)])
    return _table(["against", "value: ms"], lines)


def draw_growth() -> None:
    """docs/growth.png."""
    rows = _json("growth.json")
    if rows is None:
        return
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    titles = {"items": "sequences", "steps": "steps", "hidden": "hidden units", "genomes": "genomes in one call"}
    figure, axes = plt.subplots(1, 5, figsize=(15, 3.2), constrained_layout=True)
    for ax, axis in zip(axes, titles, strict=False):
        here = [r for r in rows if r["axis"] == axis]
        ax.loglog([r["value"] for r in here], [r["ms_per_genome"] for r in here], "o-", color="#0072b2")
        if axis == "genomes":
            ax.set_yscale("linear")
            ax.set_ylim(0, None)
        ax.set(xlabel=titles[axis], ylabel="ms per genome")
        ax.set_xticks([r["value"] for r in here], [str(r["value"]) for r in here])
    stored = [r for r in rows if r["axis"] == "stored"]
    for key, mark, colour, label in (("put_ms", "o-", "#0072b2", "put one"),
                                     ("get40_ms", "s-", "#d55e00", "look up 40")):
        axes[4].semilogx([r["value"] for r in stored], [r[key] for r in stored], mark, color=colour, label=label)
    axes[4].set(xlabel="evaluations stored", ylabel="ms", ylim=(0, None))
    axes[4].legend(frameon=False)
    for ax in axes:
        ax.minorticks_off()
        ax.grid(alpha=0.3)
        if ax.get_yscale() == "log":
            low, high = ax.get_ylim()
            marks = [m for m in (0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= m <= high]
            ax.set_yticks(marks, [f"{m:g}" for m in marks])
    figure.savefig(ROOT / "docs" / "growth.png", dpi=110)
    plt.close(figure)


TABLES: dict[str, Callable[[], str]] = {
    "ptq-rows": ptq_rows, "ptq-means": ptq_means, "ptq-widths": ptq_widths, "calibration": calibration,
    "coverage": coverage, "names": names,
    "engine": engine, "search": search, "growth": growth,
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
    if not check:
        draw_growth()
    print(("out of date: " if check else "rewritten: ") + (", ".join(stale) or "nothing"))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
