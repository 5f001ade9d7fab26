"""From genomes to outcomes: which network a candidate has, an evaluator for each network, and the state of a worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Data
from bittailor.cost import Platform
from bittailor.errors import RangeError
from bittailor.evaluate.evaluator import Evaluator
from bittailor.evaluate.metrics import Metric
from bittailor.quantise.calibration import Calibration
from bittailor.search.executors.base import Executor, WorkerState
from bittailor.search.space import Genome, Structure
from bittailor.search.store import Outcome

Family: TypeAlias = Callable[[Structure], Calibration]
"""The networks that candidates may have: the structural part of a genome -> a calibrated network. Picklable, and with
the same answer in every process."""

Name = TypeVar("Name", bound=Hashable)


class Decoder(Protocol):
    """What says which network and which widths a genome stands for, such as a `Space`."""

    def structure(self, genome: Genome) -> Structure:
        """Its structural part."""

    def widths(self, genome: Genome) -> dict[str, int]:
        """Site -> bits."""


@dataclass(frozen=True)
class Spelt:
    """The genome spells out the width of every site."""

    sites: tuple[str, ...]

    def structure(self, genome: Genome) -> Structure:
        """None: there is one network."""
        return ()

    def widths(self, genome: Genome) -> dict[str, int]:
        """Site -> bits."""
        return dict(zip(self.sites, genome, strict=True))


@dataclass(frozen=True, eq=False)
class OneNetwork:
    """The family whose candidates differ in widths only: those of the float network, or of a beacon."""

    calibration: Calibration

    def __call__(self, structure: Structure) -> Calibration:
        """The calibrated network."""
        return self.calibration


class Evaluators(Generic[Name]):
    """An evaluator for each network, made when it is first asked for, and kept: it holds what candidates share.

    make  what names a network (its structure, its beacon) -> evaluator
    """

    def __init__(self, make: Callable[[Name], Evaluator]) -> None:
        self._make = make
        self._known: dict[Name, Evaluator] = {}

    def of(self, name: Name) -> Evaluator:
        """The evaluator of a network."""
        if name not in self._known:
            self._known[name] = self._make(name)
        return self._known[name]


@dataclass(frozen=True, eq=False)
class CandidateEvaluation:
    """What evaluating genomes takes beside the genomes: the state of an executor's workers. Picklable.

    space       decodes them
    family      the networks that they may have
    data        what they are evaluated on
    objectives  names of the values reported beside the error
    platforms   those of a user, beside the ones of the package
    door        what evaluates on other machines, if anything does; it stays on this one
    """

    space: Decoder
    family: Family
    data: Data
    metric: str | Metric
    engine: str
    objectives: tuple[str, ...]
    platforms: tuple[Platform, ...] = ()
    door: Executor | None = None

    def evaluator(self, structure: Structure = ()) -> Evaluator:
        """This process's evaluator of the network of a structure."""
        return self._evaluators.of(structure)

    @cached_property
    def _evaluators(self) -> Evaluators[Structure]:
        return Evaluators(lambda structure: Evaluator(
            self.family(structure), self.data, self.metric, self.engine, self.objectives, self.platforms)
            if self.door is None else Elsewhere(self, self.family(structure), self.door))

    def __call__(self) -> Callable[[Sequence[Genome]], list[Outcome]]:
        """The worker."""
        return self.outcomes

    def outcomes(self, genomes: Sequence[Genome]) -> list[Outcome]:
        """The outcomes of genomes, those of one network at once (native engine: a genome per thread)."""
        start = time.perf_counter()
        members: dict[Structure, list[int]] = {}
        for i, genome in enumerate(genomes):
            members.setdefault(self.space.structure(genome), []).append(i)
        found: dict[int, dict[str, float] | RangeError] = {}
        for structure, places in members.items():
            rows = self.evaluator(structure).attempt([self.space.widths(genomes[i]) for i in places])
            found |= zip(places, rows, strict=True)
        seconds = (time.perf_counter() - start) / max(1, len(genomes))
        return [Outcome(None, str(row), seconds) if isinstance(row, RangeError) else Outcome(row, None, seconds)
                for _, row in sorted(found.items())]

    def __getstate__(self) -> dict[str, Any]:
        # without the evaluators, which every process makes for itself
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "door"}


@dataclass(frozen=True, eq=False)
class ItemEvaluation:
    """What measures candidates item by item (`Evaluator.measured`): the state of an executor's workers. Picklable. The
    `terms` of an outcome are float64 [1, items]; None where the metric has no such parts.

    candidates  evaluates them
    """

    candidates: CandidateEvaluation

    def __call__(self) -> Callable[[Sequence[Genome]], list[Outcome]]:
        """The worker."""
        return self.outcomes

    def outcomes(self, genomes: Sequence[Genome]) -> list[Outcome]:
        """The outcomes of genomes of one network."""
        start = time.perf_counter()
        rows = self.candidates.evaluator().measured([self.candidates.space.widths(genome) for genome in genomes])
        seconds = (time.perf_counter() - start) / max(1, len(genomes))
        return [Outcome({"error": error}, None, seconds, terms=None if costs is None else costs[None])
                for error, costs in rows]


class Elsewhere(Evaluator):
    """An evaluator whose candidates are evaluated by the workers of an executor: baselines, sensitivities, picks on
    test data. What needs the outputs themselves it computes here."""

    def __init__(self, evaluation: CandidateEvaluation, calibration: Calibration, executor: Executor) -> None:
        super().__init__(calibration, evaluation.data, evaluation.metric, evaluation.engine, evaluation.objectives,
                         evaluation.platforms)
        self._sites = tuple(site.name for site in calibration.network.graph.free)
        self._executor = executor
        own = replace(evaluation, space=Spelt(self._sites), family=OneNetwork(calibration))
        self._state, self._by_item = WorkerState(own), WorkerState(ItemEvaluation(own))

    def attempt(self, widths: Sequence[dict[str, int]]) -> list[dict[str, float] | RangeError]:
        return [RangeError(outcome.reason or "") if outcome.values is None else dict(outcome.values)
                for outcome in self._executor.run(self._state, self._genomes(widths))]

    def measured(self, widths: Sequence[dict[str, int]]) -> list[tuple[float, NDArray[np.float64] | None]]:
        found: list[tuple[float, NDArray[np.float64] | None]] = []
        for outcome in self._executor.run(self._by_item, self._genomes(widths)):
            if outcome.values is None:
                raise RangeError(outcome.reason or "")
            found.append((outcome.values["error"], None if outcome.terms is None else outcome.terms[0]))
        return found

    def _genomes(self, widths: Sequence[dict[str, int]]) -> list[Genome]:
        return [tuple(w[site] for site in self._sites) for w in widths]
