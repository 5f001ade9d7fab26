"""A network as a drawing (SVG): one step of every cell, and how layers follow each other; every site in its place.

Nothing is drawn by hand: boxes are the graph's operators, their rows the sites that they read as parameters and write,
and `layers.arranged` says where they stand; so a cell that somebody adds is drawn as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bittailor.core.cells import CELLS
from bittailor.core.graph import Graph, Node, Recurrence
from bittailor.core.ops import OPS
from bittailor.report.layers import Layout, Point, arranged

CHARACTER, BOLD, ROW, HEAD, BITS, PADDING = 7.0, 7.8, 20.0, 19.0, 26.0, 8.0
"""Pixels: the width of a letter and of a bold one, the heights of a row and of a box's first line, the room for
a number of bits, and around."""
MARGIN = 8.0
LETTERS = ("x", "y", "z", "u", "v", "w")
LONGEST = 18
"""Letters of a name in a drawing."""


@dataclass(frozen=True)
class Drawn:
    """A drawing: what it shows, and the SVG. Rows of sites carry `data-site`, an index into the list of sites."""

    title: str
    svg: str


@dataclass(frozen=True)
class _Box:
    """An operator, an input or a layer: its first line, its sites (name, whether it is a result), and what it reads."""

    head: str
    rows: tuple[tuple[str, bool], ...]
    reads: tuple[str, ...]
    kind: str

    def size(self, path: str) -> Point:
        """Width and height; names lose the path of the layer."""
        names = [len(_short(name, path)) * (BOLD if result else CHARACTER) + BITS + 4 for name, result in self.rows]
        return max([len(self.head) * CHARACTER, *names]) + 2 * PADDING, HEAD + ROW * len(self.rows) + 3


def drawings(graph: Graph, sites: Sequence[str]) -> list[Drawn]:
    """A drawing of the network, and one of a step of each recurrence.

    sites  names of those with a width of their own, in the order in which `data-site` counts them
    """
    index = {name: sites.index(graph.root(name).name) for name in graph.sites if graph.root(name).name in sites}
    found = []
    for step in graph.steps:
        if isinstance(step, Recurrence):
            title = CELLS[step.cell].title if step.cell in CELLS else step.cell
            way = ", from the last step to the first" if step.reverse else ""
            found.append(_drawn(f"{step.name}: one step of {title}{way}", _step_boxes(step), index, step.name))
    if len(graph.steps) > 1 or not found:
        found.insert(0, _drawn("The network", _outer_boxes(graph), index, ""))
    return found


def _equation(node: Node) -> str:
    """What an operator computes from its inputs x, y, …"""
    roles = OPS[node.op].roles[: len(node.params)]
    names = LETTERS[: len(node.inputs)]
    words = OPS[node.op].words(names, roles)
    return node.op if words == tuple(names[:1]) else " ".join(words).replace("*", "×").replace("-", "−")


def _of_node(node: Node) -> _Box:
    rows = (*((name, False) for name in node.params), (node.output, True))
    return _Box(_equation(node), rows, node.inputs, "operator")


def _step_boxes(step: Recurrence) -> list[_Box]:
    """The operators of one step, with what they read from outside and from the step before."""
    made = {node.output for node in step.nodes}
    given = dict.fromkeys(n for node in step.nodes for n in node.inputs if n not in made)
    before = {state.previous: state.update for state in step.states}
    sources = [_Box("step before" if name in before else "input", ((name, True),), (), "source") for name in given]
    return [*sources, *map(_of_node, step.nodes)]


def _outer_boxes(graph: Graph) -> list[_Box]:
    """What the network is made of; a recurrence is one box, with the sequences that leave it."""
    boxes = [_Box("input", ((name, True),), (), "source") for name in graph.inputs]
    for step in graph.steps:
        if isinstance(step, Recurrence):
            rows = tuple((name, True) for name in step.outputs)
            boxes.append(_Box(f"{step.name} ({step.cell})", rows, step.inputs, "cell"))
        else:
            boxes.append(_of_node(step))
    return boxes


def _drawn(title: str, boxes: Sequence[_Box], index: Mapping[str, int], path: str) -> Drawn:
    writer = {name: i for i, box in enumerate(boxes) for name, result in box.rows if result}
    edges = [(writer[name], i) for i, box in enumerate(boxes) for name in box.reads if name in writer]
    layout = arranged([box.size(path) for box in boxes], edges)
    body = [f'<path class="arrow" d="{_curve(points)}"/>' for points in layout.routes.values()]
    body += [_box(box, layout.corners[i], box.size(path), index, path) for i, box in enumerate(boxes)]
    return Drawn(title, _frame(title, layout, body))


def _frame(title: str, layout: Layout, body: Sequence[str]) -> str:
    width, height = layout.width + 2 * MARGIN, layout.height + 2 * MARGIN
    return (f'<svg class="drawing" viewBox="{-MARGIN:g} {-MARGIN:g} {width:.0f} {height:.0f}" width="{width:.0f}" '
            f'height="{height:.0f}" role="img" aria-label="{escape(title)}; its widths stand in the site table">'
            f'{"".join(body)}</svg>')


def _curve(points: Sequence[Point]) -> str:
    """Through pairs of points: curves from box to lane to box, level inside a lane."""
    (x, y), *rest = points
    d = f"M{x:.1f} {y:.1f}"
    for k, (to_x, to_y) in enumerate(rest):
        if k % 2:
            d += f"H{to_x:.1f}"
        else:
            half = (x + to_x) / 2
            d += f"C{half:.1f} {y:.1f} {half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
    return d


def _box(box: _Box, corner: Point, size: Point, index: Mapping[str, int], path: str) -> str:
    (x, y), (width, height) = corner, size
    parts = [f'<rect class="box {box.kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5"/>',
             f'<text class="head" x="{x + width / 2:.1f}" y="{y + 13.5:.1f}">{escape(box.head)}</text>']
    for k, (name, result) in enumerate(box.rows):
        top = y + HEAD + ROW * k
        kind = "site result" if result else "site"
        known = f' data-site="{index[name]}"' if name in index else ""
        parts.append(
            f'<g class="{kind}"{known}><title>{escape(name)}</title>'
            f'<text class="name" x="{x + PADDING:.1f}" y="{top + 13.5:.1f}">{escape(_short(name, path))}</text>'
            f'<rect class="chip" x="{x + width - BITS - 3:.1f}" y="{top + 1:.1f}" width="{BITS:.0f}" '
            f'height="{ROW - 3:.0f}" rx="3"/><text class="bits" x="{x + width - BITS / 2 - 3:.1f}" '
            f'y="{top + 13.5:.1f}">·</text></g>')
    return "".join(parts)


def _short(name: str, path: str) -> str:
    """A site's name inside its layer; its middle left out where it is long."""
    text = name.removeprefix(f"{path}.") if path else name
    return text if len(text) <= LONGEST else f"{text[:LONGEST // 2 - 1]}…{text[-LONGEST // 2:]}"
