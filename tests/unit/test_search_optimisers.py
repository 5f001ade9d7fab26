"""What every optimiser of the table owes a search, whatever its method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from search_toy import OBJECTIVES, SEEDS, SPACE, evaluate, summary, values

from bittailor.errors import BittailorError, UnknownName
from bittailor.search import OPTIMISERS, Genome, Outcome, SearchSettings, Space, Store, WidthGene, search
from bittailor.search.constraints import parse
from bittailor.search.optimisers.smsemoa import SmsEmoa
from bittailor.search.optimisers.unsga3 import UNsga3

UNITS = {"error": "", "size": "", "time": ""}
THREE = (*OBJECTIVES, "time")


def three(genomes: Sequence[Genome]) -> Iterator[Outcome]:
    """Three objectives; some genomes fail."""
    for genome in genomes:
        if sum(genome) % 13 == 0:
            yield Outcome(None, "no")
        else:
            yield Outcome({**values(genome), "time": float(sum(i * x for i, x in enumerate(genome)))})


def drive(name: str, settings: SearchSettings) -> list[list[Genome]]:
    """Generations of a search of two objectives in which failures and broken constraints are many."""
    optimiser, generations = OPTIMISERS[name](SPACE, settings, SEEDS, 2), []
    for _ in range(settings.generations):
        batch = optimiser.ask()
        points = np.array([[values(genome)[name] for name in OBJECTIVES] for genome in batch])
        failed = np.array([sum(genome) % 3 == 0 for genome in batch])
        violations = np.where(failed, np.inf, np.maximum(0, (points[:, 1] - 100) / 100))
        points[failed] = np.nan
        optimiser.tell(points, violations)
        generations.append(batch)
    survivors, points, feasible = optimiser.population
    assert len(set(survivors)) == len(survivors) == settings.population
    assert feasible.all()
    assert np.isfinite(points).all()
    assert not any(sum(genome) % 3 == 0 for genome in survivors)
    return generations


@pytest.mark.parametrize("name", OPTIMISERS)
def test_no_plan_is_asked_for_twice_the_seed_decides_and_the_failed_die(name: str) -> None:
    wanted = SearchSettings(population=12, generations=12, seed=7)
    generations = drive(name, wanted)
    every = [genome for generation in generations for genome in generation]
    assert generations[0][: len(SEEDS)] == SEEDS
    assert len(every) == len(set(every)) == wanted.evaluations
    np.random.seed(99)  # noqa: NPY002 - NumPy's own state must neither matter nor change
    before = str(np.random.get_state())  # noqa: NPY002
    assert drive(name, wanted) == generations
    assert str(np.random.get_state()) == before  # noqa: NPY002
    assert drive(name, SearchSettings(population=12, generations=12, seed=8)) != generations


@pytest.mark.parametrize("objectives", [OBJECTIVES, THREE], ids=len)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_it_beats_chance_and_resumes_by_replay(name: str, objectives: Sequence[str], tmp_path: Path) -> None:
    wanted = SearchSettings(population=20, offspring=16, generations=20, seed=1, optimiser=name)

    def run(store: Store, generations: int = 20, stop: int = 10**9) -> object:
        settings = SearchSettings(**{**wanted.to_dict(), "generations": generations})
        result = search(SPACE, objectives, three, settings, store, [parse("size<=150", UNITS)], SEEDS,
                        stop=lambda: len(store) >= stop, revise=lambda number, survivors: {
                            genome: Outcome({**values(genome), "error": 0.9 * values(genome)["error"], "time": 1.0})
                            for genome in survivors[: 2 * (number % 5 == 0)] if sum(genome) % 13})
        return result, summary(result), [(row.key, row.outcome) for row in store.rows()]

    with Store(tmp_path / "a") as whole, Store(tmp_path / "b") as broken, Store(":memory:") as short:
        result, *undisturbed = run(whole)
        run(broken, stop=133)
        assert run(broken)[1:] == tuple(undisturbed)
        assert run(short, 1)[0].history[-1].hypervolume < result.history[-1].hypervolume - 0.05
    rng = np.random.default_rng(0)
    seeded = dict.fromkeys([*SEEDS, *SPACE.random(rng, result.evaluations)])
    chance = search(SPACE, objectives, three, SearchSettings(population=result.evaluations, generations=1), None,
                    [parse("size<=150", UNITS)], list(seeded)[: result.evaluations], box=result.box)
    assert result.history[-1].hypervolume > chance.history[-1].hypervolume + 0.01


@pytest.mark.parametrize("name", OPTIMISERS)
def test_small_spaces_are_searched_to_the_last_plan_and_nothing_feasible_is_no_error(name: str) -> None:
    space = Space("small", tuple(WidthGene(f"g{i}", (f"s{i}",), (2, 4, 8)) for i in range(3)))
    result = search(space, OBJECTIVES, evaluate, SearchSettings(population=6, generations=30, optimiser=name), None,
                    [parse("size<=1", UNITS)])
    assert result.evaluations == 27
    assert len(result.front) == 0
    assert result.closest is not None
    assert result.closest.genome == (0, 0, 0)


def test_ones_own_optimiser() -> None:
    made = []

    class Own(SmsEmoa):
        def ask(self) -> list[Genome]:
            made.append(self)
            return super().ask()

    settings = SearchSettings(population=8, generations=3, optimiser="smsemoa")
    result = search(SPACE, OBJECTIVES, evaluate, settings, make_optimiser=Own)
    assert len(made) == 3
    assert summary(result) == summary(search(SPACE, OBJECTIVES, evaluate, settings))


def test_directions_fit_the_population() -> None:
    for objectives, population, directions in ((2, 40, 40), (3, 40, 36), (4, 40, 35), (3, 3, 3), (1, 5, 1)):
        optimiser = UNsga3(SPACE, SearchSettings(population=population), SEEDS, objectives)
        assert len(optimiser._method.ref_dirs) == directions


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(BittailorError, match="a population of 2 is too small"):
        search(SPACE, THREE, three, SearchSettings(population=2, optimiser="unsga3"))
    with pytest.raises(BittailorError, match="needs two objectives or more"):
        search(SPACE, ["size"], evaluate, SearchSettings(optimiser="smsemoa"))
    with pytest.raises(UnknownName, match="unknown optimiser 'nsga'; did you mean 'nsga2'"):
        SearchSettings(optimiser="nsga")
