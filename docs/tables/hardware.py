"""MOHAQ's network on its platforms, from the cost models."""

from __future__ import annotations

from collections.abc import Callable

from bittailor.cost import PLATFORMS
from bittailor.cost import mohaq as paper
from tables.common import markdown_table


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


TABLES: dict[str, Callable[[], str]] = {
    "mohaq": mohaq,
}
