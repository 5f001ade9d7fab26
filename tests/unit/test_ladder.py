"""The ladder: which members become rungs, from which each starts, and a search that is the same however it is cut."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_beacons import SEARCH, Fake, run, whole
from test_family import Remote
from typer.testing import CliRunner

import bittailor as bt
from bittailor.cli.main import app
from bittailor.train import retrain as training
from bittailor.train.beacons import BeaconSettings
from bittailor.train.beacons.ladder import NARROWEST, parents, rungs
from bittailor.train.recipe import Retraining

LADDER = {"budget": 0, "polish": 0, "ladder": 5, "climb": 3, "share": 0.8}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(training, "retrain", made)
    return made


@pytest.fixture(scope="module")
def undisturbed(network: bt.Network, data: bt.Splits, tmp_path_factory: pytest.TempPathFactory) -> bt.Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "retrain", Fake())
        return run(network, data, tmp_path_factory.mktemp("ladder") / "run", LADDER)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 99)), max_size=30), st.integers(1, 8),
       st.integers(1, 50), st.integers(50, 99))
def test_rungs_are_members_of_the_front_within_bounds(
    points: list[tuple[int, int]], number: int, smallest: int, largest: int
) -> None:
    at = np.array(points, np.float64).reshape(-1, 2)
    chosen = rungs(at, number, smallest, largest)
    assert len(set(chosen)) == len(chosen) <= number
    sizes = at[chosen, 1]
    assert all(sizes[:-1] >= sizes[1:])
    assert ((sizes >= smallest) & (sizes <= largest)).all()
    inside = at[(at[:, 1] >= smallest) & (at[:, 1] <= largest)]
    for i in chosen:
        better = (inside <= at[i]).all(1) & (inside < at[i]).any(1)
        assert not better.any()
    # as many as there are, where there are fewer than asked for
    front = [p for p in inside if not ((inside <= p).all(1) & (inside < p).any(1)).any()]
    assert len(chosen) >= min(number, len({tuple(p) for p in front}))


def test_the_widest_and_the_narrowest_are_among_them() -> None:
    sizes = np.linspace(10, 90, 41)
    chosen = rungs(np.stack([1 / sizes, sizes], axis=1), 4, 12, 60)
    assert sizes[chosen].tolist() == [60, 36, 20, 12]  # nearest to 60, 35.1, 20.5, 12


def test_a_rung_starts_from_the_nearest_trained_before_it() -> None:
    def far(a: Any, b: Any) -> float:
        return abs(a["W"] - b["W"])

    places = [{"W": w} for w in (8, 6, 5, 2)]
    assert parents(places, [], far, 1) == [None, 0, 1, 2]
    assert parents(places, [], far, 2) == [None, None, 1, 1]  # not from one that is trained beside it
    assert parents(places, [{"W": 3}, {"W": 10}], far, 4) == [1, 0, 0, 0]
    assert parents([], [], far, 2) == []


def test_a_search_with_a_ladder(network: bt.Network, data: bt.Splits, tmp_path: Path, fake: Fake) -> None:
    found = run(network, data, tmp_path / "run", LADDER)
    made = [found.beacons[name] for name in found.result["beacons"]["search"]]
    assert [b.about["kind"] for b in made] == ["rung"] * len(made)
    assert 3 <= len(made) <= 5
    assert [b.about["label"] for b in made] == [f"{i + 1} of {len(made)}" for i in range(len(made))]
    base = found.baseline(8).values["size"]
    with found.store() as store:
        rows = {r.key: r for r in store.rows()}
    sizes = []
    for beacon in made:
        row = next(r for r in rows.values() if found.space.widths(r.genome) == beacon.widths)
        assert row.generation <= LADDER["climb"]
        sizes.append((row.outcome.values or {})["size"])
    assert sizes == sorted(sizes, reverse=True)
    assert NARROWEST * base <= sizes[-1] <= sizes[0] <= 0.8 * base
    names = [b.name for b in made]
    for i, beacon in enumerate(made):
        parent = beacon.about["parent"]
        assert (parent is None) == (i < 2)
        assert parent is None or names.index(parent) < i - i % 2
    # what follows is judged from them
    assert {r.outcome.beacon for r in rows.values()} & set(names)


def test_rungs_are_trained_for_a_share_of_the_recipe(
    network: bt.Network, data: bt.Splits, tmp_path: Path, fake: Fake
) -> None:
    recipe = Retraining(epochs=10)
    found = run(network, data, tmp_path / "run", {**LADDER, "budget": 1, "first": 5, "rung": 0.25, "recipe": recipe,
                                                 "hopeless": 1.0, "threshold": 0.1})
    epochs = {kind: {b.about["recipe"]["epochs"] for b in found.beacons.values() if b.about["kind"] == kind}
              for kind in ("rung", "beacon")}
    assert epochs == {"rung": {3}, "beacon": {10}}
    items = 64
    assert Retraining(updates=100, batch=8).shorter(0.5, items).epochs == 8  # half of the 16 that it takes at least
    assert Retraining(epochs=3).shorter(0.01, items).epochs == 2


@pytest.mark.parametrize("where", [1, 3, 4])
def test_stopped_on_the_ladder_and_resumed(
    network: bt.Network, data: bt.Splits, undisturbed: bt.Run, tmp_path: Path, fake: Fake, where: int
) -> None:
    fake.stop = {where}
    assert run(network, data, tmp_path / "b", LADDER).result["interrupted"]
    assert whole(run(network, data, tmp_path / "b", LADDER, resume=True)) == whole(undisturbed)


def test_a_search_with_a_ladder_can_be_made_longer(
    network: bt.Network, data: bt.Splits, undisturbed: bt.Run, tmp_path: Path, fake: Fake
) -> None:
    short = bt.SearchSettings(population=16, generations=6, seed=3)
    assert BeaconSettings(**LADDER).climbs(6) == BeaconSettings(**LADDER).climbs(SEARCH.generations) == 3
    run(network, data, tmp_path / "b", LADDER, search=short)
    longer = run(network, data, tmp_path / "b", LADDER, resume=True)
    assert longer.front == undisturbed.front
    assert longer.retrained == undisturbed.retrained


def test_one_that_fails_leaves_the_others_standing(
    network: bt.Network, data: bt.Splits, tmp_path: Path, fake: Fake
) -> None:
    """What would have started from it starts from where it started."""
    fake.fail = {3}
    found = run(network, data, tmp_path / "run", {**LADDER, "together": 1})
    made = [found.beacons[name] for name in found.result["beacons"]["search"]]
    (failed,) = [b for b in made if b.failed]
    after = [i for i, b in enumerate(made) if b.about["parent"] == failed.name]
    assert after  # else this test shows nothing
    origin = found.beacons[failed.about["parent"]].calibration.network.fingerprint
    for i in after:
        assert fake.calls[i]["start"].network.fingerprint == origin
        assert made[i].failed is None
    calls = len(fake.calls)
    assert whole(run(network, data, tmp_path / "run", {**LADDER, "together": 1}, resume=True)) == whole(found)
    assert len(fake.calls) == calls


def test_a_cluster_trains_the_same_rungs(
    network: bt.Network, data: bt.Splits, undisturbed: bt.Run, tmp_path: Path, fake: Fake
) -> None:
    """Beacons travel as bytes, of parents that failed their notes, so that a rung finds where to start."""
    assert whole(run(network, data, tmp_path / "far", LADDER, executor=Remote())) == whole(undisturbed)
    rule = {**LADDER, "together": 1}
    found = []
    for name, executor in (("near", None), ("failed", Remote())):
        fake.calls.clear()
        fake.fail = {2}  # 1 is where its children go then
        found.append(run(network, data, tmp_path / name, rule, executor=executor))
        assert any(b.failed for b in found[-1].beacons.values())
    assert whole(found[0]) == whole(found[1])


def test_a_run_without_its_beacons_is_shown(network: bt.Network, data: bt.Splits, tmp_path: Path, fake: Fake) -> None:
    """They may be deleted to save room: what they were worth is in the result."""
    found = run(network, data, tmp_path / "run", LADDER)
    said = f"{len(found.result['beacons']['search'])} beacons and rungs during the search"
    assert said in shown(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "beacons")
    assert said in shown(tmp_path / "run")


def shown(folder: Path) -> str:
    done = CliRunner().invoke(app, ["show", str(folder)])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize(("rule", "words"), [({"ladder": -1}, "ladder"), ({"climb": 0}, "climb"),
                                             ({"rung": 0.0}, "rung"), ({"rung": float("inf")}, "rung")])
def test_wrong_settings(network: bt.Network, data: bt.Splits, tmp_path: Path, rule: dict[str, Any], words: str) -> None:
    with pytest.raises(bt.errors.BittailorError, match=words):
        run(network, data, tmp_path / "run", rule)


@pytest.mark.slow
def test_real_rungs_do_not_depend_on_workers(network: bt.Network, data: bt.Splits, tmp_path: Path) -> None:
    rule = {**LADDER, "recipe": Retraining(epochs=2)}
    one = run(network, data, tmp_path / "one", rule)
    two = run(network, data, tmp_path / "two", rule, workers=2)
    assert whole(one) == whole(two)
    assert one.result["beacons"]["failed"] == 0
