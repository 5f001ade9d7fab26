"""The drawing of a GRU cell with its sites (docs/gru.svg), from the graph that is computed."""

from __future__ import annotations

import re
from collections.abc import Callable

from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.report.drawing import drawings

STYLE = """
svg { font-family: ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; font-size: 11.5px }
.box { fill: #f6f8fa; stroke: #8a94a0 } .box.source { stroke-dasharray: 4 3 }
.head { fill: #57606a; text-anchor: middle }
.name { fill: #0072b2 } .site.result .name { fill: #22272e; font-weight: 600 } .chip, .bits { display: none }
.arrow { fill: none; stroke: #8a94a0; stroke-width: 1.2 }
@media (prefers-color-scheme: dark) {
  .box { fill: #1b222b; stroke: #77818c } .head { fill: #9da7b1 } .name { fill: #56b4e9 }
  .site.result .name { fill: #e6edf3 } .arrow { stroke: #77818c }
}"""


def gru() -> str:
    """One step of a GRU, alone as a file: the report's drawing with a style of its own."""
    b = Builder()
    graph = b.graph(add_layer(b, CELLS["gru"], "gru0", b.input("input", 8), 32))
    drawn = drawings(graph, [site.name for site in graph.free])[-1]
    svg = re.sub(r'<svg class="drawing"', '<svg xmlns="http://www.w3.org/2000/svg"', drawn.svg, count=1)
    label = 'aria-label="One step of a GRU: its operators, and the sites that they read and make"'
    svg = re.sub(r'aria-label="[^"]*"', label, svg, count=1)
    return svg.replace(">", f"><style>{STYLE}</style>", 1) + "\n"


DRAWINGS: dict[str, Callable[[], str]] = {"gru.svg": gru}
