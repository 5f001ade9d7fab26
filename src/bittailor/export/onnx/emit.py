"""Forms as ONNX nodes: what each operator's bound integers become. A new form is one function, one line.

Sites are int32 tensors [..., features]. A sum that fits 32 bits is computed in int32, a wide one in int64. Products of
matrices run in float32 or float64, where every partial sum is a whole number that the type holds exactly: the bound is
worked out from the weights themselves, so any order of summation gives the same integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bittailor.core.arith import Lookup, Rescale, pack
from bittailor.core.ops.forms import (
    Accumulated,
    Affine,
    Constants,
    DiagonalProduct,
    GroupedProduct,
    Joined,
    MatrixProduct,
    Normalised,
    Packed,
    Product,
    TableRows,
    Tabulated,
    Weighted,
)
from bittailor.core.qformat import QFormat
from bittailor.core.rsqrt import DROPPED_BITS, POWER_BITS, ROOT_BITS, Gain
from bittailor.export.onnx.writer import ELEMENTS, Writer

EXACT = (("float32", 1 << 24), ("float64", 1 << 53), ("int64", 1 << 62))
"""Types of products: whole numbers below the bound are exact in them."""


@dataclass(frozen=True)
class Operands:
    """Where an operator's inputs are: their values, formats and numbers of features."""

    values: tuple[str, ...]
    formats: tuple[QFormat, ...]
    features: tuple[int, ...] = ()

    def centred(self, w: Writer, at: int) -> str:
        """q - zero_point."""
        zero = self.formats[at].zero_point
        return self.values[at] if zero == 0 else w.once("Sub", self.values[at], w.number(zero))


def floor_shifted(w: Writer, total: str, shift: int, lo: int, hi: int, wide: bool) -> str:
    """clamp(total >> shift, lo, hi) as int32. Only unsigned integers can be shifted, so the sign bit is turned, which
    adds 2**31 (2**63) before the shift, and what that became is taken off behind it."""
    bits = 64 if wide else 32
    signed, unsigned = f"int{bits}", f"uint{bits}"
    if shift:
        total = w.op("BitwiseXor", w.op("Cast", total, to=ELEMENTS[unsigned]), w.number(1 << (bits - 1), unsigned))
        total = w.op("BitShift", total, w.number(shift, unsigned), direction="RIGHT")
        total = w.op("Cast", total, to=ELEMENTS[signed])
    turned = 1 << (bits - 1 - shift) if shift else 0
    total = w.op("Clip", total, w.number(lo + turned, signed), w.number(hi + turned, signed))
    if turned:
        total = w.op("Sub", total, w.number(turned, signed))
    return w.op("Cast", total, to=ELEMENTS["int32"]) if wide else total


def rescaled(w: Writer, r: Rescale, operands: Sequence[str], signs: Sequence[int]) -> str:
    """clamp((sum_i s_i u_i M_i + c) >> S); operands are int64 where the rescaling is wide, otherwise int32."""
    kind, total = "int64" if r.wide else "int32", ""
    for i, (u, m, sign) in enumerate(zip(operands, r.multipliers, signs, strict=True)):
        factor = w.number(sign * int(m[0]), kind) if m.size == 1 else w.array(f"M{i}", (sign * m).astype(kind))
        product = w.op("Mul", u, factor)
        total = w.op("Add", total, product) if total else product
    if r.offset:
        total = w.op("Add", total, w.number(r.offset, kind))
    return floor_shifted(w, total, r.shift, r.lo, r.hi, r.wide)


def _wide(w: Writer, value: str, r: Rescale) -> str:
    return w.cast(value, "int64") if r.wide else value


def _affine(w: Writer, c: Affine, x: Operands) -> str:
    values = [_wide(w, x.centred(w, i), c.rescale) for i in range(len(x.values))]
    return rescaled(w, c.rescale, values, c.signs)


def _product(w: Writer, c: Product, x: Operands) -> str:
    a, b = (_wide(w, x.centred(w, i), c.rescale) for i in range(2))
    return rescaled(w, c.rescale, [w.op("Mul", a, b)], (1,))


def _joined(w: Writer, c: Joined, x: Operands) -> str:
    parts = [rescaled(w, r, [_wide(w, x.centred(w, i), r)], (1,)) for i, r in enumerate(c.rescales)]
    return w.op("Concat", *parts, axis=-1)


