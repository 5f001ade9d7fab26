"""NSGA-II: operators stay among the integers and reach all of them; no genome twice; the seed decides all."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_toy import OBJECTIVES, SEEDS, SPACE, values

from bittailor.errors import BittailorError, UnknownName
from bittailor.search import CROSSOVERS, MUTATIONS, Genome, SearchSettings, Space, WidthGene
from bittailor.search.optimisers.generational import first_population, unseen
from bittailor.search.optimisers.nsga2 import Nsga2


def drive(space: Space, wanted: SearchSettings, seeds: list[Genome] | None = None) -> list[list[Genome]]:
    """Generations of a search whose objectives are the toy's."""
    algorithm, generations = Nsga2(space, wanted, seeds or [], 2), []
    for _ in range(wanted.generations):
        batch = algorithm.ask()
        if not batch:
            break
        points = np.array([[values(genome)[name] for name in OBJECTIVES] for genome in batch])
        algorithm.tell(points, np.zeros(len(batch)))
        generations.append(batch)
    return generations


@pytest.mark.parametrize("crossover", CROSSOVERS)
@given(seed=st.integers(0, 2**32), levels=st.lists(st.integers(1, 8), min_size=1, max_size=9))
@settings(max_examples=30, deadline=None)
def test_crossover_stays_in_range(crossover: str, seed: int, levels: list[int]) -> None:
    rng, bound = np.random.default_rng(seed), np.array(levels)
    parents = rng.integers(0, bound, (2, 20, len(levels)))
    children = CROSSOVERS[crossover](parents, bound, rng)
    assert children.dtype == np.int64
    assert children.shape == parents.shape
    assert (children >= 0).all()
    assert (children < bound).all()
    if crossover != "sbx":  # genes change sides and nothing else
        assert (np.sort(children, axis=0) == np.sort(parents, axis=0)).all()


@pytest.mark.parametrize("mutation", MUTATIONS)
@given(seed=st.integers(0, 2**32), levels=st.lists(st.integers(1, 8), min_size=1, max_size=9))
@settings(max_examples=30, deadline=None)
def test_mutation_stays_in_range(mutation: str, seed: int, levels: list[int]) -> None:
    rng, bound = np.random.default_rng(seed), np.array(levels)
    children = rng.integers(0, bound, (40, len(levels)))
    before = children.copy()
    mutated = MUTATIONS[mutation](children, bound, np.full(len(levels), 0.5), rng)
    assert mutated.dtype == np.int64
    assert (mutated >= 0).all()
    assert (mutated < bound).all()
    assert (children == before).all()
    assert (mutated[:, bound == 1] == 0).all()


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_mutation_reaches_every_width_about_evenly(mutation: str) -> None:
    """Repeated mutation is a walk over the widths; none may be hard to reach, the ends included."""
    levels, rng = np.array([7] * 8), np.random.default_rng(1)
    x = rng.integers(0, 7, (4000, 8))
    count = np.zeros(7)
    for step in range(60):
        x = MUTATIONS[mutation](x, levels, np.full(8, 0.5), rng)
        if step >= 20:
            count += np.bincount(x.ravel(), minlength=7)
    share = count / count.sum() * 7
    assert share.min() > 0.65, share
    assert share.max() < 1.35, share


@pytest.mark.parametrize("mutation", ["step", "reset"])
def test_mutation_rate_is_what_was_asked_for(mutation: str) -> None:
    rng, levels = np.random.default_rng(2), np.array([7] * 10)
    x = rng.integers(0, 7, (20_000, 10))
    changed = (MUTATIONS[mutation](x, levels, np.full(10, 0.1), rng) != x).sum(axis=1)
    # binomial(10, 0.1): mean 1, standard error of the mean 0.0067
    assert changed.mean() == pytest.approx(1.0, abs=0.03)


def test_reset_is_uniform_over_the_other_widths() -> None:
    rng, levels = np.random.default_rng(3), np.array([5])
    moved = MUTATIONS["reset"](np.full((40_000, 1), 2), levels, np.ones(1), rng)
    count = np.bincount(moved.ravel(), minlength=5)
    assert count[2] == 0
    chi_square = ((count[[0, 1, 3, 4]] - 10_000) ** 2 / 10_000).sum()
    assert chi_square < 16.3  # 3 degrees of freedom, 0.1 %


