"""Bound instructions: what binding left of an operator, folded into as few integers as run time needs.

Zero-points of the operands go into the constant: y = clamp((sum_i q_i M_i + c') >> S), c' = c - sum_i z_i M_i. Since
|z_i| is at most the operand's reach, the bound that binding proved for c holds for c' and every partial sum.

An operator of a known form needs nothing here. A new form is a class and a line in `FORMS`, a kernel per engine, and an
emitter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import ref

import numpy as np

from bittailor.common.lru import LruCache
from bittailor.compile.device import DeviceCall, Unpack, unpack_of
from bittailor.compile.offsets import stored_offsets
from bittailor.compile.segments import NotLowered
from bittailor.core.arith import NARROW_BITS, Ints, Lookup, Rescale
from bittailor.core.ops.forms import (
    Affine,
    Averaged,
    Constants,
    Copied,
    Cropped,
    DiagonalProduct,
    GroupedProduct,
    Joined,
    Largest,
    MatrixProduct,
    Normalised,
    Packed,
    Product,
    Summed,
    TableRows,
    Tabulated,
    Windowed,
)
from bittailor.core.ops.grouped import spread
from bittailor.core.qformat import QFormat
from bittailor.core.rsqrt import Gain


class BoundInstruction(ABC):
    """The numbers of one instruction. Subclasses are the ways to compute."""

    @property
    @abstractmethod
    def device(self) -> DeviceCall:
        """What a device runs."""


@dataclass(frozen=True, eq=False)
class BoundRescale(BoundInstruction):
    """What ends in clamp((… + constant) >> S).

    rescale   shift, limits, word, multipliers
    constant  its offset less what the zero-points are worth
    """

    rescale: Rescale
    constant: int

    def _literals(self, *multipliers: int) -> tuple[int, ...]:
        return *multipliers, self.constant, self.rescale.lo, self.rescale.hi

    def _call(self, name: str, multipliers: tuple[int, ...], **more: Any) -> DeviceCall:
        """Of a rescaling by these multipliers."""
        r = self.rescale
        odd = r.lo != -1 - r.hi or r.hi & (r.hi + 1) != 0
        return DeviceCall(f"{name}_wide" if r.wide else name, self._literals(*multipliers), odd=odd, **more)


@dataclass(frozen=True, eq=False)
class BoundSum(BoundRescale):
    """sum_i signs_i q_i M_i, of one operand or two. `multipliers` are those with their signs."""

    signs: tuple[int, ...]
    multipliers: tuple[int, ...]

    @property
    def device(self) -> DeviceCall:
        name = "bt_rescale" if len(self.signs) == 1 else "bt_rescale2"
        return self._call(name, self.multipliers)


@dataclass(frozen=True, eq=False)
class BoundProduct(BoundRescale):
    """(q_0 - zeros_0) (q_1 - zeros_1) M."""

    multiplier: int
    zeros: tuple[int, int]

    @property
    def device(self) -> DeviceCall:
        return self._call("bt_rescale", (self.multiplier,), products=1, zeros=sum(zero != 0 for zero in self.zeros))


@dataclass(frozen=True, eq=False)
class BoundMean(BoundRescale):
    """floor((A M + T c) / (T 2**S)), A the sum of q - z over T steps."""

    multiplier: int

    @property
    def device(self) -> DeviceCall:
        return DeviceCall("bt_mean", self._literals(self.multiplier))


@dataclass(frozen=True, eq=False)
class BoundTotal(BoundRescale):
    """(A M + c) >> S, A the sum of q - z over an item's steps."""

    multiplier: int

    @property
    def device(self) -> DeviceCall:
        return DeviceCall("bt_rescale_wide", self._literals(self.multiplier))


@dataclass(frozen=True, eq=False)
class BoundWeighted(BoundRescale):
    """(a + offsets) M, a the product of weights and input, M the matrix's multiplier or the row's."""

    weights: Packed
    offsets: Packed | None

    @property
    def multipliers(self) -> Ints:
        """[1] or [rows]."""
        return self.rescale.multipliers[0]

    def _weighted(self, products: int, dot: tuple[str, int] | None, unpacks: tuple[Unpack, ...]) -> DeviceCall:
        per_row = self.multipliers.size > 1
        if self.offsets is not None:
            unpacks += (stored_offsets(self.offsets.values).unpack,)
        return self._call("bt_rescale", () if per_row else (int(self.multipliers[0]),), products=products, dot=dot,
                          unpacks=unpacks, per_row=per_row)


