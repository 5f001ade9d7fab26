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
    from bittailor.cost.firmware import cores

    per_core = {f"{what}.{core}" for what in ("code", "instructions") for core in cores()}
    objectives = [f"`{o.name}` ({o.title})" for o in OBJECTIVES.values() if o.name not in per_core]
    objectives.append(f"`code.CORE`, `instructions.CORE` (the same on {', '.join(cores())})")
    rows = [["cell", ", ".join(f"`{n}`" for n in CELLS)], ["engine", ", ".join(f"`{n}`" for n in ENGINES)],
            ["space", ", ".join(f"`{n}`" for n in SPACES)],
            ["objective", ", ".join(objectives)],
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


def mohaq() -> str:
    """The paper's network at one width throughout, in the paper's counts."""
    from bittailor.cost import PLATFORMS
    from bittailor.cost import mohaq as paper

    silago, bitfusion = PLATFORMS["silago"], PLATFORMS["bitfusion"]
    rows = []
    for name, widths in [*((str(b), paper.decode([b] * 16)) for b in reversed(paper.WIDTHS)),
                         ("2, output's input 4", paper.decode([2] * 15 + [4]))]:
        slow = not name.startswith("2")  # SiLago has no 2 bits
        energy = silago.energy_uj(paper.WORK, widths)
        rows.append([name, f"{paper.size_mib(widths):.4f}", f"{paper.ratio(widths):.3f}x",
                     f"{silago.speedup(paper.WORK, widths):.4f}x" if slow else "–",
                     f"{energy:.4f}" if slow else "–", f"{bitfusion.speedup(paper.WORK, widths):.3f}x"])
    return _table(["weights = inputs [bit]", "size [MiB]", "of 32-bit floats", "SiLago speed-up", "SiLago energy [µJ]",
                   "Bitfusion speed-up"], rows)


KERNEL_WIDTHS = (*range(1, 9), 12, 16)


def kernels() -> str:
    """results/kernels.json: instructions per multiply-accumulate in rows of 64, per core, variant and width."""
    found = _json("kernels.json")
    if found is None:
        return ""
    rows = []
    for storage in ("8", "16"):
        for r in found["rows"]:
            values = r["instructions_per_mac"][storage]["64"]
            # more instructions than 8-bit weights take is what a reader must not overlook
            shown = {b: f"{values[b - 1]:.1f}" for b in KERNEL_WIDTHS}
            cells = [f"**{v}**" if b < 8 and float(v) > float(shown[8]) else v for b, v in shown.items()]
            rows.append([r["title"], f"{storage} bit", *cells])
    return _table(["core", "activations", *(f"{b} bit" for b in KERNEL_WIDTHS)], rows)


def kernel_bytes() -> str:
    """results/kernels.json: bytes of code of a dot product by 8-bit activations."""
    found = _json("kernels.json")
    if found is None:
        return ""
    return _table(
        ["core", "flags", *(f"{b} bit" for b in KERNEL_WIDTHS), "shared"],
        [[r["title"], f"-{size}", *(str(sizes[f"bt_dot{b}_x8"]) for b in KERNEL_WIDTHS),
          str(sum(sizes.get(name, 0) for name in ("bt_few_x8", "bt_ragged_x8")))]
         for r in found["rows"] for size, sizes in r["bytes"].items()],
    )


def firmware() -> str:
    """results/firmware.csv."""
    rows = _read("firmware.csv")
    whole = {task: max(int(r["items"]) for r in rows if r["task"] == task) for task in {r["task"] for r in rows}}
    lines = []
    for r in rows:
        accuracy = f"{100 - float(r['error']):.2f}"
        part = "" if int(r["items"]) == whole[r["task"]] else f" (of {r['items']})"
        lines.append([r["task"], r["solution"], r["title"], r["flash"], r["ram"],
                      f"{r['network_code']} + {r['runtime_code']}", f"{int(r['instructions_per_step']):,}",
                      f"{accuracy}{part}"])
    return _table(["task", "solution", "core", "flash [B]", "RAM [B]", "code: network + runtime [B]",
                   "instructions per step", "accuracy on test [%]"], lines)


def core_models() -> str:
    """The cost models of cores and how far they are off."""
    from bittailor.cost.firmware import cores

    return _table(
        ["core", "compiler", "networks not in the fit", "code: median, largest error [%]",
         "instructions: median, largest error [%]"],
        [[c.title, f"`{c.compiler}`", str(c.errors["code"].networks),
          *(f"{c.errors[what].median:.1f}, {c.errors[what].most:.1f}" for what in ("code", "instructions"))]
         for c in cores().values()],
    )


def qat_speed() -> str:
    """results/qat.json: training steps against plain float ones."""
    return _table(
        ["batch", "steps", "inputs", "hidden", "float `nn.GRU` [ms]", "frozen ranges", "learned ranges",
         "all defaults"],
        [[str(r["batch"]), str(r["steps"]), str(r["inputs"]), str(r["hidden"]), f"{r['float_ms']:.1f}",
          *(f"{r[f'{name}_ratio']:.2f}" for name in ("frozen", "learned", "default"))]
         for r in (_json("qat.json") or {}).get("speed", [])],
    )


def qat_errors() -> str:
    """results/qat.json: errors post-training and retrained."""
    rows = (_json("qat.json") or {}).get("rows", [])
    found = {(r["task"], r["seed"], r["style"], r["how"]): r for r in rows}
    lines = []
    for task, seed, style in dict.fromkeys((r["task"], r["seed"], r["style"]) for r in rows):
        parts = [found.get((task, seed, style, how)) for how in ("post-training", "retrained", "distilled")]
        first = next(part for part in parts if part)
        seconds = [part["seconds"] for part in parts[1:] if part]
        lines.append([task, str(seed), style, f"{first['smaller_percent']:.1f}",
                      *(f"{p['valid']:.2f} / {p['test']:.2f}" if p else "–" for p in parts),
                      f"{max(seconds):.0f}" if seconds else "–"])
    return _table(["task", "seed", "weights", "smaller by [%]", "post-training: valid / test", "retrained on labels",
                   "retrained with teacher", "seconds"], lines)


def operators() -> str:
    """results/operators.csv at its largest budget: mean over tasks' seeds, and mean rank over all (1 is best)."""
    rows = _read("operators.csv")
    if not rows:
        return ""
    tasks = list(dict.fromkeys(r["task"] for r in rows))
    tables = []
    for at in (min(int(r["evaluations"]) for r in rows), max(int(r["evaluations"]) for r in rows)):
        here = [r for r in rows if int(r["evaluations"]) == at]
        value = {(r["variant"], r["task"], r["seed"]): float(r["hypervolume_loss"]) for r in here}
        variants = list(dict.fromkeys(v for v, _, _ in value))
        cases = list(dict.fromkeys((t, s) for _, t, s in value))
        rank: dict[str, list[int]] = {v: [] for v in variants}
        for t, s in cases:
            for i, v in enumerate(sorted(variants, key=lambda v: -value[v, t, s])):
                rank[v].append(i + 1)
        tables.append((at, value, {v: statistics.mean(r) for v, r in rank.items()}))
    (early, _, first), (late, value, last) = tables
    body = []
    for v in sorted(last, key=lambda v: last[v]):
        means = [f"{statistics.mean(x for (w, t, _), x in value.items() if (w, t) == (v, task)):.4f}" for task in tasks]
        name = f"**{v}**" if v == _default_variant() else v
        body.append([name, *means, f"{last[v]:.1f}", f"{first[v]:.1f}"])
    return _table(["variant", *tasks, f"mean rank after {late}", f"after {early}"], body)


def _default_variant() -> str:
    from bittailor.search.nsga2 import Settings

    return f"{Settings().crossover}, {Settings().mutation}"


def draw_operators() -> None:
    """docs/operators.png: hypervolume against evaluations, the default, the other first populations, the rest grey."""
    rows = _read("operators.csv")
    if not rows:
        return
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tasks = list(dict.fromkeys(r["task"] for r in rows))
    marked = {_default_variant(): "#0072b2", "seeding templates": "#d55e00", "seeding homogeneous": "#009e73"}
    figure, axes = plt.subplots(1, len(tasks), figsize=(4.2 * len(tasks), 3.3), constrained_layout=True, squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=True):
        for variant in dict.fromkeys(r["variant"] for r in rows):
            at: dict[int, list[float]] = {}
            for r in rows:
                if (r["task"], r["variant"]) == (task, variant):
                    at.setdefault(int(r["evaluations"]), []).append(float(r["hypervolume_loss"]))
            name = f"{variant} (default)" if variant == _default_variant() else variant
            ax.plot(list(at), [statistics.mean(v) for v in at.values()], "-", color=marked.get(variant, "#c3c9d1"),
                    lw=2 if variant in marked else 1, zorder=3 if variant in marked else 2,
                    label=name if variant in marked else None)
        ax.set(title=task, xlabel="evaluations")
        ax.grid(alpha=0.3)
    axes[0][0].set_ylabel("hypervolume (validation loss, size)")
    axes[0][0].legend(frameon=False, loc="lower right")
    figure.savefig(ROOT / "docs" / "operators.png", dpi=110)
    plt.close(figure)


def _spread(rows: list[dict[str, str]], key: str, digits: int = 2) -> str:
    values = [float(r[key]) for r in rows if r[key]]
    if not values:
        return "–"
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}"


