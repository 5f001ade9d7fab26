"""Training at the searched widths: results/qat.json."""

from __future__ import annotations

from collections.abc import Callable

from tables.common import markdown_table, read_json


def qat_speed() -> str:
    """results/qat.json: training steps against plain float ones."""
    return markdown_table(
        ["cell", "activations [bit]", "batch", "steps", "inputs", "hidden", "float module [ms]", "frozen ranges",
         "learned ranges", "all defaults", "the same, no compiler"],
        [[*(str(r[name]) for name in ("cell", "activations", "batch", "steps", "inputs", "hidden")),
          f"{r['float_ms']:.1f}",
          *(f"{r[f'{name}_ratio']:.2f}" for name in ("frozen", "learned", "default", "torch"))]
         for r in (read_json("qat.json") or {}).get("speed", [])],
    )


def qat_errors() -> str:
    """results/qat.json: errors post-training and retrained."""
    rows = (read_json("qat.json") or {}).get("rows", [])
    found = {(r["task"], r["seed"], r["style"], r["how"]): r for r in rows}
    lines = []
    for task, seed, style in dict.fromkeys((r["task"], r["seed"], r["style"]) for r in rows):
        parts = [found.get((task, seed, style, how)) for how in ("post-training", "retrained", "distilled")]
        first = next(part for part in parts if part)
        seconds = [part["seconds"] for part in parts[1:] if part]
        lines.append([task, str(seed), style, f"{first['smaller_percent']:.1f}",
                      *(f"{p['valid']:.2f} / {p['test']:.2f}" if p else "–" for p in parts),
                      f"{max(seconds):.0f}" if seconds else "–"])
    return markdown_table(
        ["task", "seed", "weights", "smaller by [%]", "post-training: valid / test", "retrained on labels",
         "retrained with teacher", "seconds"],
        lines,
    )


TABLES: dict[str, Callable[[], str]] = {
    "qat-speed": qat_speed,
    "qat-errors": qat_errors,
}
