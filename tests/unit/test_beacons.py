"""Beacons: distances as published, what becomes one, and a search that is the same however it is cut short."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bittailor as bt
from bittailor.errors import BittailorError, FileError
from bittailor.evaluate.metrics import METRICS
from bittailor.quantise.spaces import per_layer, per_operator
from bittailor.runs.choice import best_of, standing
from bittailor.runs.forms import Solution
from bittailor.search.store import Outcome, Store
from bittailor.train import retrain as training
from bittailor.train.beacons import BeaconSettings, Region, distance
from bittailor.train.beacons.base import site_weights
from bittailor.train.beacons.polish import Member, polish
from bittailor.train.recipe import Retraining
from bittailor.train.retrain import Retrained
from small import small_data, small_network

# MOHAQ's beacons: weight bits of L0..L3, Pr1..Pr3, FC
MOHAQ = {"152": (4, 2, 4, 2, 4, 2, 2, 2), "156": (16, 2, 2, 2, 2, 2, 2, 2), "192": (2, 2, 2, 2, 8, 8, 2, 2),
         "199": (8, 2, 2, 2, 8, 8, 2, 2)}
SEARCH = bt.SearchSettings(population=16, generations=9, seed=3)
RULE = {"budget": 3, "polish": 2, "share": 0.7, "hopeless": 1.0, "threshold": 0.1, "first": 3, "every": 2}


class Fake:
    """A retraining that takes no time: other weights that depend on all that a training may depend on."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.fail: set[int] = set()
        self.stop: set[int] = set()

    def __call__(self, calibration: bt.Calibration, widths: dict[str, int], train: bt.Data, metric: str,
                 settings: Retraining, *, seed: int, start: bt.Calibration | None, checkpoint: Path,
                 progress: object = None) -> Retrained:
        self.calls.append({"widths": dict(widths), "start": start, "data": train.fingerprint})
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_text("half way")
        if len(self.calls) in self.stop:
            raise KeyboardInterrupt
        if len(self.calls) in self.fail:
            raise BittailorError("the retraining diverged: the loss is nan in epoch 1 of 2")
        network = (start or calibration).network
        rng = np.random.default_rng([seed, *widths.values()])
        other = {name: value + 0.02 * rng.normal(size=value.shape)
                 for name, value in sorted(network.parameters.items())}
        made = bt.calibrate(bt.Network(network.graph, other), train.x, train.lengths, calibration.settings)
        return Retrained(made, widths, [{"epoch": 1, "loss": 0.5, "train": 1.0}], 0.1)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(training, "retrain", made)
    return made


def run(network: bt.Network, data: bt.Splits, out: Path, rule: dict[str, Any] | None = None, **options: Any) -> bt.Run:
    # formats that are found at once: fitting them would take most of the time
    quick = bt.CalibrationSettings(method="minmax", rounding="nearest")
    own = {name: options.pop(name) for name in ("resume", "tell", "executor", "display") if name in options}
    options = {"search": SEARCH, "workers": 1, "calibration": quick, **options}
    spec = bt.SearchSpec(beacons=BeaconSettings(**{**RULE, **(rule or {})}), **options)
    return bt.run_search(network, data, out, spec, **own)


@pytest.fixture(scope="module")
def undisturbed(network: bt.Network, data: bt.Splits, tmp_path_factory: pytest.TempPathFactory) -> bt.Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "retrain", Fake())
        return run(network, data, tmp_path_factory.mktemp("beacons") / "run")


def whole(found: bt.Run) -> tuple[Any, ...]:
    """All of a result that must not depend on how it came about."""
    with found.store() as store:
        rows = [(r.key, r.outcome.values, r.outcome.reason, r.outcome.beacon) for r in store.rows()]
    history = [{k: v for k, v in g.items() if k not in ("new", "cached")} for g in found.result["history"]]
    beacons = {k: v for k, v in found.result["beacons"].items() if k != "seconds"}
    return rows, found.front, found.picks, found.retrained, history, beacons


