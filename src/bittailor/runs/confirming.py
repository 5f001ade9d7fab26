"""After a search: what was chosen, on items that it did not see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bittailor.common.data import Data
from bittailor.evaluate.masks import RATE
from bittailor.evaluate.speech_quality import EXTRA, installed
from bittailor.runs.calibrating import Calibrated
from bittailor.runs.certificate import Part, certify
from bittailor.runs.choice import SolutionEvaluators
from bittailor.runs.forms import Solution
from bittailor.runs.listening import HEARD, JUDGED, write_quality, write_sounds
from bittailor.runs.problem import Problem
from bittailor.runs.retraining import note_figures
from bittailor.runs.run import Run


@dataclass(frozen=True, eq=False)
class Chosen:
    """What a search shows: its front, picks and baselines.

    real        part of the data -> the float network's error; None where it was not measured
    dropped     items that each candidate given up by racing was run on
    retraining  what result.json says about beacons, where there were any
    held        values of homogeneous 8 bit on held-out items alone, with which retrained solutions are compared
    certificate what came of the wish, where there was one
    length      generations
    message     what a user should know, or nothing
    """

    front: Sequence[Solution]
    picks: Mapping[str, Solution]
    homogeneous: Sequence[Solution]
    real: Mapping[str, float | None]
    dropped: Sequence[int]
    retraining: Mapping[str, Any] | None
    held: Mapping[str, float]
    certificate: Mapping[str, Any] | None = None
    length: int = 0
    message: str = ""

    def each(self, change: Callable[[Sequence[Solution]], Sequence[Solution]]) -> Chosen:
        """Front, picks and baselines, changed."""
        picks = dict(zip(self.picks, change(list(self.picks.values())), strict=True))
        return replace(self, front=change(self.front), picks=picks, homogeneous=change(self.homogeneous))


def confirm(problem: Problem, ready: Calibrated, chosen: Chosen) -> Chosen:
    """The one use of the items that confirm: for what was chosen, and for the certificate."""
    roles, wish = problem.roles, problem.spec.wish
    parts = {"held": roles.held, **({} if roles.training is None else {"training": roles.training})}
    for name, data in parts.items():
        chosen = _noted(chosen, name, ready.evaluators(data))
    if roles.confirm is None:
        return chosen
    problem.display.tell("comparing front, picks and baselines on items that no search saw")
    part = _part(problem, ready, "confirm", roles.confirm)
    if wish is not None:
        looks = _looks(problem, chosen)
        found, about = certify(part, wish, chosen.front, ready.base, chosen.picks, looks.index(chosen.length),
                               problem.spec.least)
        picks = {**({} if found is None else {"certified": found}), **chosen.picks}
        chosen = replace(chosen, picks=picks, certificate={**about, "looks": looks})
    return _compared(chosen, part)


def test(problem: Problem, ready: Calibrated, chosen: Chosen) -> Chosen:
    """The one use of the test data: for the finished front, its picks and its baselines."""
    problem.display.tell("measuring front, picks and baselines on test data")
    part = _part(problem, ready, "test", problem.data.test)
    chosen = _compared(chosen, part)
    if ready.beacons:
        note_figures(ready.beacons.values(), ready.evaluators_with_values(problem.roles.held), part,
                     None if problem.roles.confirm is None else _part(problem, ready, "confirm", problem.roles.confirm))
    _listen(problem, ready, chosen.picks)
    return replace(chosen, real={**chosen.real, "test": part.float_error})


def _part(problem: Problem, ready: Calibrated, name: str, data: Data) -> Part:
    return Part.of(name, data, ready.base, ready.evaluators(data), lambda d: problem.network(d.x, d.lengths))


def _compared(chosen: Chosen, part: Part) -> Chosen:
    """Front, picks and baselines with what they are worth on a part of the data."""
    return chosen.each(part.compared)


def _noted(chosen: Chosen, name: str, evaluators: SolutionEvaluators) -> Chosen:
    """Front, picks and baselines with their error on a part of what selected."""
    def noted(solutions: Sequence[Solution]) -> list[Solution]:
        return [replace(s, errors={**s.errors, name: row["error"]})
                for s, row in zip(solutions, evaluators.evaluate(solutions), strict=True)]

    return chosen.each(noted)


def former_looks(folder: Path) -> list[int]:
    """Lengths of an earlier search in this run, in generations, at which the items that confirm were used. FileError
    where its result is damaged, and nobody knows."""
    former = (Run.open(folder).result.get("certificate") or {}) if (folder / "result.json").is_file() else {}
    return list(former.get("looks", []))


def _looks(problem: Problem, chosen: Chosen) -> list[int]:
    """`former_looks`, and this time: a search that is made longer uses them again."""
    looks = former_looks(problem.folder)
    return looks if chosen.length in looks else [*looks, chosen.length]


def _listen(problem: Problem, ready: Calibrated, picks: Mapping[str, Solution]) -> None:
    """Signals of a few test items and how good more of them are, where the metric makes any."""
    some, metric = problem.data.test[:JUDGED], ready.evaluator.metric
    references = metric.references(some.targets) if RATE in some.extras else {}
    if not references:
        return
    evaluators = ready.evaluators(some)
    outputs = {"float": problem.network(some.x, some.lengths)}
    for name, solution in {"8 bit": ready.base, **picks}.items():
        evaluator = evaluators.of(solution.beacon)
        outputs[name] = evaluator.outputs([evaluator.program(dict(solution.widths))[1]])[0]
    made = {name: metric.heard(values, some.targets) for name, values in outputs.items()}
    signals = {**references, **made}
    write_sounds(problem.folder, some[:HEARD], signals)
    if installed():
        write_quality(problem.folder, some, signals)
    else:
        problem.display.tell(EXTRA)