@dataclass(frozen=True, eq=False)
class BoundMatrix(BoundWeighted):
    """a = sum_k W[row, k] q_k.

    source    format of the q_k
    row_sums  sum_k W[row, k], [rows]
    most      the largest sum_k |W[row, k]|
    """

    source: QFormat
    row_sums: Ints
    most: int

    @property
    def whole(self) -> Ints:
        """The weights of every row and column."""
        return self.weights.values

    @property
    def long(self) -> bool:
        """Whether a may need more than 32 bits."""
        return self.most * max(-self.source.qmin, self.source.qmax) >= 1 << NARROW_BITS

    @property
    def device(self) -> DeviceCall:
        kernel = f"bt_dot{'l' if self.long else ''}{self.weights.bits}_x{8 if self.source.bits <= 8 else 16}"
        return self._weighted(1, (kernel, self.weights.values.shape[1]), ())


@dataclass(frozen=True, eq=False)
class BoundGrouped(BoundMatrix):
    """The same with the columns of the row's group only."""

    groups: int

    @property
    def whole(self) -> Ints:
        return np.asarray(spread(self.weights.values, self.groups))


@dataclass(frozen=True, eq=False)
class BoundDiagonal(BoundWeighted):
    """a = W[row] q_row. A weight of one bit turns the sign."""

    @property
    def device(self) -> DeviceCall:
        if self.weights.bits == 1:
            return self._weighted(0, None, ())
        return self._weighted(1, None, (unpack_of(self.weights.values, self.weights.bits),))


@dataclass(frozen=True, eq=False)
class BoundRows(BoundWeighted):
    """W[x, row], x an index; `table` is what comes out for every x."""

    table: Ints

    @property
    def device(self) -> DeviceCall:
        return self._weighted(1, None, (unpack_of(self.weights.values, self.weights.bits),))


@dataclass(frozen=True, eq=False)
class BoundTable(BoundInstruction):
    """An entry of a table, or what lies between two of its knots."""

    lookup: Lookup

    @property
    def device(self) -> DeviceCall:
        t = self.lookup
        if t.step:
            return DeviceCall("bt_knots", (t.qmin, t.lo, t.hi))
        return DeviceCall(f"bt_lookup{t.entry_bits}", (t.qmin,))


@dataclass(frozen=True, eq=False)
class BoundNorm(BoundInstruction):
    """A value over the root of the variance, or of the mean square, of its vector.

    zero, bits  zero-point and width of the vector
    """

    gain: Gain
    centred: bool
    zero: int
    bits: int

    @property
    def device(self) -> DeviceCall:
        g = self.gain
        before = f"bt_{'layer' if self.centred else 'rms'}_norm{8 if self.bits <= 8 else 16}"
        return DeviceCall("bt_normalised", (g.lo, g.hi, g.zero), before=before)


def window_function(window: Windowed, source: QFormat) -> str:
    """What a device calls for a window: of a ring of past frames, or of a whole sequence where it looks ahead."""
    return f"bt_window{'_at' if window.ahead else ''}{8 if source.bits <= 8 else 16}"


def bind_instructions(constants: Constants, inputs: Sequence[QFormat]) -> tuple[BoundInstruction, ...]:
    """The bound instructions of an operator, one for each of its instructions; none for what is only a place.

    Raises NotLowered for what instructions have no form for.
    """
    bind = FORMS.get(type(constants))
    if bind is None:
        raise NotLowered(f"there is no compiled form of {type(constants).__name__}")
    return bind(constants, inputs)


def _scalars(r: Rescale) -> tuple[int, ...]:
    if max(map(len, r.multipliers)) > 1:
        raise NotLowered("there is no compiled form of element-wise operators with a multiplier per row")
    return tuple([int(m[0]) for m in r.multipliers])


