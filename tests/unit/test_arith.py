"""The integer primitives against plain Python integers (`golden/by_hand.py`), which cannot wrap."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bittailor.core.arith import (
    Rescale,
    exact_matmul,
    make_lookup,
    make_rescale,
    pack,
    round_half_up,
    signed_bits,
    unpack,
)
from bittailor.core.ops.functions import FUNCTIONS
from bittailor.core.qformat import QFormat, activation_format, symmetric_unit_format, unit_format
from bittailor.errors import RangeError
from golden import by_hand
from values import edges, edges_and_random


@given(st.integers(-(2**40), 2**40))
def test_ties_go_up(n: int) -> None:
    assert round_half_up(n + 0.5) == n + 1
    assert round_half_up([n - 0.25, n, n + 0.25]).tolist() == [n, n, n]


# --- matrix products ----------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(0, 20), st.integers(1, 5), st.integers(1, 4), st.randoms(use_true_random=False))
def test_exact_matmul(x_bits: int, w_bits: int, columns: int, rows: int, rnd: random.Random) -> None:
    x = [[rnd.randint(-(2**x_bits), 2**x_bits) for _ in range(columns)] for _ in range(3)]
    w = [[rnd.randint(-(2**w_bits), 2**w_bits) for _ in range(columns)] for _ in range(rows)]
    wanted = [[sum(a * b for a, b in zip(v, row, strict=True)) for row in w] for v in x]
    try:
        got = exact_matmul(np.array(x), np.array(w))
    except RangeError:
        peak = max(abs(v) for row in x for v in row)
        assert peak * max(sum(map(abs, row)) for row in w) >= 2**62
    else:
        assert got.dtype == np.int64
        assert got.tolist() == wanted


def test_exact_matmul_beyond_float64() -> None:
    """2**53 + 1 is no float64: the integer path must be taken."""
    assert exact_matmul(np.array([[2**53 + 1]]), np.array([[1]])).tolist() == [[2**53 + 1]]
    with pytest.raises(RangeError, match="outside int64"):
        exact_matmul(np.array([[2**40]]), np.array([[2**22]]))


# --- rescaling ------------------------------------------------------------------------------------------------


@st.composite
def rescalings(draw: st.DrawFn) -> tuple[list[list[float]], list[list[int]], QFormat, float]:
    """Ratios, reaches, output format, constant: from everyday to absurd."""
    bits = draw(st.integers(2, 16))
    half = 2 ** (bits - 1)
    zero = draw(st.integers(-half, half - 1)) if bits <= 8 else 0
    rows = draw(st.sampled_from([1, 1, 3]))
    span = draw(st.sampled_from([4, 12, 40]))
    operands = draw(st.integers(1, 2))

    def ratio() -> float:
        return draw(st.floats(1.0, 2.0, exclude_max=True)) * 2.0 ** draw(st.integers(-span, span // 2))

    def reach() -> int:
        return draw(st.one_of(st.integers(0, 300), st.integers(0, 2**30), st.sampled_from([2**7, 2**15, 2**30])))

    ratios = [[ratio() for _ in range(rows)] for _ in range(operands)]
    reaches = [[reach() for _ in range(rows)] for _ in range(operands)]
    constant = draw(st.sampled_from([0.0, 0.0, 1.0])) * draw(st.floats(0.01, 1e6))
    return ratios, reaches, QFormat("activation", bits, (1.0,), zero), constant


def plain(fmt: QFormat) -> dict[str, object]:
    return fmt.to_json()


@settings(max_examples=300)
@given(rescalings(), st.sampled_from([0, 0, 2**31]), st.sampled_from([None, None, 46]))
@example(([[1.0]], [[2**15]], QFormat("activation", 16, (1.0,)), 0.0), 0, None)
@example(([[2.0**-60]], [[1]], QFormat("activation", 2, (1.0,), -2), 0.0), 0, None)
@example(([[1e-6, 1.0]], [[2**30, 1]], QFormat("activation", 8, (1.0,), 5), 0.0), 0, None)
def test_rescale_is_what_plain_integers_choose(
    what: tuple[list[list[float]], list[list[int]], QFormat, float], accumulator: int, sum_bits: int | None
) -> None:
    ratios, reaches, out, constant = what
    arguments = {"constant": constant, "accumulator": accumulator, "sum_bits": sum_bits}
    try:
        wanted = by_hand.choose(ratios, reaches, plain(out), constant, accumulator, sum_bits or 0)
    except ValueError:
        with pytest.raises(RangeError, match="scales differ too much"):
            make_rescale(ratios, reaches, out, **arguments)
        return
    got = make_rescale(ratios, reaches, out, **arguments)
    assert [m.tolist() for m in got.multipliers] == wanted["M"]
    assert (got.shift, got.offset, got.wide) == (wanted["S"], wanted["c"], wanted["wide"])


def sums(rescale: Rescale, reaches: list[list[int]]) -> list[int]:
    """The sums before the shift at every corner of the operands' box, in Python integers."""
    found = []
    rows = max(m.size for m in rescale.multipliers)
    for row, signs in product(range(rows), product((-1, 0, 1), repeat=len(reaches))):
        at = [a[row if len(a) > 1 else 0] for a in reaches]
        m = [int(m[row if m.size > 1 else 0]) for m in rescale.multipliers]
        found.append(rescale.offset + sum(s * a * b for s, a, b in zip(signs, at, m, strict=True)))
    return found


