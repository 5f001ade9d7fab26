"""Before the first candidate: statistics, fitted weights, baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from bittailor.common.data import Data
from bittailor.evaluate.evaluator import Evaluator
from bittailor.evaluate.family import CandidateEvaluation, OneNetwork
from bittailor.quantise.calibration import Calibration
from bittailor.quantise.fitting import fit_all, fit_here, widths_of
from bittailor.quantise.spaces import BASELINES, WIDTHS, homogeneous_widths
from bittailor.runs.choice import SolutionEvaluators
from bittailor.runs.folder import calibrated
from bittailor.runs.forms import Solution
from bittailor.runs.problem import Problem
from bittailor.search.front import ReferenceBox, signs
from bittailor.train.beacons import Beacon


@dataclass(frozen=True, eq=False)
class Calibrated:
    """What a search knows before its first candidate.

    statistics   of the float network
    candidates   evaluates candidates from the float network's weights on the items that select; its metric has learnt
                 what it has to learn
    homogeneous  bits -> baseline
    box          where hypervolume is measured
    identity     what the evaluations depend on
    wanted       site -> every width that may be asked for
    beacons      name -> retrained network, filled as they come to be
    """

    statistics: Calibration
    candidates: CandidateEvaluation
    homogeneous: Mapping[int, Solution]
    box: ReferenceBox
    identity: Mapping[str, str]
    wanted: Mapping[str, set[int]]
    beacons: dict[str, Beacon] = field(default_factory=dict)
    _from_beacons: dict[str, CandidateEvaluation] = field(default_factory=dict)

    @property
    def base(self) -> Solution:
        """Homogeneous 8 bit, with which everything is compared."""
        return self.homogeneous[8]

    @property
    def evaluator(self) -> Evaluator:
        """That of the float network on the items that select."""
        return self.candidates.evaluator()

    @cached_property
    def select(self) -> SolutionEvaluators:
        """Evaluators on the items that select."""
        return SolutionEvaluators(lambda beacon: self.weights_of(beacon).evaluator())

    def evaluators(self, part: Data) -> SolutionEvaluators:
        """Evaluators of the error of solutions on a part of the data."""
        return SolutionEvaluators(
            lambda beacon: replace(self.weights_of(beacon), data=part, objectives=()).evaluator())

    def evaluators_with_values(self, part: Data) -> SolutionEvaluators:
        """Evaluators of every value of solutions on a part of the data."""
        return SolutionEvaluators(lambda beacon: replace(self.weights_of(beacon), data=part).evaluator())

    def weights_of(self, beacon: str | None) -> CandidateEvaluation:
        """What evaluates candidates from the weights of a beacon (its name) or of the float network, kept."""
        if beacon is None:
            return self.candidates
        if beacon not in self._from_beacons:
            calibration = self.beacons[beacon].calibration
            if self.candidates.door is not None:
                fit_all(calibration, self.wanted, self.candidates.door)
            family = OneNetwork(calibration)
            self._from_beacons[beacon] = replace(self.candidates, family=family)
        return self._from_beacons[beacon]


def calibrate_run(problem: Problem) -> Calibrated:
    """Freeze the statistics, and evaluate the baselines."""
    network, data, names = problem.network, problem.data, problem.spec.objectives
    metric = problem.metric
    if metric.learns:
        problem.display.tell(f"learning to decode for the metric {metric.name}")
    held = problem.roles.held
    measure = metric.fitted(data.train.targets, lambda: network(held.x, held.lengths), held.targets)
    if not (problem.folder / "calibration.safetensors").exists():
        problem.display.tell(f"calibrating on {min(problem.spec.calibration.items, len(data.train)):,} sequences")
    statistics = calibrated(problem.folder, network, data.train, problem.spec.calibration)
    wanted = widths_of(problem.space, network.graph)
    problem.display.tell("fitting formats and weights")
    if problem.door is not None:
        fit_all(statistics, wanted, problem.door)
    else:
        fit_here(statistics, wanted, problem.workers, problem.display.tell)
    statistics.save(problem.folder / "calibration.safetensors")
    candidates = CandidateEvaluation(problem.space, OneNetwork(statistics), problem.roles.select, measure,
                                     problem.engine, problem.reported, problem.spec.platforms, problem.door)
    evaluator = candidates.evaluator()
    widths = {bits: homogeneous_widths(network.graph, bits) for bits in BASELINES}
    # some hardware has no 16 bits; without 8 there is nothing to compare with
    widths = {bits: w for bits, w in widths.items() if bits == 8 or evaluator.runs(w)}
    rows = dict(zip(widths, evaluator.evaluate(list(widths.values())), strict=True))
    identity = {"network": network.fingerprint, "data": problem.roles.select.fingerprint, "metric": metric.key,
                "calibration": repr(problem.spec.calibration), "space": problem.space.name}
    return Calibrated(
        statistics, candidates,
        {bits: Solution(f"homogeneous {bits}", w, rows[bits], None) for bits, w in widths.items()},
        ReferenceBox.around([[rows[bits][name] for name in names] for bits in WIDTHS], signs(names, problem.maximised)),
        identity, wanted,
    )


def float_error(problem: Problem, ready: Calibrated, part: Data) -> float:
    """The float network's error on a part of the data."""
    measure = ready.evaluator.metric
    return measure.value(problem.network(part.x, part.lengths), part.targets)
