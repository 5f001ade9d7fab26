"""The style that figures share: palettes, axes, labels.

Colours are those of Okabe and Ito (Color Universal Design, 2008), told apart with any kind of colour vision; shape
or fill says the same again.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, TypeAlias

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
BROWN, YELLOW = "#8C564B", "#E69F00"
INK, GREY, RULE, PALE = "#22272e", "#6b7480", "#aab2bd", "#e3e7ec"
DOT = "#b8c0ca"
LIGHT, DARK = "#fefefe", "#23272e"
"""What is written on a palette's colour, the same on dark paper: nearly white and nearly `INK`, but not these."""
DPI = 150
MANY = 200
"""Points from which on a vector figure holds them as pixels: as shapes they would be most of the file."""

VARIABLES: Mapping[str, str] = {
    BLUE: "accent", ORANGE: "warm", GREEN: "good", PURPLE: "careful", SKY: "sky", BROWN: "brown", YELLOW: "yellow",
    INK: "ink", GREY: "soft", RULE: "line-strong", PALE: "grid", DOT: "cloud", "#ffffff": "paper",
}
"""A colour of the figures -> the page's variable for it: the same things have the same colours, also on dark paper."""

MARKS: Mapping[str, dict[str, Any]] = {
    "certified": {"marker": "s", "s": 110, "colour": INK},
    "smallest": {"marker": "*", "s": 260, "colour": GREEN},
    "careful": {"marker": "D", "s": 95, "colour": PURPLE},
    "retrained": {"marker": "P", "s": 130, "colour": BROWN},
}
"""A pick of the run -> how it is marked; where both are one solution, as the first."""
SHAPES = {"s": "square", "*": "star", "D": "diamond", "P": "plus"}
"""A marker -> what the page's script calls it."""

RETRAINED = {"beacon": SKY, "rung": GREEN, "polish": YELLOW, "retrained": BROWN}
"""Why a network was retrained -> its colour: for its neighbours in the search, after it, or because it was asked."""

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.size": 10.5, "axes.titlesize": 11, "axes.labelsize": 10.5,
    "xtick.labelsize": 9.5, "ytick.labelsize": 9.5, "legend.fontsize": 9.5, "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.titlecolor": INK, "xtick.color": GREY, "ytick.color": GREY,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.edgecolor": RULE, "axes.linewidth": 0.8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": PALE, "grid.linewidth": 0.8,
    "axes.titlelocation": "left", "axes.titlepad": 8, "figure.facecolor": "white", "savefig.facecolor": "white",
    # text stays text, in whatever like font there is; the same figure is the same file
    "svg.fonttype": "none", "svg.hashsalt": "bittailor", "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    # names of sites and tasks are text, whatever they hold
    "text.parse_math": False,
}

Drawing: TypeAlias = Figure | str
"""A figure, or why there is none."""


def width_palette(widths: NDArray[np.int64]) -> tuple[ListedColormap, dict[int, tuple[str, str]]]:
    """A colour for every width, narrow light and wide dark, and the ink to write on it: width -> (colour, ink)."""
    colours = ramp("YlGnBu", len(widths))
    table = {int(w): pair for w, pair in zip(widths, colours, strict=True)}
    return ListedColormap([colour for colour, _ in colours]), table


def ramp(name: str, count: int) -> list[tuple[str, str]]:
    """So many colours from light to dark, each with the ink to write on it."""
    spots = np.linspace(0.06, 0.97, count) if count > 1 else np.array([0.5])
    colours = [matplotlib.colormaps[name](s) for s in spots]
    return [(to_hex(c), LIGHT if 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2] < 0.55 else DARK) for c in colours]


def written(figure: Figure) -> tuple[bytes, str]:
    """The figure as PNG and as SVG."""
    pixels, vectors = io.BytesIO(), io.StringIO()
    # the canvases themselves: `savefig` would draw everything twice
    figure.set_dpi(DPI)
    raster: Any = FigureCanvasAgg(figure)
    raster.print_png(pixels, metadata={"Software": None})
    # where everything stands is known now
    figure.set_layout_engine("none")
    figure.set_dpi(72)
    vector: Any = FigureCanvasSVG(figure)
    vector.print_svg(vectors, metadata={"Date": None, "Creator": None})
    return pixels.getvalue(), vectors.getvalue()


def themed(svg: str, name: str, label: str) -> str:
    """An SVG to stand inside the page: its colours are the page's variables, its ids begin with its name."""
    body = _slim(svg[svg.index("<svg") :])
    body = re.sub(r'( id="|href="#|url\(#)', lambda found: f"{found[1]}{name}-", body)
    for colour, variable in VARIABLES.items():
        body = re.sub(f"{colour}\\b", f"var(--{variable})", body, flags=re.I)
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{escape(label)}" ', body, count=1)


def _slim(svg: str) -> str:
    """The same picture in a third of the text: without comments, names that nobody refers to, fonts that the page
    gives, groups of one text, and digits behind a hundredth of a point."""
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.S)
    referred = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in referred else "", body)
    body = re.sub(r" font-family: [^;]+;| transform=\"rotate\(-0 [^\"]*\"", "", body)
    body = re.sub(r"<[^>]+>", lambda tag: re.sub(r"\d+\.\d{3,}", lambda n: f"{float(n[0]):.2f}", tag[0])
                  if "base64" not in tag[0] else tag[0], body)
    body = re.sub(r">\s+<", "><", body).replace("<g/>", "")
    return re.sub(r"<g>(<text[^>]*>[^<]*</text>)</g>", r"\1", body)


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
