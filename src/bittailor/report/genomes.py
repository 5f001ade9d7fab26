"""Figures of what was chosen: the genomes of all evaluations, and the widths along the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.colors import BoundaryNorm, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from bittailor.report.facts import Facts, by_size, number
from bittailor.report.style import BLUE, INK, MANY, MARKS, Drawing, nice_ticks, short, spans_decades, width_palette
from bittailor.search.store import Row

MAX_POINTS = 1000
"""Solutions in the embedding at most."""

_HALO = [effects.withStroke(linewidth=5.0, foreground="white")]
_ANNOTATED = 26
_COLUMNS = 60
_ACCURACIES = (99.9, 99.5, 99, 98, 97, 95, 90, 80, 70, 50, 30, 10)


def normalised(facts: Facts, rows: Sequence[Row]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Genomes of evaluations with values, each gene's widths scaled to 0..1, and their errors."""
    genes = facts.run.space.width_genes
    widths = np.array([[g.widths[i] for g, i in zip(genes, row.genome, strict=True)] for row in rows], np.float64)
    widths = widths.reshape(len(rows), len(genes))
    low = np.array([g.widths[0] for g in genes], np.float64)
    high = np.array([g.widths[-1] for g in genes], np.float64)
    free = high > low
    errors = np.array([(row.outcome.values or {})["error"] for row in rows], np.float64)
    return ((widths - low) / np.where(free, high - low, 1.0))[:, free], errors


def _kept(facts: Facts) -> tuple[list[Row], NDArray[np.bool_], int]:
    """The evaluations to place, which of them are on the front, and how many there are in all: of many the front and a
    sample of the others that is the same every time."""
    rows = [row for row in facts.evaluations if row.outcome.values is not None]
    of_front = {tuple(facts.run.space.genome(s.widths)) for s in facts.front}
    in_front = np.array([row.genome in of_front for row in rows], bool)
    if len(rows) > MAX_POINTS:
        others = np.flatnonzero(~in_front)
        chosen = np.random.default_rng(0).choice(others, max(0, MAX_POINTS - int(in_front.sum())), replace=False)
        kept = np.sort(np.concatenate([np.flatnonzero(in_front)[:MAX_POINTS], chosen]))
        return [rows[i] for i in kept], in_front[kept], len(rows)
    return rows, in_front, len(rows)


def embedding(facts: Facts) -> Drawing:
    """t-SNE of the genomes, coloured by error.

    Source  van der Maaten, Hinton: Visualizing data using t-SNE (JMLR 9, 2008).
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rows, in_front, total = _kept(facts)
    points, errors = normalised(facts, rows)
    if len(np.unique(points, axis=0)) < 5 or points.shape[1] < 1:
        return "Fewer than five different solutions were evaluated."
    perplexity = min(30.0, (len(points) - 1) / 3)
    # more columns than one are needed for the first placement by principal components
    wide = points if points.shape[1] > 1 else np.hstack([points, np.zeros_like(points)])
    with threadpool_limits(1):
        # more threads wait for each other longer than they work, on a machine that does other things too
        placed = TSNE(perplexity=perplexity, init="pca", max_iter=400, angle=0.7, random_state=0).fit_transform(wide)
    seen = f"{len(points)} solutions" if len(points) == total else f"{len(points)} of {total} solutions"
    return _map(facts, placed, errors, in_front,
                f"t-SNE of {seen}, {points.shape[1]} genes, perplexity {perplexity:.0f} (axes have no unit)")


def _map(facts: Facts, placed: NDArray[np.float64], errors: NDArray[np.float64], in_front: NDArray[np.bool_],
         label: str) -> Figure:
    """Places [solutions, 2], coloured by error, the front in rings."""
    figure = Figure(figsize=(6.2, 4.9), layout="constrained")
    ax: Any = figure.subplots()
    maximise = facts.error.maximise
    order = np.argsort(errors if maximise else -errors)  # the best on top
    positive = errors[errors > 0]
    norm: Normalize
    if spans_decades(errors.tolist()):
        low = float(positive.min())
        norm, shown = LogNorm(low, float(np.quantile(positive, 0.99))), np.maximum(errors, low)
    else:
        norm, shown = Normalize(float(errors.min()), max(float(errors.max()), float(errors.min()) + 1e-12)), errors
    dots = ax.scatter(*placed[order].T, c=shown[order], norm=norm, cmap="viridis" if maximise else "viridis_r", s=15,
                      linewidths=0, rasterized=len(order) > MANY)
    ax.scatter(*placed[in_front].T, s=58, facecolors="none", edgecolors=INK, linewidths=1.5, label="front")
    bar = figure.colorbar(dots, ax=ax, aspect=30, pad=0.02, extend="max" if isinstance(norm, LogNorm) else "neither")
    bar.outline.set_visible(False)
    if isinstance(norm, LogNorm):
        bar.ax.yaxis.set_major_locator(FixedLocator(nice_ticks(float(norm.vmin or 1), float(norm.vmax or 1))))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    bar.set_label(facts.error.label)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)
    if facts.metric.unit == "%" and not maximise:
        _accuracy(bar, norm)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set_xlabel(label, fontsize=9.5)
    if in_front.any():
        ax.legend(loc="upper right", handletextpad=0.2, borderpad=0)
    return figure


def _accuracy(bar: Any, norm: Normalize) -> None:
    """A second scale beside an error's in %: the accuracy, as papers have it."""
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 0.0)
    shown = [a for a in _ACCURACIES if low <= 100 - a <= high] if isinstance(norm, LogNorm) else [
        a for a in range(0, 101, 5 if high - low < 40 else 10) if low <= 100 - a <= high]
    side = bar.ax.secondary_yaxis(-0.15, functions=(lambda e: e, lambda e: e))
    side.yaxis.set_major_locator(FixedLocator([100 - a for a in shown]))
    side.yaxis.set_minor_locator(NullLocator())
    side.yaxis.set_major_formatter(FuncFormatter(lambda e, _: f"{100 - e:g}"))
    side.tick_params(length=2.5)
    side.set_ylabel("accuracy [%]")