def test_published_distances() -> None:
    def far(a: str, b: str) -> float:
        both = [{str(i): w for i, w in enumerate(MOHAQ[name])} for name in (a, b)]
        return distance(*both, dict.fromkeys(both[0], 1.0))

    assert [far(*pair) for pair in (("152", "156"), ("152", "192"), ("152", "199"), ("156", "192"), ("156", "199"),
                                    ("192", "199"))] == [4, 5, 5, 7, 5, 2]


def test_only_weights_count(network: bt.Network) -> None:
    space = per_operator(network.graph)
    weights = site_weights(space, network.graph)
    a = bt.homogeneous_widths(network.graph, 8)
    b = {**a, "gru0.h": 2, "gru0.b_r": 4, "input": 3}
    assert distance(a, b, weights) == 0
    assert distance(a, {**a, "head.W": 2, "gru0.W_hr": 4}, weights) == 3
    sizes = site_weights(space, network.graph, weighted=True)
    assert np.mean(list(sizes.values())) == pytest.approx(1)
    assert sizes["gru0.W_hr"] / sizes["head.W"] == pytest.approx(25 / 15)


def test_matrices_of_one_gene_count_as_one(network: bt.Network) -> None:
    """As MOHAQ counts its eight matrices, each of which stacks the gates of two directions."""
    weights = site_weights(per_layer(network.graph), network.graph)
    assert sum(weights.values()) == pytest.approx(3)  # inputs, states, head
    a = bt.homogeneous_widths(network.graph, 8)
    gates = {f"gru0.W_h{gate}": 2 for gate in "rzn"}
    assert distance(a, {**a, **gates}, weights) == pytest.approx(2)
    assert distance(a, {**a, **gates, "head.W": 4}, weights) == pytest.approx(3)
    sizes = site_weights(per_layer(network.graph), network.graph, weighted=True)
    assert distance(a, {**a, **gates}, sizes) / distance(a, {**a, "head.W": 2}, sizes) == pytest.approx(3 * 25 / 15)


def test_the_region() -> None:
    base = {"error": 2.0, "loss": 0.1, "size": 1000.0}
    region = Region.around(base, [base, {"error": 62.0, "loss": 3.0, "size": 300.0}], BeaconSettings(),
                           METRICS["classification_error"])
    assert (region.size, region.error) == (500.0, 32.0)
    assert region.holds({"error": 5.0, "loss": 0.2, "size": 400.0})
    assert region.holds({"error": 2.0, "loss": 0.2, "size": 400.0})
    assert not region.holds({"error": 2.0, "loss": 0.1, "size": 400.0})  # as good already
    assert not region.holds({"error": 40.0, "loss": 2.0, "size": 400.0})  # hopeless
    assert not region.holds({"error": 5.0, "loss": 0.2, "size": 600.0})  # large
    assert region.small({"error": 40.0, "loss": 2.0, "size": 400.0})  # but may be served


def test_an_accuracy_has_its_region_above() -> None:
    base = {"error": 98.0, "loss": 0.1, "size": 1000.0}
    region = Region.around(base, [base, {"error": 38.0, "loss": 3.0, "size": 300.0}], BeaconSettings(),
                           METRICS["accuracy"])
    assert region.error == 68.0
    assert region.holds({"error": 70.0, "loss": 0.2, "size": 400.0})
    assert not region.holds({"error": 60.0, "loss": 0.2, "size": 400.0})  # hopeless
    assert not region.holds({"error": 98.5, "loss": 0.1, "size": 400.0})  # as good already
    low, high = Outcome({"error": 97.0, "loss": 0.1}), Outcome({"error": 98.0, "loss": 0.5})
    assert region.better(low, high) is high
    assert region.better(high, low) is high


def test_the_better_error_counts() -> None:
    better = Region.around({"error": 1.0, "loss": 1.0, "size": 1.0}, [{"error": 2.0}], BeaconSettings(),
                           METRICS["classification_error"]).better
    a, b = Outcome({"error": 2.0, "loss": 0.5}), Outcome({"error": 2.0, "loss": 0.4})
    assert better(a, b) is b
    assert better(b, a) is b
    assert better(a, Outcome({"error": 2.0, "loss": 0.5})) is a
    assert better(a, Outcome(None, "no")) is a
    assert better(a, Outcome({"error": 1.9, "loss": 9.0})).values == {"error": 1.9, "loss": 9.0}


