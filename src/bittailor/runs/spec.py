"""`SearchSpec`: everything that a search is asked for, in one value that is checked where it is made.

It is the same from Python, from a TOML or JSON file, and from the command line, and run.json holds it whole. What is
not asked for stands in it as well: the defaults are those of the fields below. Where several sources say something, the
command line comes before the file, the file before a preset, a preset before the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from bittailor.common import records
from bittailor.common.data import Splits
from bittailor.common.processors import workers_of
from bittailor.common.registry import Table
from bittailor.common.roles import Roles, RoleSettings, divide
from bittailor.core.cells import CELLS
from bittailor.core.graph import Graph
from bittailor.core.qformat import Kind, check_width
from bittailor.cost import Platform, load_platform, parse_platform
from bittailor.engines import ENGINES
from bittailor.errors import BittailorError
from bittailor.evaluate.certify import Wish, read_wish
from bittailor.evaluate.evaluator import Objective, objectives_with
from bittailor.evaluate.metrics import METRICS, Measure, Metric, metric_of
from bittailor.quantise.calibration import CalibrationSettings
from bittailor.quantise.spaces import SPACES, of_platform
from bittailor.runs.seeding import SEEDINGS
from bittailor.search.constraints import Constraint, ConstraintError, parse
from bittailor.search.executors.connecting import ClusterSettings
from bittailor.search.islands import IslandSettings
from bittailor.search.settings import SearchSettings
from bittailor.search.space import Space
from bittailor.tasks import TASKS
from bittailor.train.beacons import BeaconSettings

GUIDES = ("loss", "error")
MOST_UNITS = 4096
"""Of a task's recurrent layer."""


@dataclass(frozen=True)
class TaskSettings:
    """The float network and its data.

    name    a name from `bittailor tasks`; FILE.py:FUNCTION, which returns (torch module, bittailor.Splits); FILE.onnx;
            empty where both are handed in from Python
    cell    of a task's recurrent layer
    hidden  units of that layer; 0: as many as the task has
    seed    decides the split of the data and the initial weights; 0 .. 2**32 - 1
    data    folder with data sets, one sub-folder each; empty: the user's cache, then the public source. Of a network of
            one's own: its data, a file .npz or .safetensors
    """

    name: str = ""
    cell: str = "gru"
    hidden: int = 0
    seed: int = 0
    data: str = ""

    def __post_init__(self) -> None:
        records.check(self)
        if self.name and not self.own:
            _ = TASKS[self.name]
        _ = CELLS[self.cell]
        records.whole(self.hidden, "hidden", 0, MOST_UNITS)

    @property
    def own(self) -> bool:
        """Whether the network is a user's own, from a file."""
        return ":" in self.name or self.name.endswith(".onnx")


@dataclass(frozen=True)
class SpaceSettings:
    """Which sites share a width, and the widths they may have.

    name         per_operator, per_layer, homogeneous, or a hardware platform: bitfusion, silago, one of your own
    widths       allowed for weights; empty: all that the space has
    activations  allowed for activations; empty: as `widths`
    biases       allowed for biases; empty: those of the space
    """

    name: str = "per_operator"
    widths: tuple[int, ...] = ()
    activations: tuple[int, ...] = ()
    biases: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        records.check(self)
        kinds: tuple[tuple[Kind, tuple[int, ...]], ...] = (
            ("weight", self.widths), ("activation", self.activations), ("bias", self.biases))
        for kind, widths in kinds:
            for bits in widths:
                check_width(kind, bits)


