"""The integer arithmetic of the project, in four primitives: rounding, rescaling, tables, packing.

Everything an engine computes is built from these, so this page and `docs/arithmetic.md` say the same thing.
Plain and exact on purpose; fast engines replace the primitives and are tested to be equal to them with ==.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bittailor.core.qformat import QFormat
from bittailor.errors import RangeError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NARROW_BITS, WIDE_BITS = 31, 63
"""|sum| < 2**31 (narrow) or 2**63 (wide) holds before every shift."""
MULTIPLIER_BITS = 31
"""Multipliers are below 2**31, also in wide operators."""
WIDEST_SHIFT = {False: 31, True: 62}
GUARD_BITS = 3
"""A narrow operator keeps at least output bits + 3 multiplier bits; otherwise it becomes wide."""
TABLE_BITS = 8
"""Inputs of up to 8 bits index a full table; wider ones interpolate between 2**8 + 1 knots."""
KNOT_BITS = 16
MEAN_SUM_BITS = 46
"""|u M + c| < 2**46 within a mean, so that sums over 65,535 steps stay below 2**62."""


def round_half_up(real: ArrayLike) -> Floats:
    """floor(x + 1/2) in float64: to nearest, a tie goes up. The only rounding of real values in the project.

    >>> round_half_up([-1.5, -0.5, 0.5, 1.49]).tolist()
    [-1.0, 0.0, 1.0, 1.0]
    """
    return np.asarray(np.floor(np.asarray(real, np.float64) + 0.5))


def exact_matmul(x: Ints, weights: Ints) -> Ints:
    """x [..., K] times weights [O, K] transposed, exactly, as int64 [..., O].

    Where all partial sums stay below 2**53 the product runs in float64, which is exact there and uses BLAS.
    Raises RangeError when int64 could overflow.
    """
    bound = float(np.abs(x).max(initial=0)) * float(np.abs(weights).sum(axis=-1).max(initial=0))
    if bound < 2.0**53:
        return np.asarray((x.astype(np.float64) @ weights.T.astype(np.float64)).astype(np.int64))
    if bound >= 2.0**62:
        raise RangeError(f"a matrix product can reach {bound:.3g}: outside int64")
    return np.asarray(x @ weights.T)


# --- rescaling (docs/arithmetic.md, section 2) --------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Rescale:
    """y = clamp((sum_i u_i * M_i + c) >> S, lo, hi), u_i the operands less their zero-points.

    multipliers  per operand: one integer, or one per output row; 0 <= M < 2**31
    shift        S, 0..31 (narrow) or 0..62 (wide)
    offset       c = zero_point * 2**S + floor(2**(S-1)) + the operator's own constant
    wide         64-bit sums; otherwise every sum is proved to fit 32 bits
    lo, hi       the output's integer range
    """

    multipliers: tuple[Ints, ...]
    shift: int
    offset: int
    wide: bool
    lo: int
    hi: int

    def __call__(self, *operands: Ints) -> Ints:
        """Apply to int64 arrays; raises RangeError if the proved bound does not hold."""
        return np.clip(self.unclamped(*operands), self.lo, self.hi)

    def unclamped(self, *operands: Ints) -> Ints:
        """The rounded result before saturation (what a saturation count looks at)."""
        total = np.asarray(self.offset, np.int64)
        size = np.asarray(abs(float(self.offset)))
        for u, m in zip(operands, self.multipliers, strict=True):
            total = total + u * m
            size = size + np.abs(u * m.astype(np.float64))
        # measured in float64, which cannot wrap; it rounds, so a wide sum may come within a part in 2**50
        limit = 2.0**WIDE_BITS * (1 + 2.0**-50) if self.wide else 2.0**NARROW_BITS
        if size.size and not size.max() < limit:
            raise RangeError(f"a sum of {size.max():.0f} broke its proved bound of {limit:.0f}")
        return np.asarray(total >> self.shift)

    @property
    def gain_error(self) -> float:
        """A bound on the relative error of every multiplier against its real ratio: 2**-(bits of the smallest M)."""
        return 2.0 ** -int(min(m.min() for m in self.multipliers)).bit_length()


def make_rescale(
    ratios: Sequence[ArrayLike],
    reaches: Sequence[ArrayLike],
    out: QFormat,
    *,
    constant: float = 0.0,
    accumulator: int = 0,
    unsigned: bool = False,
    sum_bits: int | None = None,
) -> Rescale:
    """Choose S, M and c for one operator.

    ratios       per operand: the real ratio R = (product of input scales) / output scale; a number or one per row
    reaches      per operand: a bound on |u|; a number or one per row
    constant     a real constant of the operator in output steps (1/s for one_minus)
    accumulator  a bound on a raw accumulator that must fit the operator's word before rescaling
    unsigned     clamp from the zero-point up (relu)
    sum_bits     always wide, with sums below 2**sum_bits (a mean, whose sums grow with the number of steps)

    S is the largest value for which interval arithmetic proves |sum u*M + c| < 2**31. Where that leaves too few
    multiplier bits (`precise`), the operator is wide: the same with 2**63, M < 2**31 and S <= 62.
    Raises RangeError if even that cannot hold (scales that differ by more than about 2**31).
    """
    rows = _rows(ratios, reaches)
    if not all(math.isfinite(r) for row in rows for r, _ in row) or not math.isfinite(constant):
        raise RangeError("scales differ too much for integer rescaling: their ratio is outside float64")
    for wide in (False, True):
        if not wide and (sum_bits or accumulator >= 1 << NARROW_BITS):
            continue
        limit = sum_bits or (WIDE_BITS if wide else NARROW_BITS)
        shift = largest_shift(rows, out.zero_point, constant, wide, limit)
        if shift is None or not (wide or precise(rows, shift, out.bits + GUARD_BITS)):
            continue
        multipliers = tuple(
            round_half_up(np.atleast_1d(np.asarray(ratio, np.float64)) * 2.0**shift).astype(np.int64)
            for ratio in ratios
        )
        lo = out.zero_point if unsigned else out.qmin
        return Rescale(multipliers, shift, _offset(shift, out.zero_point, constant), wide, lo, out.qmax)
    raise RangeError(
        "scales differ too much for integer rescaling: an operator's inputs are "
        f"{max(r for row in rows for r, _ in row):.3g} output steps each; recalibrate with data that excites this site"
    )


_Row = list[tuple[float, int]]
"""(ratio, reach) of every operand, for one output row. Python's own numbers: exact, and quick for so few."""


