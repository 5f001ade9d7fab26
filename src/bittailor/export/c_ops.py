"""The operators as C: each an expression on the `int32_t` values of one feature. Adding one is one function, one line.

Zero-points of the operands are folded into the constant: y = clamp((sum_i q_i M_i + c') >> S), c' = c - sum_i z_i M_i.
Since |z_i| is at most the operand's reach, the bound that binding proved for c holds for c' and every partial sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from bittailor.common.registry import Table
from bittailor.compile.segments import Instruction
from bittailor.core.arith import NARROW_BITS, TABLE_BITS, Rescale
from bittailor.core.ops.forms import (
    Affine,
    Averaged,
    Constants,
    DiagonalProduct,
    Joined,
    MatrixProduct,
    Product,
    Tabulated,
    Weighted,
)
from bittailor.core.ops.functions import FUNCTIONS
from bittailor.core.program import Program

INT32_BITS = 32


class Scope(Protocol):
    """What an operator may ask for while its line is written."""

    program: Program
    counted: str
    """The number of steps so far."""

    def value(self, site: str) -> str:
        """The site's value of this feature, int32_t."""

    def vector(self, site: str) -> str:
        """The site as a whole, an array."""

    def rom(self, owner: str, item: str) -> str:
        """A constant array."""

    def sum(self, site: str) -> str:
        """What a mean has summed of this feature."""


@dataclass(frozen=True)
class Line:
    """An expression: `call(operand, numbers…)`, or `operand` alone.

    meaning  the equation's right side, word by word, for people
    """

    meaning: tuple[str, ...]
    operand: str
    call: str = ""
    numbers: tuple[str, ...] = ()

    def text(self, indent: str, target: str, width: int) -> str:
        """The C line; broken where it is too long."""
        if not self.call:
            return f"{indent}const int32_t {target} = {self.operand};\n"
        numbers = ", ".join(self.numbers)
        line = f"{indent}const int32_t {target} = {self.call}({self.operand}, {numbers});\n"
        if len(line) <= width:
            return line
        deep = indent + "    "
        operand = self.operand
        if len(deep) + len(operand) > width:
            operand = operand.replace(" + ", f"\n{deep}    + ", 1)
        return f"{indent}const int32_t {target} = {self.call}(\n{deep}{operand},\n{deep}{numbers});\n"


Emit = Callable[[Scope, Instruction], Line]


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


def _factor(s: Scope, site: str) -> str:
    """The site less its zero-point, ready to be multiplied."""
    value = centred(s.value(site), _zero(s, site))
    return f"({value})" if " " in value else value


def _rescaled(meaning: tuple[str, ...], r: Rescale, operand: str, multiplier: str, constant: int) -> Line:
    call = "bt_rescale_wide" if r.wide else "bt_rescale"
    return Line(meaning, operand, call,
                (multiplier, number(constant), f"{r.shift}u", number(r.lo), number(r.hi)))


def _zero(s: Scope, site: str) -> int:
    return s.program.formats[site].zero_point


F = TypeVar("F", bound=Constants)


def _constants(s: Scope, ins: Instruction, form: type[F]) -> F:
    """The constants of a task's operator."""
    found = s.program.constants[ins.node.output]
    assert isinstance(found, form), f"{ins.node.output} is bound as {type(found).__name__}"
    return found


def _accumulated(
    s: Scope, ins: Instruction, constants: Weighted, product: str, long: bool, meaning: tuple[str, ...]
) -> Line:
    """A product plus the row's offset, rescaled with the row's multiplier or the matrix's."""
    owner, r = ins.node.output, constants.rescale
    if len(ins.node.params) > 1:
        meaning += ("+", ins.node.params[1])
    operand = f"(int64_t){product}" if r.wide and not long else product
    if constants.offsets is not None:
        bits = constants.offsets.bits
        read = "bt_bits" if bits <= INT32_BITS else "bt_bits_wide"
        operand += f" + {read}({s.rom(owner, 'offsets')}, i, {bits}u)"
    m = r.multipliers[0]
    return _rescaled(meaning, r, operand, number(int(m[0])) if m.size == 1 else f"{s.rom(owner, 'multipliers')}[i]",
                     r.offset)


def _linear(s: Scope, ins: Instruction) -> Line:
    assert ins.whole is not None
    node, fmt = ins.node, s.program.formats[ins.whole]
    constants = _constants(s, ins, MatrixProduct)
    W = constants.W
    most = int(np.abs(W.values).sum(axis=1).max()) * max(-fmt.qmin, fmt.qmax)
    long = most >= 1 << NARROW_BITS
    columns = W.values.shape[1]
    dot = f"bt_dot{'l' if long else ''}{W.bits}_x{8 if fmt.bits <= 8 else 16}"
    product = f"{dot}({s.rom(node.output, 'weights')}, i * {columns}u, {s.vector(ins.whole)}, {columns}u)"
    return _accumulated(s, ins, constants, product, long, (node.params[0], node.inputs[0]))


