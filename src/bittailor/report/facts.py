"""Facts: everything that a report shows, gathered from a run once, with the units that go beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from bittailor.common import units
from bittailor.core.graph import Graph, Recurrence
from bittailor.core.plan import Plan
from bittailor.cost import Account, account
from bittailor.evaluate.evaluator import Objective
from bittailor.evaluate.metrics import Metric
from bittailor.evaluate.sensitivity import Sensitivity
from bittailor.runs import Run, Solution
from bittailor.runs.listening import Quality, Sound, quality, sounds
from bittailor.runs.spec import least_of
from bittailor.search.store import Row
from bittailor.train.beacons import Beacon

PARTS = {"confirm": "items that no search saw", "test": "test data"}
"""Role -> its items, in words."""
_ROLES = ("input", "index", "weight", "bias", "activation", "state")


@dataclass(frozen=True)
class Axis:
    """How a value is shown.

    name     in `Solution.values`
    title    what it is, without its unit
    unit     that it is shown in, or ""
    divisor  of a stored value
    column   its name in CSV files, where it stands as stored
    maximise whether more is better
    """

    name: str
    title: str
    unit: str
    divisor: float
    column: str
    maximise: bool = False

    @property
    def label(self) -> str:
        """Title and unit, as beside an axis."""
        text = f"{self.title} [{self.unit}]" if self.unit else self.title
        return f"{text}, more is better" if self.maximise else text

    def cost(self, solution: Solution) -> float:
        """A solution's value in `unit`, less of which is better: the negative of one that is maximised."""
        return -self.of(solution) if self.maximise else self.of(solution)

    def of(self, solution: Solution) -> float:
        """A solution's value, in `unit`."""
        return solution.values[self.name] / self.divisor

    def text(self, value: float | None, digits: int = 3) -> str:
        """A stored value as people read it, with its unit."""
        return f"{number(None if value is None else value / self.divisor, digits)} {self.unit}".rstrip()


@dataclass(frozen=True)
class SiteRow:
    """A site with a width of its own: its name, layer, name inside the layer, role and shape."""

    name: str
    layer: str
    short: str
    role: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Detail:
    """What a solution ships: its plan, its bytes, its operators with 64-bit sums."""

    plan: Plan
    account: Account
    wide: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Facts:
    """A run, ready to be shown.

    axes         of every value that the solutions carry, objectives first
    extras       picks of the run that are not on the front
    picks        name -> the smallest solution no worse than homogeneous 8 bits, see `Run.picks`
    sites        grouped by layer, then by role
    details      one for each of `solutions`
    evaluations  every stored row
    beacons      name -> retrained network, failed trainings too
    sensitivity  what every gene does to the error, where that was analysed: at homogeneous 8 bit, or the first there is
    sounds       what test items sound like, where the run has written that; `quality` what they are worth to an ear
    items        part of the data -> how many items it has, where the run says so
    """

    run: Run
    result: Mapping[str, Any]
    config: Mapping[str, Any]
    axes: Mapping[str, Axis]
    objectives: tuple[str, ...]
    front: tuple[Solution, ...]
    extras: tuple[Solution, ...]
    homogeneous: tuple[Solution, ...]
    picks: Mapping[str, Solution]
    details: tuple[Detail, ...]
    base: Solution
    sites: tuple[SiteRow, ...]
    evaluations: tuple[Row, ...]
    items: Mapping[str, int]
    finished: datetime
    beacons: Mapping[str, Beacon]
    sensitivity: Sensitivity | None
    sounds: tuple[Sound, ...]
    quality: Quality | None

    @property
    def error(self) -> Axis:
        """The axis of the selection error."""
        return self.axes["error"]

    @property
    def costs(self) -> tuple[Axis, ...]:
        """The axes of the objectives other than the error; of the size where there is no other."""
        return tuple(self.axes[n] for n in self.objectives if n != "error") or (self.axes["size"],)

    @property
    def least(self) -> Axis:
        """The axis of what picks are the least of: constants in flash where the search looked at them, else size."""
        return self.axes[least_of(self.objectives)]

    @property
    def tested(self) -> bool:
        """Whether test data have been used."""
        return self.result["float"]["test"] is not None

    @property
    def metric(self) -> Metric:
        """What the error is."""
        return self.run.metric

    @property
    def title(self) -> str:
        """What the run is about."""
        return self.run.title

    @property
    def solutions(self) -> tuple[Solution, ...]:
        """The front, picks beside it, and the baselines."""
        return (*self.front, *self.extras, *self.homogeneous)

    @property
    def mixed(self) -> tuple[Solution, ...]:
        """The front and picks beside it."""
        return (*self.front, *self.extras)

    @property
    def outcomes(self) -> list[Mapping[str, float] | None]:
        """The values of every evaluation, estimates too; None where it failed."""
        return [row.outcome.values for row in self.evaluations]

    @property
    def marks(self) -> list[tuple[str, Solution]]:
        """The picks, those that are one solution together: ("smallest and careful", solution)."""
        names: dict[str, list[str]] = {}
        for name, solution in self.picks.items():
            names.setdefault(solution.key, []).append(name)
        return [(" and ".join(several), self.picks[several[0]]) for several in names.values()]

    def marks_of(self, solution: Solution) -> str:
        """`smallest`, `careful`, both or nothing."""
        return next((names for names, marked in self.marks if marked.key == solution.key), "")

    def name_of(self, solution: Solution) -> str:
        """What to call a solution: its index in the front, `8 bit`, or the name of a pick beside the front."""
        if solution in self.homogeneous:
            return f"{bits_of(solution)} bit"
        keys = [s.key for s in self.front]
        return f"solution {keys.index(solution.key)}" if solution.key in keys else f"the {self.marks_of(solution)} one"

    def resolution(self, part: str) -> float | None:
        """What one item is worth, in per cent, where the metric counts items and their number is known."""
        count = self.items.get(part)
        return 100.0 / count if self.metric.binary and count else None