def _matrix(w: Writer, c: MatrixProduct | GroupedProduct, x: Operands) -> str:
    most = int(np.abs(c.W.values).sum(axis=1).max()) * max(-x.formats[0].qmin, x.formats[0].qmax)
    kind = next(kind for kind, bound in EXACT if most < bound)
    weights = unpacked(w.root, c.W, kind)
    if isinstance(c, GroupedProduct):
        weights = _spread(w.root, weights, c, kind)
    weights = w.root.op("Transpose", weights, perm=[1, 0])
    return _weighted(w, c, w.op("MatMul", w.cast(x.values[0], kind), weights))


def _spread(w: Writer, weights: str, c: GroupedProduct, kind: str) -> str:
    """The weights of groups as a whole matrix, zero outside; all of it is constant, and folded when loaded."""
    rows, columns = c.W.values.shape
    of_row = w.array("W.rows", (np.arange(rows) // (rows // c.groups))[:, None].astype("int32"))
    of_column = w.array("W.columns", (np.arange(columns * c.groups) // columns)[None].astype("int32"))
    whole = w.op("Tile", weights, w.numbers([1, c.groups]))
    return w.op("Where", w.op("Equal", of_row, of_column), whole, w.number(0, kind))


def _diagonal(w: Writer, c: DiagonalProduct, x: Operands) -> str:
    kind = "int64" if c.rescale.wide else "int32"
    weights = w.root.op("Reshape", unpacked(w.root, c.W, kind), w.numbers([-1]))
    return _weighted(w, c, w.op("Mul", w.cast(x.values[0], kind), weights))


def _rows(w: Writer, c: TableRows, x: Operands) -> str:
    """The table as it comes out is constant, and folded when loaded."""
    r, home = c.rescale, w.root
    per_row = replace(r, multipliers=tuple(m[:, None] if m.size > 1 else m for m in r.multipliers))
    table = rescaled(home, per_row, [unpacked(home, c.W, "int64" if r.wide else "int32")], (1,))
    return w.op("Squeeze", w.op("Gather", table, x.values[0]), w.numbers([-2]))


def _weighted(w: Writer, c: Weighted, product: str) -> str:
    kind = "int64" if c.rescale.wide else "int32"
    total = w.op("Cast", product, to=ELEMENTS[kind])
    if c.offsets is not None:
        total = w.op("Add", total, w.array("offsets", c.offsets.values.astype(kind)))
    return rescaled(w, c.rescale, [total], (1,))


def unpacked(w: Writer, packed: Packed, kind: str) -> str:
    """Weights [rows, columns] from the bytes that the device stores; all of it is constant, and folded when loaded."""
    rows, columns = packed.values.shape
    if packed.bits in (8, 16):
        return w.op("Cast", w.array("W", packed.values.astype(f"int{packed.bits}")), to=ELEMENTS[kind])
    data = w.array("W", pack(packed.values, packed.bits)[:, None])
    bits = w.op("BitShift", data, w.numbers(range(8), "uint8"), direction="RIGHT")
    bits = w.op("BitwiseAnd", bits, w.number(1, "uint8"))
    bits = w.op("Reshape", bits, w.numbers([-1]))
    bits = w.op("Slice", bits, w.numbers([0]), w.numbers([rows * columns * packed.bits]))
    bits = w.op("Reshape", bits, w.numbers([rows, columns, packed.bits]))
    bits = w.op("Cast", bits, to=ELEMENTS["float32"])
    values = [1 << i for i in range(packed.bits)]
    if packed.bits == 1:
        q = w.op("Sub", w.op("Mul", bits, w.number(2, "float32")), w.number(1, "float32"))
        q = w.op("Reshape", q, w.numbers([rows, columns]))
    else:
        q = w.op("MatMul", bits, w.numbers([*values[:-1], -values[-1]], "float32"))
    return q if kind == "float32" else w.op("Cast", q, to=ELEMENTS[kind])


def _table(w: Writer, c: Tabulated, x: Operands) -> str:
    t = c.lookup
    entries = w.root.op("Cast", w.array("table", t.entries.astype(f"int{t.entry_bits}")), to=ELEMENTS["int32"])
    at = w.once("Sub", x.values[0], w.number(t.qmin))
    return w.op("Gather", entries, at) if t.step == 0 else _between_knots(w, t, entries, at)


def _between_knots(w: Writer, t: Lookup, knots: str, at: str) -> str:
    """K[i] 2**step + (K[i+1] - K[i]) k + half, shifted; what does not depend on the data is folded when loaded."""
    count, shift = t.entries.size - 1, t.step + t.guard
    home = w.root
    first = home.op("Slice", knots, w.numbers([0]), w.numbers([count]))
    second = home.op("Slice", knots, w.numbers([1]), w.numbers([count + 1]))
    base = home.op("Add", home.op("Mul", first, w.number(1 << t.step)), w.number(1 << (shift - 1)))
    slope = home.op("Sub", second, first)
    i = w.op("BitShift", w.cast(at, "uint32"), w.number(t.step, "uint32"), direction="RIGHT")
    i = w.op("Cast", i, to=ELEMENTS["int32"])
    k = w.op("BitwiseAnd", at, w.number((1 << t.step) - 1))
    total = w.op("Add", w.op("Gather", base, i), w.op("Mul", w.op("Gather", slope, i), k))
    return floor_shifted(w, total, shift, t.lo, t.hi, False)


def _normalised(w: Writer, c: Normalised, x: Operands) -> str:
    g, count = c.gain, x.features[0]
    u = w.cast(x.centred(w, 0), "int64")
    axis = w.numbers([-1])
    power = w.op("ReduceSum", w.op("Mul", u, u), axis, keepdims=1)
    d = u
    if c.centred:
        n, total = w.number(count, "int64"), w.op("ReduceSum", u, axis, keepdims=1)
        d = w.op("Sub", w.op("Mul", u, n), total)
        power = w.op("Sub", w.op("Mul", power, n), w.op("Mul", total, total))
    multiplier, place = _gain(w, g, w.op("Max", w.op("Add", power, w.number(g.epsilon, "int64")), w.number(1, "int64")))
    half = w.op("Div", place, w.number(2, "int64"))
    up = w.op("Add", w.op("Mul", d, multiplier), half)
    # Div cuts towards zero, so the remainder, which has the sign of the divisor, goes first
    y = w.op("Div", w.op("Sub", up, w.op("Mod", up, place)), place)
    y = w.op("Clip", y, w.number(g.lo - g.zero, "int64"), w.number(g.hi - g.zero, "int64"))
    return w.op("Cast", w.op("Add", y, w.number(g.zero, "int64")), to=ELEMENTS["int32"])


def _gain(w: Writer, g: Gain, power: str) -> tuple[str, str]:
    """(P, 2**T) of N, int64."""
    one, place = w.number(1, "int64"), w.number(1 << (g.shift + DROPPED_BITS), "int64")
    for digits in (16, 8, 4, 2, 1):
        low = w.op("Less", power, w.number(1 << (POWER_BITS - 2 * digits), "int64"))
        power = w.op("Mul", power, w.op("Where", low, w.number(1 << 2 * digits, "int64"), one))
        place = w.op("Div", place, w.op("Where", low, w.number(1 << digits, "int64"), one))
    root = w.op("Cast", w.op("Sqrt", w.op("Cast", power, to=ELEMENTS["float64"])), to=ELEMENTS["int64"])
    over = w.op("Cast", w.op("Greater", w.op("Mul", root, root), power), to=ELEMENTS["int64"])
    root = w.op("Sub", root, over)
    more = w.op("Add", root, one)
    under = w.op("Cast", w.op("LessOrEqual", w.op("Mul", more, more), power), to=ELEMENTS["int64"])
    root = w.op("Add", root, under)
    inverse = w.op("Div", w.number(1 << ROOT_BITS, "int64"), root)
    product = w.op("Mul", inverse, w.number(g.multiplier, "int64"))
    return w.op("Div", product, w.number(1 << DROPPED_BITS, "int64")), place


def averaged(w: Writer, c: Accumulated, total: str, steps: str) -> str:
    """The mean from the sums [items, features] of so many steps [items, 1], both int64. Div cuts towards zero, so the
    remainder, which has the sign of the divisor, goes first."""
    r = c.rescale
    up = w.op("Add", w.op("Mul", total, w.number(int(r.multipliers[0][0]), "int64")),
              w.op("Mul", steps, w.number(r.offset, "int64")))
    down = w.op("Mul", steps, w.number(1 << r.shift, "int64"))
    found = w.op("Div", w.op("Sub", up, w.op("Mod", up, down)), down)
    return w.op("Cast", w.op("Clip", found, w.number(r.lo, "int64"), w.number(r.hi, "int64")), to=ELEMENTS["int32"])


Emit = Callable[[Writer, Any, Operands], str]

EMITTERS: Mapping[type[Constants], Emit] = {
    Affine: _affine,
    Product: _product,
    MatrixProduct: _matrix,
    GroupedProduct: _matrix,
    DiagonalProduct: _diagonal,
    TableRows: _rows,
    Tabulated: _table,
    Joined: _joined,
    Normalised: _normalised,
}
"""How an operator's form is written. Forms over time depend on how the steps come: `layout`."""
