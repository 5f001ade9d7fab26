"""The figures of a report: one table of them, drawn in one style."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from bittailor.report import evolution, fronts, genomes, retraining, sensitivity
from bittailor.report.facts import Facts
from bittailor.report.style import STYLE, Drawing, png


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
    noun = facts.metric.noun
    table = (
        Entry("fronts", "Mixed against homogeneous precision",
              "Each point is an integer network. Filled: selection data, which the search saw; hollow: test data. "
              f"Star: the smallest solution no worse than homogeneous 8 bit in selection {noun}; diamond: the careful "
              "one; square: the certified one. Bars: the paired difference to 8 bit, 95 %.", fronts.fronts),
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
              f"Left: training loss by epoch, a line per retrained network. Right: selection {noun} against size; "
              "arrows lead from post-training quantisation of the float network to the same widths after training.",
              retraining.curves, optional=True),
        Entry("sensitivity", "Which operator costs the accuracy",
              "Rise of the selection loss when one site alone gets another width (numbers: of the "
              f"{noun}).",
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
