"""Racing: nothing depends on workers or on where a search was cut short; values of those that finish are exact."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bittailor as bt
from bittailor.evaluate import racing, sensitivity
from bittailor.evaluate.evaluator import Evaluator
from bittailor.evaluate.metrics import METRICS
from bittailor.runs.problem import Display
from bittailor.search.executors import Given
from small import small_data, small_network

SETTINGS = bt.SearchSettings(population=12, generations=6, seed=1)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Races over a few items."""
    monkeypatch.setattr(racing, "FIRST", 40)
    monkeypatch.setattr("bittailor.runs.evaluating.LEAST", 100)


@pytest.fixture(scope="module")
def network() -> bt.Network:
    return small_network()


@pytest.fixture(scope="module")
def data(network: bt.Network) -> bt.Splits:
    return small_data(network, items=150)


def searched(network: bt.Network, data: bt.Splits, out: Path, **options: Any) -> bt.Run:
    search = options.pop("search", SETTINGS)
    resume = options.pop("resume", False)
    executor, display = options.pop("executor", None), options.pop("display", Display())
    return bt.run_search(network, data, out, bt.SearchSpec(search=search, **options), resume=resume, executor=executor,
                         display=display)


def rows(run: bt.Run) -> list[tuple[Any, ...]]:
    with run.store() as store:
        return [(r.key, r.outcome.values, r.outcome.dropped, r.outcome.reason) for r in store.rows()]


def test_parts_grow_to_all_items() -> None:
    for items in (1, 39, 40, 61, 100, 1000, 9000):
        found = racing.stops(items)
        assert found[-1] == items
        assert list(found) == sorted(set(found))
        sizes = np.diff((0, *found))
        assert len(found) == 1 or sizes[-1] >= (min(sizes[-2], racing.MOST * items) - 1) / 2
        assert len(found) == 1 or max(sizes) <= max(racing.FIRST, racing.MOST * items * 1.5 + 1)


def test_some_are_given_up_and_none_of_them_is_shown(network: bt.Network, data: bt.Splits, tmp_path: Path) -> None:
    run = searched(network, data, tmp_path / "run")
    dropped = {key: (values, after) for key, values, after, _ in rows(run) if after is not None}
    assert len(dropped) == run.result["dropped"] > 5
    assert run.result["saved_percent"] > 2
    assert {after for _, after in dropped.values()} <= set(racing.stops(300)[:-1])
    shown = [*run.front, *run.picks.values()]
    assert not {s.key for s in shown} & dropped.keys()
    # an estimate is never better than that of the rival, which is no larger
    whole = [values for _, values, after, _ in rows(run) if after is None and values is not None]
    for values, _ in dropped.values():
        assert any(v["size"] <= values["size"] and v["loss"] <= values["loss"] for v in whole)


def test_values_of_those_that_finish_are_those_of_a_plain_evaluation(
    network: bt.Network, data: bt.Splits, tmp_path: Path
) -> None:
    run = searched(network, data, tmp_path / "run")
    select = run.spec.divide(data).select
    evaluator = Evaluator(run.calibration, select, "classification_error", "reference", ("loss", "size"))
    with run.store() as store:
        whole = [r for r in store.rows() if r.outcome.known is not None]
    plain = evaluator.evaluate([run.space.widths(r.genome) for r in whole])
    for row, expected in zip(whole, plain, strict=True):
        assert row.outcome.known is not None
        assert row.outcome.known["error"] == expected["error"]
        assert row.outcome.known["loss"] == pytest.approx(expected["loss"], rel=1e-12)


@pytest.mark.parametrize("metric", ["classification_error", "accuracy"])
def test_results_do_not_depend_on_workers(
    network: bt.Network, data: bt.Splits, tmp_path: Path, metric: str
) -> None:
    one = searched(network, data, tmp_path / "one", workers=1, metric=metric)
    two = searched(network, data, tmp_path / "two", workers=2, engine="reference", metric=metric)
    with ThreadPoolExecutor(3) as pool:
        given = searched(network, data, tmp_path / "given", executor=Given(pool, 3), metric=metric)
    assert rows(one) == rows(two) == rows(given)
    assert one.front == two.front == given.front


class Cut(Display):
    """Ends a search after so many evaluations."""

    def __init__(self, after: int) -> None:
        self.after = after

    def progress(self, look: Any) -> Any:
        return self

    def start(self, status: Any) -> None:
        """Nothing to show."""

    def update(self, status: Any) -> None:
        if status.done >= self.after:
            raise KeyboardInterrupt

    def finish(self, status: Any, message: str) -> None:
        """Nothing to show."""


@pytest.mark.parametrize("after", [9, 25, 43, 60])
def test_a_search_that_is_cut_short_goes_on_to_the_same(
    network: bt.Network, data: bt.Splits, tmp_path: Path, after: int
) -> None:
    whole = searched(network, data, tmp_path / "whole")
    cut = searched(network, data, tmp_path / "cut", display=Cut(after))
    assert cut.result["interrupted"]
    again = searched(network, data, tmp_path / "cut", resume=True)
    assert rows(again) == rows(whole)
    assert again.front == whole.front
    assert again.picks == whole.picks


