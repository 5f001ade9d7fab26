"""Formats: ranges, the exact zero, rounding, JSON, and what is refused."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bittailor.core.qformat import (
    QFormat,
    activation_format,
    allowed_widths,
    check_width,
    symmetric_unit_format,
    unit_format,
)
from bittailor.errors import FormatError

reals = st.floats(-1e6, 1e6, allow_subnormal=False)


@st.composite
def formats(draw: st.DrawFn) -> QFormat:
    kind = draw(st.sampled_from(["weight", "activation"]))
    bits = draw(st.sampled_from(allowed_widths(kind)))
    scale = draw(st.floats(1e-6, 1e3))
    free = kind == "activation" and bits <= 8
    zero = draw(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)) if free else 0
    return QFormat(kind, bits, (scale,), zero)


@pytest.mark.parametrize("bits", range(2, 17))
def test_ranges(bits: int) -> None:
    activation, weight = QFormat("activation", bits, (1.0,)), QFormat("weight", bits, (1.0,))
    assert (activation.qmin, activation.qmax) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert (weight.qmin, weight.qmax) == (-(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1)
    bias = QFormat("bias", bits, ())
    assert (bias.qmin, bias.qmax) == (activation.qmin, activation.qmax)
    assert activation.storage == ("int8" if bits <= 8 else "int16")


def test_binary_and_ternary_weights() -> None:
    binary, ternary = QFormat("weight", 1, (0.5,)), QFormat("weight", 2, (0.5,))
    assert (binary.qmin, binary.qmax) == (-1, 1)
    assert binary.quantise([-3.0, -1e-9, 0.0, 1e-9, 3.0]).tolist() == [-1, -1, 1, 1, 1]
    assert ternary.quantise([-3.0, -0.2, 0.0, 0.25, 3.0]).tolist() == [-1, 0, 0, 1, 1]


@pytest.mark.parametrize(("kind", "widths"), [
    ("weight", range(1, 17)), ("activation", range(2, 17)), ("bias", (*range(2, 17), 32)),
])
def test_allowed_widths(kind: str, widths: range) -> None:
    assert allowed_widths(kind) == tuple(widths)
    for bits in range(-1, 40):
        if bits in widths:
            check_width(kind, bits)
        else:
            with pytest.raises(FormatError, match=f"site.x: {bits} bits is no width for an? {kind}; choose"):
                check_width(kind, bits, "site.x")


@pytest.mark.parametrize(("make", "message"), [
    (lambda: QFormat("weight", 0, (1.0,)), "0 bits is no width for a weight"),
    (lambda: QFormat("weight", 17, (1.0,)), "17 bits is no width for a weight"),
    (lambda: QFormat("activation", 1, (1.0,)), "1 bits is no width for an activation"),
    (lambda: QFormat("activation", 8.0, (1.0,)), "8.0 bits is no width"),
    (lambda: QFormat("activation", "8", (1.0,)), "8 bits is no width"),
    (lambda: QFormat("biased", 8, (1.0,)), "a format is of kind"),
    (lambda: QFormat("bias", 8, (1.0,)), "a bias has no scale"),
    (lambda: QFormat("weight", 8, ()), "a weight format needs a scale"),
    (lambda: QFormat("activation", 8, ()), "an activation format needs a scale"),
    (lambda: QFormat("weight", 8, (1.0, 0.0)), "positive and finite; got 0.0"),
    (lambda: QFormat("activation", 8, (math.nan,)), "positive and finite; got nan"),
    (lambda: QFormat("activation", 8, (math.inf,)), "positive and finite; got inf"),
    (lambda: QFormat("activation", 8, (1.0, 1.0)), "only weights can have a scale per row"),
    (lambda: QFormat("activation", 8, (1.0,), 128), "zero-point 128 is outside -128..127"),
    (lambda: QFormat("activation", 8, (1.0,), 0.5), "a zero-point is an integer"),
    (lambda: QFormat("activation", 9, (1.0,), 1), "only activations of up to 8 bits have a zero-point"),
    (lambda: QFormat("weight", 8, (1.0,), 1), "only activations of up to 8 bits have a zero-point"),
    (lambda: activation_format(0.0, math.inf, 8), "a range must be finite"),
    (lambda: activation_format(math.nan, 1.0, 8), "a range must be finite"),
    (lambda: activation_format(0.0, 1.0, 17), "17 bits is no width"),
])
def test_what_is_refused(make: object, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        make()


@given(formats(), reals)
def test_quantise_is_its_definition(fmt: QFormat, r: float) -> None:
    assume(not (fmt.kind == "weight" and fmt.bits == 1))
    q = math.floor(r / fmt.scale[0] + 0.5) + fmt.zero_point
    assert fmt.quantise(r) == min(max(q, fmt.qmin), fmt.qmax)


@given(st.integers(2, 16), st.integers(-20, 10), st.data())
def test_ties_go_up(bits: int, exponent: int, data: st.DataObject) -> None:
    """With a power of two as scale, a half is exactly a half."""
    fmt = QFormat("activation", bits, (2.0**exponent,))
    n = data.draw(st.integers(fmt.qmin, fmt.qmax - 1))
    assert fmt.quantise((n + 0.5) * 2.0**exponent) == n + 1


@given(formats())
def test_integers_survive_a_round_trip(fmt: QFormat) -> None:
    q = np.arange(fmt.qmin, fmt.qmax + 1)
    q = q[q != 0] if fmt.bits == 1 else q
    assert np.array_equal(fmt.quantise(fmt.dequantise(q)), q)


@given(formats(), reals)
def test_the_error_is_half_a_step_at_most(fmt: QFormat, r: float) -> None:
    assume(fmt.low <= r <= fmt.high and fmt.bits > 1)
    error = abs(Fraction(float(fmt.dequantise(fmt.quantise(r)))) - Fraction(r))
    assert error <= Fraction(fmt.scale[0]) / 2 * (1 + Fraction(1, 10**6))


@given(reals, reals, st.integers(2, 16))
def test_activation_format_represents_zero_and_covers_the_range(a: float, b: float, bits: int) -> None:
    low, high = min(a, b), max(a, b)
    fmt = activation_format(low, high, bits)
    assert fmt.dequantise(fmt.quantise(0.0)) == 0.0
    assert fmt.quantise(0.0) == fmt.zero_point
    slack = fmt.scale[0] * (0.5 + 1e-6)
    assert fmt.low <= min(low, 0.0) + slack
    assert fmt.high >= max(high, 0.0) - slack
    if bits > 8:
        assert fmt.zero_point == 0
        assert fmt.low <= low + 1e-6 * abs(low)
        assert fmt.high >= high - 1e-6 * abs(high)


@pytest.mark.parametrize("bits", [2, 8, 16])
def test_a_range_without_extent_is_one(bits: int) -> None:
    assert activation_format(0.0, 0.0, bits) == activation_format(-1.0, 1.0, bits)


@pytest.mark.parametrize("bits", range(2, 17))
def test_given_formats(bits: int) -> None:
    gate, state = unit_format(bits), symmetric_unit_format(bits)
    assert (state.low, state.high) == (-1.0, 1.0 - 2.0 ** -(bits - 1))
    assert gate.low == (0.0 if bits <= 8 else -1.0)
    assert gate.high == 1.0 - (2.0**-bits if bits <= 8 else 2.0 ** -(bits - 1))
    assert gate.dequantise(gate.quantise(0.5)) == 0.5
    assert gate.dequantise(gate.quantise(0.0)) == 0.0


@given(formats())
def test_json_round_trip(fmt: QFormat) -> None:
    assert QFormat.from_json(json.loads(json.dumps(fmt.to_json()))) == fmt


def test_numpy_scalars_become_plain_numbers() -> None:
    """A float32 scale would compute in float32 before it is saved and in float64 after."""
    fmt = QFormat("activation", np.int64(8), (np.float32(0.1),), np.int64(3))
    assert [type(v) for v in (fmt.bits, fmt.scale[0], fmt.zero_point)] == [int, float, int]
    assert QFormat.from_json(json.loads(json.dumps(fmt.to_json()))) == fmt


def test_rows_have_their_own_scale() -> None:
    fmt = QFormat("weight", 4, (0.1, 1.0))
    assert fmt.quantise([[0.3, -9.0], [3.0, -9.0]]).tolist() == [[3, -7], [3, -7]]
    assert np.allclose(fmt.dequantise([[3, -7], [3, -7]]), [[0.3, -0.7], [3.0, -7.0]])


@given(formats())
def test_reach_bounds_what_is_left_of_the_zero_point(fmt: QFormat) -> None:
    assert fmt.reach == max(abs(q - fmt.zero_point) for q in (fmt.qmin, fmt.qmax))