@pytest.mark.parametrize("limit", [5, 12, 40, 77, 500])
def test_the_polish_finds_the_smallest_that_holds(limit: int) -> None:
    sizes = [int(s) for s in np.geomspace(10, 100, 24)]
    asked: list[int] = []

    def train(chosen: list[int]) -> list[bool]:
        asked.extend(chosen)
        return [sizes[i] >= limit for i in chosen]

    found = polish([Member(s, s >= 50) for s in sizes], train, 9)
    assert len(asked) == len(set(asked)) <= 9
    assert found == {i: sizes[i] >= limit for i in asked}
    best = min((sizes[i] for i, good in found.items() if good), default=None)
    if limit > 100:
        assert best is None
    else:
        assert best is not None
        assert best <= 1.25 * max(limit, 10)


def test_the_polish_keeps_its_budget() -> None:
    assert polish([], lambda chosen: [], 4) == {}
    assert polish([Member(1.0, True)], lambda chosen: [True] * len(chosen), 4) == {0: True}
    assert len(polish([Member(float(s), False) for s in range(1, 20)], lambda c: [False] * len(c), 3)) == 3
    assert polish([Member(1.0, True), Member(2.0, True)], lambda chosen: [True] * len(chosen), 0) == {}


def test_a_search_with_beacons(network: bt.Network, data: bt.Splits, tmp_path: Path, fake: Fake) -> None:
    plain = run(network, data, tmp_path / "plain", {"budget": 0, "polish": 0})
    assert not plain.beacons
    found = run(network, data, tmp_path / "run")
    about = found.result["beacons"]
    assert len(about["search"]) == 3
    assert about["retrainings"] == len(fake.calls) == len(found.beacons)
    assert {call["data"] for call in fake.calls} == {data.train.fingerprint}
    assert fake.calls[0]["start"] is None
    assert any(call["start"] for call in fake.calls)
    weights, rule = site_weights(per_operator(network.graph), network.graph), BeaconSettings(**RULE)
    made = [found.beacons[name] for name in about["search"]]
    for i, beacon in enumerate(made):
        assert all(distance(beacon.widths, other.widths, weights) > rule.threshold * len(weights)
                   for other in made[:i])
    with found.store() as store:
        rows = list(store.rows())
    served = {r.outcome.beacon for r in rows} - {None}
    assert served
    assert served <= set(found.beacons)
    assert any(s.beacon for s in found.front)
    assert plain.front != found.front
    # every stored value is what its beacon's program gives, and no worse than the float network's
    engine = bt.ENGINES["reference"]
    for s in [*found.front, *found.picks.values(), *found.retrained.values()]:
        program = found.program(s)
        for part, expected in ((data.valid, s.values["error"]), (data.test, s.test)):
            y = engine.run(program, program.quantise_input(part.x), part.lengths)
            assert 100 * np.mean(y.argmax(-1) != part.y) == expected
        assert bt.account(program).total == s.values["stored"]
    for s in found.front:
        y = engine.run(base := found.program(s.widths), base.quantise_input(data.valid.x), data.valid.lengths)
        assert s.values["error"] <= 100 * np.mean(y.argmax(-1) != data.valid.y)


