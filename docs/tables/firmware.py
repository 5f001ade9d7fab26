"""Code for cores and what it costs: results/firmware.csv, kernels.json, the cores' cost models."""

from __future__ import annotations

from collections.abc import Callable

from bittailor.cost.firmware import cores
from tables.common import markdown_table, read_csv, read_json

KERNEL_WIDTHS = (*range(1, 9), 12, 16)


def firmware() -> str:
    """results/firmware.csv."""
    rows = read_csv("firmware.csv")
    whole = {task: max(int(r["items"]) for r in rows if r["task"] == task) for task in {r["task"] for r in rows}}
    lines = []
    for r in rows:
        accuracy = f"{100 - float(r['error']):.2f}"
        part = "" if int(r["items"]) == whole[r["task"]] else f" (of {r['items']})"
        lines.append([r["task"], r["solution"], r["title"], r["flash"], r["ram"],
                      f"{r['network_code']} + {r['runtime_code']}", f"{int(r['instructions_per_step']):,}",
                      f"{accuracy}{part}"])
    return markdown_table(
        ["task", "solution", "core", "flash [B]", "RAM [B]", "code: network + runtime [B]",
         "instructions per step", "accuracy on test [%]"],
        lines,
    )


def core_models() -> str:
    """The cost models of cores and how far they are off."""
    return markdown_table(
        ["core", "compiler", "networks not in the fit", "code: median, largest error [%]",
         "instructions: median, largest error [%]"],
        [[c.title, f"`{c.compiler}`", str(c.errors["code"].networks),
          *(f"{c.errors[what].median:.1f}, {c.errors[what].most:.1f}" for what in ("code", "instructions"))]
         for c in cores().values()],
    )


def kernels() -> str:
    """results/kernels.json: instructions per multiply-accumulate in rows of 64, per core, variant and width."""
    found = read_json("kernels.json")
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
    return markdown_table(["core", "activations", *(f"{b} bit" for b in KERNEL_WIDTHS)], rows)


def kernel_bytes() -> str:
    """results/kernels.json: bytes of code of a dot product by 8-bit activations."""
    found = read_json("kernels.json")
    if found is None:
        return ""
    return markdown_table(
        ["core", "flags", *(f"{b} bit" for b in KERNEL_WIDTHS), "shared"],
        [[r["title"], f"-{size}", *(str(sizes[f"bt_dot{b}_x8"]) for b in KERNEL_WIDTHS),
          str(sum(sizes.get(name, 0) for name in ("bt_few_x8", "bt_ragged_x8")))]
         for r in found["rows"] for size, sizes in r["bytes"].items()],
    )


TABLES: dict[str, Callable[[], str]] = {
    "firmware": firmware,
    "cores": core_models,
    "kernels": kernels,
    "kernel-bytes": kernel_bytes,
}