def _rows(ratios: Sequence[ArrayLike], reaches: Sequence[ArrayLike]) -> list[_Row]:
    """The rows that differ. A reach of 0 (an all-zero row) is taken as 1, which also bounds M itself."""
    if all(np.size(ratio) == 1 for ratio in ratios):
        # rows that share their ratios are bounded by the one that reaches furthest
        return [[(float(np.max(r)), max(int(np.max(a)), 1)) for r, a in zip(ratios, reaches, strict=True)]]
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x)) for x in (*ratios, *reaches)))
    count = len(ratios)
    return [
        [(float(r), max(int(a), 1)) for r, a in zip(row[:count], row[count:], strict=True)]
        for row in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _multiplier(ratio: float, shift: int) -> int:
    return math.floor(ratio * 2.0**shift + 0.5)


def precise(rows: Sequence[_Row], shift: int, bits: int) -> bool:
    """Whether the largest multiplier has at least `bits` bits, and so has every other one whose rounding could
    move the output by more than a step (a row of tiny weights with a bias; operands of very different scales)."""
    least, step = 1 << (bits - 1), 2.0**shift
    if max(_multiplier(r, shift) for row in rows for r, _ in row) < least:
        return False
    return not any(
        _multiplier(r, shift) < least and a * abs(r * step - _multiplier(r, shift)) > step
        for row in rows for r, a in row
    )


def largest_shift(rows: Sequence[_Row], zero_point: int, constant: float, wide: bool, limit: int) -> int | None:
    """The largest S that `fits` allows, None if not even S = 0 is allowed.

    Closed form first (the bound is close to total * 2**S), then at most a step or two of exact correction.
    """
    top = WIDEST_SHIFT[wide]
    total = max(sum(r * a for r, a in row) for row in rows) + abs(constant + zero_point + 0.5)
    largest = max(r for row in rows for r, _ in row)
    guess = limit - math.log2(max(total, 1e-300))
    if wide:
        guess = min(guess, MULTIPLIER_BITS - math.log2(max(largest, 1e-300)))
    shift = max(0, min(top, math.floor(guess)))
    while shift < top and fits(rows, zero_point, constant, limit, shift + 1):
        shift += 1
    while shift >= 0 and not fits(rows, zero_point, constant, limit, shift):
        shift -= 1
    return shift if shift >= 0 else None


def fits(rows: Sequence[_Row], zero_point: int, constant: float, limit: int, shift: int) -> bool:
    """Whether interval arithmetic proves |sum| < 2**limit at this shift (exact integers, no rounding)."""
    if max(r for row in rows for r, _ in row) * 2.0**shift + 0.5 >= 2.0**MULTIPLIER_BITS:
        return False
    base = abs(_offset(shift, zero_point, constant))
    return base + max(sum(_multiplier(r, shift) * a for r, a in row) for row in rows) < 1 << limit


def _offset(shift: int, zero_point: int, constant: float) -> int:
    return (zero_point << shift) + ((1 << shift) >> 1) + math.floor(constant * 2.0**shift + 0.5)


# --- functions of one variable (section 3) --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Lookup:
    """y = f(x) by table.

    Inputs of up to 8 bits: y = entries[q - qmin], 2**bits entries.
    Wider: 257 knots in 16 bits, linear interpolation; with i = (q - qmin) >> step, k = (q - qmin) mod 2**step:
    y = clamp((knots[i] * (2**step - k) + knots[i+1] * k + half) >> (step + guard)), half = 2**(step+guard-1).
    """

    entries: Ints
    qmin: int
    step: int
    guard: int
    lo: int
    hi: int

    @property
    def entry_bits(self) -> int:
        """Width that entries are stored at, 8 or 16."""
        return KNOT_BITS if self.step or self.hi >= 1 << (TABLE_BITS - 1) else TABLE_BITS

    def __call__(self, q: Ints) -> Ints:
        """Apply to int64 values of the input's format."""
        index = q - self.qmin
        if self.step == 0:
            return np.asarray(self.entries[index])
        i, k = index >> self.step, index & ((1 << self.step) - 1)
        total = self.entries[i] * ((1 << self.step) - k) + self.entries[i + 1] * k
        shift = self.step + self.guard
        return np.asarray(np.clip((total + (1 << (shift - 1))) >> shift, self.lo, self.hi))


def knots(source: QFormat) -> Floats:
    """The real inputs that a table has entries for: every integer of up to 8 bits, otherwise 257 of them."""
    step = max(0, source.bits - TABLE_BITS)
    count = (1 << source.bits) if step == 0 else (1 << TABLE_BITS) + 1
    q = source.qmin + (np.arange(count) << step)
    return np.asarray(source.scale[0] * (q - source.zero_point), np.float64)


def make_lookup(function: Callable[[Floats], Floats], source: QFormat, out: QFormat) -> Lookup:
    """Tabulate a real function between two formats, in float64."""
    step = max(0, source.bits - TABLE_BITS)
    guard = KNOT_BITS - out.bits if step else 0
    real = function(knots(source))
    fine = round_half_up(real / out.scale[0] * 2.0**guard) + (out.zero_point << guard)
    entries = np.clip(fine, out.qmin << guard, out.qmax << guard).astype(np.int64)
    return Lookup(entries, source.qmin, step, guard, out.qmin, out.qmax)


# --- storage (section 5) ----------------------------------------------------------------------------------------


def pack(values: Ints, bits: int) -> NDArray[np.uint8]:
    """Pack integers at `bits` bits each, row-major, little-endian bit order, padded with zeros to a byte.

    Two's complement; at 1 bit, -1 is stored as 0 and +1 as 1.

    >>> pack(np.array([1, -1, 2]), 3).tolist()
    [185, 0]
    """
    flat = np.asarray(values, np.int64).ravel()
    if bits == 1:
        flat = (flat + 1) >> 1
    places = (flat[:, None] >> np.arange(bits)) & 1
    return np.packbits(places.astype(np.uint8).ravel(), bitorder="little")


def unpack(data: NDArray[np.uint8], bits: int, shape: tuple[int, ...]) -> Ints:
    """The inverse of `pack`; RangeError unless there are exactly the bytes for it."""
    count = math.prod(shape)
    if np.size(data) != (count * bits + 7) // 8:
        raise RangeError(f"{count} values of {bits} bits take {(count * bits + 7) // 8} bytes; got {np.size(data)}")
    places = np.unpackbits(np.asarray(data, np.uint8), count=count * bits, bitorder="little")
    weights = np.int64(1) << np.arange(bits, dtype=np.int64)
    if bits > 1:
        weights[-1] = -weights[-1]
    flat = places.reshape(count, bits).astype(np.int64) @ weights
    if bits == 1:
        flat = 2 * flat - 1
    return np.asarray(flat.reshape(shape))


def signed_bits(values: Ints) -> int:
    """The least two's-complement width, at least 2, that holds all values.

    >>> signed_bits(np.array([-4, 3])), signed_bits(np.array([4])), signed_bits(np.array([0]))
    (3, 4, 2)
    """
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    return max(2, high.bit_length() + 1, (-low - 1).bit_length() + 1 if low < 0 else 2)
