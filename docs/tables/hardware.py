"""MOHAQ's network on its platforms, from the cost models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import mean, median

from bittailor.cost import PLATFORMS
from bittailor.cost import mohaq as paper
from tables.common import Row, markdown_table, read_csv, read_json


def mohaq() -> str:
    """The paper's network at one width throughout, in the paper's counts."""
    silago, bitfusion = PLATFORMS["silago"], PLATFORMS["bitfusion"]
    rows = []
    for name, widths in [*((str(b), paper.decode([b] * 16)) for b in reversed(paper.WIDTHS)),
                         ("2, output's input 4", paper.decode([2] * 15 + [4]))]:
        slow = not name.startswith("2")  # SiLago has no 2 bits
        energy = silago.energy_uj(paper.WORK, widths)
        rows.append([name, f"{paper.size_mib(widths):.4f}", f"{paper.ratio(widths):.3f}x",
                     f"{silago.speedup(paper.WORK, widths):.4f}x" if slow else "–",
                     f"{energy:.4f}" if slow else "–", f"{bitfusion.speedup(paper.WORK, widths):.3f}x"])
    return markdown_table(
        ["weights = inputs [bit]", "size [MiB]", "of 32-bit floats", "SiLago speed-up", "SiLago energy [µJ]",
         "Bitfusion speed-up"],
        rows,
    )


UNITS = {"x": "x", "% of highest": " %", "points": " points"}


def mohaq_phones(units: int) -> str:
    """results/mohaq.csv: means over seeds, with the least and the largest, beside the paper's figures."""
    found: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in read_csv("mohaq.csv"):
        if row["units"] == str(units):
            by = found.setdefault((row["figure"], row["increase"]), {})
            by.setdefault("test" if row["by"] == "test" else "", []).append(row)
    most = max((len(by[""]) for by in found.values()), default=0)
    rows = []
    for (figure, increase), by in found.items():
        here, unit = by[""], UNITS[by[""][0]["unit"]]
        above = [_spread([float(r[of]) - float(r[f"float_{of}"]) for r in here if r[of]], "+.1f")
                 for of in ("valid", "test")]
        rows.append([
            figure + (f", at most +{float(increase):g} points" if float(increase) else "")
            + (f" ({len(here)} of {most} seeds)" if len(here) < most else ""),
            here[0]["paper"] or "–", _values(here, unit), *above, _values(by["test"], unit) if "test" in by else "–"])
    return markdown_table(["figure", "paper", "here", "its error above float: validation [points]", "test [points]",
                           "chosen by test"], rows)


def _values(rows: list[Row], unit: str) -> str:
    """Mean, least and largest of a figure; how many seeds have none."""
    values = [float(row["value"]) for row in rows if row["value"]]
    if not values:
        return "none"
    missing = f"; none in {len(rows) - len(values)} of {len(rows)}" if len(values) < len(rows) else ""
    return _spread(values, ".1f", unit) + missing


def _spread(values: list[float], form: str, unit: str = "") -> str:
    """Mean (least to largest)."""
    if not values:
        return "–"
    several = f" ({min(values):{form}} to {max(values):{form}})" if len(values) > 1 else ""
    return f"{mean(values):{form}}{unit}{several}"


def paper_size() -> str:
    """results/paper_size.json."""
    found = read_json("paper_size.json")
    if found is None:
        return ""
    native, floats = (median(found[name]) for name in ("native_s", "float_s"))
    search = found["search"]
    return markdown_table(["what", "measured"], [
        ["parameters", f"{found['parameters']:,}"],
        ["utterances, frames, threads", f"{found['utterances']}, {found['frames']:,}, {found['threads']}"],
        ["calibration on as many", f"{found['calibration_s']:.0f} s"],
        ["fitting the weights at 2, 4, 8 and 16 bits", f"{found['fitting_s']:.0f} s"],
        ["a candidate, native engine: binding, running, error and loss", f"{native:.2f} s"],
        ["the float module, running alone", f"{floats:.2f} s"],
        ["ratio of the two", f"{found['ratio']:.2f}"],
        [f"a search of {search['generations']} generations, {search['evaluations']} evaluations, with calibration, "
         "fitting, baselines and test", f"{search['seconds']:.0f} s"],
        ["most memory", f"{found['peak_mib'] / 1024:.1f} GiB"],
    ])


TABLES: dict[str, Callable[[], str]] = {
    "mohaq": mohaq, "mohaq-phones": partial(mohaq_phones, 128), "mohaq-phones-256": partial(mohaq_phones, 256),
    "paper-size": paper_size,
}
