"""Bound instructions as C: each an expression on the `int32_t` values of one feature.

An operator of a known form needs nothing here; a new form is one function, one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bittailor.compile.bound import (
    BoundDiagonal,
    BoundGrouped,
    BoundMatrix,
    BoundMean,
    BoundNorm,
    BoundProduct,
    BoundRows,
    BoundSum,
    BoundTable,
    BoundTotal,
    BoundWeighted,
)
from bittailor.compile.segments import Instruction
from bittailor.core.ops import OPS
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
    Product,
    Summed,
    TableRows,
    Tabulated,
    Windowed,
)


class Scope(Protocol):
    """What an instruction may ask for while its line is written."""

    def counted(self, site: str) -> str:
        """The number of steps that a sum or mean runs over."""

    def value(self, site: str) -> str:
        """The site's value of this feature, int32_t."""

    def vector(self, site: str) -> str:
        """The site as a whole, an array."""

    def block(self, ins: Instruction) -> str:
        """This row's sum in a matrix that lies in blocks of rows; empty if it does not."""

    def rom(self, owner: str, item: str) -> str:
        """A constant array."""

    def sum(self, site: str) -> str:
        """What has been added up of this feature."""

    def norm(self, site: str) -> str:
        """What the features of a normalised vector share."""


@dataclass(frozen=True)
class Line:
    """An expression: `call(operand, numbers…)`."""

    operand: str
    call: str
    numbers: tuple[str, ...]

    def text(self, indent: str, target: str, width: int) -> str:
        """The C line; broken where it is too long."""
        numbers = ", ".join(self.numbers)
        line = f"{indent}const int32_t {target} = {self.call}({self.operand}, {numbers});\n"
        if len(line) <= width:
            return line
        deep = indent + "    "
        operand = self.operand
        if len(deep) + len(operand) > width:
            operand = operand.replace(" + ", f"\n{deep}    + ", 1)
        return f"{indent}const int32_t {target} = {self.call}(\n{deep}{operand},\n{deep}{numbers});\n"


Emit = Callable[[Scope, Instruction, Any], Line]


def number(n: int) -> str:
    """An integer literal.

    >>> number(-5), number(1 << 40)
    ('-5', 'INT64_C(1099511627776)')
    """
    return str(n) if -(1 << 31) < n < 1 << 31 else f"INT64_C({n})"


def centred(value: str, zero_point: int) -> str:
    """value - zero_point.

    >>> centred("q", 3), centred("q", -3), centred("q", 0)
    ('q - 3', 'q + 3', 'q')
    """
    return value if zero_point == 0 else f"{value} {'-' if zero_point > 0 else '+'} {abs(zero_point)}"


def _numbers(bound: BoundSum | BoundProduct | BoundWeighted | BoundMean | BoundTotal, *first: str) -> tuple[str, ...]:
    """The arguments of a rescaling after its operand."""
    r = bound.rescale
    return *first, number(bound.constant), f"{r.shift}u", number(r.lo), number(r.hi)


def _sum(s: Scope, ins: Instruction, bound: BoundSum) -> Line:
    values = [s.value(name) for name in ins.lanes]
    call = bound.device.function
    if len(values) == 1:
        operand = values[0] if bound.signs[0] > 0 else f"-{values[0]}"
        return Line(operand, call, _numbers(bound, number(abs(bound.multipliers[0]))))
    m0, m1 = map(number, bound.multipliers)
    return Line(values[0], call, _numbers(bound, m0, values[1], m1))


def _product(s: Scope, ins: Instruction, bound: BoundProduct) -> Line:
    values = [centred(s.value(name), zero) for name, zero in zip(ins.lanes, bound.zeros, strict=True)]
    operand = " * ".join(f"({value})" if " " in value else value for value in values)
    return Line(operand, bound.device.function, _numbers(bound, number(bound.multiplier)))


def _weighted(s: Scope, ins: Instruction, bound: BoundWeighted, product: str) -> Line:
    """A product plus the row's offset, rescaled with the row's multiplier or the matrix's."""
    device = bound.device
    if bound.offsets is not None:
        product += f" + {device.unpacks[-1].text(s.rom(ins.output, 'offsets'), 'i')}"
    multiplier = f"{s.rom(ins.output, 'multipliers')}[i]" if device.per_row else number(int(bound.multipliers[0]))
    return Line(product, device.function, _numbers(bound, multiplier))


def single_row(bound: BoundMatrix, w: str, row: str, x: str) -> str:
    """The sum of one row of a matrix that lies as `bits`, by its number."""
    assert bound.device.dot is not None
    dot, columns = bound.device.dot
    return f"{dot}({w}, {row} * {columns}u, {x}, {columns}u)"


