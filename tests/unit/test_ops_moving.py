"""relu, requantise and concat."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bittailor.core.builder import Builder
from bittailor.core.network import Network
from bittailor.core.ops import OPS, Bound
from bittailor.core.plan import Plan
from bittailor.core.program import bind
from bittailor.core.qformat import QFormat
from bittailor.engines import Reference


@given(st.integers(2, 16), st.data())
def test_requantise_to_the_same_format_is_the_identity(bits: int, data: st.DataObject) -> None:
    half = 2 ** (bits - 1)
    zero = data.draw(st.integers(-half, half - 1)) if bits <= 8 else 0
    fmt = QFormat("activation", bits, (data.draw(st.floats(1e-3, 10.0)),), zero)
    q = np.arange(fmt.qmin, fmt.qmax + 1)
    op = OPS["requantise"]
    assert np.array_equal(op.integers(op.bind(Bound((fmt,), fmt)), [fmt], [q]), q)


@pytest.mark.parametrize("zero", [-8, -3, 0, 7])
def test_relu_stops_at_the_zero_point(zero: int) -> None:
    x, out = QFormat("activation", 4, (1.0,), 1), QFormat("activation", 4, (0.5,), zero)
    op = OPS["relu"]
    q = np.arange(-8, 8)
    got = op.integers(op.bind(Bound((x,), out)), [x], [q])
    assert got.tolist() == [min(max(0, 2 * (v - 1)) + zero, 7) for v in q]


def test_concat_brings_each_part_to_the_common_format() -> None:
    a, b = QFormat("activation", 4, (1.0,), 2), QFormat("activation", 8, (0.25,), -10)
    out = QFormat("activation", 8, (0.5,), 5)
    op = OPS["concat"]
    got = op.integers(op.bind(Bound((a, b), out)), [a, b], [np.array([[2, 3]]), np.array([[-10, -8, -7]])])
    # 0 1 | 0 0.5 0.75 in steps of a half; the tie 1.5 goes up
    assert got.tolist() == [[5, 7, 5, 6, 7]]
    assert op.features([2, 3], {}) == 5


def test_relu_is_not_counted_as_saturation() -> None:
    b = Builder()
    x = b.input("input", 1)
    network = Network(b.graph(b.op("relu", "relu", x)), {})
    program = bind(network, Plan({"input": QFormat("activation", 8, (1.0,)),
                                  "relu": QFormat("activation", 4, (1.0,), -8)}))
    found = Reference().saturation(program, np.array([[[-100], [3], [15], [17]]]))["relu"]
    assert (found.clamped, found.total, found.furthest) == (1, 4, 2)
