"""linear: readable probes, the bias, narrow and wide accumulators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bittailor.core.ops import OPS, Bound
from bittailor.core.ops.linear import quantise_bias
from bittailor.core.qformat import QFormat
from bittailor.errors import RangeError

LINEAR = OPS["linear"]
ONE = QFormat("activation", 16, (1.0,))


def test_one_hot_inputs_read_off_one_weight() -> None:
    """Weight [o, k] is ±2**(3 o + k): a wrong number names the wrong tap."""
    W = np.array([[1, -2, 4], [8, -16, 32], [64, -128, 256], [512, -1024, 2048]])
    wf = QFormat("weight", 13, (1.0,))
    x = QFormat("activation", 4, (1.0,), 3)
    constants = LINEAR.bind(Bound((x,), ONE, {"W": (W, wf)}))
    one_hot = np.eye(3, dtype=np.int64) + x.zero_point
    assert LINEAR.integers(constants, [x], [one_hot]).T.tolist() == W.tolist()
    assert LINEAR.integers(constants, [x], [np.full((1, 3), x.zero_point)]).tolist() == [[0, 0, 0, 0]]


def test_the_bias_is_seen_by_its_own_row() -> None:
    wf, x = QFormat("weight", 2, (1.0,)), QFormat("activation", 8, (1.0,), -128)
    b = np.array([1.0, 2.0, 4.0, -8.0])
    params = {"W": (np.zeros((4, 1), np.int64), wf), "b": (quantise_bias(b, 8, wf, x), QFormat("bias", 8, ()))}
    constants = LINEAR.bind(Bound((x,), ONE, params))
    assert LINEAR.integers(constants, [x], [np.array([[-128], [127]])]).tolist() == [[1, 2, 4, -8]] * 2


def test_offsets_fold_zero_point_and_bias() -> None:
    W, wf = np.array([[3, -1], [2, 2]]), QFormat("weight", 3, (1.0,))
    x = QFormat("activation", 4, (1.0,), -5)
    bias = np.array([7, 0])
    constants = LINEAR.bind(Bound((x,), ONE, {"W": (W, wf), "b": (bias, QFormat("bias", 8, ()))}))
    assert constants.offsets.values.tolist() == [7 + 5 * 2, 0 + 5 * 4]
    assert LINEAR.operands(constants, [x], [np.array([[1, 2]])])[0].tolist() == [[3 * 6 - 7 + 7, 2 * 6 + 2 * 7]]
    none = LINEAR.bind(Bound((QFormat("activation", 4, (1.0,)),), ONE, {"W": (W, wf)}))
    assert none.offsets is None


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5), st.integers(2, 16), st.floats(1e-5, 1.0))
def test_a_bias_takes_the_least_exponent(values: list[float], bits: int, scale: float) -> None:
    wf, x = QFormat("weight", 8, (scale,)), QFormat("activation", 8, (0.5,))
    got = quantise_bias(np.array(values), bits, wf, x)
    exact = np.array(values) / (scale * 0.5)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    e = next(e for e in range(64) if all(low <= np.floor(v / 2.0**e + 0.5) <= high for v in exact))
    assert got.tolist() == [int(np.floor(v / 2.0**e + 0.5)) * 2**e for v in exact]
    assert np.abs(got - exact).max() <= 2.0**e / 2
    assert np.abs(quantise_bias(np.array(values), 32, wf, x) - exact).max() <= 0.5


def test_per_row_biases_use_their_rows_scale() -> None:
    wf, x = QFormat("weight", 8, (0.5, 0.25)), QFormat("activation", 8, (0.5,))
    assert quantise_bias(np.array([1.0, 1.0]), 32, wf, x).tolist() == [4, 8]


def test_a_bias_beyond_int32_makes_the_operator_wide() -> None:
    wf, x = QFormat("weight", 8, (1e-6,)), QFormat("activation", 8, (1e-3,))
    bias = quantise_bias(np.array([10.0]), 32, wf, x)
    assert bias[0] == 10**10
    constants = LINEAR.bind(Bound(
        (x,), QFormat("activation", 8, (0.1,)), {"W": (np.array([[1]]), wf), "b": (bias, QFormat("bias", 32, ()))}
    ))
    assert constants.rescale.wide
    assert LINEAR.integers(constants, [x], [np.array([[0]])]).tolist() == [[100]]


@pytest.mark.parametrize("scale", [1e-30, 1e-200])
def test_a_bias_beyond_all_bounds_is_refused(scale: float) -> None:
    wf, x = QFormat("weight", 8, (scale,)), QFormat("activation", 8, (scale,))
    for bits in (8, 32):
        with pytest.raises(RangeError, match="weights or the input they multiply are almost zero"):
            quantise_bias(np.array([1.0]), bits, wf, x)


@pytest.mark.parametrize("bias", [None, 0.0, 1.5])
def test_all_zero_weights(bias: float | None) -> None:
    wf, x = QFormat("weight", 8, (1.0,)), QFormat("activation", 8, (0.1,), 7)
    params = {"W": (np.zeros((2, 3), np.int64), wf)}
    if bias is not None:
        params["b"] = (quantise_bias(np.full(2, bias), 8, wf, x), QFormat("bias", 8, ()))
    constants = LINEAR.bind(Bound((x,), QFormat("activation", 8, (0.1,)), params))
    got = LINEAR.integers(constants, [x], [np.array([[x.qmin] * 3, [x.qmax] * 3])])
    assert got.tolist() == [[round((bias or 0.0) / 0.1)] * 2] * 2


def test_a_row_of_tiny_weights_keeps_its_bias() -> None:
    """With a scale per row, the tiny row's accumulator is almost only bias: 1.0 in steps of 1e-9."""
    wf = QFormat("weight", 8, (0.01, 1e-9))
    x = QFormat("activation", 8, (1.0,))
    params = {"W": (np.array([[100, -50], [100, -50]]), wf),
              "b": (quantise_bias(np.array([1.0, 1.0]), 32, wf, x), QFormat("bias", 32, ()))}
    constants = LINEAR.bind(Bound((x,), QFormat("activation", 8, (0.125,)), params))
    assert LINEAR.integers(constants, [x], [np.array([[0, 0], [1, 0]])]).tolist() == [[8, 8], [16, 8]]


def test_the_accumulator_fits_its_word() -> None:
    """16 × 16 bits over 3 columns passes 2**31 before it is scaled down to 2 bits."""
    wf, x, out = QFormat("weight", 16, (1.0,)), QFormat("activation", 16, (1.0,)), QFormat("activation", 2, (3e9,))
    constants = LINEAR.bind(Bound((x,), out, {"W": (np.full((1, 3), 32767), wf)}))
    assert constants.rescale.wide
    q = np.array([[x.qmax] * 3, [x.qmin] * 3, [1] * 3])
    assert LINEAR.integers(constants, [x], [q]).tolist() == [[1], [-1], [0]]