def _matrix(s: Scope, ins: Instruction, bound: BoundMatrix) -> Line:
    assert ins.whole is not None
    product = s.block(ins) or single_row(bound, s.rom(ins.output, "weights"), "i", s.vector(ins.whole))
    return _weighted(s, ins, bound, f"(int64_t){product}" if bound.rescale.wide and not bound.long else product)


def _grouped(s: Scope, ins: Instruction, bound: BoundGrouped) -> Line:
    assert ins.whole is not None
    assert bound.device.dot is not None
    dot, columns = bound.device.dot
    vector = f"{s.vector(ins.whole)} + i / {ins.features // bound.groups}u * {columns}u"
    product = f"{dot}({s.rom(ins.output, 'weights')}, i * {columns}u, {vector}, {columns}u)"
    return _weighted(s, ins, bound, f"(int64_t){product}" if bound.rescale.wide and not bound.long else product)


def _diagonal(s: Scope, ins: Instruction, bound: BoundDiagonal) -> Line:
    w, x, bits = s.rom(ins.output, "weights"), s.value(ins.lanes[0]), bound.weights.bits
    if bits == 1:
        product = f"(((unsigned){w}[i >> 3] >> (i & 7u)) & 1u ? {x} : -{x})"
    else:
        product = f"{bound.device.unpacks[0].text(w, 'i')} * {x}"
    return _weighted(s, ins, bound, f"(int64_t){product}" if bound.rescale.wide else product)


def _rows(s: Scope, ins: Instruction, bound: BoundRows) -> Line:
    assert ins.whole is not None
    row = f"(size_t)bt_clamp({s.vector(ins.whole)}[0], 0, {len(bound.table) - 1})"
    value = bound.device.unpacks[0].text(s.rom(ins.output, "weights"), f"{row} * {ins.features}u + i")
    wide = "(int64_t)" if bound.rescale.wide else ""
    per_row = bound.device.per_row
    multiplier = f"{s.rom(ins.output, 'multipliers')}[{row}]" if per_row else number(int(bound.multipliers[0]))
    return Line(f"{wide}{value}", bound.device.function, _numbers(bound, multiplier))


def _mean(s: Scope, ins: Instruction, bound: BoundMean) -> Line:
    numbers = _numbers(bound, number(bound.multiplier))
    return Line(s.sum(ins.output), bound.device.function, (s.counted(ins.output), *numbers))


def _total(s: Scope, ins: Instruction, bound: BoundTotal) -> Line:
    return Line(s.sum(ins.output), bound.device.function, _numbers(bound, number(bound.multiplier)))


def _table(s: Scope, ins: Instruction, bound: BoundTable) -> Line:
    t, table, x = bound.lookup, s.rom(ins.output, "tables"), s.value(ins.lanes[0])
    numbers = (f"{t.step}u", f"{t.guard}u", number(t.lo), number(t.hi)) if t.step else ()
    return Line(table, bound.device.function, (x, number(t.qmin), *numbers))


def _normalised(s: Scope, ins: Instruction, bound: BoundNorm) -> Line:
    numbers = (f"&{s.norm(ins.output)}", *map(number, bound.device.literals))
    return Line(centred(s.value(ins.lanes[0]), bound.zero), bound.device.function, numbers)


def norm_of(vector: str, features: int, bound: BoundNorm) -> str:
    """The call that looks at a vector before its features are normalised."""
    g = bound.gain
    numbers = (f"{features}u", number(bound.zero), number(g.multiplier), f"{g.shift}u", number(g.epsilon))
    return f"{bound.device.before}({vector}, {', '.join(numbers)})"


EMITTERS: Mapping[type[Constants], Emit] = {
    Affine: _sum,
    Product: _product,
    MatrixProduct: _matrix,
    GroupedProduct: _grouped,
    DiagonalProduct: _diagonal,
    TableRows: _rows,
    Tabulated: _table,
    Joined: _sum,
    Averaged: _mean,
    Normalised: _normalised,
    Summed: _total,
}
"""How the line of an operator's form is written."""

MOVED = (Copied, Cropped, Largest, Windowed)
"""Forms that compute nothing: `Copied` and `Largest` are where their source is kept, `Cropped` is its source, and
`c_loops` writes the call of a window."""


def missing(ops: Iterable[str]) -> list[str]:
    """Those of some operators that exported C has no form for."""
    return sorted(op for op in set(ops) if OPS[op].form not in (*EMITTERS, *MOVED))
