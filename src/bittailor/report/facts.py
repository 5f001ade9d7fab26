"""Facts: everything that a report shows, gathered from a run once, with the units that go beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bittailor.common import units
from bittailor.core.graph import Graph, Recurrence
from bittailor.core.plan import Plan
from bittailor.cost import Account, account
from bittailor.evaluate.evaluator import Objective
from bittailor.evaluate.metrics import Metric
from bittailor.evaluate.sensitivity import Sensitivity
from bittailor.runs import Run, Solution
from bittailor.runs.certificate import said as certificate_sentence
from bittailor.runs.listening import Sound, sounds
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
    sounds       what test items sound like, where the run has written that
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

    @property
    def error(self) -> Axis:
        """The axis of the selection error."""
        return self.axes["error"]

    @property
    def costs(self) -> tuple[Axis, ...]:
        """The axes of the objectives other than the error; of the size where there is no other."""
        return tuple(self.axes[n] for n in self.objectives if n != "error") or (self.axes["size"],)

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
        sounds=tuple(sounds(run.path)),
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


def headline(facts: Facts) -> list[str]:
    """What came out, in sentences; the first one is the answer."""
    error, base = facts.error, facts.base
    if not facts.front:
        why = facts.result["message"]
        return [f"The front is empty: {why or 'nothing was found'}."]
    if "smallest" not in facts.picks:
        best = min(facts.front, key=error.cost)
        return [f"No solution is as good as homogeneous 8 bit where the search looked "
                f"({error.text(base.values['error'])}); the {'highest' if error.maximise else 'lowest'} "
                f"{facts.metric.noun} found is {error.text(best.values['error'])}."]
    least = least_of(facts.objectives)
    if facts.picks["smallest"].values[least] >= base.values[least]:
        return ["Nothing found is both smaller than homogeneous 8 bit and no worse where the search looked "
                f"({facts.axes[least].text(base.values[least])}, {error.text(base.values['error'])})."]
    said = [" ".join([_chosen(facts, name, facts.picks[name]), *_on_new_data(facts, facts.picks[name])])
            for name in ("certified", "careful", "smallest", "retrained") if name in facts.picks]
    if facts.result.get("certificate"):
        said.insert(1 if "certified" in facts.picks else len(said),
                    certificate_sentence(facts.result["certificate"], facts.error.unit))
    if "careful" not in facts.picks:
        said.append("None is as good by selection loss and on training items as well: there is no careful choice.")
    return said


def _chosen(facts: Facts, name: str, found: Solution) -> str:
    """A pick in a sentence: what it is chosen by, how small it is, and how good where it was chosen."""
    noun, error = facts.metric.noun, facts.error
    what = {"certified": "The certified choice",
            "careful": f"The careful choice, no worse than homogeneous 8 bit in {noun} and loss, nor on training items",
            "smallest": f"The smallest no worse than homogeneous 8 bit in {noun} where the search looked",
            "retrained": "Of the solutions that were retrained themselves, the smallest no worse on validation data"}
    measured = "selection" if name != "retrained" else "validation"
    base = facts.base.values["error"] if name != "retrained" else facts.result.get("held", facts.base.values)["error"]
    return (f"{what[name]}, is {_smaller(facts, found)}: {measured} {error.text(found.values['error'])} against "
            f"{error.text(base)}{_tested(facts, found)}.")


def _smaller(facts: Facts, found: Solution) -> str:
    least = least_of(facts.objectives)
    axis, base = facts.axes[least], facts.base.values[least]
    name = "one beside the front" if found in facts.extras else facts.name_of(found)
    return (f"{name}, {100 * (1 - found.values[least] / base):.0f} % smaller "
            f"({axis.text(found.values[least])} of {least} against {axis.text(base)})")


def _tested(facts: Facts, found: Solution) -> str:
    if found.test is None or facts.base.test is None:
        return "; not tested"
    return f", test {facts.error.text(found.test)} against {facts.error.text(facts.base.test)}"


def _on_new_data(facts: Facts, solution: Solution) -> list[str]:
    """How a solution compares with homogeneous 8 bit, item by item, on data that it was not chosen by."""
    return [f"On {PARTS[part]} it differs from 8 bit by {compared.text(facts.error.unit)}."
            for part in ("confirm", "test") for compared in [solution.against("8bit", part)] if compared is not None]


def small_print(facts: Facts) -> list[str]:
    """What a reader should know before quoting a figure."""
    said = []
    parts = [f"one of the {facts.items[p]} {name} items is worth {number(facts.resolution(p), 2)} %"
             for p, name in (("select", "selection"), ("confirm", "confirm"), ("test", "test"))
             if facts.resolution(p) is not None]
    if parts:
        said.append(f"Resolution: {'; '.join(parts)}.")
    if facts.items.get("confirm") is not None:
        said.append(f"Of the items, {facts.items['select']:,} were looked at by the search "
                    f"({facts.items['select_from_training']:,} of them training items) and {facts.items['confirm']:,} "
                    "validation items were kept from it to confirm what it chose. Differences are paired, item by "
                    "item; positive is worse; intervals are for one solution at a time.")
    if not facts.tested:
        said.append("The search was stopped, so test data have not been used; the same command with --resume goes on "
                    "and fills the test columns.")
    elif facts.front:
        said.append(f"The search compared {facts.result['evaluations']} solutions, so the selection figures of "
                    "its front are optimistic; test data were used once, for the finished front.")
    said.append("Size is weights and biases times their widths, as published work compares it; stored bytes are "
                "all constants of the program as shipped, with lookup tables and corrections.")
    return said


def _details(run: Run, solutions: Sequence[Solution]) -> Iterable[Detail]:
    binder = run.calibration.binder()
    for solution in solutions:
        plan = run.plan(solution)
        program = binder.bind(plan)
        yield Detail(plan, account(program), program.wide())