def _by_task(name: str) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for row in _read(name):
        found.setdefault(row["task"], []).append(row)
    return found


def headline_means() -> str:
    """Per task: mean and spread over seeds of results/headline.csv."""
    def budget(rows: list[dict[str, str]]) -> list[str]:
        good = [r for r in rows if r["at_30_size_bits"]]
        keys = (("at_30_smaller_percent", 1), ("at_30_valid", 2), ("at_30_test", 2))
        # without one in every row, the means would be of other seeds than those beside them
        return [_spread(good, key, digits) for key, digits in keys] if len(good) == len(rows) else ["–"] * 3

    return _table(
        ["task", "seeds", "post-training: smaller by [%]", "final: smaller by [%]", "final: flash, of 8 bit [%]",
         "validation: 8 bit", "8 bit retrained", "final", "test: float", "8 bit", "8 bit retrained", "post-training",
         "final", "lowest loss within 30 %: smaller by [%]", "validation", "test"],
        [[task, str(len(rows)), _spread(rows, "ptq_careful_smaller_percent", 1),
          f"**{_spread(rows, 'final_smaller_percent', 1)}**",
          f"{statistics.mean(100 * float(r['final_flash_bytes']) / float(r['int8_flash_bytes']) for r in rows):.0f}",
          *(_spread(rows, k) for k in ("int8_valid", "int8_retrained_valid", "final_valid", "float_test", "int8_test",
                                       "int8_retrained_test", "ptq_careful_test", "final_test")), *budget(rows)]
         for task, rows in _by_task("headline.csv").items()],
    )


