"""Figures of the search's course: the population of each generation, and the hypervolume."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bittailor.quantise.spaces import WIDTHS
from bittailor.report.facts import Facts
from bittailor.report.style import BLUE, MANY, ORANGE, Drawing, finite, scale

MAX_GENERATIONS = 60
"""Generations drawn at most; of more, evenly spaced ones."""
BEYOND, WIDEST = 4, 0.78
"""Of a letter-value plot: the values that lie beyond a box at least, and the width of the widest one."""


def generations(facts: Facts) -> Drawing:
    """Boxen plots of every objective, per generation."""
    history = facts.result["history"]
    count = min(MAX_GENERATIONS, len(history))
    chosen = sorted(set(np.linspace(0, len(history) - 1, count).round().astype(int).tolist()))
    columns = {}
    for j, name in enumerate(facts.objectives):
        parts = [finite([p[j] for p in history[i]["points"]]) for i in chosen]
        columns[name] = [part[np.isfinite(part)] / facts.axes[name].divisor for part in parts]
    if not chosen or not sum(len(part) for part in columns[facts.objectives[0]]):
        return "No generation was finished."
    figure = Figure(figsize=(9.8, 2.9 * len(columns)), layout="constrained")
    axes = figure.subplots(len(columns), 1, squeeze=False, sharex=True)[:, 0]
    for ax, (name, parts) in zip(axes, columns.items(), strict=True):
        boxen(ax, parts)
        scale(ax, "y", np.concatenate(parts).tolist())
        label = facts.axes[name].label
        ax.set_ylabel(label if len(label) < 34 else fill(label, 30))
        ax.grid(False, axis="x")
    numbers = [int(history[i]["number"]) for i in chosen]
    step = max(1, -(-len(numbers) // 20))
    places = [i for i in range(len(numbers)) if i % step == 0 or i == len(numbers) - 1]
    if len(places) > 1 and places[-1] - places[-2] < step / 2:
        del places[-2]
    axes[-1].set_xticks(places, [str(numbers[i]) for i in places])
    axes[-1].set_xlabel("generation" if len(chosen) == len(history) else
                        f"generation ({len(chosen)} of {len(history)} shown)")
    return figure


def boxen(ax: Any, parts: Sequence[NDArray[np.float64]]) -> None:
    """Letter-value plots side by side, at 0, 1, …: boxes as long as four values lie beyond them on either side.

    Source  Hofmann, Wickham, Kafadar: Letter-value plots: boxplots for large data (JCGS 26, 2017).
    """
    beyond: list[tuple[float, float]] = []
    boxes: list[tuple[int, float, float, float]] = []
    for x, part in enumerate(parts):
        if not len(part):
            continue
        depth, low, high = 0, 0.0, 0.0
        while depth == 0 or len(part) * 0.5 ** (depth + 2) >= BEYOND:
            low, high = np.quantile(part, [0.5 ** (depth + 2), 1 - 0.5 ** (depth + 2)])
            boxes.append((depth, x, float(low), float(high)))
            depth += 1
        beyond += [(x, v) for v in part[(part < low) | (part > high)].tolist()]
        median = float(np.median(part))
        ax.plot([x - WIDEST / 2, x + WIDEST / 2], [median, median], color="white", lw=1.6, solid_capstyle="butt",
                zorder=4)
    for depth in range(max((box[0] for box in boxes), default=-1) + 1):
        half = WIDEST / 2 * 0.72**depth
        ax.add_collection(PolyCollection(
            [[(x - half, low), (x + half, low), (x + half, high), (x - half, high)] for d, x, low, high in boxes
             if d == depth], facecolors=BLUE, alpha=0.9 * 0.68**depth, linewidths=0, zorder=3))
    ax.scatter([x for x, _ in beyond], [y for _, y in beyond], s=6, color=BLUE, alpha=0.55, linewidths=0, zorder=2,
               rasterized=len(beyond) > MANY)
    ax.set_xlim(-0.7, len(parts) - 0.3)


def hypervolume(facts: Facts) -> Drawing:
    """The front's hypervolume over evaluations, with that of the homogeneous solutions."""
    history = facts.result["history"]
    if not history:
        return "No generation was finished."
    figure = Figure(figsize=(6.2, 4.3), layout="constrained")
    ax = figure.subplots()
    x = [g["evaluations"] for g in history]
    base = facts.result["hypervolume"]["homogeneous"]
    # where the baselines dominate nothing (a limit excludes them) there is nothing to be a multiple of
    unit = base or 1.0
    y = [g["hypervolume"] / unit for g in history]
    ax.plot(x, y, "o-" if len(x) < 60 else "-", color=BLUE, ms=3.5, lw=1.8, label="mixed precision")
    ax.axhline(base / unit, color=ORANGE, lw=1.5, ls=(0, (5, 3)), label=f"homogeneous {min(WIDTHS)}..{max(WIDTHS)} bit")
    low, high = min(*y, base / unit), max(*y, base / unit)
    room = 0.08 * ((high - low) or 1.0)
    ax.set_ylim(low - room, high + room)
    ax.annotate(f"{y[-1]:.3f}", (x[-1], y[-1]), xytext=(-2, -14), textcoords="offset points", ha="right", color=BLUE,
                fontweight="bold")
    ax.set_xlabel("evaluations")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_ylabel("hypervolume [homogeneous = 1]" if base else "hypervolume [share of the reference box]")
    figure.legend(loc="outside lower center", ncols=2)
    if len(x) > 2:
        top = ax.twiny()
        top.set_xlim(ax.get_xlim())
        picks = sorted(set(np.linspace(0, len(x) - 1, min(6, len(x))).round().astype(int).tolist()))
        top.set_xticks([x[i] for i in picks], [str(history[i]["number"]) for i in picks])
        top.set_xlabel("generation")
        top.grid(False)
        top.spines["bottom"].set_visible(False)
    return figure
