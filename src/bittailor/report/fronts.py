"""Figures of objective space: the fronts, and with three objectives or more pairs and parallel coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.figure import Figure

from bittailor.report.facts import Axis, Facts, bits_of, sample
from bittailor.report.style import (
    BLUE,
    DOT,
    GREY,
    INK,
    MANY,
    MARKS,
    ORANGE,
    RULE,
    Drawing,
    scale,
    short,
    spans_decades,
)
from bittailor.runs import Solution

MAX_POINTS = 2000
"""Evaluations in a figure at most."""

_HALO = [effects.withStroke(linewidth=2.5, foreground="white")]


def _marks(
    ax: Any, facts: Facts, place: Callable[[Solution], tuple[float, float | None]], hollow: bool = False
) -> None:
    for names, solution in facts.marks:
        x, y = place(solution)
        if y is not None:
            how = MARKS[names.split(" ")[0]]
            inside, edge, line = ("white", how["colour"], 1.6) if hollow else (how["colour"], "white", 0.9)
            ax.scatter([x], [y], marker=how["marker"], s=how["s"], facecolors=inside, edgecolors=edge, linewidths=line,
                       zorder=6, label=names)


def fronts(facts: Facts) -> Drawing:
    """Error against cost, selection beside test; a row for every cost that was an objective."""
    costs = facts.costs
    parts = ("select", "test") if facts.tested else ("select",)
    figure = Figure(figsize=(4.7 * len(parts) + 0.4 if facts.tested else 7.0, 4.3 * len(costs)), layout="constrained")
    axes = figure.subplots(len(costs), len(parts), squeeze=False, sharey=True)
    solutions = facts.solutions
    known = [v for s in solutions for v in (s.values["error"], s.test) if v is not None]
    known += [v for v in facts.result["float"].values() if v is not None]
    label = facts.error.label.removeprefix("selection ")
    for row, cost in zip(axes, costs, strict=True):
        for ax, part in zip(row, parts, strict=True):
            scale(ax, "x", [cost.of(s) for s in solutions], 0.08)
            scale(ax, "y", known)
            _front(ax, facts, cost, part)
            ax.set_xlabel(fill(cost.label, 44))
        row[0].set_ylabel(label)
    titles = {"select": "Selection (searched on)", "test": "Test (used once, at the end)"}
    for ax, part in zip(axes[0], parts, strict=True):
        ax.set_title(titles[part])
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def _front(ax: Any, facts: Facts, cost: Axis, part: str) -> None:
    hollow = part == "test"

    def at(solutions: Sequence[Solution]) -> tuple[list[float], list[float]]:
        known = [(cost.of(s), s.test if hollow else s.values["error"]) for s in solutions]
        kept = sorted((x, y) for x, y in known if y is not None)
        return [x for x, _ in kept], [y for _, y in kept]

    inside = "white" if hollow else None
    real = facts.result["float"][part]
    if real is not None:
        ax.axhline(real, color=GREY, ls=(0, (4, 3)), lw=1.2, label="float network", zorder=1)
    ax.plot(*at(facts.homogeneous), "s-", color=ORANGE, mfc=inside, ms=6, lw=1.3, label="homogeneous", zorder=3)
    if facts.front:
        # a front may have risen between its points on test data: no line promises what lies there
        x, y = at(facts.front)
        if not hollow and len(x) > 1 and len(facts.objectives) == 2:
            ax.step(x, y, where="pre" if cost.maximise else "post", color=BLUE, lw=1.3, alpha=0.6, zorder=3)
        ax.plot(x, y, "o", color=BLUE, mfc=inside, ms=6.5, label="mixed precision", zorder=4)
        if hollow:
            _intervals(ax, facts, cost)
    _marks(ax, facts, lambda s: (cost.of(s), s.test if hollow else s.values["error"]), hollow)
    for solution in facts.homogeneous:
        (x, y) = at([solution])
        if x:
            ax.annotate(str(bits_of(solution)), (x[0], y[0]), xytext=(5, 6), textcoords="offset points", fontsize=9.5,
                        color=ORANGE, fontweight="bold", path_effects=_HALO, zorder=7)


def _intervals(ax: Any, facts: Facts, cost: Axis) -> None:
    """What the front may be worth on test data: the 8-bit error and the interval of the difference to it."""
    base, turn = facts.base.test, -1.0 if facts.error.maximise else 1.0
    found = [(cost.of(s), c) for s in facts.front for c in [s.against("8bit", "test")] if c is not None]
    if base is not None and found:
        ax.vlines([x for x, _ in found], [base + turn * c.low for _, c in found],
                  [base + turn * c.high for _, c in found], color=BLUE, lw=1.0, alpha=0.5, zorder=2,
                  label="95 %, paired with 8 bit")


def pairs(facts: Facts) -> Drawing:
    """Every pair of objectives, where there are three or more."""
    names = facts.objectives
    if len(names) < 3:
        return "two objectives are one pair"
    axes_of = [facts.axes[n] for n in names]
    known = [values for values in facts.outcomes if values is not None]
    every = [known[i] for i in sample(len(known), MAX_POINTS)]
    combos = [(a, b) for i, b in enumerate(axes_of) for a in axes_of[i + 1:]]
    columns = min(3, len(combos))
    rows = -(-len(combos) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.7 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for ax in grid[len(combos):]:
        ax.axis("off")
    for ax, (x, y) in zip(grid, combos, strict=False):
        for which, one in (("x", x), ("y", y)):
            scale(ax, which, [v[one.name] / one.divisor for v in every] + [one.of(s) for s in facts.homogeneous])
            getattr(ax, f"set_{which}label")(fill(one.label, 38))
        ax.scatter([v[x.name] / x.divisor for v in every], [v[y.name] / y.divisor for v in every], s=8, color=DOT,
                   linewidths=0, label="evaluated",
                   rasterized=len(every) > MANY)
        ax.scatter([x.of(s) for s in facts.homogeneous], [y.of(s) for s in facts.homogeneous], s=34, marker="s",
                   color=ORANGE, label="homogeneous", zorder=3)
        ax.scatter([x.of(s) for s in facts.front], [y.of(s) for s in facts.front], s=34, color=BLUE,
                   edgecolors="white", linewidths=0.6, label="front", zorder=4)
        # bound now: the loop goes on to other axes
        _marks(ax, facts, lambda s, x=x, y=y: (x.of(s), y.of(s)))  # type: ignore[misc]
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def parallel(facts: Facts) -> Drawing:
    """A line per solution over all objectives, the best of each at the bottom, where there are three or more."""
    names = facts.objectives
    if len(names) < 3:
        return "two objectives are best seen as a front"
    axes_of = [facts.axes[n] for n in names]
    lines = [(s, BLUE, "front") for s in facts.mixed] + [(s, ORANGE, "homogeneous") for s in facts.homogeneous]
    table = np.array([[a.of(s) for a in axes_of] for s, _, _ in lines])
    log = [bool(column.min() > 0 and spans_decades(column.tolist())) for column in table.T]
    titles = [fill(short(a.title, 40), 20) + ("\n(log)" if on else "") for a, on in zip(axes_of, log, strict=True)]
    best = np.array([column.max() if a.maximise else column.min() for a, column in zip(axes_of, table.T, strict=True)])
    worst = np.array([column.min() if a.maximise else column.max() for a, column in zip(axes_of, table.T, strict=True)])
    table, low, high = (np.where(log, np.log(np.where(log, v, 1.0)), v) for v in (table, best, worst))
    place = (table - low) / np.where(high != low, high - low, 1.0)
    figure = Figure(figsize=(2.6 * len(names) + 1.5, 4.2), layout="constrained")
    ax = figure.subplots()
    ax.grid(False)
    seen: set[str] = set()
    for (solution, colour, kind), y in zip(lines, place, strict=True):
        mark = facts.marks_of(solution)
        name = mark or kind
        ax.plot(range(len(names)), y, color=MARKS[mark.split(" ")[0]]["colour"] if mark else colour,
                lw=2.8 if mark else 1.3, alpha=1.0 if mark or kind != "front" else 0.7, zorder=5 if mark else 3,
                ls="--" if kind != "front" else "-", label=None if name in seen else name)
        seen.add(name)
    for i, one in enumerate(axes_of):
        ax.axvline(i, color=RULE, lw=1, zorder=1)
        for y, value in ((-0.05, best[i]), (1.05, worst[i])):
            ax.text(i, y, one.text(value * one.divisor), ha="center", va="center", fontsize=9.5, color=INK)
    ax.set_xticks(range(len(names)), titles)
    ax.tick_params(axis="x", length=0, pad=14)
    ax.set_yticks([])
    ax.set_ylim(-0.1, 1.1)
    ax.set_xlim(-0.35, len(names) - 0.65)
    for side in ax.spines.values():
        side.set_visible(False)
    figure.legend(loc="outside lower center", ncols=4)
    return figure
