"""Speech enhancement: results/enhance.csv, and the large network of results/large.json."""

from __future__ import annotations

from tables.common import Row, markdown_table, number, read_csv, read_json


def _difference(r: Row) -> str:
    """To 8 bit, with its interval."""
    if r["solution"] == "int8":
        return "–"
    return f"{float(r['diff_test']):+.2f} ({float(r['diff_low']):+.2f} to {float(r['diff_high']):+.2f})"


def enhance() -> str:
    """A row per seed and solution."""
    return markdown_table(
        ["seed", "solution", "smaller by [%]", "SI-SDR, validation [dB]", "test", "difference to 8 bit, test [dB]",
         "PESQ", "STOI", "flash [KiB]", "instructions a frame [million]"],
        [[r["seed"], r["solution"],
          f"**{number(r['smaller_percent'], 0)}**" if float(r["smaller_percent"] or 0) else "–",
          number(r["si_sdr_valid"], 2), number(r["si_sdr_test"], 2),
          _difference(r),
          number(r["pesq"], 2), number(r["stoi"], 3),
          f"{float(r['flash_bytes']) / 1024:.0f}" if r["flash_bytes"] else "–",
          f"{float(r['instructions_per_frame']) / 1e6:.2f}" if r["instructions_per_frame"] else "–"]
         for r in read_csv("enhance.csv")])


def large() -> str:
    """A row per step of the road."""
    found = read_json("large.json")
    if found is None:
        return ""

    def said(name: str, done: bool) -> str:
        s = found.get({"search": "operator", "search, a scale per row": "row"}.get(name, ""))
        if s:
            size, widths = f"{s['population']} x {s['generations']}", ", ".join(map(str, s["widths"]))
            name += (f": {s['evaluations']} evaluations ({size}, widths {widths}) of {s['mean_s']:.2f} s, with "
                     "calibration and fitting")
        return name if done else f"{name} (not finished)"

    return markdown_table(
        ["step", "seconds", "of processors", "most memory [MiB]"],
        [[said(name, step["done"]), f"{step['seconds']:.0f}", f"{step['processor_s']:.0f}", f"{step['peak_mib']:.0f}"]
         for name, step in found["steps"].items()])


TABLES = {"enhance": enhance, "large": large}