def test_it_is_done_where_it_suits(network: bt.Network, data: bt.Splits, tmp_path: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    off = searched(network, data, tmp_path / "off", racing=False)
    assert off.result["dropped"] == 0
    monkeypatch.setattr("bittailor.runs.evaluating.LEAST", 1000)
    few = searched(network, data, tmp_path / "few")
    assert rows(few) == rows(off)
    assert not racing.suits(METRICS["per_ctc"], np.zeros((2, 6, 3)), _labels())
    assert racing.suits(METRICS["per"], np.zeros((2, 6, 3)), _labels())


def _labels() -> Any:
    y = np.zeros((2, 6, 2), np.int64)
    y[:, :, 1] = np.arange(6)
    y[:, :, 0] = (np.arange(6) + 1) % 3
    return bt.Data(np.zeros((2, 6, 1)), y).targets


def test_the_radius_covers_at_every_look() -> None:
    """A mean of differences is misjudged at any look in no more than about the risk, of 400 sequences."""
    rng = np.random.default_rng(0)
    items, looks = 4000, [500, 1000, 1800, 2600, 3400]
    wrong = 0
    for _ in range(400):
        values = rng.standard_t(5, items)
        spread = values.std()
        wrong += any(values[:n].mean() - racing.radius(n, items, len(looks)) * spread > values.mean() for n in looks)
    assert wrong <= 400 * racing.RISK + 3 * (400 * racing.RISK) ** 0.5


def test_terms_add_up_to_the_values() -> None:
    rng = np.random.default_rng(0)
    for name, outputs, data in _cases(rng):
        metric = METRICS[name]
        loss = metric.loss_for(data.targets)
        amounts = metric.amount(data.targets), loss.amount(data.targets)
        parts = [racing.terms(metric, outputs[some], data.targets[some]) for some in (slice(0, 3), slice(3, 8))]
        total = np.concatenate(parts, axis=1).sum(axis=1)
        assert metric.of_sum(float(total[0]), amounts[0]) == pytest.approx(metric.value(outputs, data.targets))
        assert total[1] / amounts[1] == pytest.approx(loss.of(outputs, data.targets))


def _cases(rng: np.random.Generator) -> Iterator[tuple[str, Any, bt.Data]]:
    x = rng.normal(size=(8, 6, 2)).astype(np.float32)
    lengths = rng.integers(3, 7, 8)
    y = np.full((8, 6, 2), -1)
    for row, length in zip(y, lengths, strict=True):
        row[:length, 1] = np.arange(length)
        row[:length, 0] = (np.arange(length) + 1) % 4
    yield "classification_error", rng.normal(size=(8, 4)), bt.Data(x, rng.integers(0, 4, 8), lengths)
    yield "accuracy", rng.normal(size=(8, 4)), bt.Data(x, rng.integers(0, 4, 8), lengths)
    yield "mse", rng.normal(size=(8, 3)), bt.Data(x, rng.normal(size=(8, 3)).astype(np.float32), lengths)
    yield "per", rng.normal(size=(8, 6, 4)), bt.Data(x, y, lengths)
    yield "si_sdr", rng.normal(size=(8, 6, 2)), bt.Data(x, rng.normal(size=(8, 6, 2)).astype(np.float32), lengths)


def test_the_first_items_stand_for_all_where_they_came_sorted(
    network: bt.Network, data: bt.Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    make = racing.Racing.__init__

    def noted(self: racing.Racing, ask: Any, parts: Any, metric: Any, targets: Any, *rest: Any) -> None:
        asked.append(targets.y)
        make(self, ask, parts, metric, targets, *rest)

    monkeypatch.setattr(racing.Racing, "__init__", noted)
    valid = data.valid[np.argsort(data.valid.y, kind="stable")]
    options = bt.RoleSettings(select_items=0, confirm=0.0)
    run = searched(network, bt.Splits(data.train, valid, data.test), tmp_path / "run", roles=options)
    assert run.result["items"]["select"] == len(valid)
    assert len(set(valid.y[:racing.FIRST].tolist())) < len(set(valid.y.tolist()))
    assert set(asked[0][:racing.FIRST].tolist()) == set(valid.y.tolist())
    select = run.spec.divide(bt.Splits(data.train, valid, data.test)).select
    evaluator = Evaluator(run.calibration, select, "classification_error", "reference", ("loss", "size"))
    (plain,) = evaluator.evaluate([dict(run.front[0].widths)])
    assert run.front[0].values["error"] == plain["error"]


def test_the_first_population_is_measured_on_the_first_items(
    network: bt.Network, data: bt.Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    analyse = sensitivity.analyse

    def noted(evaluator: Evaluator, *rest: Any) -> Any:
        seen.append(len(evaluator.data))
        return analyse(evaluator, *rest)

    monkeypatch.setattr(sensitivity, "analyse", noted)
    monkeypatch.setattr("bittailor.runs.searching.LEAST", 50)
    short = bt.SearchSettings(population=12, generations=1, seed=1)
    whole = searched(network, data, tmp_path / "off", search=short, racing=False)
    searched(network, data, tmp_path / "on", search=short)
    assert seen == [whole.result["items"]["select"], 50]
