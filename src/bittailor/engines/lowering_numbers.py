"""The numbers of one operator, as the C runtime wants them: folded constants, packed weights, tables.

Part of `lowering`, which says what this is for. Remembered per operator, since a search meets most of them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from bittailor.common.lru import LruCache
from bittailor.compile.bound import (
    BoundDiagonal,
    BoundInstruction,
    BoundMatrix,
    BoundMean,
    BoundNorm,
    BoundProduct,
    BoundRescale,
    BoundRows,
    BoundSum,
    BoundTable,
    BoundTotal,
    bind_instructions,
)
from bittailor.compile.segments import NotLowered
from bittailor.core.arith import Ints, Lookup, Rescale
from bittailor.core.graph import Node
from bittailor.core.ops import Constants
from bittailor.core.qformat import QFormat
from bittailor.engines import bytecode as bc

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Layout:
    """How a build of the runtime wants its data.

    lanes    output features per tile
    items    sequences per tile
    widths8  bytes by int8 is exact where the two widths add up to at most this
    split    knots of wide tables stand as low bytes, high bytes, last knot
    """

    lanes: int
    items: int
    widths8: int
    split: int


@dataclass(frozen=True, eq=False)
class Facts:
    """What lowering knows of one operator with its constants.

    kinds   per instruction: opcode; a concat has one per input. All that decides the structure of a program
    numbers per instruction: shift, step, m0, m1, lo, hi, za, zb, c
    parts   constants for the pool, each a multiple of 64 bytes
    anchor  what they were made from
    """

    kinds: tuple[int, ...]
    numbers: tuple[tuple[int, ...], ...]
    parts: tuple[Bytes, ...]
    anchor: Callable[[], object]


OF_SUM = -1
"""In the place of an opcode: a mean or sum is a segment of its own."""
_Made = tuple[int, tuple[int, ...], tuple[Bytes, ...]]
"""Opcode, numbers and constants of one instruction."""


@dataclass(frozen=True, eq=False)
class _Weights:
    """Weights as the runtime reads them, and whose they are."""

    packed: Bytes
    anchor: Callable[[], object]


def _wrap(c: int, wide: bool) -> int:
    """c modulo 2**32 (or 2**64), as a signed number."""
    half = 1 << (63 if wide else 31)
    return (c + half) % (2 * half) - half


def _numbers(bound: BoundRescale, m0: int, m1: int = 0, za: int = 0, zb: int = 0) -> tuple[int, ...]:
    r = bound.rescale
    return r.shift, 0, m0, m1, r.lo, r.hi, za, zb, _wrap(bound.constant, r.wide)


def _per_lane(r: Rescale, step: int = 0) -> tuple[int, ...]:
    """Where multiplier and constant of every lane stand in the pool."""
    return r.shift, step, 0, 0, r.lo, r.hi, 0, 0, 0


def _padded(array: NDArray[Any]) -> Bytes:
    """The array's bytes, up to a multiple of 64."""
    data = np.ascontiguousarray(array).view(np.uint8).ravel()
    room = np.zeros(-(-data.size // bc.ALIGN) * bc.ALIGN, np.uint8)
    room[:data.size] = data
    return room


def _round(n: int, to: int) -> int:
    return -(-n // to) * to


class Operators:
    """Facts per operator, for one layout."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        # keyed by identity, so each entry says (weakly) whose identity it means; shared weights weigh nothing here
        self._facts: LruCache[int, Facts] = LruCache(32 << 20, lambda f: 2048 + sum(p.nbytes for p in f.parts[1:]))
        self._weights: LruCache[tuple[int, int], _Weights] = LruCache(32 << 20, lambda w: 1024 + w.packed.nbytes)

    def facts(self, node: Node, constants: Constants, formats: Mapping[str, QFormat]) -> Facts:
        """The facts of a node. Constants are bound to the formats of the sites around them, so they are the key."""
        known = self._facts.get(id(constants))
        if known is None or known.anchor() is not constants:
            bound = bind_instructions(constants, [formats[name] for name in node.inputs])
            made = [self._make(instruction) for instruction in bound]
            kinds, rows, parts = zip(*made, strict=True) if made else ((), (), ())
            known = self._facts.put(id(constants), Facts(kinds, rows, sum(parts, ()), ref(constants)))
        return known

    def _make(self, bound: BoundInstruction) -> _Made:
        match bound:
            case BoundTable():
                return self._table(bound.lookup)
            case BoundRows():
                return self._rows(bound.table)
            case BoundMatrix():
                return self._matrix(bound)
            case BoundDiagonal():
                return self._diagonal(bound)
            case BoundProduct():
                return bc.MULW if bound.rescale.wide else bc.MUL, _numbers(bound, bound.multiplier, 0, *bound.zeros), ()
            case BoundMean() | BoundTotal():
                return OF_SUM, _numbers(bound, bound.multiplier), ()
            case BoundNorm():
                g = bound.gain
                # `fill` knows what the buffer holds, and so the place that is left open
                row = (g.shift, 0, g.multiplier, bound.zero, g.lo - g.zero, g.hi - g.zero, 0, g.zero, g.epsilon)
                return bc.LAYER_NORM if bound.centred else bc.RMS_NORM, row, ()
            case BoundSum():
                narrow, wide = (bc.SCALE, bc.SCALEW) if len(bound.signs) == 1 else (bc.ADD, bc.ADDW)
                return wide if bound.rescale.wide else narrow, _numbers(bound, *bound.multipliers), ()
        raise NotLowered(f"the runtime has no instruction for {type(bound).__name__}")

    def _table(self, t: Lookup) -> _Made:
        if t.step == 0:
            # the runtime indexes by q as an unsigned byte; a shorter table repeats
            bits = len(t.entries).bit_length() - 1
            table = t.entries[(np.arange(256) - t.qmin) & (len(t.entries) - 1)]
            kind, width = (bc.LOOKUP8, np.int8) if t.entry_bits == 8 else (bc.LOOKUP16, np.int16)
            return kind, (0, bits, 0, 0, t.lo, t.hi, 0, 0, 0), (_padded(table.astype(width)),)
        row = (t.step + t.guard, t.step, 0, 0, t.lo, t.hi, t.qmin, 0, 0)
        knots = t.entries.astype("<i2").view(np.uint8)
        if self.layout.split:
            knots = np.concatenate((knots[0:-2:2], knots[1:-2:2], knots[-2:]))
        return bc.KNOTS, row, (_padded(knots),)

    def _rows(self, table: Ints) -> _Made:
        count, features = table.shape
        stride = _round(features, self.layout.lanes)
        room = np.zeros((count, stride), np.int16)
        room[:, :features] = table
        return bc.ROWS, (0, 0, stride, 0, 0, 0, 0, 0, 0), (_padded(room),)

    def _matrix(self, bound: BoundMatrix) -> _Made:
        x, bits, wide = bound.source, bound.weights.bits, bound.rescale.wide
        bytes_ = x.bits <= 8 and bits <= 8 and x.bits + max(bits, 2) <= self.layout.widths8
        W = bound.whole
        step = 0
        if bytes_:
            if bound.most * (x.qmax - x.qmin) >= bc.BOUND32:
                raise NotLowered("sums beyond 32 bits of bytes")
            kind = bc.LINEAR8W if wide else bc.LINEAR8
        elif bound.long:
            if not wide:
                raise NotLowered("sums beyond 32 bits in a narrow operator")
            kind, step = bc.LINEAR64W, _chunk(W)
        else:
            kind = bc.LINEAR16W if wide else bc.LINEAR16
        rows = _round(len(W), self.layout.lanes)
        mult = np.zeros(rows, np.int64)
        mult[:len(W)] = bound.multipliers
        cons = np.zeros(rows, np.int64)
        if bytes_:
            cons[:len(W)] = x.qmin * bound.row_sums  # the runtime's bytes are q - qmin
        if bound.offsets is not None:
            cons[:len(W)] += bound.offsets.values
        cons = cons * mult + bound.constant  # modulo 2**64; the low half is what narrow operators need
        weights = self._pack(W, 8 if bytes_ else 16)
        return kind, _per_lane(bound.rescale, step), (
            weights, _padded(mult.astype(np.int32)), _padded(cons if wide else cons.astype(np.int32)))

    def _diagonal(self, bound: BoundDiagonal) -> _Made:
        """Per lane: weight, multiplier, constant. Narrow sums hold modulo 2**32, so weight and multiplier are one."""
        v = bound.weights.values[:, 0]
        lanes = np.zeros((3, _round(len(v), self.layout.lanes)), np.int64)
        lanes[0, :len(v)], lanes[1, :len(v)] = v, bound.multipliers
        if bound.offsets is not None:
            lanes[2, :len(v)] = bound.offsets.values
        lanes[2] = lanes[2] * lanes[1] + bound.constant
        if bound.rescale.wide:
            weights, mult = lanes[:2].astype(np.int32)
            return bc.DIAGONALW, _per_lane(bound.rescale), (_padded(weights), _padded(mult), _padded(lanes[2]))
        factor = (lanes[0] * lanes[1]).astype(np.int32)
        return bc.DIAGONAL, _per_lane(bound.rescale), (
            _padded(factor), _padded(factor[:0]), _padded(lanes[2].astype(np.int32)))

    def _pack(self, W: Ints, form: int) -> Bytes:
        """Weights as [block][group][lane][4 bytes]."""
        known = self._weights.get((id(W), form))
        if known is None or known.anchor() is not W:
            lanes, group = self.layout.lanes, bc.GROUP[form]
            rows, columns = W.shape
            blocks, groups = -(-rows // lanes), -(-columns // group)
            room = np.zeros((blocks * lanes, groups * group), np.int8 if form == 8 else np.int16)
            room[:rows, :columns] = W
            tiled = room.reshape(blocks, lanes, groups, group).transpose(0, 2, 1, 3)
            known = self._weights.put((id(W), form), _Weights(_padded(tiled), ref(W)))
        return known.packed


def _chunk(W: Ints) -> int:
    """How many pairs of columns can be multiplied by any int16 and summed in 32 bits; a power of two, at least 1."""
    pairs = np.abs(np.pad(W, ((0, 0), (0, W.shape[1] % 2)))).reshape(len(W), -1, 2).sum(axis=2)
    count = 1
    while count < pairs.shape[1] and count < 1 << 14:
        sums = np.add.reduceat(pairs, np.arange(0, pairs.shape[1], 2 * count), axis=1)
        if int(sums.max()) << 15 >= bc.BOUND32:
            break
        count *= 2
    return count
