"""What exported ONNX and the torch module gave, how fast, and what files weigh (results/onnx.json)."""

from __future__ import annotations

from tables.common import markdown_table, read_json


def equality() -> str:
    """Rows of programs compared and integers that differ."""
    found = read_json("onnx.json") or {}
    rows: list[list[str]] = []
    total = found.get("equal", {}).get("total", {})
    for version, row in total.get("runtimes", {}).items():
        rows.append([f"run.onnx, step.onnx in onnxruntime {version}", f"{row['programs']:,} random programs",
                     f"{row['compared']:,}", f"{row['different']:,}"])
    for way, row in total.get("torch", {}).items():
        rows.append([f"torch module, {way}", f"{row['programs']:,} random programs", "every output",
                     f"in {row['different']:,}"])
    for name, row in found.get("test sets", {}).items():
        rows.append(["run.onnx; torch module", f"{name}: {row['items']:,} test items", f"{row['integers']:,}",
                     f"{row['run.onnx different']}; {row['module different']}"])
    return markdown_table(["what", "of", "integers compared", "different"], rows)


def times() -> str:
    """Milliseconds of a call, and bytes."""
    found = read_json("onnx.json") or {}
    timed = found.get("times", {})
    ways = list(dict.fromkeys(way for row in timed.values() for way in row))
    rows = [[way, *(f"{1e3 * row[way]:.3g}" if way in row else "–" for row in timed.values())] for way in ways]
    text = markdown_table(["GRU 28 → 64, milliseconds", *timed], rows)
    sizes = found.get("sizes", {})
    names = list(dict.fromkeys(name for row in sizes.values() for name in row))
    rows = [[name, *(f"{row[name]:,}" for row in sizes.values())] for name in names]
    return text + "\n\n" + markdown_table(["the same network, bytes", *(f"{bits} bits" for bits in sizes)], rows)


TABLES = {"onnx-equality": equality, "onnx-times": times}
