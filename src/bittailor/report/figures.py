"""The figures of a report: one table of them, drawn in one style."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from bittailor.report import evolution, fronts, genomes, retraining, sensitivity
from bittailor.report.facts import Facts
from bittailor.report.style import STYLE, Drawing, written

FIRST_PAPER = "Miccini et al. (arXiv 2402.12263)"
"""Whose figures some of these are the counterparts of."""


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
class Figured:
    """A figure as drawn: PNG and SVG, or the reason why there is none."""

    name: str
    title: str
    caption: str
    wide: bool
    png: bytes | None = None
    svg: str | None = None
    reason: str = ""


def draw(facts: Facts) -> list[Figured]:
    """Every figure that this run has, as PNG and SVG."""
    noun = facts.metric.noun
    table = (
        Entry("fronts", "Mixed against homogeneous precision",
              "Each point is an integer network. Filled: selection data, which the search saw; hollow: test data. "
              f"Star: the smallest solution no worse than homogeneous 8 bit in selection {noun}; diamond: the careful "
              "one; square: the certified one. Bars: the paired difference to 8 bit, 95 %. As figure 4 of "
              f"{FIRST_PAPER}, with error in place of accuracy.", fronts.fronts),
        Entry("generations", "The population, generation by generation",
              "Letter-value (boxen) plots of the survivors of each generation: the widest box holds the middle half, "
              "each next one half of what is left; the line is the median. As figure 3 of "
              f"{FIRST_PAPER}.",
              evolution.generations),
        Entry("hypervolume", "Hypervolume",
              "How much of objective space the front dominates, as a multiple of what the homogeneous solutions "
              "dominate together: 1.3 is 30 % more. What counts is what lies below a point a tenth of their spread "
              "beyond their worst values. In result.json and CSV it is a share of the box between that point and their "
              "best values, which a front beyond them exceeds.",
              evolution.hypervolume, wide=False),
        Entry("tsne", "The space of genomes",
              "Every evaluated solution, placed by t-SNE so that solutions with similar widths stand together. As "
              f"figure 5 of {FIRST_PAPER}, with its scale of accuracy where the metric is an error in %.",
              genomes.embedding, wide=False),
        Entry("widths", "Widths along the front",
              "Each column is a solution of the front, the cheapest first; each row is a site. "
              "Frames mark the picks.", genomes.heat_map),
        Entry("retraining", "Retraining",
              f"Left: training loss by epoch, a line per retrained network. Right: selection {noun} against size; "
              "arrows lead from post-training quantisation of the float network to the same widths after training.",
              retraining.curves, optional=True),
        Entry("sensitivity", "Which operator costs the accuracy",
              "Rise of the selection loss when one site alone gets another width (numbers: of the "
              f"{noun}).",
              sensitivity.figure, optional=True),
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
                drawn.append(Figured(entry.name, entry.title, entry.caption, entry.wide, *written(made)))
            elif not entry.optional:
                drawn.append(Figured(entry.name, entry.title, entry.caption, entry.wide, reason=made))
    return drawn
