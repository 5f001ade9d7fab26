"""The pictures of README and docs: the front of one network as SVG, and the report of a run in a browser, as small PNG.

    python docs/screenshots.py runs/digits            writes docs/images/

    front.svg            what was found: test error against size, the pick that is shipped beside homogeneous 8 bit
    report.png           the top of the report
    report-explorer.png  a solution beside another, with the drawing of the cell
    report-phone.png     the same page on a phone, dark

The browser is Chromium. Nothing is drawn that the run does not hold.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

import bittailor as bt
from bittailor.report import write_report
from bittailor.report.facts import Axis, Facts, bits_of, gather, number
from bittailor.report.payload import interval
from bittailor.report.style import BLUE, MARKS, ORANGE, STYLE, scale
from bittailor.runs import Solution

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from browser import Browser  # noqa: E402

OUT = ROOT / "docs" / "images"
MIDDLE, FAINT = "#77818d", "#77818d55"
"""Grey that is read on white and on black paper alike, and the same for lines."""
COLOURS = 255
"""Of a PNG: screens of text and flat colours need no more."""


def front(facts: Facts) -> str:
    """The front on test data, legible on light and dark paper: SVG."""
    words = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor")
    lines = ("axes.edgecolor", "grid.color", "xtick.color", "ytick.color")
    style = {**STYLE, **dict.fromkeys(words, MIDDLE), **dict.fromkeys(lines, FAINT), "svg.fonttype": "path"}
    size, text = facts.least, io.StringIO()
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7.6, 4.0), layout="constrained")
        figure.patch.set_alpha(0)
        ax: Any = figure.subplots()
        ax.patch.set_alpha(0)
        mixed = sorted((s for s in facts.front if s.test is not None), key=size.of)
        plain = [s for s in facts.homogeneous if s.test is not None]
        scale(ax, "x", [size.of(s) for s in (*mixed, *plain)], 0.1)
        scale(ax, "y", [s.test for s in (*mixed, *plain) if s.test is not None], 0.12)
        ax.plot([size.of(s) for s in plain], [s.test for s in plain], "s-", color=ORANGE, ms=6, lw=1.4,
                label="one width for everything, in bits")
        ax.plot([size.of(s) for s in mixed], [s.test for s in mixed], "o", color=BLUE, ms=6.5,
                label="a width of its own for every operator")
        known = [(size.of(s), *ends) for s in mixed for ends in [interval(facts, s, "test")] if ends is not None]
        if known:
            ax.vlines(*zip(*known, strict=True), color=BLUE, lw=1.1, alpha=0.8, label="95 %, paired with 8 bit")
        for label, s in _labels(plain, size):
            ax.annotate(label, (size.of(s), s.test), xytext=(5, 6), textcoords="offset points", color=ORANGE,
                        fontsize=10, fontweight="bold")
        _shipped(ax, facts)
        ax.set_xlabel(size.label)
        ax.set_ylabel(facts.error.label.replace("selection", "test"))
        ax.set_title(facts.run.title, wrap=True)
        ax.legend(loc="best", fontsize=10)
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None})
    return text.getvalue()


def _labels(plain: Sequence[Solution], size: Axis) -> list[tuple[str, Solution]]:
    """Widths and where they stand; those that would lie over each other (stored alike) are written together."""
    found: list[tuple[str, Solution]] = []
    for s in sorted(plain, key=size.of):
        if found and size.of(s) < 1.06 * size.of(found[-1][1]):
            found[-1] = (f"{found[-1][0]}, {bits_of(s)}", s)
        else:
            found.append((str(bits_of(s)), s))
    return found


def _shipped(ax: Any, facts: Facts) -> None:
    """The pick that is exported, with an arrow from homogeneous 8 bit to it."""
    name = facts.run.holds
    if name not in facts.picks or facts.base.test is None:
        return
    found, size = facts.picks[name], facts.least
    how = MARKS[name]
    here, there = (size.of(facts.base), facts.base.test), (size.of(found), found.test)
    ax.annotate("", there, here, zorder=6, arrowprops={
        "arrowstyle": "-|>", "color": MIDDLE, "lw": 1.6, "shrinkA": 8, "shrinkB": 9,
        "connectionstyle": "arc3,rad=0.28"})
    smaller = 100 * (1 - size.of(found) / size.of(facts.base))
    ax.scatter(*[[v] for v in there], marker=how["marker"], s=how["s"], zorder=7,
               color=MIDDLE if name == "certified" else how["colour"],
               label=f"exported: {smaller:.0f} % smaller than 8 bit,\n"
                     f"test {facts.metric.noun} {number(facts.base.test)} → {number(found.test)} {facts.error.unit}")


def small(png: bytes, width: int) -> bytes:
    """A picture scaled to a width, with few colours."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def pictures(page: Path, run: bt.Run) -> dict[str, bytes]:
    """The report as a browser shows it."""
    with Browser() as browser:
        wide = browser.open(page, 1280, 1200)
        top = wide.value("document.getElementById('front-table').getBoundingClientRect().top + scrollY")
        found = {"report.png": small(wide.picture(clip=(0, 0, 1280, top - 40)), 1100)}
        other = f"s{len(run.front) // 2}"
        wide.value(f"document.querySelector('tr[data-id={other}] button').click()")
        wide.value("document.querySelector('#drawings-other').hidden = true")
        box = wide.value("(() => { const r = document.getElementById('solution').getBoundingClientRect();"
                         "return [r.left, r.top + scrollY, r.width, r.height]; })()")
        found["report-explorer.png"] = small(wide.picture(clip=(box[0], box[1], box[2], min(box[3], 1450))), 1100)
        phone = browser.open(page, 390, 844, dark=True, scale=2)
        top = phone.value("document.getElementById('explore').getBoundingClientRect().top + scrollY")
        found["report-phone.png"] = small(phone.picture(clip=(0, top, 390, 844)), 500)
        assert not wide.problems + phone.problems
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--front", type=Path, help="the run of front.svg, where it is another")
    asked = parser.parse_args()
    run = bt.Run.open(asked.run)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "front.svg").write_text(front(gather(bt.Run.open(asked.front) if asked.front else run)))
    with tempfile.TemporaryDirectory() as scratch:
        for name, png in pictures(write_report(run, Path(scratch) / "report"), run).items():
            (OUT / name).write_bytes(png)
    for file in sorted(OUT.iterdir()):
        print(f"{file.relative_to(ROOT)}  {file.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
