"""What a layout is: how a weight matrix lies in flash, and the function of the runtime that multiplies it.

A layout's kernel gives the sums of a block of rows at once; a vector is made ready for it once per step, and what that
costs is shared by all rows of all matrices that read it. `bits`, the string of packed integers of `core.arith.pack`, is
the layout of everything that no other takes: rows that do not fill a block, wide weights, 64-bit sums.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.core.arith import Ints

CTYPES = {"uint32_t": np.uint32, "uint16_t": np.uint16, "int8_t": np.int8, "uint8_t": np.uint8}
"""The element types that a layout's array may have."""

Words = NDArray[Any]
"""The array of a laid-out matrix: of a type in `CTYPES`."""


@dataclass(frozen=True)
class Preparation:
    """A function of the runtime that makes a vector ready: function(x, n, to).

    ctype  element type of `to`
    size   number of activations -> elements of `to`
    """

    function: str
    ctype: str
    size: Callable[[int], int]


class Layout(ABC):
    """How a matrix of some widths lies in flash for one kernel. Stateless.

    name         its own
    kernel       function(w, x, n, literals…, sums) of the runtime, which writes the sums of one block
    header       the header that declares it, and its preparation
    widths       of the weights that it stores
    wide         whether activations are int16_t, not int8_t
    rows         of a block
    ctype        element type of its array
    preparation  of the vector; None: the kernel reads the activations as they are
    raw          whether a kernel with a preparation reads the activations, too: function(w, x, prepared, n, …)
    splits       whether fewer columns may be proved where all are not
    """

    name: str
    kernel: str
    header: str
    widths: frozenset[int]
    wide: bool
    rows: int
    ctype: str
    preparation: Preparation | None
    raw: bool = False
    splits: bool = True

    @abstractmethod
    def fits(self, W: Ints, reach: int) -> bool:
        """Whether the kernel is exact for these weights [rows, n] and every |x| <= reach: the proof."""

    def literals(self, W: Ints, reach: int) -> tuple[int, ...]:
        """Further arguments of the kernel."""
        return ()

    def rounds(self, literals: tuple[int, ...]) -> int:
        """How often the kernel finishes a sum within a block, which the literals decide."""
        return 1

    @abstractmethod
    def pack(self, W: Ints) -> Words:
        """Weights [whole blocks, n] as the flat array of `ctype`, block after block."""

    @abstractmethod
    def unpack(self, words: Words, rows: int, n: int) -> Ints:
        """The inverse of `pack`: [rows, n]."""

    def row_constants(self, W: Ints) -> Ints | None:
        """What the kernel leaves out of each row's sum, [rows]; it is added to the row's offset. None: nothing."""
        return None


@dataclass(frozen=True)
class Family:
    """The layouts of some cores.

    name     of the family, and of its files in the runtime: bt_rows_<name>
    cores    names of the cores that it is for
    layouts  the preferred ones first
    """

    name: str
    cores: tuple[str, ...]
    layouts: tuple[Layout, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """Columns start..stop of a laid-out matrix: its array, and what its kernel is told."""

    start: int
    stop: int
    literals: tuple[int, ...]
    words: Words


@dataclass(frozen=True, eq=False)
class Laid:
    """A matrix in a layout.

    layout     of the rows below `rows`; the others are `bits`
    blocks     of rows; the last one may be filled up
    parts      of its columns: one, unless the proof holds for fewer columns only
    constants  what is added to the rows' offsets, [all rows]; None: nothing
    """

    layout: Layout
    rows: int
    blocks: int
    parts: tuple[Part, ...]
    constants: Ints | None

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays, without the rows left over."""
        return sum(part.words.nbytes for part in self.parts)


MOST_FILLED = 0.05
"""Of a matrix's rows: how many may be added to fill the last block. Rows left over are `bits` where it takes more."""


def lay_out(layout: Layout, W: Ints, reach: int) -> Laid | None:
    """Weights [rows, n] in a layout; None if they have not even a block of rows, or no split of columns is exact."""
    left = len(W) % layout.rows
    filled = -left % layout.rows
    if filled <= MOST_FILLED * len(W):
        rows, whole = len(W), np.concatenate([W, np.broadcast_to(W[:1], (filled, W.shape[1]))])
    else:
        rows = len(W) - left
        whole = W[:rows]
    if not rows or not (layout.splits or layout.fits(whole, reach)):
        return None
    spans = list(_spans(layout, whole, reach, 0, W.shape[1]))
    if any(stop - start < 1 for start, stop in spans):
        return None
    parts = tuple(Part(a, b, layout.literals(whole[:, a:b], reach), layout.pack(whole[:, a:b])) for a, b in spans)
    return Laid(layout, rows, len(whole) // layout.rows, parts, _constants(layout, W[:rows], len(W), spans))


def _spans(layout: Layout, W: Ints, reach: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Column ranges for which the proof holds, halved where it does not; an empty one where it never does."""
    if layout.fits(W[:, start:stop], reach):
        yield start, stop
    elif stop - start < 2:
        yield start, start
    else:
        half = (stop - start) // 2
        middle = start + (half // GROUP * GROUP or half)
        yield from _spans(layout, W, reach, start, middle)
        yield from _spans(layout, W, reach, middle, stop)


GROUP = 32
"""Columns are split at multiples of this many where there are that many: no layout pads there."""


def _constants(layout: Layout, whole: Ints, rows: int, spans: Sequence[tuple[int, int]]) -> Ints | None:
    found = [layout.row_constants(whole[:, a:b]) for a, b in spans]
    given = [c for c in found if c is not None]
    if not given:
        return None
    constants = np.zeros(rows, np.int64)
    constants[:len(whole)] = np.sum(given, axis=0)
    return constants