def _diagonal(s: Scope, ins: Instruction) -> Line:
    node = ins.node
    constants, w = _constants(s, ins, DiagonalProduct), s.rom(node.output, "weights")
    x, bits = s.value(node.inputs[0]), constants.W.bits
    if bits == 1:
        product = f"(((unsigned){w}[i >> 3] >> (i & 7u)) & 1u ? {x} : -{x})"
    else:
        product = f"bt_bits({w}, i, {bits}u) * {x}"
    return _accumulated(s, ins, constants, product, False, (node.params[0], "*", node.inputs[0]))


def _sum(sign: int, symbol: str) -> Emit:
    def emit(s: Scope, ins: Instruction) -> Line:
        a, b = ins.node.inputs
        r = _constants(s, ins, Affine).rescale
        m0, m1 = (int(m[0]) for m in r.multipliers)
        c = r.offset - _zero(s, a) * m0 - sign * _zero(s, b) * m1
        call = "bt_rescale2_wide" if r.wide else "bt_rescale2"
        return Line((a, symbol, b), s.value(a), call, (
            number(m0), s.value(b), number(sign * m1), number(c), f"{r.shift}u", number(r.lo), number(r.hi)))
    return emit


def _mul(s: Scope, ins: Instruction) -> Line:
    a, b = ins.node.inputs
    r = _constants(s, ins, Product).rescale
    return _rescaled((a, "*", b), r, f"{_factor(s, a)} * {_factor(s, b)}", number(int(r.multipliers[0][0])), r.offset)


def _one_minus(s: Scope, ins: Instruction) -> Line:
    (a,) = ins.node.inputs
    r = _constants(s, ins, Affine).rescale
    m = int(r.multipliers[0][0])
    return _rescaled(("1", "-", a), r, f"-{s.value(a)}", number(m), r.offset + _zero(s, a) * m)


def _alone(s: Scope, ins: Instruction, r: Rescale, meaning: str) -> Line:
    """One operand, rescaled."""
    (a,) = ins.lanes
    m = int(r.multipliers[0][0])
    return _rescaled((meaning.format(a),), r, s.value(a), number(m), r.offset - _zero(s, a) * m)


def _unary(form: str = "{}") -> Emit:
    return lambda s, ins: _alone(s, ins, _constants(s, ins, Affine).rescale, form)


def _concat(s: Scope, ins: Instruction) -> Line:
    return _alone(s, ins, _constants(s, ins, Joined).rescales[ins.part], "{}")


def _mean(s: Scope, ins: Instruction) -> Line:
    (a,) = ins.lanes
    r = _constants(s, ins, Averaged).rescale
    return Line((f"mean({a})",), s.sum(ins.node.output), "bt_mean", (
        s.counted, number(int(r.multipliers[0][0])), number(r.offset), f"{r.shift}u", number(r.lo), number(r.hi)))


def _function(s: Scope, ins: Instruction) -> Line:
    (a,) = ins.node.inputs
    t = _constants(s, ins, Tabulated).lookup
    table, meaning = s.rom(ins.node.output, "tables"), (f"{ins.node.op}({a})",)
    if t.step == 0:
        call = "bt_lookup8" if s.program.formats[ins.node.output].bits <= TABLE_BITS else "bt_lookup16"
        return Line(meaning, table, call, (s.value(a), number(t.qmin)))
    return Line(meaning, table, "bt_knots", (
        s.value(a), number(t.qmin), f"{t.step}u", f"{t.guard}u", number(t.lo), number(t.hi)))


EMITTERS: Table[Emit] = Table("operator of the C exporter", {
    "linear": _linear,
    "diagonal": _diagonal,
    "add": _sum(1, "+"),
    "sub": _sum(-1, "-"),
    "mul": _mul,
    "one_minus": _one_minus,
    "relu": _unary("relu({})"),
    "requantise": _unary(),
    "concat": _concat,
    "mean": _mean,
    **{function.name: _function for function in FUNCTIONS},
})
"""How an operator's line is written. `last` and `first` compute nothing: they are where their source is kept."""

PLACES = frozenset({"last", "first"})


def missing(ops: Iterable[str]) -> list[str]:
    """Those of some operators that exported C has no form for."""
    return sorted(op for op in set(ops) if op not in EMITTERS and op not in PLACES)
