"""Sums and products: exact where they can be, refused where shapes differ."""

from __future__ import annotations

import numpy as np
import pytest

from bittailor.core.builder import Builder
from bittailor.core.ops import OPS, Bound
from bittailor.core.qformat import QFormat, symmetric_unit_format, unit_format
from bittailor.errors import UnsupportedNetwork


@pytest.mark.parametrize("bits", range(2, 17))
def test_one_minus_is_exact_between_gates_of_one_width(bits: int) -> None:
    """1 - a with a in steps of a power of two needs no rounding; only 1 - 0 saturates, one step below 1."""
    fmt = unit_format(bits)
    op = OPS["one_minus"]
    q = np.arange(fmt.zero_point, fmt.qmax + 1)
    got = op.integers(op.bind(Bound((fmt,), fmt)), [fmt], [q])
    wanted = np.minimum(1.0 - fmt.dequantise(q), fmt.high)
    assert np.array_equal(fmt.dequantise(got), wanted)


def test_add_and_sub_are_exact_on_a_common_scale() -> None:
    a, b = QFormat("activation", 4, (0.5,), 3), QFormat("activation", 5, (0.5,), -2)
    out = QFormat("activation", 8, (0.5,), 1)
    p, q = np.meshgrid(np.arange(-8, 8), np.arange(-16, 16))
    for name, sign in (("add", 1), ("sub", -1)):
        got = OPS[name].integers(OPS[name].bind(Bound((a, b), out)), [a, b], [p, q])
        assert np.array_equal(got, (p - 3) + sign * (q + 2) + 1)


def test_mul_of_two_16_bit_operands_is_wide_and_right() -> None:
    f = symmetric_unit_format(16)
    constants = OPS["mul"].bind(Bound((f, f), f))
    assert constants.rescale.wide
    ends = np.array([f.qmin, f.qmin, f.qmax]), np.array([f.qmin, f.qmax, f.qmax])
    assert OPS["mul"].integers(constants, [f, f], ends).tolist() == [32767, -32767, 32766]


def test_operands_of_different_size_are_refused() -> None:
    b = Builder()
    x = b.input("input", 3)
    y = b.linear("y", x, "W", 2)
    with pytest.raises(UnsupportedNetwork, match=r"'add' takes operands of equal features; got \[3, 2\]"):
        b.op("add", "sum", x, y)
