"""Certificates and paired differences: bounds cover, tests in sequence err as seldom as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import bittailor as bt
from bittailor.errors import BittailorError
from bittailor.evaluate.certify import Comparison, Differences, differences, fallback, item_costs, read_wish
from bittailor.evaluate.metrics import METRICS

NONE = np.empty(0, np.int64)


def drawn(rng: np.random.Generator, items: int, worse: float, better: float) -> Differences:
    """Differences of a classifier that alone is wrong on a share `worse` of all items, alone right on `better`."""
    values = rng.choice([100.0, 0.0, -100.0], p=[worse, 1 - worse - better, better], size=items)
    return Differences(values, 100.0, np.ones(items), NONE)


@pytest.mark.parametrize(("items", "worse", "better"), [
    (90, 0.05, 0.02), (400, 0.02, 0.01), (400, 0.005, 0.0), (2000, 0.03, 0.03), (2000, 0.002, 0.004)])
def test_the_bound_covers_at_any_number_of_items(items: int, worse: float, better: float) -> None:
    """At most 5 % may miss; 2 standard errors of 600 trials are 1.8 %."""
    rng = np.random.default_rng(items)
    true = 100 * (worse - better)
    missed = sum(drawn(rng, items, worse, better).upper() < true for _ in range(600))
    assert missed <= 600 * (0.05 + 0.018)


@pytest.mark.parametrize(("items", "worse", "better"), [(400, 0.03, 0.02), (2000, 0.02, 0.02)])
def test_the_interval_covers_where_there_are_many_items(items: int, worse: float, better: float) -> None:
    rng = np.random.default_rng(items)
    true = 100 * (worse - better)
    found = [drawn(rng, items, worse, better).interval() for _ in range(600)]
    assert abs(np.mean([low <= true <= high for low, high in found]) - 0.95) < 0.03


@given(st.integers(0, 2**31), st.integers(2, 60), st.floats(0.02, 0.5), st.floats(0.02, 0.4))
def test_bounds_are_in_order(seed: int, items: int, worse: float, better: float) -> None:
    found = drawn(np.random.default_rng(seed), items, worse, better)
    low, high = found.interval()
    assert -100 <= low <= found.mean + 1e-3 <= high + 2e-3
    assert 0 <= found.upper(0.9) <= found.upper(0.95) <= found.upper(0.99) <= 100
    assert found.p_value(found.upper(0.95) + 0.1) <= 0.05 + 1e-9 or found.upper(0.95) > 99
    assert found.p_value(found.upper(0.95) - 0.1) > 0.05 - 1e-9 or found.upper(0.95) == 0


def test_no_item_tells_them_apart() -> None:
    """Equal answers bound the difference by about 3 over the number of items, in shares (the rule of three)."""
    for items in (100, 300, 1000):
        found = Differences(np.zeros(items), 100.0, np.ones(items), NONE)
        assert 300 / items < found.upper() < 700 / items
        assert found.mean == 0


def test_groups_widen_what_items_alone_would_say() -> None:
    """Twenty speakers of thirty items each, alike within a speaker: items are not independent."""
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(20), 30)
    missed = {"groups": 0, "items": 0}
    for _ in range(200):
        values = 5 + np.repeat(rng.normal(0, 1, 20), 30) + rng.normal(0, 0.1, 600)
        for name, groups in (("groups", speakers), ("items", NONE)):
            missed[name] += Differences(values, None, np.ones(600), groups).upper() < 5
    assert missed["groups"] <= 200 * 0.10
    assert missed["items"] > 200 * 0.25


def test_few_groups_say_nothing() -> None:
    found = Differences(np.zeros(90), 100.0, np.ones(90), np.repeat(np.arange(3), 30))
    assert "3 groups" in str(found.problem)
    assert found.p_value(50) == 1
    assert found.upper() == float("inf")
    assert Comparison.of("test", "8bit", found) is None


def test_a_rate_is_that_of_all_phones_together() -> None:
    values, amounts = np.array([10.0, -5.0, 0.0]), np.array([1.0, 4.0, 5.0])
    assert Differences(values, None, amounts, NONE).mean == pytest.approx(-1.0)


def test_differences_add_up_to_the_difference_of_the_metric() -> None:
    rng = np.random.default_rng(0)
    steps = np.array([9, 5, 7, 9])
    labels = np.full((4, 9, 2), -1)
    for row, length in zip(labels, steps, strict=True):
        row[:length, 1] = np.arange(length) // 2
        row[:length, 0] = (row[:length, 1] * 2 + 1) % 4
    data = bt.Data(rng.normal(size=(4, 9, 2)).astype(np.float32), labels, steps)
    a, b = (rng.normal(size=(4, 9, 4)) for _ in range(2))
    metric = METRICS["per"]
    costs = [item_costs(metric, y, data.targets) for y in (a, b)]
    assert costs[0] is not None
    assert costs[1] is not None
    found = differences(metric, costs[0], costs[1], data)
    assert found.mean == pytest.approx(metric.value(a, data.targets) - metric.value(b, data.targets))
    assert found.method == "bootstrap"


def test_an_accuracy_that_falls_is_worse() -> None:
    data = bt.Data(np.zeros((4, 1, 1), np.float32), np.array([0, 1, 0, 1]))
    right, wrong = np.eye(2)[[0, 1, 0, 1]], np.eye(2)[[1, 1, 0, 1]]
    for name in ("accuracy", "classification_error"):
        a, b = (item_costs(METRICS[name], y, data.targets) for y in (wrong, right))
        assert a is not None
        assert b is not None
        assert differences(METRICS[name], a, b, data).mean == 25


def falsely(starts: tuple[int, ...], true: NDArray[np.bool_], seed: int) -> float:
    """How often a true hypothesis is rejected, of 2000 sequences of uniform p-values."""
    rng, wrong = np.random.default_rng(seed), 0
    for _ in range(2000):
        p = np.where(true, rng.random(len(true)), rng.random(len(true)) * 0.02)
        wrong += bool(true[fallback(len(true), starts, 0.05, lambda i, p=p: float(p[i]))].any())  # type: ignore[misc]
    return wrong / 2000


@pytest.mark.parametrize("starts", [(0,), (0, 4, 8), (3,)])
def test_a_sequence_errs_as_seldom_as_it_says(starts: tuple[int, ...]) -> None:
    for true in ([False] * 5 + [True] * 7, [True] * 12, [False, True] * 6, [False] * 11 + [True]):
        assert falsely(starts, np.array(true), sum(true)) <= 0.05 + 3.5 * (0.05 * 0.95 / 2000) ** 0.5


def test_one_start_stops_at_the_first_failure_and_several_go_on() -> None:
    p = [0.001, 0.9, 0.001, 0.001]
    assert fallback(4, [0], 0.05, p.__getitem__) == [0]
    assert fallback(4, [0, 2], 0.05, p.__getitem__) == [0, 2, 3]


def test_wishes_are_read() -> None:
    assert (read_wish("0.5").margin, read_wish("0.5").confidence) == (0.5, 0.95)
    assert str(read_wish("1@99")) == "1@99"
    for text in ("", "x@95", "1@", "-1@95", "1@50", "1@100", "nan@95", "inf@95"):
        with pytest.raises(BittailorError):
            read_wish(text)


def test_the_items_a_wish_needs() -> None:
    """With so many items of the same kind, most sequences certify two equal solutions."""
    rng = np.random.default_rng(1)
    few = drawn(rng, 5000, 0.01, 0.01)
    needed = few.items_needed(0.5, 0.95)
    assert 3000 < needed < 12_000
    reached = sum(drawn(rng, needed, 0.01, 0.01).p_value(0.5) <= 0.05 for _ in range(100))
    assert reached >= 70
    assert few.items_needed(0.0, 0.95) == 0