def test_it_opens_again_with_the_same_programs(
    network: bt.Network, data: bt.Splits, tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(network, data, tmp_path / "run", calibration=bt.CalibrationSettings())
    solutions = [*found.front, *found.retrained.values()]
    expected = [found.program(s) for s in solutions]

    def never(*_: object) -> None:
        raise AssertionError("fitted again: another machine might get other integers")

    monkeypatch.setattr("bittailor.quantise.calibration.fit_to_inputs", never)
    assert solutions[-1].beacon
    again = bt.Run.open(tmp_path / "run")
    for s, program in zip(solutions, expected, strict=True):
        for mine, theirs in zip(again.program(s).stored(), program.stored(), strict=True):
            assert (mine.data == theirs.data).all()


@pytest.mark.parametrize("where", [1, 3, 4])
def test_stopped_in_a_retraining_and_resumed(
    network: bt.Network, data: bt.Splits, undisturbed: bt.Run, tmp_path: Path, fake: Fake, where: int
) -> None:
    fake.stop = {where}
    try:
        stopped = run(network, data, tmp_path / "b")
        assert stopped.result["interrupted"]
    except KeyboardInterrupt:  # the polish comes after the search
        assert where > 3
    assert list((tmp_path / "b" / "beacons").glob("*/checkpoint*"))
    resumed = run(network, data, tmp_path / "b", resume=True)
    assert whole(resumed) == whole(undisturbed)
    assert not list((tmp_path / "b" / "beacons").glob("*/checkpoint*"))


@pytest.mark.parametrize("kept", [37, 45, 60])
def test_killed_anywhere_and_resumed(
    network: bt.Network, data: bt.Splits, undisturbed: bt.Run, tmp_path: Path, fake: Fake,
    monkeypatch: pytest.MonkeyPatch, kept: int,
) -> None:
    """Also between two stored outcomes of one generation, after its beacons were made."""
    plain, count = Store.put, 0

    class Killed(BaseException):
        pass

    def put(self: Store, *row: Any) -> None:
        nonlocal count
        count += 1
        if count > kept:
            raise Killed
        plain(self, *row)

    monkeypatch.setattr(Store, "put", put)
    with pytest.raises(Killed):
        run(network, data, tmp_path / "b")
    monkeypatch.setattr(Store, "put", plain)
    assert whole(run(network, data, tmp_path / "b", resume=True)) == whole(undisturbed)


def test_a_finished_search_can_be_made_longer(
    network: bt.Network, data: bt.Splits, undisturbed: bt.Run, tmp_path: Path, fake: Fake
) -> None:
    short, once = bt.SearchSettings(population=16, generations=5, seed=3), undisturbed
    run(network, data, tmp_path / "b", search=short)
    longer = run(network, data, tmp_path / "b", resume=True)
    # the shorter search polished other members of its front; they stay
    assert longer.retrained.keys() >= once.retrained.keys()
    assert (longer.front, longer.result["history"][-1]["points"]) == (once.front, once.result["history"][-1]["points"])


def test_a_training_that_fails_costs_only_itself(
    network: bt.Network, data: bt.Splits, tmp_path: Path, fake: Fake
) -> None:
    fake.fail = {1, 4}
    found = run(network, data, tmp_path / "run")
    failed = [b for b in found.beacons.values() if b.failed]
    assert len(failed) == found.result["beacons"]["failed"] == 2
    assert "diverged" in str(failed[0].failed)
    assert failed[0].name not in found.retrained
    assert not any(s.beacon in {b.name for b in failed} for s in found.front)
    calls = len(fake.calls)
    again = run(network, data, tmp_path / "run", resume=True)
    assert whole(again) == whole(found)
    assert len(fake.calls) == calls  # nothing is tried twice


def test_beacons_of_another_run_serve(
    network: bt.Network, data: bt.Splits, undisturbed: bt.Run, tmp_path: Path, fake: Fake
) -> None:
    first = undisturbed
    shutil.copytree(first.path, tmp_path / "first")
    rule = {"budget": 0, "polish": 0, "given": (str(tmp_path / "first"),)}
    found = run(network, data, tmp_path / "second", rule)
    assert not fake.calls
    assert set(found.result["beacons"]["given"]) == set(first.beacons)
    assert found.result["beacons"]["retrainings"] == 0
    with found.store() as store:
        assert {r.outcome.beacon for r in store.rows()} & set(first.beacons)
    shutil.rmtree(tmp_path / "first")
    assert [found.program(s) for s in found.front]
    # begun with them, it goes on with them, whatever became of where they were from
    assert whole(run(network, data, tmp_path / "second", rule, resume=True)) == whole(found)
    other = small_network(1)
    with pytest.raises(FileError, match="no beacon of this network"):
        run(other, small_data(other), tmp_path / "third", {**rule, "given": (str(tmp_path / "second"),)})
    with pytest.raises(FileError, match="holds no beacons"):
        run(network, data, tmp_path / "fourth", {**rule, "given": (str(tmp_path / "nowhere"),)})


def test_a_lucky_training_does_not_stand() -> None:
    metric, base = METRICS["classification_error"], {"error": 3.0, "loss": 0.2}

    def trained(size: float, error: float, loss: float = 0.1) -> Solution:
        return Solution(f"{size}", {}, {"size": size, "error": error, "loss": loss}, None, f"{size}")

    def sizes(*retrained: Solution) -> list[float]:
        return [s.values["size"] for s in standing(retrained, metric, base, "size")]

    # 80 is good, and most of its like are not; 20 is alone
    assert sizes(trained(100, 3), trained(90, 4), trained(80, 2.9), trained(78, 4), trained(20, 3)) == [20]
    # no worse by more than a little on average, itself too
    assert sizes(trained(100, 2.5), trained(99, 3.6), trained(98, 3.1)) == [100, 98]
    # of losses likewise
    assert sizes(trained(100, 2, 0.1), trained(95, 2, 0.35)) == []
    assert sizes(trained(100, 2, 0.1), trained(50, 2, 0.35)) == [100]
    # whatever the order
    assert sizes(trained(98, 3.1), trained(99, 3.6), trained(100, 2.5)) == [98, 100]


def test_within_a_budget_what_was_retrained_and_is_good_comes_first() -> None:
    metric, base = METRICS["classification_error"], {"error": 3.0, "loss": 0.2}

    def made(key: str, error: float, loss: float, size: float = 50, held: float | None = None) -> Solution:
        return Solution(key, {}, {"size": size, "error": error, "loss": loss}, None,
                        errors={} if held is None else {"held": held})

    def best(fitting: list[Solution], retrained: list[Solution]) -> str:
        found = best_of(fitting, retrained, metric, base, "size")
        return "" if found is None else found.key

    lucky = made("lucky", 0.0, 0.3)
    assert best([lucky, made("b", 1, 0.01)], [made("own", 2.5, 0.1), made("own, worse", 1, 0.15)]) == "own"
    # none that is as good as 8 bit: the retrained one of the lowest loss, if that is about the lowest of all
    assert best([lucky, made("b", 4, 0.1)], [made("own", 9, 0.119), made("own too", 2, 0.3)]) == "own"
    assert best([made("b", 4, -9)], [made("own", 9, -7.3), made("own too", 5, -7.2)]) == "own"
    assert best([made("b", 4, -9)], [made("own", 9, -7.1), made("own too", 5, -7)]) == "b"
    # otherwise the lowest error, whoever has it
    assert best([lucky, made("b", 4, 0.1)], [made("own", 9, 0.13), made("own too", 2, 0.3)]) == "lucky"
    assert best([made("b", 4, 0.1)], [made("own", 3.5, 0.3)]) == "own"
    # of equals the lowest loss, then the smaller
    assert best([made("a", 1, 0.2, 10), made("b", 1, 0.1, 20)], []) == "b"
    assert best([made("a", 1, 0.1, 20), made("b", 1, 0.1, 10)], []) == "b"
    # training items select too: the error is that of held-out ones
    assert best([made("a", 0.5, 0.1, held=4)], [made("own", 3.5, 0.3)]) == "own"
    assert best([], []) == ""


def test_a_budget_is_kept_by_what_was_retrained_too(
    network: bt.Network, data: bt.Splits, tmp_path: Path, fake: Fake) -> None:
    found = run(network, data, tmp_path / "run", {"polish": 4})
    base = {**found.baseline(8).values, **found.result["held"]}
    for name in ("size", "flash.m0"):
        for own in found.retrained.values():
            value = found._figure(own, name) if name not in own.values else own.values[name]
            picked = found.pick(f"{name}<={value:.0f}")
            taken = found._figure(picked, name) if name not in picked.values else picked.values[name]
            assert taken <= value
            if found.metric.stands(own.values, base):
                assert picked.values["loss"] <= own.values["loss"]
    with pytest.raises(BittailorError, match="no solution has a size that low"):
        found.pick("size<=1")
    with pytest.raises(BittailorError, match="give an upper limit"):
        found.pick("size>=1")
    with pytest.raises(BittailorError, match="have no 'instructions'"):
        found.pick("instructions<=1")


def test_the_retrained_pick(network: bt.Network, data: bt.Splits, tmp_path: Path, fake: Fake) -> None:
    found = run(network, data, tmp_path / "run", {"polish": 4})
    base, least = found.baseline(8).values, found.spec.least
    held = {**base, **found.result["held"]}
    good = [s for s in standing(found.retrained.values(), found.metric, held, least) if s.values[least] < base[least]]
    if good:
        assert found.pick("retrained").values[least] == min(s.values[least] for s in good)
    else:
        with pytest.raises(BittailorError, match="none is smaller and as good on validation data"):
            found.pick("retrained")
    name = next(iter(found.retrained))
    assert found.pick(f"retrained:{name}") == found.pick(f"retrained:{name[:6]}") == found.retrained[name]
    with pytest.raises(BittailorError, match="there are: "):
        found.pick("retrained:zz")


@pytest.mark.parametrize(("rule", "words"), [
    ({"budget": -1}, "budget"), ({"first": 1}, "first"), ({"threshold": float("nan")}, "threshold"),
    ({"together": 0}, "together"), ({"together": True}, "together"),
])
def test_wrong_settings(network: bt.Network, data: bt.Splits, tmp_path: Path, rule: dict[str, Any], words: str) -> None:
    with pytest.raises(BittailorError, match=words):
        run(network, data, tmp_path / "run", rule)


def test_what_does_not_go_together(network: bt.Network, data: bt.Splits, tmp_path: Path) -> None:
    with pytest.raises(BittailorError, match="holds no beacon"):
        run(network, data, tmp_path / "run", {"given": (str(tmp_path),)})
    assert not (tmp_path / "run").exists()
    run(network, data, tmp_path / "run", {"budget": 0, "polish": 0})
    with pytest.raises(BittailorError, match="beacons"):
        run(network, data, tmp_path / "run", {"budget": 1, "polish": 0}, resume=True)


def test_stores_of_the_first_schema_are_brought_up_to_date(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        store.put("k", (1, 2), Outcome({"error": 1.0}), 1)
    db = sqlite3.connect(path)
    db.executescript("DROP TABLE decisions; ALTER TABLE evaluations DROP COLUMN beacon;"
                     "ALTER TABLE evaluations DROP COLUMN digest; ALTER TABLE evaluations DROP COLUMN dropped;"
                     "UPDATE meta SET value = '1' WHERE name = 'schema'")
    db.close()
    with Store(path, readonly=True) as store:
        assert [r.outcome for r in store.rows()] == [Outcome({"error": 1.0})]
        assert store.decisions() == {}
    with Store(path) as store:
        assert store.get(["k"]) == {"k": Outcome({"error": 1.0})}
        store.put("l", (0, 0), Outcome({"error": 2.0}, beacon="b"), 2)
        store.decide(2, ["b"])
        store.decide(2, ["c"])
        assert store.decisions() == {2: ["b"]}
        assert [r.outcome.beacon for r in store.rows()] == [None, "b"]


@pytest.mark.slow
def test_real_trainings_do_not_depend_on_workers(network: bt.Network, data: bt.Splits, tmp_path: Path) -> None:
    rule = {"recipe": Retraining(epochs=2), "polish": 2}
    one = run(network, data, tmp_path / "one", rule)
    two = run(network, data, tmp_path / "two", rule, workers=2)
    assert whole(one) == whole(two)
    assert one.result["beacons"]["retrainings"] >= 4
    assert one.result["beacons"]["failed"] == 0