def test_uniform_crossover_swaps_half() -> None:
    rng, levels = np.random.default_rng(4), np.array([2] * 50)
    parents = np.stack([np.zeros((2000, 50), np.int64), np.ones((2000, 50), np.int64)])
    assert CROSSOVERS["uniform"](parents, levels, rng)[0].mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("crossover", CROSSOVERS)
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_no_plan_is_asked_for_twice_and_the_seed_decides(crossover: str, mutation: str) -> None:
    wanted = SearchSettings(population=10, generations=8, seed=7, crossover=crossover, mutation=mutation)
    generations = drive(SPACE, wanted, SEEDS)
    every = [genome for generation in generations for genome in generation]
    assert len(every) == wanted.evaluations == 80
    plans = {tuple(sorted(SPACE.widths(genome).items())) for genome in every}
    assert len(plans) == len(every)
    np.random.seed(99)  # noqa: NPY002 - NumPy's own state must neither matter nor change
    before = str(np.random.get_state())  # noqa: NPY002
    assert drive(SPACE, wanted, SEEDS) == generations
    assert str(np.random.get_state()) == before  # noqa: NPY002
    assert drive(SPACE, SearchSettings(**{**wanted.to_dict(), "seed": 8}), SEEDS) != generations


def test_first_population_starts_with_the_seeds_and_covers_the_levels() -> None:
    first = first_population(SPACE, 40, [*SEEDS, SEEDS[0]], np.random.default_rng(0))
    assert first[:7] == SEEDS
    assert len(set(first)) == len(first) == 40
    means = np.mean(first[7:], axis=1)
    assert means.min() < 1.5
    assert means.max() > 4.5


def test_more_seeds_than_fit_are_all_evaluated() -> None:
    generations = drive(SPACE, SearchSettings(population=4, generations=3), SEEDS)
    assert generations[0] == SEEDS
    assert [len(generation) for generation in generations] == [7, 4, 4]


@pytest.mark.parametrize("widths", [(4,), (4, 8), (2, 4, 8)])
@pytest.mark.parametrize("genes", [1, 2, 3])
def test_small_spaces_are_searched_to_the_last_plan(widths: tuple[int, ...], genes: int) -> None:
    space = Space("small", tuple(WidthGene(f"g{i}", (f"s{i}",), widths) for i in range(genes)))
    every = [g for generation in drive(space, SearchSettings(population=4, offspring=3, generations=50))
             for g in generation]
    assert len(every) == len(set(every)) == space.size


def test_unseen_in_a_nearly_exhausted_space() -> None:
    large = Space("large", tuple(WidthGene(f"g{i}", (f"s{i}",), tuple(range(1, 17))) for i in range(5)))
    found = unseen(large, 10, set(), np.random.default_rng(0))
    assert len(set(found)) == 10
    assert unseen(SPACE, 0, set(), np.random.default_rng(0)) == []


def test_failed_and_infeasible_rank_last() -> None:
    algorithm = Nsga2(SPACE, SearchSettings(population=12, generations=9, seed=1), SEEDS, 2)
    for _ in range(6):
        batch = algorithm.ask()
        points = np.array([[values(genome)[name] for name in OBJECTIVES] for genome in batch])
        sizes = points[:, 1]
        failed = np.array([sum(genome) % 3 == 0 for genome in batch])
        points[failed] = np.nan
        violations = np.where(failed, np.inf, np.maximum(0, (sizes - 100) / 100))
        algorithm.tell(points, violations)
    survivors, points, feasible = algorithm.population
    assert feasible.all()
    assert np.isfinite(points).all()
    assert not any(sum(genome) % 3 == 0 for genome in survivors)


@pytest.mark.parametrize(("change", "message"), [
    ({"population": 1}, "population is 1; expected a whole number, 2 or more"),
    ({"population": 2.5}, "population is 2.5"), ({"generations": 0}, "generations is 0"),
    ({"offspring": -1}, "offspring is -1"), ({"seed": -1}, "seed is -1"),
    ({"crossover_probability": 1.5}, "expected 0..1"), ({"mutated_genes": 0.0}, "more than 0"),
])
def test_bad_settings(change: dict[str, float], message: str) -> None:
    with pytest.raises(BittailorError, match=message):
        SearchSettings(**change)  # type: ignore[arg-type]


def test_unknown_operators_are_named() -> None:
    with pytest.raises(UnknownName, match="unknown crossover 'unifrom'; did you mean 'uniform'"):
        SearchSettings(crossover="unifrom")
    with pytest.raises(UnknownName, match="unknown mutation 'swap'"):
        SearchSettings(mutation="swap")


def test_importing_the_search_loads_neither_pymoo_nor_rich() -> None:
    code = ("import sys, bittailor.search, bittailor.search.progress\n"
            "print([m for m in ('pymoo', 'rich', 'torch', 'scipy') if m in sys.modules])")
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
