"""The loop: what it finds, what it never does twice, how it ends, and that to resume is to replay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from search_toy import OBJECTIVES, SEEDS, SETTINGS, SPACE, evaluate, summary, values

from bittailor.errors import BittailorError, UnknownName
from bittailor.search import (
    Genome,
    Outcome,
    ReferenceBox,
    Result,
    SearchSettings,
    Space,
    Status,
    Store,
    WidthGene,
    search,
)
from bittailor.search.constraints import parse
from bittailor.search.optimisers.nsga2 import Nsga2

UNITS = {"error": "", "size": "", "speed": ""}


class Counting:
    """The toy's evaluation, counting genomes; it may stop or fail at one of them."""

    def __init__(self, raise_at: int = -1, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.genomes: list[Genome] = []
        self.raise_at, self.error, self.closed = raise_at, error, 0

    def __call__(self, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        try:
            for genome in genomes:
                if len(self.genomes) == self.raise_at:
                    raise self.error
                self.genomes.append(genome)
                yield Outcome(values(genome))
        finally:
            self.closed += 1


class Spy:
    def __init__(self) -> None:
        self.calls: list[tuple[str, Status]] = []
        self.message: str | None = None

    def start(self, status: Status) -> None:
        self.calls.append(("start", status))

    def update(self, status: Status) -> None:
        self.calls.append(("update", status))

    def finish(self, status: Status, message: str) -> None:
        self.calls.append(("finish", status))
        self.message = message


def toy(settings: SearchSettings = SETTINGS, store: Store | None = None, evaluation: Counting | None = None,
        **options: object) -> Result:
    return search(SPACE, OBJECTIVES, evaluation or Counting(), settings, store, seeds=SEEDS,
                  **options)  # type: ignore[arg-type]


def test_finds_a_front_better_than_its_seeds() -> None:
    result = toy()
    seeds = np.array([[values(seed)[name] for name in OBJECTIVES] for seed in SEEDS])
    assert result.box is not None
    assert result.box == ReferenceBox.around(seeds)
    assert result.box.hypervolume(result.front.points) > result.box.hypervolume(seeds) + 0.05
    for seed in seeds:  # a front never loses to its baseline
        assert (result.front.points <= seed).all(axis=1).any()
    assert not result.interrupted
    assert result.message == ""
    assert (result.evaluations, result.new, result.failed) == (400, 400, 0)


def test_front_is_that_of_everything_evaluated() -> None:
    counting = Counting()
    result = toy(evaluation=counting)
    assert len(counting.genomes) == len(set(counting.genomes)) == 400
    every = np.array([[values(g)[name] for name in OBJECTIVES] for g in counting.genomes])
    for point in every:
        assert (result.front.points <= point).all(axis=1).any()
    assert all(dict(v) == values(g) for g, v in zip(result.front.genomes, result.front.values, strict=True))
    assert (np.diff(result.front.points[:, 0]) > 0).all()


def test_history() -> None:
    history = toy().history
    assert [generation.number for generation in history] == list(range(1, 21))
    assert [generation.evaluations for generation in history] == list(range(20, 401, 20))
    volumes = [generation.hypervolume for generation in history]
    assert volumes == sorted(volumes)
    assert all(generation.points.shape == (20, 2) and generation.feasible.all() for generation in history)
    assert history[-1].best["size"] == min(generation.best["size"] for generation in history)
    assert history[0].to_dict()["points"][0] == history[0].points[0].tolist()


def test_three_objectives() -> None:
    def three(genomes: Sequence[Genome]) -> Iterator[Outcome]:
        for genome in genomes:
            yield Outcome({**values(genome), "time": float(sum(i * x for i, x in enumerate(genome)))})

    result = search(SPACE, (*OBJECTIVES, "time"), three, SETTINGS, seeds=SEEDS)
    assert result.front.points.shape[1] == 3
    assert result.history[-1].hypervolume > result.history[0].hypervolume > 0


@pytest.mark.parametrize("killed_at", [0, 1, 7, 19, 20, 21, 205, 399])
def test_to_resume_is_to_replay(tmp_path: Path, killed_at: int) -> None:
    with Store(tmp_path / "a") as whole, Store(tmp_path / "b") as broken:
        undisturbed = toy(store=whole)
        first = toy(store=broken, evaluation=Counting(killed_at))
        assert first.interrupted
        assert (first.evaluations, len(broken)) == (killed_at, killed_at)
        assert f"{killed_at} of 400 evaluations" in first.message
        assert len(first.front) > 0 or killed_at == 0
        again = Counting()
        second = toy(store=broken, evaluation=again)
        assert len(again.genomes) == second.new == 400 - killed_at
        assert not set(first.front.genomes) - {row.genome for row in broken.rows()}
        assert summary(second) == summary(undisturbed)
        stored = [[(row.ordinal, row.key, row.genome, row.outcome, row.generation) for row in store.rows()]
                  for store in (whole, broken)]
        assert stored[0] == stored[1]
        third = Counting()
        assert summary(toy(store=broken, evaluation=third)) == summary(undisturbed)
        assert third.genomes == []


def test_more_generations_continue_a_search(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        short = toy(SearchSettings(population=20, generations=5, seed=3), store)
        long = toy(SETTINGS, store)
        assert long.new == 300
        assert summary(long) == summary(toy())
        assert summary(long)["history"][:5] == summary(short)["history"]


def test_the_evaluation_is_closed_when_the_search_stops() -> None:
    counting = Counting()
    spy = Spy()
    result = toy(evaluation=counting, stop=lambda: len(counting.genomes) >= 33, progress=spy)
    assert result.interrupted
    assert result.evaluations == 33
    assert counting.closed == 2
    assert spy.message == result.message == "stopped after 33 of 400 evaluations; all of them are kept"


def test_errors_of_the_evaluation_pass_and_lose_nothing(tmp_path: Path) -> None:
    spy = Spy()
    with Store(tmp_path / "s") as store:
        with pytest.raises(ZeroDivisionError):
            toy(store=store, evaluation=Counting(33, ZeroDivisionError), progress=spy)
        assert len(store) == 33
        assert spy.calls[-1][0] == "finish"
        assert summary(toy(store=store)) == summary(toy())


def test_progress_sees_every_evaluation() -> None:
    spy = Spy()
    toy(progress=spy)
    assert [name for name, _ in spy.calls] == ["start", *["update"] * 420, "finish"]
    done = [status.done for _, status in spy.calls]
    assert done == sorted(done)
    last = spy.calls[-1][1]
    assert (last.done, last.total, last.new, last.cached, last.generation) == (400, 400, 400, 0, 20)
    assert last.hypervolume is not None
    assert len(last.front) > 5
    assert spy.calls[0][1].hypervolume is None


def test_constraints_keep_the_front_within_limits() -> None:
    limits = [parse("size<=90", UNITS), parse("error<=20", UNITS)]
    result = toy(constraints=limits)
    assert len(result.front) > 3
    assert all(v["size"] <= 90 and v["error"] <= 20 for v in result.front.values)
    assert result.closest is None
    assert result.history[-1].feasible.all()
    free = toy().front
    within = free.points[(free.points[:, 1] <= 90) & (free.points[:, 0] <= 20)]
    assert result.box is not None
    # all effort goes inside the limits, so the part of the front there is no worse
    assert result.box.hypervolume(result.front.points) >= result.box.hypervolume(within) - 1e-3


def test_a_constraint_that_nothing_satisfies() -> None:
    spy = Spy()
    result = toy(constraints=[parse("size<=10", UNITS)], progress=spy)
    assert len(result.front) == 0
    assert not result.interrupted
    assert result.closest is not None
    smallest = values((0,) * len(SPACE.genes))
    assert dict(result.closest.values) == smallest
    assert result.closest.violation == pytest.approx((smallest["size"] - 10) / 10)
    assert result.message == spy.message
    assert result.message == (f"none of 400 solutions keeps size<=10. The closest has error {smallest['error']:.6g}, "
                              f"size {smallest['size']:.6g}: 380.0% beyond size<=10. "
                              f"Relax the constraint or search longer")
    assert result.history[-1].hypervolume == 0
    assert result.history[-1].best == {}


def test_failed_evaluations_are_stored_and_never_in_the_front() -> None:
    def sometimes(genomes: Sequence[Genome]) -> Iterator[Outcome]:
        for genome in genomes:
            if genome[0] == 6:
                yield Outcome(None, "too wide")
            elif genome[1] == 6:
                yield Outcome({"error": float("nan"), "size": 1.0})
            else:
                yield Outcome(values(genome))

    with Store(":memory:") as store:
        result = search(SPACE, OBJECTIVES, sometimes, SETTINGS, store, seeds=SEEDS)
        reasons = {row.outcome.reason for row in store.rows()}
        assert reasons == {None, "too wide", "'error' is nan"}
        assert result.failed == sum(row.outcome.values is None for row in store.rows()) > 0
        assert not any(6 in genome[:2] for genome in result.front.genomes)
        assert summary(search(SPACE, OBJECTIVES, evaluate, SETTINGS, store, seeds=SEEDS)) == summary(result)
    assert np.isfinite(result.history[-1].points).all()


def test_stops_when_the_first_generation_fails_altogether() -> None:
    asked = []

    def never(genomes: Sequence[Genome]) -> Iterator[Outcome]:
        for genome in genomes:
            asked.append(genome)
            yield Outcome(None, "OSError: no such device")

    with Store(":memory:") as store:
        with pytest.raises(BittailorError, match="all 20 evaluations of the first generation failed; "
                                                 "the first because: OSError: no such device"):
            search(SPACE, OBJECTIVES, never, SETTINGS, store)
        assert len(asked) == 20
        # once the device is there, the same store works
        assert summary(toy(store=store)) == summary(toy())


def test_wrong_use_is_named() -> None:
    with pytest.raises(BittailorError, match="objectives are"):
        search(SPACE, [], evaluate, SETTINGS)
    with pytest.raises(BittailorError, match="each once"):
        search(SPACE, ["error", "error"], evaluate, SETTINGS)
    with pytest.raises(UnknownName, match="unknown objective 'eror'; did you mean 'error'"):
        search(SPACE, ["eror", "size"], evaluate, SETTINGS)
    with pytest.raises(UnknownName, match="unknown value to constrain 'speed'"):
        search(SPACE, OBJECTIVES, evaluate, SETTINGS, constraints=[parse("speed>=2", UNITS)])
    with pytest.raises(RuntimeError, match="fewer outcomes"):
        search(SPACE, OBJECTIVES, lambda genomes: iter([]), SETTINGS)
    with pytest.raises(BittailorError, match="a genome of 1 values"):
        search(SPACE, OBJECTIVES, evaluate, SETTINGS, seeds=[(1,)])


def test_a_small_space_ends_early_and_says_so() -> None:
    space = Space("small", tuple(WidthGene(f"g{i}", (f"s{i}",), (2, 4, 8)) for i in range(3)))
    counting = Counting()
    result = search(space, OBJECTIVES, counting, SearchSettings(population=10, generations=30))
    assert len(counting.genomes) == result.evaluations == 27
    assert len(result.history) == 3
    assert result.message == "all 27 plans of the space 'small' are evaluated"


def test_one_objective_and_one_plan() -> None:
    result = search(SPACE, ["size"], evaluate, SearchSettings(population=20, generations=30, seed=1))
    assert len(result.front) == 1
    assert sum(result.front.genomes[0]) <= 2
    single = search(Space("one", (WidthGene("g", ("s",), (8,)),)), OBJECTIVES, evaluate, SETTINGS)
    assert single.front.genomes == ((0,),)


def test_a_box_of_ones_own() -> None:
    box = ReferenceBox((0.0, 0.0), (100.0, 300.0))
    assert toy(box=box).box is box


def test_replay_takes_no_slow_path(tmp_path: Path) -> None:
    wanted = SearchSettings(population=40, generations=100, seed=1)
    with Store(tmp_path / "s") as store:
        algorithm, seen = Nsga2(SPACE, wanted, SEEDS, 2), 0  # loads pymoo before the clock starts
        assert algorithm.ask()
        toy(wanted, store)
        start = perf_counter()
        result = toy(wanted, store, Counting(0, AssertionError))
        seconds = perf_counter() - start
        seen = result.evaluations
    assert seen == 4000
    assert seconds < 5  # measured: 0.4 s
