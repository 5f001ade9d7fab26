"""Layouts of weight matrices: which one a core's kernels want. A family is one file, one line here.

What no layout takes is `bits`: the string of packed integers and the dot products of `bt_dot.h`, row by row. Every core
runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import ref

from bittailor.common.lru import LruCache
from bittailor.common.registry import Table
from bittailor.compile.bound import BoundMatrix
from bittailor.compile.layouts.base import Family, Laid, Layout, Part, Preparation, lay_out
from bittailor.compile.layouts.dsp import DSP
from bittailor.compile.layouts.helium import HELIUM
from bittailor.compile.layouts.scalar import SCALAR
from bittailor.core.arith import Ints

ANY = Family("any", ("any",), ())
"""Of those who do not know their core: all matrices are `bits`."""
DEFAULT_CORE = "m4"

FAMILIES: Table[Family] = Table("family of layouts", {family.name: family for family in (
    ANY,
    DSP,
    SCALAR,
    HELIUM,
)})
LAYOUTS: Table[Layout] = Table("layout", {
    layout.name: layout for family in FAMILIES.values() for layout in family.layouts})
CORES: Table[Family] = Table("core", {
    core: family for family in FAMILIES.values() for core in family.cores})
"""Core -> the layouts that it runs fastest."""


def laid_out(bound: BoundMatrix, core: str) -> Laid | None:
    """How a bound matrix lies for a core; None: as `bits`. Remembered."""
    family, W, bits = CORES[core], bound.weights.values, bound.weights.bits
    if bound.long:
        return None
    wide, reach = bound.source.bits > 8, max(-bound.source.qmin, bound.source.qmax)
    key = id(W), bits, wide, reach, family.name
    known = _LAID.get(key)
    if known is None or known.anchor() is not W:
        suitable = (layout for layout in family.layouts if bits in layout.widths and layout.wide == wide)
        found = next((laid for layout in suitable if (laid := lay_out(layout, W, reach)) is not None), None)
        known = _LAID.put(key, _Known(found, ref(W)))
    return known.laid


@dataclass(frozen=True, eq=False)
class _Known:
    """A layout that was worked out, and whose it is."""

    laid: Laid | None
    anchor: Callable[[], Ints | None]


_LAID: LruCache[tuple[int, int, bool, int, str], _Known] = LruCache(1 << 12)

__all__ = ["ANY", "CORES", "DEFAULT_CORE", "FAMILIES", "LAYOUTS", "Family", "Laid", "Layout", "Part", "Preparation",
           "laid_out"]
