"""A run directory, opened: what was asked for, its networks, its solutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Splits
from bittailor.common.files import formed, load_json, reading
from bittailor.common.records import plain
from bittailor.core.network import Network
from bittailor.core.plan import Plan
from bittailor.core.program import Program
from bittailor.cost import Platform
from bittailor.errors import BittailorError, FileError
from bittailor.evaluate.evaluator import Objective, objectives_with
from bittailor.evaluate.metrics import ForeignMetric, Measure, Metric, metric_of
from bittailor.quantise.calibration import Calibration
from bittailor.runs.former import upgraded, upgraded_result
from bittailor.runs.forms import ALWAYS, ResultForm, RunForm, Solution, check_solution
from bittailor.runs.spec import Origin, SearchSpec
from bittailor.search.constraints import Constraint
from bittailor.search.front import signs
from bittailor.search.space import Space
from bittailor.search.store import Store
from bittailor.train.beacons import Beacon, read_beacons

RUN_KIND, RUN_VERSION = "run", 3
RESULT_KIND, RESULT_VERSION = "result", 2


@dataclass(frozen=True)
class OpenedRun:
    """What lies in a run directory, read when it is asked for. `Run` names the solutions on top of it.

    path    the directory
    config  what run.json holds; made by `open`, by nothing else
    """

    path: Path
    config: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a run directory; FileError if it is none, damaged or of another version."""
        folder = Path(path)
        if not (folder / "run.json").is_file():
            raise FileError(f"{folder} is no run directory: it has no run.json. "
                            "Make one: bittailor search TASK --out DIR")
        file = folder / "run.json"
        config = load_json(file, RUN_KIND, RUN_VERSION, range(1, RUN_VERSION))
        with reading(file):
            run = cls(folder, upgraded(config))
            _ = run._form, run.spec, run.space
        return run

    @cached_property
    def _form(self) -> RunForm:
        return formed(self.path / "run.json", RunForm, self.config)

    @cached_property
    def spec(self) -> SearchSpec:
        """What was asked for; of the network and the metric, what they came out as."""
        return SearchSpec.from_dict(self._form.spec)

    @property
    def origin(self) -> Origin:
        """Where network and data came from."""
        return self._form.origin

    @property
    def title(self) -> str:
        """What the run is about."""
        return self.origin.title or self.spec.task.name or self.path.name

    @cached_property
    def network(self) -> Network:
        """The float network."""
        return Network.load(self.path / "network.safetensors")

    @cached_property
    def calibration(self) -> Calibration:
        """The frozen statistics."""
        return Calibration.load(self.path / "calibration.safetensors", self.network)

    @cached_property
    def space(self) -> Space:
        """What the search could choose."""
        return Space.from_dict(self._form.space)

    @cached_property
    def result(self) -> Mapping[str, Any]:
        """result.json; FileError if the search has not finished or been stopped yet."""
        return self._read[0]

    @property
    def _found(self) -> ResultForm:
        """result.json as a record; FileError as `result`."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[Mapping[str, Any], ResultForm]:
        """result.json as plain values and as a record."""
        path = self.path / "result.json"
        if not path.is_file():
            raise FileError(f"the search in {self.path} has not ended; go on with it: the same command with --resume")
        with reading(path):
            values = upgraded_result(load_json(path, RESULT_KIND, RESULT_VERSION, range(1, RESULT_VERSION)))
            found = formed(path, ResultForm, values)
            found.check(self.space.sites, self.objectives)
        whole = plain(found)
        return ({**whole} if found.beacons else {k: v for k, v in whole.items() if k != "beacons"}), found

    @cached_property
    def platforms(self) -> tuple[Platform, ...]:
        """The hardware that the run was given beside that of the package."""
        return self.spec.platforms

    @cached_property
    def objectives(self) -> Mapping[str, Objective]:
        """Every objective by name, those of the run's own platforms among them, `error` as the run's metric has it."""
        return objectives_with(self.platforms, self.metric)

    @property
    def metric(self) -> Metric:
        """What `error` stands for. Of a user's own the run knows how to show it, not how to compute it."""
        return self.spec.known_metric

    def metric_given(self, metric: Metric | Measure | None) -> Metric:
        """The run's metric, to compute with: of a user's own, the one that is given again."""
        if metric is None:
            if isinstance(self.metric, ForeignMetric):
                raise BittailorError(f"{self.path} was searched with your own metric '{self.metric.name}'; "
                                     "give it again: metric=…")
            return self.metric
        given = metric_of(metric)
        if given.to_json() != self.metric.to_json():
            raise BittailorError(f"the metric of {self.path} is {self.metric.to_json()}, not {given.to_json()}")
        return given

    def measure(self, data: Splits, metric: Metric | None = None) -> Metric:
        """The run's metric, or `metric`, having learnt from the run's data what it has to learn."""
        held = self.spec.divide(data).held
        return (metric or self.metric).fitted(
            data.train.targets, lambda: self.network(held.x, held.lengths), held.targets)

    def costs(self, rows: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
        """The run's objectives of some values, all minimised: float64 [rows, objectives]."""
        names = self.result["objectives"]
        sign = signs(names, [name for name in names if self.objectives[name].maximise])
        return np.array([[row[name] for name in names] for row in rows]).reshape(-1, len(names)) * sign

    @property
    def limits(self) -> list[Constraint]:
        """The run's constraints."""
        return list(self.spec.limits)

    @property
    def front(self) -> list[Solution]:
        """The non-dominated solutions, the best in the first objective first."""
        return list(self._found.front)

    @property
    def homogeneous(self) -> list[Solution]:
        """The baselines, one per width."""
        return list(self._found.homogeneous)

    def baseline(self, bits: int = 8) -> Solution:
        """The homogeneous solution of one width."""
        for solution in self.homogeneous:
            if solution.narrowest == bits:
                return solution
        raise BittailorError(f"the run has no homogeneous baseline of {bits} bits")

    @property
    def held(self) -> dict[str, float]:
        """Values of homogeneous 8 bit on the validation items that no training saw, by which retrained solutions are
        judged."""
        return {**self.baseline(8).values, **self.result.get("held", {})}

    @property
    def beacons(self) -> dict[str, Beacon]:
        """Name -> retrained network, failed trainings too."""
        return read_beacons(self.path / "beacons")

    @property
    def retrained(self) -> dict[str, Solution]:
        """Name -> solution as it was retrained, smallest first."""
        found, least = [], self.spec.least
        for b in self.beacons.values():
            after = b.about["figures"].get("after")
            if after is not None:
                with reading(b.folder / "beacon.json"):
                    check_solution("figures.after", b.widths, after, self.space.sites, ALWAYS, self.objectives)
                found.append(Solution(f"retrained {b.name}", b.widths, dict(after), b.about["figures"].get("test"),
                                      b.name, compared=b.compared))
        return {str(s.beacon): s for s in sorted(found, key=lambda s: (s.values[least], s.beacon))}

    def calibration_of(self, solution: Solution) -> Calibration:
        """The statistics that a solution's formats and integers come from: the run's, or its beacon's."""
        if solution.beacon is None:
            return self.calibration
        if solution.beacon not in self._opened:
            beacon = self.beacons.get(solution.beacon)
            if beacon is None or beacon.failed is not None:
                raise FileError(f"{self.path} lacks the beacon {solution.beacon} of solution {solution.key}; "
                                "restore its folder 'beacons'")
            self._opened[solution.beacon] = beacon.calibration
        return self._opened[solution.beacon]

    @cached_property
    def _opened(self) -> dict[str, Calibration]:
        return {}

    def plan(self, solution: Solution | Mapping[str, int]) -> Plan:
        """The plan of a solution, or of widths with the float network's weights."""
        if isinstance(solution, Solution):
            return self.calibration_of(solution).plan(solution.widths)
        return self.calibration.plan(solution)

    def program(self, solution: Solution | Mapping[str, int]) -> Program:
        """The integer program of a solution (or of widths with the float network's weights): what is shipped."""
        calibration = self.calibration_of(solution) if isinstance(solution, Solution) else self.calibration
        return calibration.binder().bind(self.plan(solution))

    def store(self) -> Store:
        """Every evaluation, read-only."""
        return Store(self.path / "evaluations.sqlite", readonly=True)
