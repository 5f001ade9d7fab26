"""A run directory, opened: its networks, its solutions, and how to name one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittailor.common import html
from bittailor.common.data import Splits
from bittailor.common.files import formed, load_json, reading
from bittailor.common.records import expect, plain, shown
from bittailor.common.units import number
from bittailor.core.network import Network
from bittailor.core.plan import Plan
from bittailor.core.program import Program
from bittailor.cost import Platform
from bittailor.errors import BittailorError, FileError
from bittailor.evaluate.evaluator import Objective, objectives_with
from bittailor.evaluate.metrics import ForeignMetric, Measure, Metric, metric_of
from bittailor.quantise.calibration import Calibration
from bittailor.runs.choice import best_of, standing
from bittailor.runs.former import upgraded, upgraded_result
from bittailor.runs.forms import ALWAYS, ResultForm, RunForm, Solution, check_solution
from bittailor.runs.frames import frame_of, names_of, rows_of
from bittailor.runs.spec import Origin, SearchSpec, read_limit
from bittailor.search.constraints import Constraint
from bittailor.search.front import knee, signs
from bittailor.search.space import Space
from bittailor.search.store import Store
from bittailor.train.beacons import Beacon, read_beacons

if TYPE_CHECKING:
    from pandas import DataFrame

    from bittailor.export.torch import IntegerModule

RUN_KIND, RUN_VERSION = "run", 3
RESULT_KIND, RESULT_VERSION = "result", 2
PICKS = ("certified", "careful", "smallest", "retrained")

_INDEX = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Run:
    """An opened run directory. Nothing is computed or written by looking at it.

    path    the directory
    config  what run.json holds; made by `Run.open`, by nothing else
    """

    path: Path
    config: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path | str) -> Run:
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
    def front(self) -> list[Solution]:
        """The non-dominated solutions, the best in the first objective first."""
        return list(self._read[1].front)

    @property
    def homogeneous(self) -> list[Solution]:
        """The baselines, one per width."""
        return list(self._read[1].homogeneous)

    def baseline(self, bits: int = 8) -> Solution:
        """The homogeneous solution of one width."""
        for solution in self.homogeneous:
            if solution.narrowest == bits:
                return solution
        raise BittailorError(f"the run has no homogeneous baseline of {bits} bits")

    @property
    def picks(self) -> dict[str, Solution]:
        """The smallest solutions, of all evaluated, that are no worse than homogeneous 8 bits: of least flash, or of
        what else the search counted of constants (`SearchSpec.least`).

        certified by a test on items that the search never saw: at most so much worse, with so much confidence, as the
                  search was asked to certify (`SearchSpec.certify`); of the front
        careful   by the error on the items that select, with a loss there at most a fifth above, and an error on
                  training items alone at most 0.1 points (`Metric.as_good`) above that of homogeneous 8 bits
        smallest  by the error on the items that select alone: what papers compare; luck is in it
        retrained  of the solutions that were themselves retrained: as good in error (at most 0.1 points above) and no
                   worse in loss on validation items that no training saw (`Metric.stands`), itself and on average with
                   the retrained ones of about its size (`choice.standing`)
        Absent where there is none.
        """
        found = dict(self._read[1].picks)
        base, limits, least = self._held, self.limits, self.spec.least
        good = [s for s in standing(self.retrained.values(), self.metric, base, least) if s.values[least] < base[least]
                and not any(c.violation(s.values[c.name]) for c in limits)]
        if good:
            found["retrained"] = min(good, key=lambda s: (s.values[least], s.values["loss"], s.key))
        return found

    @property
    def holds(self) -> str:
        """The name of the pick to ship where nobody says otherwise: `certified` where there is one, else `careful`; the
        baseline `8bit` where there is neither."""
        return next((name for name in ("certified", "careful") if name in self.picks), "8bit")

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

    @property
    def limits(self) -> list[Constraint]:
        """The run's constraints."""
        return list(self.spec.limits)

    def smallest(self, limit: float) -> Solution | None:
        """The smallest solution of the front whose validation error is no worse than `limit`; None if there is none."""
        cost, least = self.metric.cost, self.spec.least
        good = [(s.values[least], cost(self.level(s)), s) for s in self.front if cost(self.level(s)) <= cost(limit)]
        return min(good, key=lambda item: item[:2])[2] if good else None

    def level(self, solution: Solution) -> float:
        """The error of a solution on validation items alone, which says how good it is; where training items selected
        too, `values` says how it compares."""
        return solution.errors.get("held", solution.values["error"])

    @property
    def named(self) -> dict[str, Solution]:
        """What `pick` takes -> solution: the front by index, picks that lie behind it, baselines, retrained ones."""
        front = {str(i): s for i, s in enumerate(self.front)}
        behind = {name: s for name, s in self._read[1].picks.items() if not names_of(s, front)}
        return {**front, **behind, **{f"{s.narrowest}bit": s for s in self.homogeneous},
                **{f"retrained:{name}": s for name, s in self.retrained.items()}}

    def rows(self, everything: bool = False) -> list[dict[str, Any]]:
        """A row per solution (`named`): picks, values by objective, test error, bits by site.

        everything  also every other evaluation of the search, named by its widths; what failed is left out
        """
        named = list(self.named.items())
        if everything:
            front = {s.key for s in self.front}
            with self.store() as store:
                named += [(r.key, Solution(r.key, self.space.widths(r.genome), values, None, r.outcome.beacon))
                          for r in store.rows() for values in [r.outcome.known]
                          if values is not None and r.key not in front]
        return rows_of(named, self.picks, [site.name for site in self.network.graph.free])

    def frame(self, everything: bool = False) -> DataFrame:
        """`rows` as a pandas data frame, its index what `pick` takes; BittailorError without pandas."""
        return frame_of(self.rows(everything))

    def __repr__(self) -> str:
        try:
            found = f"{len(self.front)} on the front, {self.result['evaluations']:,} evaluations"
        except BittailorError:
            found = "no result yet"
        return f"Run({str(self.path)!r}: {self.title}; {found})"

    def _repr_html_(self) -> str:
        unit, base = self.metric.unit, self.baseline(8)
        found = {"8bit": base, **self.picks}
        head = ["pick", f"selection error {unit}", f"test error {unit}", "bytes", "of 8 bit"]
        return html.table(repr(self), head, [
            [name, number(s.values["error"]), "" if s.test is None else number(s.test),
             f"{s.values['size'] / 8:,.0f}", f"{100 * s.values['size'] / base.values['size']:.0f} %"]
            for name, s in found.items()])

    def pick(self, pick: str | int) -> Solution:
        """A solution by its place in the front (0, 1, …, the best error first) or by words: `holds` (the one to ship:
        see there), `certified`, `careful`, `smallest` or `retrained` (see `picks`), `best` (best error), `knee`, `8bit`
        and the like (a baseline), `error<=X` (the smallest within; `error>=X`, or the metric's name for error), or
        another limit such as `flash<=8KiB` or `size<=4KiB` (the best within:
        a retrained one where one is as good as 8 bit, otherwise the lowest error; see `choice.best_of`)."""
        text = str(int(pick)) if isinstance(pick, Integral) and type(pick) is not bool and pick >= 0 else pick
        expect(text, str, "pick", "such as 0, 'smallest' or 'size<=4KiB'")
        assert isinstance(text, str)
        front = self.front
        if not front:
            raise BittailorError(f"the front of {self.path} is empty: {self.result['message'] or 'nothing was found'}")
        if _INDEX.fullmatch(text):
            if int(text) >= len(front):
                raise BittailorError(f"there is no solution {text}; the front has 0..{len(front) - 1}")
            return front[int(text)]
        if text == "best":
            return min(front, key=lambda s: (self.metric.cost(s.values["error"]), s.values[self.spec.least]))
        if text == "knee":
            at = knee(self.costs([s.values for s in front]))
            return front[at or 0]
        if text.endswith("bit") and _INDEX.fullmatch(text[:-3]):
            return self.baseline(int(text[:-3]))
        if text.startswith("retrained:"):
            return self._retrained(text.removeprefix("retrained:"))
        if text == "holds":
            return self.pick(self.holds)
        if text in PICKS:
            if text not in self.picks:
                raise BittailorError(f"no solution is '{text}': {self._lacking(text)}")
            return self.picks[text]
        if text.startswith(("error", self.metric.name)) or "=" in text:
            return self._within(text)
        raise BittailorError(f"cannot pick {shown(text)}; say an index 0..{len(front) - 1}, "
                             f"{', '.join(('holds', *PICKS))}, best, knee, retrained:NAME, 8bit, 'error<=X' or another "
                             "limit such as 'flash<=8KiB'")

    def _lacking(self, name: str) -> str:
        """Why there is no such pick, in words, and what to take in its place."""
        if name == "certified":
            return (f"none is certified; take '{self.holds}'" if self.result.get("certificate") else
                    "none was to be certified; search with --certify, such as --certify 1@95")
        if name == "careful" and self.result["interrupted"]:
            return f"the search was stopped before one was found; go on with it (--resume), or take '{self.holds}'"
        if name != "retrained":
            return f"none is as good as homogeneous 8 bits; take '{self.holds}', or 'error<=X'"
        known = self.retrained
        if not known:
            return (f"none was retrained; retrain one: bittailor retrain {self.path} --pick smallest, or take "
                    f"'{self.holds}'")
        best = min(known, key=lambda key: (self.metric.cost(known[key].values["error"]), known[key].values["size"]))
        base = self.result.get("held", {}).get("error", self.baseline(8).values["error"])
        return (f"of {len(known)} retrained, none is smaller and as good on validation data, in error and in loss, as "
                f"homogeneous 8 bits ({self.metric.noun} {number(base)}), itself and with those of its size. The "
                f"best has {number(known[best].values['error'])}: take 'retrained:{best}', or '{self.holds}'")

    def _within(self, text: str) -> Solution:
        """The smallest solution within a limit of the error, or the best (`choice.best_of`) within a limit of another
        value: of everything evaluated and retrained where the run has that value; of the front and what was retrained
        where it is flash or RAM of the exported firmware and must be worked out."""
        limit = read_limit(text, self.objectives, self.metric)
        if limit.name == "error":
            found = self.smallest(limit.limit)
            if found is None:
                best = min((self.level(s) for s in self.front), key=self.metric.cost)
                raise BittailorError(f"no solution has a validation {self.metric.noun} that "
                                     f"{'high' if self.metric.maximise else 'low'}; the best has {best:.4g}")
            return found
        if not limit.at_most:
            raise BittailorError(f"cannot pick '{text}'; give an upper limit: '{limit.name}<=X'")
        known, own = {s.key: s for s in self.front}, list(self.retrained.values())
        if all(limit.name in s.values for s in known.values()):
            with self.store() as store:
                rows = [known.get(r.key) or Solution(r.key, self.space.widths(r.genome), values, None, r.outcome.beacon)
                        for r in store.rows() for values in [r.outcome.known] if values is not None]
            value = {s.key: s.values[limit.name] for s in (*rows, *own)
                     if not any(c.violation(s.values[c.name]) for c in self.limits)}
        else:
            rows = list(known.values())
            value = {s.key: self._figure(s, limit.name) for s in (*rows, *own)}
        fitting, retrained = ([s for s in part if s.key in value and not limit.violation(value[s.key])]
                              for part in (rows, own))
        best_one = best_of(fitting, retrained, self.metric, self._held, self.spec.least)
        if best_one is None:
            raise BittailorError(f"no solution has a {limit.name} that low; the lowest is {min(value.values()):.6g}")
        return best_one

    def _figure(self, solution: Solution, name: str) -> float:
        """Flash or RAM of the exported firmware, in bytes, which the search did not ask for; a core may be named."""
        from bittailor.compile.image import FIGURES, image_of
        from bittailor.compile.layouts import DEFAULT_CORE

        figure, _, core = name.partition(".")
        if figure not in FIGURES:
            raise BittailorError(f"the solutions of {self.path} have no '{name}'; they have "
                                 f"{', '.join(solution.values)}")
        return float(FIGURES[figure](image_of(self.program(solution), core=core or DEFAULT_CORE)))

    @property
    def _held(self) -> dict[str, float]:
        """Values of homogeneous 8 bit on the validation items that no training saw, by which retrained solutions are
        judged."""
        return {**self.baseline(8).values, **self.result.get("held", {})}

    def _retrained(self, name: str) -> Solution:
        """A retrained solution by its name, the beginning of it, or what it was picked as (the smallest of these)."""
        known = self.retrained
        labels = {key: str(self.beacons[key].about["label"]) for key in known}
        found = [key for key in known if name and key.startswith(name)]
        found = found or [key for key in known if labels[key] == name]
        if not found:
            names = ", ".join(f"{key} ({label})" for key, label in labels.items())
            raise BittailorError(f"there is no retrained solution '{name}'; " + (
                f"there are: {names}" if names else "retrain one: bittailor retrain RUN --pick smallest"))
        return known[found[0]]

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

    def module(self, pick: str | Solution = "smallest", *, batch_first: bool = True) -> IntegerModule:
        """A torch module that runs a solution's integers in place of the float network; see `export.torch`."""
        from bittailor.export.torch import module

        return module(self.program(self.pick(pick) if isinstance(pick, str) else pick), batch_first=batch_first)

    def store(self) -> Store:
        """Every evaluation, read-only."""
        return Store(self.path / "evaluations.sqlite", readonly=True)