def _sum(r: Rescale, signs: tuple[int, ...], inputs: Sequence[QFormat]) -> BoundSum:
    if len(signs) > 2:
        raise NotLowered(f"there is no compiled form of sums of {len(signs)} operands")
    signed = tuple([s * m for s, m in zip(signs, _scalars(r), strict=True)])
    zeros = sum([f.zero_point * m for f, m in zip(inputs, signed, strict=True)])
    return BoundSum(r, r.offset - zeros, signs, signed)


def _affine(form: Affine, inputs: Sequence[QFormat]) -> tuple[BoundInstruction, ...]:
    return (_sum(form.rescale, form.signs, inputs),)


def _joined(form: Joined, inputs: Sequence[QFormat]) -> tuple[BoundInstruction, ...]:
    return tuple(_sum(r, (1,), (f,)) for r, f in zip(form.rescales, inputs, strict=True))


def _product(form: Product, inputs: Sequence[QFormat]) -> tuple[BoundInstruction, ...]:
    (multiplier,), (a, b) = _scalars(form.rescale), inputs
    return (BoundProduct(form.rescale, form.rescale.offset, multiplier, (a.zero_point, b.zero_point)),)


def _averaged(form: Averaged, inputs: Sequence[QFormat]) -> tuple[BoundInstruction, ...]:
    (multiplier,) = _scalars(form.rescale)
    return (BoundMean(form.rescale, form.rescale.offset, multiplier),)


def _summed(form: Summed, inputs: Sequence[QFormat]) -> tuple[BoundInstruction, ...]:
    (multiplier,) = _scalars(form.rescale)
    return (BoundTotal(form.rescale, form.rescale.offset, multiplier),)


def _matrix(form: MatrixProduct, inputs: Sequence[QFormat]) -> tuple[BoundInstruction, ...]:
    sums = _sums_of(form.W.values)
    return (BoundMatrix(form.rescale, form.rescale.offset, form.W, form.offsets, inputs[0], sums.rows, sums.most),)


def _grouped(form: GroupedProduct, inputs: Sequence[QFormat]) -> tuple[BoundInstruction, ...]:
    sums = _sums_of(form.W.values)
    return (BoundGrouped(form.rescale, form.rescale.offset, form.W, form.offsets, inputs[0], sums.rows, sums.most,
                         form.groups),)


def _diagonal(form: DiagonalProduct, inputs: Sequence[QFormat]) -> tuple[BoundInstruction, ...]:
    return (BoundDiagonal(form.rescale, form.rescale.offset, form.W, form.offsets),)


FORMS: Mapping[type[Constants], Callable[[Any, Sequence[QFormat]], tuple[BoundInstruction, ...]]] = {
    Affine: _affine,
    Product: _product,
    MatrixProduct: _matrix,
    GroupedProduct: _grouped,
    DiagonalProduct: _diagonal,
    TableRows: lambda form, inputs: (BoundRows(form.rescale, form.rescale.offset, form.W, None, form.table),),
    Tabulated: lambda form, inputs: (BoundTable(form.lookup),),
    Joined: _joined,
    Averaged: _averaged,
    Normalised: lambda form, x: (BoundNorm(form.gain, form.centred, x[0].zero_point, x[0].bits),),
    Summed: _summed,
    Largest: lambda form, inputs: (),
    Copied: lambda form, inputs: (),
    Windowed: lambda form, inputs: (),
    Cropped: lambda form, inputs: (),
}
"""How an operator's form is bound."""


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of a matrix: the sum of every row, the largest sum of magnitudes; and whose they are."""

    rows: Ints
    most: int
    anchor: Callable[[], object]


_SUMS: LruCache[int, _Sums] = LruCache(1 << 12)


def _sums_of(W: Ints) -> _Sums:
    """Remembered: a search binds the same weights to many formats."""
    known = _SUMS.get(id(W))
    if known is None or known.anchor() is not W:
        known = _SUMS.put(id(W), _Sums(W.sum(axis=1), int(np.abs(W).sum(axis=1).max()), ref(W)))
    return known
