"""What a search costs in time: results/engine.json, search.json, growth.json."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from bittailor.report.style import BLUE, ORANGE
from tables.common import markdown_table, read_json


def engine() -> str:
    """results/engine.json: one row per case and width style."""
    found = read_json("engine.json")
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
    return markdown_table(
        ["case", "what", "ms per genome: median (quartiles)", "of torch.nn.GRU", "of onnxruntime", "times the floor"],
        lines,
    )


def search() -> str:
    """results/search.json: where the time of a search goes."""
    s = read_json("search.json")
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
    return markdown_table(["", ""], rows)


def few() -> str:
    """results/few.json: few sequences, with small tiles and without."""
    found = read_json("few.json")
    if found is None:
        return ""
    return markdown_table(
        ["units", "sequences", "ms", "of torch.nn.GRU", "with large tiles alone: ms", "of torch.nn.GRU"],
        [[str(r["units"]), str(r["sequences"]), f"{r['ms']:.2f}", f"**{r['ms'] / r['torch_ms']:.2f}**",
          f"{r['large_tiles_ms']:.2f}", f"{r['large_tiles_ms'] / r['torch_ms']:.2f}"] for r in found["rows"]])


def growth() -> str:
    """results/growth.json; `draw_growth` makes a figure of it."""
    rows = read_json("growth.json")
    if rows is None:
        return ""
    lines = []
    for axis in ("items", "steps", "hidden", "genomes"):
        here = [r for r in rows if r["axis"] == axis]
        lines.append([axis, " · ".join(f"{r['value']}: {r['ms_per_genome']:.2f}" for r in here)])
    stored = [r for r in rows if r["axis"] == "stored"]
    lines.append(["rows stored: put", " · ".join(f"{r['value']}: {r['put_ms']:.3f}" for r in stored)])
    lines.append(["rows stored: look up 40", " · ".join(f"{r['value']}: {r['get40_ms']:.2f}" for r in stored)])
    return markdown_table(["against", "value: ms"], lines)


def draw_growth() -> Figure | None:
    """results/growth.json: time against each size, one panel each."""
    rows = read_json("growth.json")
    if rows is None:
        return None
    titles = {"items": "sequences", "steps": "steps", "hidden": "hidden units", "genomes": "genomes in one call"}
    figure = Figure(figsize=(15, 3.2), layout="constrained")
    axes = figure.subplots(1, 5)
    for ax, axis in zip(axes, titles, strict=False):
        here = [r for r in rows if r["axis"] == axis]
        ax.loglog([r["value"] for r in here], [r["ms_per_genome"] for r in here], "o-", color=BLUE)
        if axis == "genomes":
            ax.set_yscale("linear")
            ax.set_ylim(0, None)
        ax.set(xlabel=titles[axis], ylabel="ms per genome")
        ax.set_xticks([r["value"] for r in here], [str(r["value"]) for r in here])
    stored = [r for r in rows if r["axis"] == "stored"]
    for key, mark, colour, label in (("put_ms", "o-", BLUE, "put one"),
                                     ("get40_ms", "s-", ORANGE, "look up 40")):
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
    return figure


TABLES: dict[str, Callable[[], str]] = {
    "engine": engine,
    "few": few,
    "search": search,
    "growth": growth,
}

FIGURES: dict[str, Callable[[], Figure | None]] = {
    "growth.png": draw_growth,
}