@settings(max_examples=300)
@given(rescalings())
def test_no_sum_overflows_and_the_result_is_exact(
    what: tuple[list[list[float]], list[list[int]], QFormat, float]
) -> None:
    ratios, reaches, out, constant = what
    try:
        rescale = make_rescale(ratios, reaches, out, constant=constant)
    except RangeError:
        assume(False)
    limit = 2**63 if rescale.wide else 2**31
    found = sums(rescale, reaches)
    assert all(abs(total) < limit for total in found)
    assert all(m.min() >= 0 and m.max() < 2**31 for m in rescale.multipliers)
    assert 0 <= rescale.shift <= (62 if rescale.wide else 31)
    # the engine's int64 gives the same as integers that cannot wrap
    rows = max(len(a) for a in reaches)
    for signs in product((-1, 0, 1), repeat=len(reaches)):
        operands = [np.array([s * v for v in a], np.int64) for s, a in zip(signs, reaches, strict=True)]
        got = np.broadcast_to(rescale(*operands), (rows,))
        for row in range(rows):
            total = rescale.offset + sum(
                int(u[row if u.size > 1 else 0]) * int(m[row if m.size > 1 else 0])
                for u, m in zip(operands, rescale.multipliers, strict=True)
            )
            assert got[row] == min(max(total // 2**rescale.shift, out.qmin), out.qmax)


@settings(max_examples=200)
@given(rescalings())
def test_the_shift_is_the_largest(what: tuple[list[list[float]], list[list[int]], QFormat, float]) -> None:
    """One more bit breaks the bound, the multipliers' size or the cap."""
    ratios, reaches, out, constant = what
    try:
        rescale = make_rescale(ratios, reaches, out, constant=constant)
    except RangeError:
        assume(False)
    shift = rescale.shift + 1
    if shift > (62 if rescale.wide else 31):
        return
    more = [[by_hand.multiplier(r, shift) for r in ratio] for ratio in ratios]
    rows = max(len(m) for m in more)
    bound = abs(by_hand.offset(shift, plain(out), constant)) + max(
        sum(m[o if len(m) > 1 else 0] * max(a[o if len(a) > 1 else 0], 1) for m, a in zip(more, reaches, strict=True))
        for o in range(rows)
    )
    biggest = max(max(m) for m in more)
    assert bound >= (2**63 if rescale.wide else 2**31) or biggest >= 2**31


@settings(max_examples=200)
@given(rescalings())
def test_narrow_only_with_enough_bits(what: tuple[list[list[float]], list[list[int]], QFormat, float]) -> None:
    ratios, reaches, out, constant = what
    try:
        rescale = make_rescale(ratios, reaches, out, constant=constant)
    except RangeError:
        assume(False)
    if rescale.wide:
        return
    assert max(int(m.max()) for m in rescale.multipliers).bit_length() >= out.bits + 3
    for ratio, a, m in zip(ratios, reaches, rescale.multipliers, strict=True):
        for o in range(len(ratio)):
            if int(m[o]).bit_length() < out.bits + 3:
                assert max(a[o], 1) * abs(Fraction(ratio[o]) - Fraction(int(m[o]), 2**rescale.shift)) <= 1


@pytest.mark.parametrize("k", range(1, 27))
def test_the_bound_is_used_to_the_last_unit(k: int) -> None:
    """With R = 1 the sum is a 2**S + 2**(S-1): one more in a = 2**k - 1 costs a whole bit of S."""
    two = QFormat("activation", 2, (1.0,))
    assert make_rescale([1.0], [2**k - 1], two).shift == 31 - k
    assert make_rescale([1.0], [2**k], two).shift == 30 - k
    wide = [make_rescale([1.0], [a], two, sum_bits=46).shift for a in (2**k - 1, 2**k)]
    assert wide == [min(46 - k, 30), min(45 - k, 30)]  # M = 2**S stays below 2**31


def test_narrow_and_wide_by_example() -> None:
    eight, sixteen = QFormat("activation", 8, (1.0,)), QFormat("activation", 16, (1.0,))
    assert not make_rescale([0.01], [2**7 * 2**7], eight).wide
    assert make_rescale([1.0], [2**15], sixteen).wide  # 2**15 * 2**16 already is 2**31
    assert make_rescale([2.0**-15], [2**30], sixteen).wide
    assert make_rescale([0.01], [2**14], eight, accumulator=2**31).wide
    with pytest.raises(RangeError, match="scales differ too much"):
        make_rescale([2.0**32], [1], eight)
    with pytest.raises(RangeError, match="outside float64"):
        make_rescale([math.inf], [1], eight)


def test_a_tiny_row_keeps_its_bias() -> None:
    """A row of tiny weights whose accumulator is all bias must not get a multiplier of almost nothing."""
    eight = QFormat("activation", 8, (1.0,))
    rescale = make_rescale([[0.01, 1e-9]], [[2**14, 2**33]], eight)
    assert rescale.wide
    assert rescale(np.array([0, 2**33])).tolist() == [0, round(2**33 * 1e-9)]


@given(rescalings())
def test_gain_error(what: tuple[list[list[float]], list[list[int]], QFormat, float]) -> None:
    ratios, reaches, out, constant = what
    try:
        rescale = make_rescale(ratios, reaches, out, constant=constant)
    except RangeError:
        assume(False)
    for ratio, multipliers in zip(ratios, rescale.multipliers, strict=True):
        for r, m in zip(ratio, multipliers, strict=True):
            if m:
                error = abs(Fraction(int(m), 2**rescale.shift) / Fraction(r) - 1)
                # half a unit in m >= 2**(n-1): a relative error below 2**-n, seen from m; a hair more from r
                assert error <= Fraction(rescale.gain_error) * (1 + Fraction(rescale.gain_error) * 2)


@pytest.mark.parametrize("wide", [False, True])
def test_a_broken_bound_is_noticed(wide: bool) -> None:
    m = np.array([2**30])
    rescale = Rescale((m, m), 0, 0, wide, -8, 7)
    assert rescale(np.array([1]), np.array([0])).tolist() == [7]
    with pytest.raises(RangeError, match="broke its proved bound"):
        rescale(np.array([2**33 if wide else 1]), np.array([2**33 if wide else 1]))


# --- tables -----------------------------------------------------------------------------------------------------

SMOOTH = {"sigmoid": 0.0963, "tanh": 0.7699}
"""Largest |f''|: 1/(6 sqrt 3) and 4/(3 sqrt 3)."""
MONOTONE = ("sigmoid", "tanh", "hardsigmoid", "hardtanh", "softsign", "softplus", "elu", "leaky_relu")


@st.composite
def table_formats(draw: st.DrawFn) -> tuple[QFormat, QFormat]:
    bits = draw(st.integers(2, 16))
    high = draw(st.floats(0.5, 20.0))
    source = activation_format(-high, high * draw(st.floats(0.2, 1.0)), bits)
    width = draw(st.integers(2, 16))
    out = draw(st.sampled_from([unit_format(width), symmetric_unit_format(width), activation_format(-1.0, 6.0, width)]))
    return source, out


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
@settings(max_examples=20)
@given(formats=table_formats(), seed=st.integers(0, 2**32))
def test_tables(function: object, formats: tuple[QFormat, QFormat], seed: int) -> None:
    """Entries, knots and interpolation as plain Python has them."""
    source, out = formats
    lookup = make_lookup(function.f, source, out)
    table = by_hand.bind_table(by_hand.FUNCTIONS[function.name], plain(source), plain(out))
    assert lookup.entries.tolist() == table["entries"]
    assert len(table["entries"]) == (2**source.bits if source.bits <= 8 else 257)
    assert np.abs(lookup.entries).max() <= 2**15
    q = edges_and_random(source.qmin, source.qmax, random.Random(seed), 200)
    assert lookup(np.array(q)).tolist() == [by_hand.lookup(v, table, plain(source), plain(out)) for v in q]
    if function.name in MONOTONE:
        every = lookup(np.arange(source.qmin, source.qmax + 1))
        assert (np.diff(every) >= 0).all()
        assert out.qmin <= every.min() <= every.max() <= out.qmax


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("out_bits", [2, 8, 11, 16])
def test_tables_are_close_to_the_function(name: str, bits: int, out_bits: int) -> None:
    """Up to 8 bits to nearest; above, half a step, the knots' own rounding and the chord's distance h²/8 max|f''|."""
    (function,) = (f for f in FUNCTIONS if f.name == name)
    source, out = activation_format(-6.0, 6.0, bits), function.given_format(out_bits, [None])
    q = np.arange(source.qmin, source.qmax + 1)
    got = make_lookup(function.f, source, out)(q)
    exact = np.clip(function.f(source.dequantise(q)), out.low, out.high) / out.scale[0] + out.zero_point
    if bits <= 8:
        tolerance = 0.5
    else:
        h = source.scale[0] * 2 ** (bits - 8)
        tolerance = 0.5 + 2.0 ** -(16 - out_bits) / 2 + h * h / 8 * SMOOTH[name] / out.scale[0]
    assert np.abs(got - exact).max() <= tolerance * (1 + 1e-9)


# --- packing ----------------------------------------------------------------------------------------------------


def plain_pack(values: list[int], bits: int) -> bytes:
    """One long Python integer, first value in the lowest bits."""
    number = 0
    for i, v in enumerate(values):
        code = (v + 1) // 2 if bits == 1 else v % 2**bits
        number |= code << (i * bits)
    return number.to_bytes((len(values) * bits + 7) // 8, "little")


@pytest.mark.parametrize("bits", [*range(1, 17), 23, 32, 45, 62])
def test_pack_and_unpack(bits: int) -> None:
    low, high = (-1, 1) if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    rnd = random.Random(bits)
    pool = [-1, 1] if bits == 1 else edges(low, high)
    for count in range(1, 20):
        values = [rnd.choice(pool) if rnd.random() < 0.5 or bits == 1 else rnd.randint(low, high)
                  for _ in range(count)]
        data = pack(np.array(values), bits)
        assert data.tobytes() == plain_pack(values, bits)
        assert unpack(data, bits, (count,)).tolist() == values


@given(st.integers(1, 16), st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32))
def test_matrices_are_packed_row_by_row(bits: int, rows: int, columns: int, seed: int) -> None:
    rnd = random.Random(seed)
    top = max(1, 2 ** (bits - 1) - 1)
    values = [[rnd.choice([-1, 1]) if bits == 1 else rnd.randint(-top, top) for _ in range(columns)]
              for _ in range(rows)]
    data = pack(np.array(values), bits)
    assert data.size == math.ceil(rows * columns * bits / 8)
    assert data.tobytes() == plain_pack([v for row in values for v in row], bits)
    assert unpack(data, bits, (rows, columns)).tolist() == values


@pytest.mark.parametrize("size", [0, 1, 3])
def test_unpack_takes_exactly_its_bytes(size: int) -> None:
    with pytest.raises(RangeError, match="5 values of 3 bits take 2 bytes"):
        unpack(np.zeros(size, np.uint8), 3, (5,))


@given(st.lists(st.integers(-(2**61), 2**61), min_size=1))
def test_signed_bits_is_the_least_width(values: list[int]) -> None:
    bits = signed_bits(np.array(values))
    assert all(-(2 ** (bits - 1)) <= v < 2 ** (bits - 1) for v in values)
    assert bits == 2 or not all(-(2 ** (bits - 2)) <= v < 2 ** (bits - 2) for v in values)