def all_widths(facts: Facts) -> NDArray[np.int64]:
    """Every width in the front or the baselines, ascending."""
    return np.unique([bits for s in facts.solutions for bits in s.widths.values()])


def heat_map(facts: Facts) -> Drawing:
    """Widths per site along the front."""
    if not facts.front:
        return "The front is empty."
    order = by_size(facts)
    if len(order) > _COLUMNS:
        order = [order[i] for i in np.unique(np.linspace(0, len(order) - 1, _COLUMNS).round().astype(int))]
    sites = facts.sites
    table = np.array([[solution.widths[s.name] for solution in order] for s in sites])
    widths = all_widths(facts)
    cmap, colours = width_palette(widths)
    cell = 0.42 if len(order) <= _ANNOTATED else 0.24
    row = 0.225
    label = max(len(short(s.short)) for s in sites) * 0.075 + 1.3
    figure = Figure(figsize=(max(7.0, cell * len(order) + label + 1.2), row * len(sites) + 1.6), layout="constrained")
    ax = figure.subplots()
    places = np.searchsorted(widths, table)
    norm = BoundaryNorm(np.arange(len(widths) + 1) - 0.5, len(widths))
    image = ax.imshow(places, cmap=cmap, norm=norm, aspect="auto", interpolation="none")
    if len(order) <= _ANNOTATED:
        for (y, x), bits in np.ndenumerate(table):
            ax.text(x, y, str(bits), ha="center", va="center", fontsize=8.5, color=colours[int(bits)][1],
                    in_layout=False)
    ax.set_yticks(range(len(sites)), [short(s.short) for s in sites], fontsize=9)
    ax.tick_params(length=0)
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    cost, error = facts.costs[0], facts.error
    labels = [f"{number(cost.of(solution))} · {number(error.of(solution))}" for solution in order]
    ax.set_xticks(range(len(order)), labels, rotation=90, fontsize=8.5)
    ax.set_xlabel(f"{short(cost.title, 44)} [{cost.unit}] · {error.label}")
    top = ax.secondary_xaxis("top")
    step = max(1, -(-len(order) // 30))
    top.set_xticks(range(0, len(order), step),
                   [facts.name_of(s).removeprefix("solution ").removeprefix("the ").removesuffix(" one")
                    for s in order[::step]], fontsize=9, rotation=90 if facts.extras else 0)
    top.tick_params(length=0)
    top.set_xlabel("solution")
    top.spines["top"].set_visible(False)
    _groups(ax, facts)
    for names, solution in facts.marks:
        if solution in order:
            x, colour = order.index(solution), MARKS[names.split(" ")[0]]["colour"]
            ax.plot([x - 0.5, x + 0.5, x + 0.5, x - 0.5, x - 0.5],
                    [-0.5, -0.5, len(sites) - 0.5, len(sites) - 0.5, -0.5], color=colour, lw=2.4, clip_on=False,
                    label=names, path_effects=_HALO, zorder=5)
    if facts.marks:
        figure.legend(loc="outside lower center", ncols=2)
    bar = figure.colorbar(image, ax=ax, ticks=range(len(widths)), fraction=0.03, pad=0.02,
                          shrink=min(1.0, 12 / len(sites)), anchor=(0, 1.0))
    bar.ax.set_yticklabels([str(w) for w in widths], fontsize=9)
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
    bar.ax.set_title("bits", fontsize=9.5, loc="left")
    return figure


def _groups(ax: Any, facts: Facts) -> None:
    """Lines between layers and between roles, and the layers' names beside the rows."""
    sites = facts.sites
    starts = [i for i in range(len(sites)) if i == 0 or sites[i].layer != sites[i - 1].layer]
    for i in range(1, len(sites)):
        if sites[i].layer != sites[i - 1].layer:
            ax.axhline(i - 0.5, color="white", lw=7)
        elif {sites[i].role, sites[i - 1].role} - {"activation", "state"} and sites[i].role != sites[i - 1].role:
            ax.axhline(i - 0.5, color="white", lw=2.2)
    longest = max(len(short(s.short)) for s in sites)
    for start, end in zip(starts, [*starts[1:], len(sites)], strict=True):
        alone = end - start == 1
        if alone and sites[start].short == sites[start].layer:
            continue
        # written upright, a name has the height of its rows
        name = short(sites[start].layer, max(14, int(2.4 * (end - start))))
        ax.annotate(name, (0, (start + end - 1) / 2), xycoords=("axes fraction", "data"),
                    xytext=(-(longest * 4.9 + 16), 0), textcoords="offset points", rotation=0 if alone else 90,
                    ha="right" if alone else "center", va="center", fontweight="bold", color=BLUE, fontsize=9.5)