def gather(run: Run) -> Facts:
    """Read everything a report needs; FileError where the run has no result."""
    result = run.result
    front, homogeneous = tuple(run.front), tuple(run.homogeneous)
    measured = [name for s in homogeneous for name in s.values]
    names = dict.fromkeys((*result["objectives"], "error", "size", "stored", *measured))
    with run.store() as store:
        rows = tuple(store.rows())
    picks = {name: s for name, s in run.picks.items() if front}
    on_front = {s.key for s in front}
    extras = tuple({s.key: s for s in picks.values() if s.key not in on_front}.values())
    return Facts(
        run=run, result=result, config=run.config,
        axes={name: axis(run.objectives[name]) for name in names},
        objectives=tuple(result["objectives"]), front=front, extras=extras, homogeneous=homogeneous,
        picks=picks, details=tuple(_details(run, (*front, *extras, *homogeneous))), base=run.baseline(8),
        sites=site_rows(run.network.graph), evaluations=rows,
        items=dict(result["items"]), finished=datetime.fromisoformat(result["finished"]),
        beacons=run.beacons, sensitivity=_sensitivity(run.path / "sensitivity"),
        sounds=tuple(sounds(run.path)), quality=quality(run.path),
    )


def _sensitivity(folder: Path) -> Sensitivity | None:
    """The analysis at 8 bit, or the first in the folder; None where there is none."""
    found = sorted(folder.glob("*.json"), key=lambda path: (path.stem != "8bit", path.stem))
    return Sensitivity.load(found[0]) if found else None


def axis(objective: Objective) -> Axis:
    """How the values of an objective are shown."""
    name, unit = objective.name, objective.unit
    column = name if name == "error" else units.column(name, unit)
    return Axis(name, objective.title, *units.shown(unit), column, objective.maximise)


def site_rows(graph: Graph) -> tuple[SiteRow, ...]:
    """The sites that a plan names, grouped by layer in the order of the network, then by role."""
    layer = {name: name for name in graph.inputs}
    for step in graph.steps:
        for node in step.nodes if isinstance(step, Recurrence) else (step,):
            for name in (node.output, *node.params):
                layer[name] = (step.name if isinstance(step, Recurrence)
                               else node.output.rpartition(".")[0] or node.output)
    order = list(dict.fromkeys(layer.values()))
    rows = [SiteRow(s.name, layer[s.name], s.name.removeprefix(f"{layer[s.name]}."), s.role, s.shape)
            for s in graph.free]
    return tuple(sorted(rows, key=lambda r: (order.index(r.layer), _ROLES.index(r.role))))


def bits_of(solution: Solution) -> int:
    """The width of a homogeneous solution."""
    return solution.narrowest


def by_size(facts: Facts) -> list[Solution]:
    """The front and picks beside it, the cheapest solution first."""
    first = facts.costs[0]
    return sorted(facts.mixed, key=lambda s: (first.cost(s), -facts.error.cost(s)))


def sample(count: int, most: int) -> Sequence[int]:
    """Places of at most so many of `count`, the same every time, in their order."""
    if count <= most:
        return range(count)
    chosen: list[int] = np.sort(np.random.default_rng(0).choice(count, most, replace=False)).tolist()
    return chosen


def number(value: float | None, digits: int = 3) -> str:
    """A number of so many significant digits, never with an exponent where a person would not use one."""
    if not value:
        return "–" if value is None else "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits}g}"
    rounded = float(f"{value:.{digits}g}")
    places = max(0, digits - len(str(int(abs(rounded))).lstrip("0")))
    if 0 < abs(rounded) < 1:
        places = digits + int(f"{rounded:e}".split("e-")[1]) - 1
    return f"{rounded:.{places}f}" if abs(value) < 10**digits else f"{value:.0f}"


def _details(run: Run, solutions: Sequence[Solution]) -> Iterable[Detail]:
    binder = run.calibration.binder()
    for solution in solutions:
        plan = run.plan(solution)
        program = binder.bind(plan)
        yield Detail(plan, account(program), program.wide())
