"""Figures of the search's course: the population of each generation, and the hypervolume."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bittailor.quantise.spaces import WIDTHS
from bittailor.report.facts import Facts
from bittailor.report.style import BLUE, GREEN, ORANGE, SKY, Drawing, finite, scale

MAX_GENERATIONS = 60
"""Generations drawn at most; of more, evenly spaced ones."""


def generations(facts: Facts) -> Drawing:
    """Boxen plots of every objective, per generation."""
    import seaborn

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
    numbers = [int(history[i]["number"]) for i in chosen]
    for ax, (name, parts), colour in zip(axes, columns.items(), (BLUE, GREEN, ORANGE, SKY) * 4, strict=False):
        flat = np.concatenate(parts)
        seaborn.boxenplot(
            x=np.repeat(numbers, [len(part) for part in parts]), y=flat, order=numbers, color=colour, ax=ax,
            width=0.78, linewidth=0.5, line_kws={"color": "white", "linewidth": 1.6},
            flier_kws={"s": 8, "facecolor": colour, "marker": "o", "alpha": 0.55, "linewidths": 0},
        )
        scale(ax, "y", flat.tolist())
        ax.set_ylabel(facts.axes[name].label if len(facts.axes[name].label) < 34 else
                      facts.axes[name].label.replace(" times", "\ntimes").replace("classification", "\nclassification"))
        ax.grid(False, axis="x")
        ax.set_xlabel("")
    step = max(1, -(-len(numbers) // 20))
    places = [i for i in range(len(numbers)) if i % step == 0 or i == len(numbers) - 1]
    if len(places) > 1 and places[-1] - places[-2] < step / 2:
        del places[-2]
    axes[-1].set_xticks(places, [str(numbers[i]) for i in places])
    axes[-1].set_xlabel("generation" if len(chosen) == len(history) else
                        f"generation ({len(chosen)} of {len(history)} shown)")
    return figure


def hypervolume(facts: Facts) -> Drawing:
    """The front's hypervolume over evaluations, with that of the homogeneous solutions."""
    history = facts.result["history"]
    if not history:
        return "No generation was finished."
    figure = Figure(figsize=(6.2, 4.3), layout="constrained")
    ax = figure.subplots()
    x = [g["evaluations"] for g in history]
    y = [g["hypervolume"] for g in history]
    base = facts.result["hypervolume"]["homogeneous"]
    ax.plot(x, y, "o-" if len(x) < 60 else "-", color=BLUE, ms=3.5, lw=1.8, label="mixed precision")
    ax.axhline(base, color=ORANGE, lw=1.5, ls=(0, (5, 3)), label=f"homogeneous {min(WIDTHS)}..{max(WIDTHS)} bit")
    scale(ax, "y", [*y, base] if max(y) > 0 else [0.0, base, 1.0])
    if ax.get_yscale() != "linear":
        ax.set_yscale("linear")
        ax.autoscale(axis="y")
    ax.annotate(f"{y[-1]:.3f}", (x[-1], y[-1]), xytext=(-2, -14), textcoords="offset points", ha="right", color=BLUE,
                fontweight="bold")
    ax.annotate(f"{base:.3f}", (1.0, base), xycoords=("axes fraction", "data"), xytext=(-2, 5),
                textcoords="offset points", ha="right", color=ORANGE, fontweight="bold")
    ax.set_xlabel("evaluations")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_ylabel("hypervolume [share of the box]")
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
