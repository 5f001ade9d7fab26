"""The sensitivity figure: sites against widths, coloured by what narrowing one of them does to the loss."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from bittailor.common.aside import sweep
from bittailor.common.files import write_whole
from bittailor.evaluate.sensitivity import Sensitivity
from bittailor.report.facts import Facts, number, site_rows
from bittailor.report.style import DARK, INK, LIGHT, STYLE, Drawing, short, written
from bittailor.report.tables import csv_text
from bittailor.runs import Run

LINEAR_SHARE = 1e-2
"""A rise of the loss as small as this share of the largest counts as none: the scale is linear below it."""


def heat_map(found: Sensitivity, order: list[str], title: str = "", noun: str = "error") -> Figure:
    """Rise of the loss, gene by width; genes in `order`, each cell with the change of the error, or what `noun` calls
    it."""
    widths = sorted({r.bits for r in found.responses})
    rises = np.full((len(order), len(widths)), np.nan)
    errors = np.full((len(order), len(widths)), np.nan)
    unbound = []
    for response in found.responses:
        at = order.index(response.gene), widths.index(response.bits)
        if response.values is None:
            unbound.append(at)
        else:
            rises[at] = response.values["loss"] - found.base["loss"]
            errors[at] = response.values["error"] - found.base["error"]
    largest = max(float(np.nanmax(np.abs(rises))), 1e-9)
    figure = Figure(figsize=(2.9 + 0.62 * len(widths), 1.3 + 0.27 * len(order)), layout="constrained")
    ax: Any = figure.subplots()
    norm = SymLogNorm(LINEAR_SHARE * largest, 1.0, -largest, largest)
    image = ax.imshow(rises, cmap="RdBu_r", norm=norm, aspect="auto", interpolation="none")
    for (row, column), error in np.ndenumerate(errors):
        if np.isfinite(error) and error != 0:
            dark = abs(float(norm(rises[row, column])) - 0.5) > 0.33
            ax.text(column, row, f"{'+' if error > 0 else '−'}{number(abs(error), 2)}", ha="center", va="center",
                    fontsize=7.5, color=LIGHT if dark else DARK, in_layout=False)
    for row, column in unbound:
        ax.text(column, row, "×", ha="center", va="center", fontsize=8, color=INK)
    ax.set_xticks(range(len(widths)), [str(bits) for bits in widths])
    ax.set_yticks(range(len(order)), [short(name, 26) for name in order])
    ax.set_xlabel("width [bit]")
    ax.tick_params(length=0)
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    if title:
        ax.set_title(title)
    bar = figure.colorbar(image, ax=ax, aspect=40, pad=0.02, ticks=_ticks(largest))
    bar.ax.minorticks_off()
    bar.ax.set_yticklabels([f"{'+' if t > 0 else '−' if t < 0 else ''}{number(abs(t), 1)}" for t in _ticks(largest)])
    bar.outline.set_visible(False)
    bar.set_label(f"rise of the selection loss (in cells: of the {noun})")
    return figure


def _ticks(largest: float) -> list[float]:
    powers = [float(f"1e{p}") for p in range(int(np.floor(np.log10(LINEAR_SHARE * largest))) + 1,
                                              int(np.floor(np.log10(largest))) + 1)]
    return [*(-p for p in reversed(powers)), 0.0, *powers]


def site_order(run: Run, found: Sensitivity) -> list[str]:
    """The genes, in the order of the network's layers and roles where a gene is a site."""
    sites = [row.name for row in site_rows(run.network.graph)]
    place = {gene: min(sites.index(site) for site in members) for gene, members in found.genes.items()}
    return sorted(found.genes, key=lambda gene: place[gene])


def figure(facts: Facts) -> Drawing:
    """The figure of a report."""
    found = facts.sensitivity
    if found is None:
        return "Not analysed: bittailor sensitivity RUN."
    return heat_map(found, site_order(facts.run, found), f"All others at {found.at}", facts.metric.noun)


def draw(run: Run, found: Sensitivity) -> tuple[bytes, str]:
    """The figure as PNG and SVG."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names may hold signs that the font has not
        return written(heat_map(found, site_order(run, found), f"All others at {found.at}", run.metric.noun))


def write_sensitivity(run: Run, found: Sensitivity) -> Path:
    """Write RUN/sensitivity/PICK.json, .csv, .png and .svg; returns the path of the CSV file."""
    name = re.sub(r"[^A-Za-z0-9.=-]+", "-", found.at)
    folder = run.path / "sensitivity"
    sweep(folder)
    found.save(folder / f"{name}.json")
    write_whole(folder / f"{name}.csv", csv_text(found.rows()).encode())
    pixels, vectors = draw(run, found)
    write_whole(folder / f"{name}.png", pixels)
    write_whole(folder / f"{name}.svg", vectors.encode())
    return folder / f"{name}.csv"