def headline_rows() -> str:
    """Every row of results/headline.csv."""
    def solution(r: dict[str, str], name: str) -> list[str]:
        if not r[f"{name}_size_bits"]:
            return ["–", "–"]
        return [f"{_number(r[f'{name}_smaller_percent'])} %, {r[f'{name}_flash_bytes']} B", _pair(r, name)]

    return _table(
        ["task", "H", "seed", "8 bit: flash", "valid / test", "post-training: smaller, flash", "valid / test",
         "beacons, post-training: smaller, flash", "valid / test", "final: smaller, flash", "valid / test", "it is"],
        [[r["task"], r["hidden"], r["seed"], f"{r['int8_flash_bytes']} B", _pair(r, "int8"),
          *solution(r, "ptq_careful"), *solution(r, "beacons_careful"), *solution(r, "final"), r["final_is"]]
         for r in _read("headline.csv")],
    )


def _trainings(r: dict[str, str]) -> int:
    return max(1, int(r["beacons"]) + int(r["polished"]))


def headline_gains() -> str:
    """What beacons take off the front, at equal size."""
    rows = _by_task("headline.csv")
    at = [k for k in next(iter(rows.values()), [{}])[0] if k.startswith("gain_at_")]
    return _table(
        ["task", *(f"at {k.split('_')[2]} % of 8 bit" for k in at), "mean", "mean, test", "retrainings",
         "seconds each"],
        [[task, *(_spread(here, k) for k in (*at, "gain_valid", "gain_test")),
          f"{statistics.mean(map(_trainings, here)):.1f}",
          f"{statistics.mean(float(r['training_seconds']) / _trainings(r) for r in here):.0f}"]
         for task, here in rows.items()],
    )


def beacons() -> str:
    """results/beacons.csv: predicted against own error, over the neighbours of one beacon per task; near ones are
    those that a search serves from the beacon."""
    lines = []
    for task, rows in _by_task("beacons.csv").items():
        here = [r for r in rows if int(r["sample"])]
        near = [r for r in here if float(r["distance"]) <= float(r["threshold"])]
        far = [r for r in here if r not in near]
        for which, part in (("near", near), ("farther", far), ("all", here)):
            if len(part) < 2:
                continue
            for what in ("error", "loss"):
                own, served, base = ([float(r[f"{n}_{what}"]) for r in part] for n in ("own", "beacon", "base"))
                together = [f"{_correlation(v, own):.2f}" for v in (base, served)]
                lines.append([task, f"{which}, {len(part)}", what,
                              *(f"{statistics.mean(v):.3g}" for v in (base, served, own)), *together])
    return _table(["task", "neighbours", "", "from the float network", "from the beacon", "own retraining",
                   "correlation with own: float network", "beacon"], lines)


def _correlation(a: list[float], b: list[float]) -> float:
    return statistics.correlation(a, b) if len(set(a)) > 1 and len(set(b)) > 1 else float("nan")


TABLES: dict[str, Callable[[], str]] = {
    "qat-speed": qat_speed, "qat-errors": qat_errors,
    "firmware": firmware, "cores": core_models,
    "kernels": kernels, "kernel-bytes": kernel_bytes,
    "operators": operators, "headline-means": headline_means, "headline-rows": headline_rows,
    "headline-gains": headline_gains, "beacons": beacons,
    "ptq-rows": ptq_rows, "ptq-means": ptq_means, "ptq-widths": ptq_widths, "calibration": calibration,
    "coverage": coverage, "names": names, "mohaq": mohaq,
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
        draw_operators()
    print(("out of date: " if check else "rewritten: ") + (", ".join(stale) or "nothing"))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