@dataclass(frozen=True)
class SearchSpec:
    """What is searched and how.

    metric          what `error` is; empty: the task's own, or classification error. From Python also a `Metric`, or a
                    function of an item's output and target
    objectives      what to improve, two or more: names from `bittailor objectives`. Picks are the least in the first
                    of size, stored and flash among them (`least`)
    constraints     limits that solutions must keep, such as "size<=8KiB" or "error<=5"
    guide           what selection looks at in place of the error: loss (smooth; a small validation set has few values
                    of the error and many lucky solutions) or error itself. The front is of the error either way
    seeding         what the first population holds besides random solutions: sensitivity, templates or homogeneous
    racing          judge candidates on growing parts of the items, and give up on those that are dominated with
                    confidence; done where there are 2,000 items or more and nothing is retrained
    certify         a wish such as "0.5@95": the smallest solution at most 0.5 (points of a metric in %) worse than
                    homogeneous 8 bit, with 95 % confidence, on items that no search saw; empty: none
    engine          auto takes the fastest that runs here; results do not depend on it
    workers         threads of an engine that has them, otherwise processes; 0: every core of this process. Results do
                    not depend on it
    task            the float network and its data
    space           which sites share a width, and the widths they may have; from Python also a `Space`
    cluster         machines that evaluate and train, in place of `workers`; results do not depend on it
    roles           which items select, which confirm
    search          the optimiser
    islands         searches side by side that exchange solutions
    calibration     how ranges become formats
    beacons         retraining: candidates during the search, members of the front after it; none while budget, ladder
                    and polish are 0
    platforms       hardware beside that of the package: whole tables, or names of TOML files
    """

    metric: str | Metric | Measure = ""
    objectives: tuple[str, ...] = ("error", "flash")
    constraints: tuple[str, ...] = ()
    guide: str = "loss"
    seeding: str = "sensitivity"
    racing: bool = True
    certify: str = ""
    engine: str = "auto"
    workers: int = 0
    task: TaskSettings = field(default_factory=TaskSettings)
    space: SpaceSettings | Space = field(default_factory=SpaceSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    roles: RoleSettings = field(default_factory=RoleSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    islands: IslandSettings = field(default_factory=IslandSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    beacons: BeaconSettings = field(default_factory=BeaconSettings)
    platforms: tuple[Platform, ...] = ()

    def __post_init__(self) -> None:
        records.check(self)
        if self.metric:
            known = metric_of(self.metric)
            object.__setattr__(self, "metric", known.name if known.name in METRICS else known)
        if len(set(self.objectives)) < max(2, len(self.objectives)):
            raise BittailorError(f"objectives: a search needs two or more, each once; got "
                                 f"{', '.join(self.objectives) or 'none'}")
        for name in self.objectives:
            _ = self.known_objectives[name]
        _ = SEEDINGS[self.seeding]
        if self.metric or ":" not in self.task.name:  # what a file's own metric is called is not known yet
            _ = self.limits
        if self.guide not in GUIDES:
            raise BittailorError(f"guide '{self.guide}' is unknown; choose {' or '.join(GUIDES)}")
        if isinstance(self.space, SpaceSettings):
            _ = self._spaces[self.space.name]
        if self.engine != "auto":
            _ = ENGINES[self.engine]
        workers_of(self.workers)
        if self.islands.number > 1 and (self.beacons.budget or self.beacons.ladder or self.beacons.given):
            raise BittailorError("islands evaluate post-training: beacons during the search are for one search. Leave "
                                 "out one of them; --polish goes with islands")
        _ = self.wish
        if self.certify and not self.roles.confirm:
            raise BittailorError("certify needs items that confirm; give roles.confirm (--confirm) a share above 0")

    def divide(self, data: Splits) -> Roles:
        """Which items of some data do what. A search that retrains judges all candidates on validation items alone:
        it compares the two kinds, and only those items are honest for both."""
        settings = replace(self.roles, select_items=0) if self.beacons.used else self.roles
        return divide(data, settings, bool(self.certify))

    @cached_property
    def wish(self) -> Wish | None:
        """What is to be certified, read."""
        return read_wish(self.certify) if self.certify else None

    @cached_property
    def least(self) -> str:
        """What `smallest` and the other picks are the least of."""
        return least_of(self.objectives)

    @cached_property
    def known_metric(self) -> Metric:
        """What `error` is."""
        return metric_of(self.metric or "classification_error")

    @cached_property
    def known_objectives(self) -> Table[Objective]:
        """Every objective by name, those of the spec's own platforms among them, `error` as the metric has it."""
        return objectives_with(self.platforms, self.known_metric)

    @cached_property
    def limits(self) -> tuple[Constraint, ...]:
        """The constraints, read."""
        return tuple(read_limit(text, self.known_objectives, self.known_metric) for text in self.constraints)

    @property
    def _spaces(self) -> Table[Callable[..., Space]]:
        own = {p.name: partial(of_platform, platform=p) for p in self.platforms}
        return Table("space", {**SPACES, **own})

    def make_space(self, graph: Graph) -> Space:
        """The space over a network; FormatError where it does not fit."""
        if isinstance(self.space, Space):
            return self.space
        kinds = {"widths": self.space.widths, "activations": self.space.activations, "biases": self.space.biases}
        return self._spaces[self.space.name](graph, **{kind: widths for kind, widths in kinds.items() if widths})

    # --- as plain values -----------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON values."""
        space = self.space.to_dict() if isinstance(self.space, Space) else records.plain(self.space)
        platforms = [dict(platform.document) for platform in self.platforms]
        metric = self.metric and self.known_metric.to_json()
        return {**records.plain(self), "metric": metric, "space": space, "platforms": platforms}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SearchSpec:
        """A spec from JSON values; what they lack has its default.

        Raises  BittailorError (UnknownName, FormatError, …), in one line that names the field.
        """
        given, space, platforms = dict(values), values.get("space", {}), values.get("platforms", [])
        given.pop("space", None)
        given.pop("platforms", None)
        if isinstance(given.get("metric"), Mapping):
            given["metric"] = metric_of(given["metric"])
        if not isinstance(platforms, list):
            raise BittailorError(f"platforms is {platforms!r}; expected a list of tables or of names of files")
        own = tuple(load_platform(p) if isinstance(p, str) else parse_platform(p, "platforms") for p in platforms)
        made = Space.from_dict(space) if isinstance(space, Mapping) and "genes" in space else records.make(
            SpaceSettings, space, "space")
        return records.make(cls, {**given, "space": made, "platforms": own})

    def to_toml(self) -> str:
        """The spec as TOML, every field with a comment."""
        return records.to_toml(self.to_dict(), SearchSpec, {"space": SpaceSettings})


def read_limit(text: str, objectives: Mapping[str, Objective], metric: Metric) -> Constraint:
    """A constraint, such as "size<=32KiB" or "error<=4"; the metric's name may stand for `error`.

    Raises  ConstraintError, among others for a limit that keeps the error from getting better.
    """
    units = {metric.name: metric.unit, **{o.name: o.unit for o in objectives.values()}}
    found = parse(text, units)
    if found.name in ("error", metric.name):
        if found.at_most == metric.maximise:
            raise ConstraintError(f"'{text}' keeps the {metric.title} from getting better; say "
                                  f"'{found.name}{'>=' if metric.maximise else '<='}X'")
        found = replace(found, name="error")
    return found



STORAGE = ("size", "stored", "flash")
"""Objectives that count constants, whatever the core."""


def least_of(objectives: Iterable[str]) -> str:
    """What picks are the least of: the first objective that counts constants, or `size`."""
    return next((name for name in objectives if name.split(".")[0] in STORAGE), "size")


DEFAULTS = SearchSpec()
"""What a search does that is asked for nothing else."""


@dataclass(frozen=True)
class Origin:
    """Where the network of a search, and the search itself, came from; for reports.

    title      one line about the task
    source     where the data come from
    licence    under which terms
    float_key  of the trained float network in the cache
    command    the command line that asked for the search
    """

    title: str = ""
    source: str = ""
    licence: str = ""
    float_key: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        records.check(self)


def layered(*layers: Mapping[str, Any]) -> SearchSpec:
    """A spec from values laid over each other, later ones on top; what none of them has is at its default.

    A space that a layer names takes the place of genes spelt out below it, and the other way round.
    """
    values = DEFAULTS.to_dict()
    for layer in layers:
        above, below = layer.get("space", {}), values["space"]
        if isinstance(above, Mapping) and ("genes" in above or ("genes" in below and "name" in above)):
            values["space"] = {}
        values = records.overlaid(values, layer)
    return SearchSpec.from_dict(values)
