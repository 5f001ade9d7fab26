"""Candidates are structure and widths: a toy family of two networks through space, evaluation, store and front."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bittailor as bt
from bittailor.errors import FormatError
from bittailor.evaluate.evaluator import Evaluator
from bittailor.evaluate.family import CandidateEvaluation, OneNetwork
from bittailor.quantise.calibration import Calibration
from bittailor.quantise.spaces import homogeneous_widths
from bittailor.search import Gene, InProcess, SearchSettings, Space, Store, make_executor, search
from bittailor.search.executors.base import WorkerState
from bittailor.search.space import Genome, Structure
from bittailor.search.store import Outcome
from small import small_data, small_network


@dataclass(frozen=True)
class ChoiceGene(Gene):
    """One of some words."""

    name: str
    words: tuple[str, ...]

    @property
    def options(self) -> tuple[str, ...]:
        return self.words

    def index(self, word: str) -> int:
        if word not in self.words:
            raise FormatError(f"gene '{self.name}' cannot be '{word}'; it allows {', '.join(self.words)}")
        return self.words.index(word)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "words": list(self.words)}


@dataclass(frozen=True, eq=False)
class Sizes:
    """Networks by their number of hidden units."""

    networks: dict[str, Calibration]

    def __call__(self, structure: Structure) -> Calibration:
        (hidden,) = structure
        return self.networks[hidden]


@pytest.fixture(scope="module")
def sizes() -> Sizes:
    networks = {hidden: small_network(hidden=int(hidden)) for hidden in ("3", "6")}
    data = small_data(networks["6"]).train
    return Sizes({hidden: bt.calibrate(network, data.x, data.lengths) for hidden, network in networks.items()})


@pytest.fixture(scope="module")
def candidates(sizes: Sizes) -> CandidateEvaluation:
    network = sizes.networks["6"].network
    genes = bt.per_operator(network.graph, (2, 4, 8)).genes
    space = Space("sizes", (genes[0], ChoiceGene("hidden", ("3", "6")), *genes[1:]),
                  bt.per_operator(network.graph, (2, 4, 8)).fixed)
    return CandidateEvaluation(space, sizes, small_data(network).valid, "error", "reference", ("loss", "size"))


def test_a_space_says_structure_and_widths(candidates: CandidateEvaluation) -> None:
    space = candidates.space
    assert space.levels.tolist()[:3] == [3, 2, 3]
    assert space.size == 2 * Space("widths", space.width_genes, space.fixed).size
    for genome in space.random(np.random.default_rng(0), 50):
        widths, structure = space.widths(genome), space.structure(genome)
        assert structure == (("3", "6")[genome[1]],)
        assert "hidden" not in widths
        assert space.read(space.key(genome)) == genome == space.genome(widths, structure)
        assert space.nearest(widths, structure) == genome
    narrowest = (0,) * len(space.genes)
    assert space.key(narrowest).startswith("2 3 2 ")
    for wrong, message in [((), "a structure of 0 choices; space 'sizes' has 1"),
                           (("5",), "cannot be '5'; it allows 3, 6")]:
        with pytest.raises(FormatError, match=message):
            space.genome(space.widths(narrowest), wrong)


def test_two_structures_through_evaluation_store_and_front(
    candidates: CandidateEvaluation, sizes: Sizes, tmp_path: Path
) -> None:
    settings = SearchSettings(population=12, generations=5, seed=2)
    objectives = ("error", "size")
    with Store(tmp_path / "a") as store, InProcess() as executor:
        result = search(candidates.space, objectives, executor.evaluation(candidates), settings, store,
                        guides={"error": "loss"})
        rows = list(store.rows())
    assert {candidates.space.structure(row.genome) for row in rows} == {("3",), ("6",)}
    assert len({row.key for row in rows}) == len(rows) == settings.evaluations
    for row in rows[::7]:  # what the network of its structure gives with its widths
        (hidden,) = candidates.space.structure(row.genome)
        evaluator = Evaluator(sizes.networks[hidden], candidates.data, "error", "reference", ("loss", "size"))
        assert [row.outcome.values] == evaluator.evaluate([candidates.space.widths(row.genome)])
    assert {candidates.space.structure(genome) for genome in result.front.genomes} >= {("3",)}
    assert candidates.evaluator(("3",)) is not candidates.evaluator(("6",))
    # the store resumes it, and processes find the same
    with Store(tmp_path / "a") as store, Store(":memory:") as other, make_executor(2) as executor:
        again = search(candidates.space, objectives, executor.evaluation(candidates), settings, store,
                       guides={"error": "loss"})
        assert (again.new, again.front.genomes) == (0, result.front.genomes)
        apart = search(candidates.space, objectives, executor.evaluation(candidates), settings, other,
                       guides={"error": "loss"})
        assert apart.front.genomes == result.front.genomes
        assert [(r.key, r.outcome.values) for r in other.rows()] == [(r.key, r.outcome.values) for r in rows]


class Remote(InProcess):
    """Takes the state apart and together again, as if it had travelled."""

    remote = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, ...]] = []

    def run(self, state: WorkerState, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        self.asked += genomes
        return super().run(WorkerState(pickle.loads(state.blob)), genomes)


@pytest.mark.parametrize("metric", ["classification_error", "accuracy"])
def test_what_is_compared_item_by_item_is_computed_where_candidates_are(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, remote = small_network(), Remote()
    data = small_data(network)
    here = CandidateEvaluation(bt.per_operator(network.graph), OneNetwork(bt.calibrate(network, data.train.x)),
                               data.test, metric, "reference", ("size",))
    widths = [homogeneous_widths(network.graph, bits) for bits in (8, 3)]
    there = replace(here, door=remote).evaluator()
    monkeypatch.setattr(there, "engine", None)
    for (error, costs), (wanted, parts) in zip(there.measured(widths), here.evaluator().measured(widths), strict=True):
        assert error == wanted
        np.testing.assert_array_equal(costs, parts)
        assert costs is not None
        assert costs.mean() == pytest.approx(-error if metric == "accuracy" else error)
    assert len(remote.asked) == 2
