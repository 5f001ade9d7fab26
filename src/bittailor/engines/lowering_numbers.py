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
from bittailor.compile.segments import NotLowered
from bittailor.core.arith import Ints, Lookup, Rescale
from bittailor.core.graph import Node
from bittailor.core.ops import Constants
from bittailor.core.ops.forms import (
    Affine,
    Averaged,
    Copied,
    DiagonalProduct,
    Joined,
    MatrixProduct,
    Product,
    Tabulated,
)
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


_NOTHING = Facts((), (), (), lambda: None)
_Made = tuple[tuple[int, ...], tuple[tuple[int, ...], ...], tuple[Bytes, ...]]


@dataclass(frozen=True, eq=False)
class _Weights:
    """Weights as the runtime reads them, the sum of every row, the largest sum of magnitudes, and whose they are."""

    packed: Bytes
    sums: Ints
    most: int
    anchor: Callable[[], object]


def _wrap(c: int, wide: bool) -> int:
    """c modulo 2**32 (or 2**64), as a signed number."""
    half = 1 << (63 if wide else 31)
    return (c + half) % (2 * half) - half


def _numbers(r: Rescale, m0: int, m1: int, c: int, za: int = 0, zb: int = 0) -> tuple[int, ...]:
    return (r.shift, 0, m0, m1, r.lo, r.hi, za, zb, _wrap(c, r.wide))


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
        if isinstance(constants, Copied):
            return _NOTHING
        known = self._facts.get(id(constants))
        if known is None or known.anchor() is not constants:
            inputs = [formats[name] for name in node.inputs]
            kinds, numbers, parts = self._make(node, constants, inputs)
            known = self._facts.put(id(constants), Facts(kinds, numbers, parts, ref(constants)))
        return known

    def _make(self, node: Node, constants: Constants, inputs: list[QFormat]) -> _Made:
        if isinstance(constants, Tabulated):
            return self._lookup(constants.lookup)
        if isinstance(constants, Joined):
            rows = [_unary(r, f) for r, f in zip(constants.rescales, inputs, strict=True)]
            return tuple(kind for kind, _ in rows), tuple(row for _, row in rows), ()
        if isinstance(constants, MatrixProduct):
            return self._linear(constants, inputs[0])
        if isinstance(constants, DiagonalProduct):
            return self._diagonal(constants)
        if not isinstance(constants, Affine | Product | Averaged):
            raise NotLowered(f"operator {node.op} of {node.output}")
        r = constants.rescale
        if any(m.size != 1 for m in r.multipliers):
            raise NotLowered(f"per-row multipliers in {node.op}")
        m = [int(x[0]) for x in r.multipliers]
        z = [f.zero_point for f in inputs]
        if isinstance(constants, Product):
            row = _numbers(r, m[0], 0, r.offset, z[0], z[1])
            return (bc.MULW if r.wide else bc.MUL,), (row,), ()
        if isinstance(constants, Averaged):
            return (-1,), (_numbers(r, m[0], 0, r.offset),), ()
        m = [s * x for s, x in zip(constants.signs, m, strict=True)]
        if len(m) > 2:
            raise NotLowered(f"a sum of {len(m)} operands in {node.op}")
        row = _numbers(r, m[0], m[1] if len(m) == 2 else 0,
                       r.offset - sum(a * b for a, b in zip(z, m, strict=True)))
        narrow, wide = (bc.ADD, bc.ADDW) if len(m) == 2 else (bc.SCALE, bc.SCALEW)
        return (wide if r.wide else narrow,), (row,), ()

    def _lookup(self, t: Lookup) -> _Made:
        if t.step == 0:
            # the runtime indexes by q as an unsigned byte; a shorter table repeats
            bits = len(t.entries).bit_length() - 1
            table = t.entries[(np.arange(256) - t.qmin) & (len(t.entries) - 1)].astype(np.int16)
            small = t.lo >= -128 and t.hi <= 127
            row = (0, bits, 0, 0, t.lo, t.hi, 0, 0, 0)
            part = _padded(table.astype(np.int8) if small else table)
            return (bc.LOOKUP8 if small else bc.LOOKUP16,), (row,), (part,)
        row = (t.step + t.guard, t.step, 0, 0, t.lo, t.hi, t.qmin, 0, 0)
        knots = t.entries.astype("<i2").view(np.uint8)
        if self.layout.split:
            knots = np.concatenate((knots[0:-2:2], knots[1:-2:2], knots[-2:]))
        return (bc.KNOTS,), (row,), (_padded(knots),)

    def _linear(self, constants: MatrixProduct, x: QFormat) -> _Made:
        packed, r = constants.W, constants.rescale
        W = packed.values
        bytes_ = (x.bits <= 8 and packed.bits <= 8 and x.bits + max(packed.bits, 2) <= self.layout.widths8)
        weights = self._pack(W, 8 if bytes_ else 16)
        step = 0
        bias = x.qmin if bytes_ else 0
        reach = x.qmax - x.qmin if bytes_ else max(-x.qmin, x.qmax)
        if weights.most * reach >= bc.BOUND32:
            if bytes_ or not r.wide:
                raise NotLowered("sums beyond 32 bits of bytes")
            kind, step = bc.LINEAR64W, _chunk(W)
        elif bytes_:
            kind = bc.LINEAR8W if r.wide else bc.LINEAR8
        else:
            kind = bc.LINEAR16W if r.wide else bc.LINEAR16
        rows = _round(len(W), self.layout.lanes)
        mult = np.zeros(rows, np.int64)
        mult[:len(W)] = r.multipliers[0]
        cons = np.zeros(rows, np.int64)
        if bias:
            cons[:len(W)] = bias * weights.sums
        if constants.offsets is not None:
            cons[:len(W)] += constants.offsets.values
        cons = cons * mult + r.offset  # modulo 2**64; the low half is what narrow operators need
        narrow = cons.astype(np.int32) if not r.wide else cons
        row = (r.shift, step, 0, 0, r.lo, r.hi, 0, 0, 0)
        return (kind,), (row,), (weights.packed, _padded(mult.astype(np.int32)), _padded(narrow))

    def _diagonal(self, constants: DiagonalProduct) -> _Made:
        """Per lane: weight, multiplier, constant. Narrow sums hold modulo 2**32, so weight and multiplier are one."""
        v, r = constants.W.values[:, 0], constants.rescale
        rows = _round(len(v), self.layout.lanes)
        lanes = np.zeros((3, rows), np.int64)
        lanes[0, :len(v)], lanes[1, :len(v)] = v, r.multipliers[0]
        if constants.offsets is not None:
            lanes[2, :len(v)] = constants.offsets.values
        lanes[2] = lanes[2] * lanes[1] + r.offset
        row = (r.shift, 0, 0, 0, r.lo, r.hi, 0, 0, 0)
        if r.wide:
            weights, mult = lanes[:2].astype(np.int32)
            return (bc.DIAGONALW,), (row,), (_padded(weights), _padded(mult), _padded(lanes[2]))
        factor = (lanes[0] * lanes[1]).astype(np.int32)
        return (bc.DIAGONAL,), (row,), (_padded(factor), _padded(factor[:0]), _padded(lanes[2].astype(np.int32)))

    def _pack(self, W: Ints, form: int) -> _Weights:
        """Weights as [block][group][lane][4 bytes]."""
        known = self._weights.get((id(W), form))
        if known is None or known.anchor() is not W:
            lanes, group = self.layout.lanes, bc.GROUP[form]
            rows, columns = W.shape
            blocks, groups = -(-rows // lanes), -(-columns // group)
            room = np.zeros((blocks * lanes, groups * group), np.int8 if form == 8 else np.int16)
            room[:rows, :columns] = W
            tiled = room.reshape(blocks, lanes, groups, group).transpose(0, 2, 1, 3)
            most = int(np.abs(W).sum(axis=1).max())
            known = self._weights.put((id(W), form), _Weights(_padded(tiled), W.sum(axis=1), most, ref(W)))
        return known


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


def _unary(r: Rescale, x: QFormat) -> tuple[int, tuple[int, ...]]:
    """requantise, relu and the parts of a concat: one operand, less its zero-point."""
    m = int(r.multipliers[0][0])
    return bc.SCALEW if r.wide else bc.SCALE, _numbers(r, m, 0, r.offset - x.zero_point * m)


