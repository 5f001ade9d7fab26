"""The figures of a report: one table of them, and the style they share.

Colours are those of Okabe and Ito (Color Universal Design, 2008), told apart with any kind of colour vision; shape
or fill says the same again.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from bittailor.report.facts import Facts

BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
BROWN = "#8C564B"
INK, GREY, PALE = "#22272e", "#6b7480", "#e3e7ec"
DPI = 150

MARKS: Mapping[str, dict[str, Any]] = {
    "smallest": {"marker": "*", "s": 260, "colour": GREEN},
    "careful": {"marker": "D", "s": 95, "colour": PURPLE},
    "retrained": {"marker": "P", "s": 130, "colour": BROWN},
}
"""A pick of the run -> how it is marked; where both are one solution, as the first."""

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.size": 10.5, "axes.titlesize": 11, "axes.labelsize": 10.5,
    "xtick.labelsize": 9.5, "ytick.labelsize": 9.5, "legend.fontsize": 9.5, "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.titlecolor": INK, "xtick.color": GREY, "ytick.color": GREY,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.edgecolor": "#aab2bd", "axes.linewidth": 0.8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": PALE, "grid.linewidth": 0.8,
    "axes.titlelocation": "left", "axes.titlepad": 8, "figure.facecolor": "white", "savefig.facecolor": "white",
    # names of sites and tasks are text, whatever they hold
    "text.parse_math": False,
}

Drawing: TypeAlias = Figure | str
"""A figure, or why there is none."""


@dataclass(frozen=True)
class Entry:
    """A figure that a report has: file name, heading, what it shows, how it is drawn, whether it needs the width of
    the page, and whether runs without anything for it leave it out in silence."""

    name: str
    title: str
    caption: str
    draw: Callable[[Facts], Drawing]
    wide: bool = True
    optional: bool = False


@dataclass(frozen=True)
class Drawn:
    """A figure as drawn: `png`, or the reason why there is none."""

    name: str
    title: str
    caption: str
    wide: bool
    png: bytes | None
    reason: str = ""


def draw(facts: Facts) -> list[Drawn]:
    """Every figure that this run has, as PNG."""
    from bittailor.report import evolution, fronts, genomes, retraining, sensitivity

    table = (
        Entry("fronts", "Mixed against homogeneous precision",
              "Each point is an integer network. Filled: validation data, which the search saw; hollow: test data. "
              "Star: the smallest solution no worse than homogeneous 8 bit in validation error; diamond: the smallest "
              "one confirmed by validation loss and on training data.", fronts.fronts),
        Entry("generations", "The population, generation by generation",
              "Letter-value (boxen) plots of the survivors of each generation: the widest box holds the middle half, "
              "each next one half of what is left; the line is the median.", evolution.generations),
        Entry("hypervolume", "Hypervolume",
              "The share of objective space that the front dominates; 1 would be the best baseline value in every "
              "objective at once, and a front that goes beyond the baselines may exceed it.",
              evolution.hypervolume, wide=False),
        Entry("tsne", "The space of genomes",
              "Every evaluated solution, placed by t-SNE so that solutions with similar widths stand together.",
              genomes.embedding, wide=False),
        Entry("widths", "Widths along the front",
              "Each column is a solution of the front, the cheapest first; each row is a site. Frames mark the "
              "smallest solution no worse than homogeneous 8 bit and the careful one.", genomes.heat_map),
        Entry("retraining", "Retraining",
              "Left: training loss by epoch, a line per retrained network. Right: validation error against size; "
              "arrows lead from post-training quantisation of the float network to the same widths after training.",
              retraining.curves, optional=True),
        Entry("sensitivity", "Which operator costs the accuracy",
              "Rise of the validation loss when one site alone gets another width (numbers: of the error).",
              sensitivity.figure, wide=False, optional=True),
        Entry("pairs", "Objectives in pairs", "All evaluated solutions (grey), the front and the baselines.",
              fronts.pairs, optional=True),
        Entry("parallel", "Objectives in parallel",
              "A line per solution; each axis from its best value (bottom) to its worst, logarithmic where it spans "
              "decades.",
              fronts.parallel, optional=True),
    )
    drawn = []
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # names may hold signs that the font has not, and libraries announce changes of theirs: neither is for users
        warnings.simplefilter("ignore")
        for entry in table:
            made = entry.draw(facts)
            if isinstance(made, Figure):
                drawn.append(Drawn(entry.name, entry.title, entry.caption, entry.wide, png(made)))
            elif not entry.optional:
                drawn.append(Drawn(entry.name, entry.title, entry.caption, entry.wide, None, made))
    return drawn


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.12,
                   metadata={"Software": None})
    return buffer.getvalue()


def spans_decades(values: Sequence[float]) -> bool:
    """Whether values are better read on a logarithmic axis."""
    positive = [v for v in values if v > 0 and np.isfinite(v)]
    return bool(positive) and max(positive) / min(positive) > 7


def scale(ax: Any, which: str, values: Sequence[float], room: float = 0.06) -> bool:
    """Set limits of an axis ("x" or "y") to hold the values; logarithmic where they span decades, with a 0 if there
    is one. Returns whether it is logarithmic."""
    finite = np.array([v for v in values if np.isfinite(v)] or [0.0, 1.0])
    axis, limits = getattr(ax, f"{which}axis"), getattr(ax, f"set_{which}lim")
    if not spans_decades(finite.tolist()):
        low, high = float(finite.min()), float(finite.max())
        spread = (high - low) or abs(high) or 1.0
        limits(low - room * spread, high + room * spread)
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.6g}"))
        return False
    low, high = float(finite[finite > 0].min()), float(finite.max())
    zero = bool((finite <= 0).any())
    if zero:
        getattr(ax, f"set_{which}scale")("symlog", linthresh=low, linscale=0.35)
    else:
        getattr(ax, f"set_{which}scale")("log")
    margin = (high / low) ** room
    limits(-0.15 * low if zero else low / margin, high * margin)
    ticks = ([0.0] if zero else []) + nice_ticks(low / margin, high * margin)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_locator(NullLocator())
    return True


def nice_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive ones, for a logarithmic axis: about four to ten of them."""
    ticks: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 6, 8)):
        decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        ticks = [float(f"{d}e{e}") for e in decades for d in digits if low <= float(f"{d}e{e}") <= high]
        if len(ticks) >= 4:
            break
    return ticks


def finite(values: Sequence[Any]) -> NDArray[np.float64]:
    """Numbers as an array, None as NaN."""
    return np.array([np.nan if v is None else float(v) for v in values], np.float64)


def short(text: str, length: int = 30) -> str:
    """The text, its middle left out where it is too long for a label."""
    return text if len(text) <= length else f"{text[:length // 2 - 1]}…{text[-(length - length // 2):]}"
