"""Roles of items: a partition, whole groups, the same in every call; and what a search does with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bittailor as bt
from bittailor.common.roles import LEAST_CONFIRM, RoleSettings, divide
from bittailor.errors import BittailorError, FileError
from bittailor.runs.certificate import said
from small import small_data, small_network


def numbered(items: int, start: int, groups: int = 0, steps: int = 3) -> bt.Data:
    """Items that carry their number in `x`."""
    x = np.zeros((items, steps, 1), np.float32)
    x[:, 0, 0] = np.arange(start, start + items)
    own = np.arange(items) % groups if groups else np.empty(0, np.int64)
    return bt.Data(x, np.arange(items) % 4, groups=own)


def numbers(data: bt.Data | None) -> list[int]:
    return [] if data is None else data.x[:, 0, 0].astype(int).tolist()


@given(train=st.integers(1, 300), valid=st.integers(2, 900), budget=st.integers(0, 900), share=st.floats(0, 0.95),
       seed=st.integers(0, 3), certify=st.booleans())
def test_every_item_has_one_role(
    train: int, valid: int, budget: int, share: float, seed: int, certify: bool
) -> None:
    data = bt.Splits(numbered(train, 0), numbered(valid, 10_000), numbered(2, 20_000))
    settings_ = RoleSettings(budget, share, seed)
    roles = divide(data, settings_, certify)
    held, confirm, select = numbers(roles.held), numbers(roles.confirm), numbers(roles.select)
    assert sorted([*held, *confirm]) == numbers(data.valid)
    assert not set(confirm) & set(select)
    assert len(set(select)) == len(select)
    assert sorted(n for n in select if n >= 10_000) == held
    assert set(select) - set(held) == set(numbers(roles.training)) <= set(range(train))
    assert len(select) == max(len(held), min(budget, len(held) + train))
    if not certify:
        assert not confirm or len(confirm) >= LEAST_CONFIRM
    again = divide(data, settings_, certify)
    assert numbers(again.select) == select
    assert again.counts() == roles.counts()
    # the first items stand for all: both kinds are evenly mixed
    if len(select) > 20 and roles.training is not None:
        part = select[: len(select) // 2]
        expected = len(held) * len(part) / len(select)
        assert abs(sum(n >= 10_000 for n in part) - expected) <= 1


def test_groups_are_not_divided() -> None:
    data = bt.Splits(numbered(50, 0, 5), numbered(1500, 1000, 12), numbered(2, 5000))
    roles = divide(data, RoleSettings(confirm=0.4))
    assert roles.confirm is not None
    assert len(roles.confirm) >= 600
    assert not set(roles.confirm.groups) & set(roles.held.groups)
    alone = replace(data, valid=numbered(600, 1000, 1))
    assert divide(alone, RoleSettings(), certify=True).confirm is None


def test_shorter_items_are_filled_up() -> None:
    data = bt.Splits(numbered(30, 0, steps=5), numbered(10, 1000, steps=3), numbered(2, 5000))
    select = divide(data, RoleSettings()).select
    assert select.x.shape == (40, 5, 1)
    assert sorted(set(select.lengths)) == [3, 5]
    labels = np.zeros((4, 3), np.int64)
    per_step = bt.Splits(bt.Data(np.zeros((4, 3, 1)), labels), bt.Data(np.zeros((4, 2, 1)), labels[:, :2]),
                         bt.Data(np.zeros((4, 3, 1)), labels))
    mixed = divide(per_step, RoleSettings()).select
    assert mixed.y.shape == (8, 3)
    assert (mixed.y < 0).sum() == 4


@pytest.mark.parametrize("wrong", [{"select_items": -1}, {"confirm": 1.0}, {"confirm": -0.1}, {"seed": -1}])
def test_wrong_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(BittailorError):
        RoleSettings(**wrong)  # type: ignore[arg-type]


def test_a_search_keeps_the_roles_and_looks_at_no_other_items(tmp_path: Path) -> None:
    network = small_network()
    data = small_data(network, items=500)
    run = bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(
        certify="20@90", search=bt.SearchSettings(population=8, generations=3)))
    assert run.config["items"] == run.result["items"] == {
        "train": 500, "select": 750, "select_from_training": 500, "held": 250, "confirm": 250, "test": 500}
    # a search of data whose confirm and test items are others finds the same
    roles = run.spec.divide(data)
    assert roles.confirm is not None
    shuffled = replace(data, test=data.test[::-1])
    other = bt.run_search(network, shuffled, tmp_path / "other", run.spec)
    assert [s.values for s in other.front] == [s.values for s in run.front]
    found = run.pick("certified")
    compared = found.against("8bit", "confirm")
    assert compared is not None
    assert compared.items == 250
    assert compared.difference == pytest.approx(found.errors["confirm"] - run.baseline(8).errors["confirm"])
    assert compared.low <= compared.difference <= compared.high
    assert run.holds == "certified"
    assert run.pick("holds") == found
    assert run.result["certificate"]["pick"] in {s.key for s in run.front}
    test = found.against("float", "test")
    assert test is not None
    assert test.difference == pytest.approx((found.test or 0) - run.result["float"]["test"])


def test_what_cannot_be_certified_is_said(tmp_path: Path) -> None:
    network = small_network()
    data = small_data(network, items=60)
    run = bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(
        certify="0.1@99", search=bt.SearchSettings(population=8, generations=3)))
    about = run.result["certificate"]
    assert about["pick"] is None
    assert about["items"] == 30
    assert about["reachable"] > 0.1
    assert about["items_needed"] > 30
    assert run.holds != "certified"
    with pytest.raises(BittailorError, match="no solution is 'certified': none is certified"):
        run.pick("certified")
    plain = bt.run_search(network, data, tmp_path / "plain", bt.SearchSpec(
        search=bt.SearchSettings(population=8, generations=2)))
    with pytest.raises(BittailorError, match="search with --certify"):
        plain.pick("certified")


def test_a_longer_search_certifies_nothing_with_items_that_were_used(tmp_path: Path) -> None:
    network = small_network()
    data = small_data(network, items=500)
    looks, picks = [], []
    for generations, resume in ((2, False), (2, True), (4, True)):
        run = bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(
            certify="20@90", search=bt.SearchSettings(population=8, generations=generations)), resume=resume)
        looks.append(run.result["certificate"]["looks"])
        picks.append("certified" in run.picks)
    assert looks == [[2], [2], [2, 4]]
    assert picks == [True, True, False]
    assert "used before" in said(run.result["certificate"], "%")
    # what a damaged result hides is asked for before anything long begins
    rows = len(run.store())
    (run.path / "result.json").write_text("{")
    with pytest.raises(FileError, match=r"result\.json is damaged"):
        bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(
            certify="20@90", search=bt.SearchSettings(population=8, generations=6)), resume=True)
    assert len(run.store()) == rows


def test_retraining_selects_on_held_out_items_alone(tmp_path: Path) -> None:
    data = small_data(small_network(), items=40)
    plain, beacons = bt.SearchSpec(), bt.SearchSpec(beacons=bt.BeaconSettings(polish=1))
    assert plain.divide(data).training is not None
    assert beacons.divide(data).training is None
    assert len(beacons.divide(data).select) == 40
