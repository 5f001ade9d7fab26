"""Fitting weights: the fit is never worse than what it starts from, in its own measure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bittailor as bt
from bittailor.quantise.fitting import fit_here, widths_of
from bittailor.quantise.weights import SMALLEST_ROW, SWEEPS, _Problem, _whole, fit_to_inputs, weight_format


def draw(seed: int, rows: int = 5, columns: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and the second moment of correlated inputs."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(50, columns)) @ rng.normal(size=(columns, columns))
    return rng.normal(size=(rows, columns)) * rng.choice([0.1, 1.0, 3.0], (rows, 1)), x.T @ x / 50


def metric_error(weights: np.ndarray, scale: np.ndarray, q: np.ndarray, metric: np.ndarray) -> np.ndarray:
    d = weights - scale[:, None] * q
    return ((d @ metric) * d).sum(axis=1)


def descended(weights: np.ndarray, scales: np.ndarray, q: np.ndarray, metric: np.ndarray, bits: int) -> np.ndarray:
    """The integers [shares, rows, columns] after descent from the same ones for all scales [shares, rows]."""
    many = np.repeat(q.T[:, None], len(scales), axis=1)
    _Problem(weights.T, metric, bits).descend(many, scales)
    return np.moveaxis(many, 0, -1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (9, 3), (40, 130), (70, 61)])
def test_blocks_give_the_integers_of_one_column_after_the_other(bits: int, rows: int, columns: int) -> None:
    weights, moment = draw(columns, rows, columns)
    metric = moment + 0.01 * np.eye(columns)
    scales = np.array([[0.7], [1.0], [1.2]]) * np.abs(weights).max(axis=1) / max(1, 2 ** (bits - 1) - 1)
    start = _whole(weights / scales[1][:, None], bits)
    for scale, got in zip(scales, descended(weights, scales, start, metric, bits), strict=True):
        q = start.copy()
        for _ in range(SWEEPS):
            for k in range(columns):
                gradient = (weights - scale[:, None] * q) @ metric[:, k]
                q[:, k] = _whole(q[:, k] + gradient / (metric[k, k] * scale), bits)
        np.testing.assert_array_equal(got, q)


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("seed", range(3))
def test_coordinate_descent_never_increases_the_error(bits: int, seed: int) -> None:
    weights, moment = draw(seed)
    metric = moment + 0.01 * np.eye(len(moment))
    scale = np.full(len(weights), np.abs(weights).max() / max(1, 2 ** (bits - 1) - 1))
    q = _whole(weights / scale[:, None], bits)
    before = metric_error(weights, scale, q, metric)
    after = metric_error(weights, scale, descended(weights, scale[None], q, metric, bits)[0], metric)
    assert (after <= before * (1 + 1e-9) + 1e-15).all()
    if bits in (2, 3, 4):
        assert after.sum() < before.sum()


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("bits", range(1, 17))
def test_the_fit_is_no_worse_than_rounding_to_nearest(bits: int, per_row: bool) -> None:
    weights, moment = draw(bits)
    fmt, q = fit_to_inputs(weights, bits, moment, per_row)
    assert np.abs(q).max() <= fmt.qmax
    assert bits > 1 or (np.abs(q) == 1).all()
    assert len(fmt.scale) == (len(weights) if per_row else 1)
    start = weight_format(weights, bits, "mse", per_row)
    ridge = 0.01 * np.trace(moment) / len(moment) + 1e-12
    metric = moment + ridge * np.eye(len(moment))

    def total(f: object, integers: np.ndarray) -> float:
        scale = np.broadcast_to(np.asarray(f.scale), (len(weights),))
        return float(metric_error(weights, scale, integers, metric).sum())

    assert total(fmt, q) <= total(start, start.quantise(weights)) * (1 + 1e-9)


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("bits", range(2, 17))
def test_mse_is_no_worse_than_minmax(bits: int, per_row: bool) -> None:
    weights, _ = draw(bits)
    error = {}
    for method in ("mse", "minmax"):
        fmt = weight_format(weights, bits, method, per_row)
        error[method] = ((fmt.dequantise(fmt.quantise(weights)) - weights) ** 2).sum()
    assert error["mse"] <= error["minmax"] * (1 + 1e-9)


def test_minmax_covers_the_largest_weight() -> None:
    weights, _ = draw(0)
    fmt = weight_format(weights, 8, "minmax", False)
    assert fmt.high == pytest.approx(np.abs(weights).max())
    rows = weight_format(weights, 8, "minmax", True)
    assert np.asarray(rows.scale) * 127 == pytest.approx(np.abs(weights).max(axis=1))


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 8, 16])
def test_zero_and_nearly_zero_weights(bits: int, per_row: bool) -> None:
    moment = np.eye(3)
    fmt, q = fit_to_inputs(np.zeros((2, 3)), bits, moment, per_row)
    assert np.abs(fmt.dequantise(q)).max() <= (1e-6 if bits == 1 else 0.0)
    rows = np.array([[1.0, -2.0, 0.5], [1e-12, 0.0, 0.0], [0.0, 0.0, 0.0]])
    made = [weight_format(rows, bits, "mse", True), weight_format(rows, bits, "minmax", True),
            fit_to_inputs(rows, bits, moment, True)[0]]
    for fmt in made:
        # a scale that vanishes beside the others would take the row's bias with it
        assert min(fmt.scale) >= 0.5 * SMALLEST_ROW * fmt.scale[0]
        assert max(fmt.scale) == fmt.scale[0]


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_inputs_that_are_always_zero(bits: int) -> None:
    weights, _ = draw(1)
    fmt, q = fit_to_inputs(weights, bits, np.zeros((7, 7)), False)
    assert np.isfinite(fmt.scale[0])
    assert np.abs(q).max() <= fmt.qmax


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), bits=st.integers(1, 16), per_row=st.booleans())
def test_same_input_same_fit(seed: int, bits: int, per_row: bool) -> None:
    weights, moment = draw(seed)
    a, b = (fit_to_inputs(weights.copy(), bits, moment.copy(), per_row) for _ in range(2))
    assert a[0] == b[0]
    assert np.array_equal(a[1], b[1])


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_fit_what_a_calibration_fits_when_asked(workers: int) -> None:
    rng = np.random.default_rng(0)
    network = bt.from_torch(torch.nn.GRU(5, 7, batch_first=True), 5)
    x = rng.normal(size=(20, 6, 5)).astype(np.float32)
    asked, before = bt.calibrate(network, x), bt.calibrate(network, x)
    wanted = widths_of(bt.per_operator(network.graph), network.graph)
    fit_here(before, wanted, workers)
    for site, widths in wanted.items():
        for bits in widths:
            assert before.has(site, bits)
            fmt = asked.format(site, bits)
            assert before.format(site, bits) == fmt
            if network.graph.site(site).kind == "weight":
                np.testing.assert_array_equal(before.integers(site, fmt), asked.integers(site, fmt))


def test_progress_of_a_long_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bittailor.quantise.fitting.EVERY_S", 0.0)
    network = bt.from_torch(torch.nn.GRU(3, 4, batch_first=True), 3)
    calibration = bt.calibrate(network, np.random.default_rng(0).normal(size=(9, 5, 3)).astype(np.float32))
    told: list[str] = []
    fit_here(calibration, {"gru0.W_hn": (2, 4), "gru0.h": (8,)}, 1, told.append)
    assert told[-1] == "fitted 100% of the weights"
    assert len(told) == 3
