"""Islands: several searches that exchange solutions, the same whenever and wherever they are searched."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_toy import OBJECTIVES, SEEDS, SPACE, evaluate

import bittailor as bt
from bittailor.errors import BittailorError
from bittailor.runs.problem import Display
from bittailor.search import SearchSettings, Store, make_executor, nondominated, search
from bittailor.search.islands import IslandSettings, Ring, run_islands, spread
from bittailor.search.loop import Progress, Result, Status
from bittailor.search.progress import ValueDisplay

SETTINGS = SearchSettings(population=12, generations=9, seed=5)
ISLANDS = IslandSettings(number=3, migrate_every=3, migrants=2)


def toy(stores: dict[int, Store] | None = None, settings: SearchSettings = SETTINGS,
        islands: IslandSettings = ISLANDS) -> list[Result]:
    kept = {} if stores is None else stores

    def one(island: int, ring: Ring) -> Result:
        return search(SPACE, OBJECTIVES, evaluate, replace(settings, seed=islands.seed(settings.seed, island)),
                      kept.get(island), seeds=SEEDS, stop=ring.stopped,
                      exchange=lambda generation, front: ring.exchange(island, generation, front))

    return run_islands(islands, one)


def test_the_same_again_and_other_seeds() -> None:
    one, two = toy(), toy()
    assert [r.front.genomes for r in one] == [r.front.genomes for r in two]
    assert len({r.front.genomes for r in one}) == 3
    assert ISLANDS.seed(5, 0) == 5


def test_migrants_arrive_in_the_next_generation_of_the_neighbour() -> None:
    arrived: list[tuple[int, int, list[Any]]] = []
    ring_exchange = Ring.exchange
    lock = threading.Lock()

    def noted(self: Ring, island: int, generation: int, front: Any) -> Any:
        found = ring_exchange(self, island, generation, front)
        with lock:
            arrived.append((island, generation, list(found)))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ring, "exchange", noted)
        stores: dict[int, Any] = {}

        def one(island: int, ring: Ring) -> Result:
            with Store(":memory:") as store:
                result = search(SPACE, OBJECTIVES, evaluate,
                                SearchSettings(population=12, generations=9, seed=ISLANDS.seed(5, island)), store,
                                seeds=ISLANDS.share(SEEDS, island),
                                exchange=lambda g, front: ring.exchange(island, g, front))
                stores[island] = {row.genome: row.generation for row in store.rows()}
            return result

        run_islands(ISLANDS, one)
    moved = [(island, generation, genome) for island, generation, genomes in arrived for genome in genomes]
    assert {generation for _, generation, _ in moved} == {3, 6, 9}
    for island, generation, genome in moved:
        if generation < 9:
            assert stores[island][genome] <= generation + 1
    assert any(stores[island][genome] == generation + 1 for island, generation, genome in moved if generation < 9)


def test_an_island_that_ends_early_keeps_nobody_waiting() -> None:
    def one(island: int, ring: Ring) -> Result:
        settings = SearchSettings(population=12, generations=3 if island == 0 else 9, seed=island)
        return search(SPACE, OBJECTIVES, evaluate, settings, seeds=SEEDS,
                      exchange=lambda generation, front: ring.exchange(island, generation, front))

    assert [len(r.history) for r in run_islands(ISLANDS, one)] == [3, 9, 9]


def test_an_error_in_one_ends_all() -> None:
    def one(island: int, ring: Ring) -> Result:
        if island == 1:
            raise BittailorError("no")
        return search(SPACE, OBJECTIVES, evaluate, SETTINGS, seeds=SEEDS, stop=ring.stopped,
                      exchange=lambda generation, front: ring.exchange(island, generation, front))

    with pytest.raises(BittailorError, match="no"):
        run_islands(ISLANDS, one)


def test_members_are_spread_over_the_front() -> None:
    front = search(SPACE, OBJECTIVES, evaluate, SETTINGS, seeds=SEEDS).front
    chosen = spread(front, 4)
    assert len(chosen) == len(set(chosen)) == 4
    assert chosen[0] == front.genomes[0]
    assert chosen[-1] == front.genomes[-1]
    assert spread(front, 10**4) == list(front.genomes)
    assert set(spread(front, 4, chosen)).isdisjoint(chosen)
    assert spread(front, 4, front.genomes) == []


@pytest.mark.parametrize("name", ["number", "migrate_every", "migrants"])
def test_settings_that_cannot_be(name: str) -> None:
    with pytest.raises(BittailorError, match=f"islands: {name} is 0"):
        IslandSettings(**{name: 0})


class Stop(Display):
    """Presses Ctrl-C after so many new evaluations of any island."""

    def __init__(self, after: int) -> None:
        self.left, self.shown = after, list[Status]()

    def progress(self, look: ValueDisplay) -> Progress:
        return self

    def start(self, status: Status) -> None:
        self.shown.append(status)

    def update(self, status: Status) -> None:
        self.shown.append(status)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def finish(self, status: Status, message: str) -> None:
        self.shown.append(status)


SPEC = bt.SearchSpec(search=SETTINGS, islands=ISLANDS, workers=1,
                     calibration=bt.CalibrationSettings(method="minmax", rounding="nearest"))


@pytest.fixture(scope="module")
def undisturbed(network: bt.Network, data: bt.Splits, tmp_path_factory: pytest.TempPathFactory) -> bt.Run:
    return bt.run_search(network, data, tmp_path_factory.mktemp("islands") / "run", SPEC)


def whole(found: bt.Run) -> tuple[Any, ...]:
    """All of a result that must not depend on how it came about."""
    with found.store() as store:
        rows = [(r.key, r.outcome.values, r.generation) for r in store.rows()]
    history = [{k: v for k, v in g.items() if k not in ("new", "cached")} for g in found.result["history"]]
    return rows, found.front, found.picks, history, found.result["islands"], found.result["hypervolume"]


def test_a_run_of_islands(undisturbed: bt.Run) -> None:
    result = undisturbed.result
    each = result["islands"]
    assert len(each) == 3
    assert result["evaluations"] == sum(island["evaluations"] for island in each)
    assert result["hypervolume"]["front"] >= max(island["hypervolume"] for island in each)
    assert result["history"][-1]["hypervolume"] == result["hypervolume"]["front"]
    stored = {}
    for island in range(3):
        with Store(undisturbed.path / "islands" / f"{island}.sqlite", readonly=True) as store:
            stored |= {row.key: row.outcome.values for row in store.rows()}
    with undisturbed.store() as store:
        assert {row.key: row.outcome.values for row in store.rows()} == stored
    points = np.array([[v[name] for name in undisturbed.spec.objectives] for v in stored.values()])
    best = {tuple(points[i]) for i in nondominated(points)}
    assert {tuple(s.values[name] for name in undisturbed.spec.objectives) for s in undisturbed.front} == best


@pytest.mark.parametrize("after", [40, 150])
def test_stopped_and_resumed(network: bt.Network, data: bt.Splits, tmp_path: Path, undisturbed: bt.Run,
                             after: int) -> None:
    display = Stop(after)
    stopped = bt.run_search(network, data, tmp_path / "run", SPEC, display=display)
    assert stopped.result["interrupted"]
    assert stopped.result["evaluations"] < undisturbed.result["evaluations"]
    assert display.shown[-1].total == undisturbed.result["evaluations"]
    again = bt.run_search(network, data, tmp_path / "run", SPEC, resume=True)
    assert whole(again) == whole(undisturbed)


def test_results_do_not_depend_on_the_executor(network: bt.Network, data: bt.Splits, tmp_path: Path,
                                               undisturbed: bt.Run) -> None:
    with make_executor(2) as executor:
        assert whole(bt.run_search(network, data, tmp_path / "run", SPEC, executor=executor)) == whole(undisturbed)


def test_what_does_not_go_together() -> None:
    with pytest.raises(BittailorError, match="islands evaluate post-training"):
        bt.SearchSpec(islands=ISLANDS, beacons=bt.BeaconSettings(budget=1))
