"""Code for cores and what it costs: results/firmware.csv, kernels.json, the cores' cost models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bittailor.compile.layouts import DEFAULT_CORE, FAMILIES
from bittailor.cost.firmware import cores
from tables.common import markdown_table, read_csv, read_json

KERNEL_WIDTHS = range(1, 9)
EIGHT, PICK = "homogeneous 8", "careful"
"""Solutions of results/firmware.csv that are set side by side."""


def firmware() -> str:
    """results/firmware.csv."""
    rows = read_csv("firmware.csv")
    whole = {task: max(int(r["items"]) for r in rows if r["task"] == task) for task in {r["task"] for r in rows}}
    lines = []
    for r in rows:
        accuracy = f"{100 - float(r['error']):.2f}"
        part = "" if int(r["items"]) == whole[r["task"]] else f" (of {r['items']})"
        lines.append([r["task"], r["solution"], r["title"], r["flash"], r["flash_any"], r["ram"],
                      f"{r['network_code']} + {r['runtime_code']}", f"{int(r['instructions_per_step']):,}",
                      f"{accuracy}{part}"])
    return markdown_table(
        ["task", "solution", "core", "flash [B]", "with `any`", "RAM [B]", "code: network + runtime [B]",
         "instructions per step", "accuracy on test [%]"],
        lines,
    )


def _two(task: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Homogeneous 8 bits and the careful pick of a task in results/firmware.csv, core by core."""
    rows = {(r["solution"], r["core"]): r for r in read_csv("firmware.csv") if r["task"] == task}
    for (solution, core), row in rows.items():
        if solution == EIGHT and (PICK, core) in rows:
            yield row, rows[PICK, core]


def _tasks() -> list[str]:
    return list(dict.fromkeys(r["task"] for r in read_csv("firmware.csv")))


def picks() -> str:
    """Flash and instructions of the careful picks beside those of homogeneous 8 bits."""
    lines = []
    for task in _tasks():
        for eight, pick in _two(task):
            line = [task, eight["title"]]
            for what in ("flash", "instructions_per_step"):
                a, b = int(eight[what]), int(pick[what])
                line += [f"{a:,}", f"{b:,}", f"**{b / a:.2f}**" if b > a else f"{b / a:.2f}"]
            lines.append(line)
    return markdown_table(["task", "core", "flash [B]: 8 bit", "`careful`", "ratio",
                           "instructions per step: 8 bit", "`careful`", "ratio"], lines)


def pick_errors() -> str:
    """Errors of the same solutions, as their searches have them."""
    lines = []
    for task in _tasks():
        both = next(_two(task))
        lines += [[task, name, f"{float(r['selected']):.3f}", f"{float(r['test']):.2f}"]
                  for name, r in zip(("homogeneous 8 bits", "pick `careful`"), both, strict=True) if r["selected"]]
    return markdown_table(["task", "solution", "error where it was selected [%]", "test error [%]"], lines)


def layout_bytes() -> str:
    """Flash of the same solutions with each family's layouts, beside the string of packed integers."""
    rows = {(r["task"], r["solution"], r["core"]): r for r in read_csv("firmware.csv")}
    families = [family for family in FAMILIES.values() if family.layouts]
    lines = []
    for task in _tasks():
        for solution in (EIGHT, PICK):
            plain = int(rows[task, solution, DEFAULT_CORE]["flash_any"])
            sizes = [int(rows[task, solution, family.cores[0]]["flash"]) for family in families]
            lines.append([task, solution, f"{plain:,}", *(f"{n:,} ({100 * (n / plain - 1):+.1f} %)" for n in sizes)])
    return markdown_table(["task", "solution", "`any`", *(", ".join(family.cores) for family in families)], lines)


def core_models() -> str:
    """The cost models of cores and how far they are off."""
    return markdown_table(
        ["core", "compiler", "networks not in the fit", "code: median, largest error [%]",
         "instructions: median, largest error [%]"],
        [[c.title, f"`{c.compiler}`", str(c.errors["code"].networks),
          *(f"{c.errors[what].median:.1f}, {c.errors[what].most:.1f}" for what in ("code", "instructions"))]
         for c in cores().values()],
    )


