"""Calibration: what was seen, and the formats that follow from it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

import networks
from bittailor.core.builder import Builder
from bittailor.core.network import Network
from bittailor.core.qformat import activation_format, symmetric_unit_format, unit_format
from bittailor.engines import Reference
from bittailor.errors import BittailorError, DataError, FileError, FormatError, UnknownName
from bittailor.quantise.calibration import (
    Calibration,
    CalibrationSettings,
    _stride,
    calibrate,
    evenly,
    with_settings,
)
from bittailor.quantise.spaces import homogeneous_widths

NETWORK = networks.gru_network(3, 6, 2, layers=2, bidirectional=True)
X = np.random.default_rng(0).normal(size=(20, 9, 3))
LENGTHS = np.random.default_rng(1).integers(1, 10, 20)
SEEN = calibrate(NETWORK, X, LENGTHS)


def simple(op: str = "requantise") -> Network:
    b = Builder()
    return Network(b.graph(b.op(op, "y", b.input("input", 2))), {})


def test_extremes_are_those_of_the_valid_steps() -> None:
    trace = NETWORK.trace(X, LENGTHS)
    valid = np.arange(9)[None, :] < LENGTHS[:, None]
    for name, seen in SEEN.observed.items():
        values = trace[name][valid] if NETWORK.graph.sites[name].sequence else trace[name]
        assert (seen.low, seen.high) == (values.min(), values.max()), name
        assert seen.counts.sum() >= values.size
    padded = X.copy()
    padded[np.arange(9)[None, :] >= LENGTHS[:, None]] = 1e6
    again = calibrate(NETWORK, padded, LENGTHS)
    assert all(again.observed[n].high == s.high for n, s in SEEN.observed.items())


def test_second_moments() -> None:
    valid = np.arange(9)[None, :] < LENGTHS[:, None]
    rows = X[valid]
    assert np.allclose(SEEN.moments["input"], rows.T @ rows / len(rows))


@pytest.mark.parametrize("features", [1, 2, 3, 64, 100])
@pytest.mark.parametrize("steps", [10, 1000, 9973])
def test_samples_come_from_every_feature(features: int, steps: int) -> None:
    rows = np.broadcast_to(np.arange(features), (steps, features))
    taken = rows.ravel()[:: _stride(rows, 500)]
    assert set(taken) == set(range(features)) or len(taken) < 2 * features
    assert len(taken) <= max(2 * 500, 2)


def test_given_formats() -> None:
    for bits in (2, 8, 12):
        assert SEEN.format("gru0.h", bits) == symmetric_unit_format(bits)
        assert SEEN.format("gru0.n.post", bits) == symmetric_unit_format(bits)
        assert SEEN.format("gru0.r.post", bits) == unit_format(bits)
        assert SEEN.format("gru0.z.not", bits) == unit_format(bits)
        assert SEEN.format("gru0.h", bits) != with_settings(SEEN, given="never").format("gru0.h", bits)


def test_auto_takes_the_better_of_given_and_fitted() -> None:
    never, auto = with_settings(SEEN, given="never"), with_settings(SEEN, given="auto")
    picked = set()
    for site in NETWORK.graph.free:
        if site.kind != "activation" or NETWORK.graph.given_format(site.name, 3) is None:
            continue
        error = SEEN._error(site.name)
        both = NETWORK.graph.given_format(site.name, 3), never.format(site.name, 3)
        got = auto.format(site.name, 3)
        assert error(got) == min(map(error, both))
        picked.add(both.index(got))
    assert picked == {0, 1}


@pytest.mark.parametrize("bits", range(2, 17))
def test_mse_is_no_worse_than_minmax_on_the_histogram(bits: int) -> None:
    mse, minmax = (with_settings(SEEN, method=m, given="never") for m in ("mse", "minmax"))
    better = 0
    for name in SEEN.observed:
        error = SEEN._error(name)
        a, b = error(mse.format(name, bits)), error(minmax.format(name, bits))
        assert a <= b * (1 + 1e-12), name
        better += a < b
    assert better > 10 or bits > 8


def test_minmax_covers_and_percentile_clips() -> None:
    minmax = with_settings(SEEN, method="minmax", given="never")
    clipped = with_settings(SEEN, method="percentile", percentile=90.0, given="never")
    for name, seen in SEEN.observed.items():
        fmt = minmax.format(name, 8)
        assert fmt == activation_format(seen.low, seen.high, 8)
        assert clipped.format(name, 8).scale[0] < fmt.scale[0]


def test_quantiles() -> None:
    x = np.linspace(-1.0, 3.0, 4001).reshape(1, -1, 1)
    b = Builder()
    seen = calibrate(Network(b.graph(b.op("relu", "y", b.input("input", 1))), {}), x).observed["input"]
    for share in (0.0, 0.1, 0.5, 0.999, 1.0):
        assert abs(seen.quantile(share) - (-1.0 + 4.0 * share)) <= 4.0 / 1024
    assert (seen.quantile(0.0), seen.quantile(1.0)) == (-1.0, 3.0)


def test_a_function_forgives_what_it_flattens() -> None:
    """A site that only feeds a sigmoid is measured behind it: a far outlier may be cut off."""
    b = Builder()
    network = Network(b.graph(b.op("sigmoid", "y", b.input("input", 1))), {})
    x = np.concatenate([np.random.default_rng(0).normal(size=999), [60.0]]).reshape(1, 1000, 1)
    assert calibrate(network, x).format("input", 4).high < 15


def test_sixteen_bits_are_not_wasted_between_knots() -> None:
    """257 knots over a wide range are far apart: the range before a tanh is chosen for the table, not for itself."""
    b = Builder()
    network = Network(b.graph(b.op("tanh", "y", b.input("input", 1))), {})
    x = 8.0 * np.random.default_rng(0).normal(size=(1, 5000, 1))
    seen = calibrate(network, x)
    program = seen.binder().bind(seen.plan({"input": 16, "y": 16}))
    off = np.abs(program.read_output(Reference().run(program, program.quantise_input(x))) - np.tanh(x))
    assert seen.format("input", 16).high < 12 < seen.observed["input"].high
    assert np.sqrt((off**2).mean()) < 5e-4


@pytest.mark.parametrize(("value", "noise"), [
    (0.0, 0.0), (0.0, 1e-322), (1e-40, 0.0), (0.5, 0.0), (-3.0, 0.0), (0.5, 1e-16),
])
@pytest.mark.parametrize("method", ["mse", "minmax", "percentile"])
@pytest.mark.parametrize("bits", [2, 8, 16])
def test_a_constant_site(value: float, noise: float, method: str, bits: int) -> None:
    x = np.full((3, 4, 2), value) + noise * np.random.default_rng(0).normal(size=(3, 4, 2))
    fmt = calibrate(simple(), x, settings=CalibrationSettings(method=method)).format("input", bits)
    assert fmt.dequantise(fmt.quantise(0.0)) == 0.0
    if abs(value) < 1e-30:
        assert fmt == activation_format(-1.0, 1.0, bits)
    else:
        bins = abs(value) / 1024 if method == "percentile" else 0.0  # a percentile lies somewhere in its bin
        assert abs(float(fmt.dequantise(fmt.quantise(value))) - value) <= fmt.scale[0] + bins


def test_an_input_that_is_always_zero_still_binds() -> None:
    network = networks.gru_network(2, 4, 2)
    seen = calibrate(network, np.zeros((2, 5, 2)))
    for bits in (2, 8, 16):
        program = seen.binder().bind(seen.plan(homogeneous_widths(network.graph, bits)))
        x = np.random.default_rng(0).normal(size=(2, 5, 2))
        Reference().run(program, program.quantise_input(x))


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("rounding", ["inputs", "nearest"])
def test_plans_bind_and_come_close(per_row: bool, rounding: str) -> None:
    seen = with_settings(SEEN, per_row=per_row, rounding=rounding)
    wanted = NETWORK(X, LENGTHS)
    errors = []
    for bits in (2, 4, 8, 12):
        plan = seen.plan(homogeneous_widths(NETWORK.graph, bits))
        plan.check(NETWORK.graph)
        assert all((len(f.scale) > 1) == per_row for f in plan.formats.values() if f.kind == "weight")
        program = seen.binder().bind(plan)
        got = program.read_output(Reference().run(program, program.quantise_input(X), LENGTHS))
        errors.append(float(np.sqrt(((got - wanted) ** 2).mean())))
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.05 * wanted.std()


def test_integers_belong_to_their_format() -> None:
    names = [site.name for site in NETWORK.graph.free if site.kind == "weight"]
    different = 0
    for name in names:
        fmt = SEEN.format(name, 3)
        different += not np.array_equal(SEEN.integers(name, fmt), fmt.quantise(NETWORK.parameters[name]))
    assert different > len(names) / 2
    fmt = SEEN.format("gru0.W_ir", 3)
    other = type(fmt)("weight", 3, (fmt.scale[0] * 1.5,))
    assert np.array_equal(SEEN.integers("gru0.W_ir", other), other.quantise(NETWORK.parameters["gru0.W_ir"]))


def test_same_data_same_formats() -> None:
    again = calibrate(NETWORK, X.copy(), LENGTHS.copy())
    for site in NETWORK.graph.free:
        for bits in (2, 5, 8, 16):
            assert again.format(site.name, bits) == SEEN.format(site.name, bits)
            if site.kind == "weight":
                fmt = SEEN.format(site.name, bits)
                assert np.array_equal(again.integers(site.name, fmt), SEEN.integers(site.name, fmt))


def test_at_most_so_many_items_are_run() -> None:
    few = calibrate(NETWORK, X, LENGTHS, CalibrationSettings(items=5))
    chosen = evenly(len(X), 5)
    same = calibrate(NETWORK, X[chosen], LENGTHS[chosen])
    assert all(few.observed[n].high == s.high for n, s in same.observed.items())


@pytest.mark.parametrize(("count", "items"), [(1000, 7), (8, 7), (1000, 999), (3, 1)])
def test_they_come_from_the_whole_range(count: int, items: int) -> None:
    chosen = np.arange(count)[evenly(count, items)]
    assert len(set(chosen)) == items
    assert chosen[0] == 0
    assert items == 1 or chosen[-1] == count - 1
    assert items == 1 or np.ptp(np.diff(chosen)) <= 1
    assert np.array_equal(np.arange(count)[evenly(count, count + 5)], np.arange(count))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_that_is_not_finite_names_the_site(value: float) -> None:
    x = X.copy()
    x[3, 0, 1] = value
    with pytest.raises(DataError, match=r"site input becomes NaN or infinite.*check data"):
        calibrate(NETWORK, x, LENGTHS)


def test_data_that_does_not_fit() -> None:
    with pytest.raises(DataError, match="empty"):
        calibrate(NETWORK, X[:0])
    with pytest.raises(DataError, match=r"takes \[items, steps, 3\]"):
        calibrate(NETWORK, X[:, :, :2])
    with pytest.raises(DataError, match="lengths must lie in"):
        calibrate(NETWORK, X, np.full(20, 10))


@pytest.mark.parametrize(("change", "message"), [
    ({"method": "best"}, "calibration method 'best' is unknown; choose one of mse, percentile, minmax"),
    ({"given": "yes"}, "calibration given 'yes' is unknown"),
    ({"rounding": "up"}, "calibration rounding 'up' is unknown"),
    ({"percentile": 50.0}, "a percentile must lie above 50"),
    ({"items": 0}, "items is 0; expected a whole number, 1 or more"),
])
def test_settings(change: dict[str, object], message: str) -> None:
    with pytest.raises(BittailorError, match=message):
        CalibrationSettings(**change)


@pytest.mark.parametrize("bits", [0, 1, 17])
def test_widths_are_checked_with_the_sites_name(bits: int) -> None:
    with pytest.raises(FormatError, match=rf"gru0.h: {bits} bits is no width"):
        SEEN.format("gru0.h", bits)
    with pytest.raises(UnknownName, match=r"there is no site 'gru0.H'"):
        SEEN.format("gru0.H", 8)


def test_save_and_load(tmp_path: Path) -> None:
    SEEN.save(tmp_path / "c")
    again = Calibration.load(tmp_path / "c", NETWORK)
    assert again.settings == SEEN.settings
    widths = homogeneous_widths(NETWORK.graph, 5)
    assert again.plan(widths) == SEEN.plan(widths)
    with pytest.raises(FileError, match="made from another network; calibrate again"):
        Calibration.load(tmp_path / "c", networks.gru_network())


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "c"
    network = simple()
    seen = calibrate(network, X[:, :, :2])
    seen.save(path)
    whole = path.read_bytes()
    rnd = random.Random(0)
    noticed = 0
    for _ in range(200):
        data = bytearray(whole)
        data[rnd.randrange(len(data))] ^= 1 << rnd.randrange(8)
        path.write_bytes(data if rnd.random() < 0.8 else data[: rnd.randrange(len(data))])
        try:
            again = Calibration.load(path, network)
        except FileError:
            noticed += 1
        else:
            assert again.format("input", 4) == seen.format("input", 4)
    assert noticed > 100
