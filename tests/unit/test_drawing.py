"""Drawings: every cell as boxes and arrows that do not overlap, every site on them, whatever the cell."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.graph import Graph, Recurrence

pytest.importorskip("matplotlib", reason="matplotlib is not installed: no reports here")

from bittailor.report.drawing import drawings
from bittailor.report.layers import COLUMN_GAP, ROW_GAP, arranged

VARIANTS = [(name, variant) for name, cell in CELLS.items() for variant in ("", *cell.variants)]


def network(cell: str, variant: str = "") -> Graph:
    b = Builder()
    options = CELLS[cell].variants[variant] if variant else {}
    x = add_layer(b, CELLS[cell], "rnn0", b.input("input", 3), 4, **options)
    return b.graph(b.linear("head.out", b.op("last", "last", x), "head.W", 2, "head.b"))


@pytest.mark.parametrize(("cell", "variant"), VARIANTS)
def test_every_site_of_a_cell_is_on_its_drawing(cell: str, variant: str) -> None:
    graph = network(cell, variant)
    names = [site.name for site in graph.free]
    whole, step = drawings(graph, names)
    (recurrence,) = (s for s in graph.steps if isinstance(s, Recurrence))
    inside = {n for node in recurrence.nodes for n in (node.output, *node.params, *node.inputs)}
    wanted = {graph.root(name).name for name in inside}
    assert {names[int(i)] for i in re.findall(r'data-site="(\d+)"', step.svg)} == wanted & set(names)
    assert {"head.W", "head.b", "head.out", "input"} <= {
        names[int(i)] for i in re.findall(r'data-site="(\d+)"', whole.svg)}
    assert len(re.findall('class="arrow"', step.svg)) >= len(recurrence.nodes)
    assert CELLS[cell].title.split(":")[0].split(",")[0] in step.title


@given(st.integers(1, 14), st.data())
def test_boxes_do_not_overlap_and_arrows_lead_to_the_right(count: int, data: st.DataObject) -> None:
    pairs = [(a, b) for b in range(count) for a in range(b)]
    edges = data.draw(st.lists(st.sampled_from(pairs), max_size=25)) if pairs else []
    sizes = [(float(30 + 7 * (i % 5)), float(20 + 11 * (i % 3))) for i in range(count)]
    layout = arranged(sizes, edges)
    boxes = [(*corner, corner[0] + w, corner[1] + h) for corner, (w, h) in zip(layout.corners, sizes, strict=True)]
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert left >= -1e-6
        assert top >= -1e-6
        assert right <= layout.width + 1e-6
        assert bottom <= layout.height + 1e-6
        for other_left, other_top, other_right, other_bottom in boxes[:i]:
            apart = (right + COLUMN_GAP - 1e-6 <= other_left or other_right + COLUMN_GAP - 1e-6 <= left
                     or bottom + ROW_GAP - 1e-6 <= other_top or other_bottom + ROW_GAP - 1e-6 <= top)
            assert apart
    assert set(layout.routes) == set(edges)
    for (source, target), points in layout.routes.items():
        xs = [x for x, _ in points]
        assert xs == sorted(xs)
        assert np.isclose(xs[0], boxes[source][2])
        assert np.isclose(xs[-1], boxes[target][0])
        # an arrow that passes a column passes between its boxes
        for (x0, y0), (x1, _) in zip(points[1:-1:2], points[2:-1:2], strict=True):
            assert not any(left < x1 - 1e-6 and right > x0 + 1e-6 and top < y0 < bottom
                           for left, top, right, bottom in boxes)


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="circle"):
        arranged([(1.0, 1.0)] * 2, [(0, 1), (1, 0)])