def _kernel_rows(found: dict[str, Any], inputs: int) -> list[list[str]]:
    """A line per core and activations, a cell per width: laid out for the core, and as `bits`."""
    cells: dict[tuple[str, int], dict[int, dict[bool, float]]] = {}
    for r in found["rows"]:
        if (r["inputs"], r["rows"]) == (inputs, 64):
            of_core = cells.setdefault((r["core"], r["activations"]), {})
            of_core.setdefault(r["bits"], {})[r["layout"] == "bits"] = r["instructions_per_mac"]
    lines = []
    for (core, activations), widths in sorted(cells.items(), key=lambda item: item[0][1]):
        # more instructions than 8-bit weights take is what a reader must not overlook
        most = widths[8].get(False, widths[8][True])
        shown = [f"**{v:.2f}**" if (v := here.get(False, here[True])) > 1.02 * most else f"{v:.2f}"
                 for _, here in sorted(widths.items())]
        lines.append([core, f"{activations} bit", *shown, f"{widths[4][True]:.2f}, {widths[8][True]:.2f}"])
    return lines


def kernels(inputs: int = 64) -> str:
    """results/kernels.json: instructions per multiply-accumulate of products of 64 rows."""
    found = read_json("kernels.json")
    if found is None:
        return ""
    return markdown_table(["core", "activations", *(f"{b} bit" for b in KERNEL_WIDTHS), "`any`: 4, 8 bit"],
                          _kernel_rows(found, inputs))


def kernel_bytes() -> str:
    """results/kernels.json: bytes of code of a product by 8-bit activations, with what makes a vector ready."""
    found = read_json("kernels.json")
    if found is None:
        return ""
    sizes: dict[str, dict[int, int]] = {}
    for r in found["rows"]:
        if r["activations"] == 8 and r["layout"] != "bits":
            sizes.setdefault(r["core"], {})[r["bits"]] = r["text_bytes"]
    return markdown_table(["core", *(f"{b} bit" for b in KERNEL_WIDTHS)],
                          [[core, *(str(here.get(b, "–")) for b in KERNEL_WIDTHS)] for core, here in sizes.items()])


def kernels_cmsis() -> str:
    """results/kernels-cmsis.json: CMSIS-NN's kernels, and ours of results/kernels.json told apart in the same way."""
    theirs, ours = read_json("kernels-cmsis.json"), read_json("kernels.json")
    if theirs is None or ours is None:
        return ""
    lines = []
    for core in dict.fromkeys(r["core"] for r in theirs["rows"]):
        counts = {(r["bits"], r["inputs"]): r["instructions_per_mac"] for r in ours["rows"]
                  if (r["core"], r["activations"], r["rows"]) == (core, 8, 64) and r["layout"] != "bits"}
        for bits in (8, 4):
            slope = 2 * counts[bits, 128] - counts[bits, 64]
            lines.append([core, f"ours, {bits} bit", f"**{counts[bits, 64]:.2f}**", f"**{slope:.2f}**",
                          f"{64 * (counts[bits, 64] - slope):.0f}"])
        lines += [[core, f"`{r['kernel']}`", f"{r['instructions_per_mac']:.2f}", f"{r['per_mac']:.2f}",
                   f"{r['per_row']:.0f}"] for r in theirs["rows"] if r["core"] == core]
    return markdown_table(["core", "kernel", "64 inputs, all", "per multiply-accumulate", "per row"], lines)


TABLES: dict[str, Callable[[], str]] = {
    "firmware": firmware,
    "firmware-picks": picks,
    "firmware-errors": pick_errors,
    "layout-bytes": layout_bytes,
    "cores": core_models,
    "kernels": kernels,
    "kernels-28": lambda: kernels(28),
    "kernels-cmsis": kernels_cmsis,
    "kernel-bytes": kernel_bytes,
}
