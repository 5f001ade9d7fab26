"""The forms of run.json and result.json: what stands in them, and what has to agree.

A run may come from anybody, so what is read is checked whole when a run is opened: types and ranges by these records,
names and sites against the run's own spec and space.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from bittailor.common import html
from bittailor.common.records import shown
from bittailor.common.units import number, spread
from bittailor.core.qformat import EXACT_BIAS_BITS
from bittailor.errors import BittailorError
from bittailor.evaluate.certify import Comparison
from bittailor.evaluate.evaluator import Objective
from bittailor.runs.spec import Origin

ALWAYS = ("error", "loss", "size", "stored")
"""Values that every solution of a result has."""
PICKS = ("certified", "careful", "smallest")
PARTS = ("train", "select", "select_from_training", "held", "confirm", "test")

Number: TypeAlias = float  # `ResultForm` has a field of that name


@dataclass(frozen=True)
class RunForm:
    """run.json.

    bittailor_version  that began the run
    origin             where network and data came from
    spec               see `SearchSpec.to_dict`
    space              see `Space.to_dict`
    items              role -> how many items have it
    fingerprints       of network, data and an optimiser that was handed in
    """

    bittailor_version: str
    spec: Mapping[str, Any]
    space: Mapping[str, Any]
    origin: Origin = field(default_factory=Origin)
    items: Mapping[str, int] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Solution:
    """One point of a finished run.

    key     canonical text of its widths
    widths  site -> bits
    values  error (the metric, as its users know it) on the items that select, size, …, by objective name
    test    the metric on test data, None where it was not measured
    beacon  the retrained network (see `bittailor.train.beacons`) whose weights it has; None for the float network's
    errors  role -> the metric on its items alone: "held" and "training" (the two kinds that select), "confirm"
    compared  against homogeneous 8 bit and the float network, item by item, on the items that confirm and that test
    """

    key: str
    widths: Mapping[str, int]
    values: Mapping[str, float]
    test: float | None
    beacon: str | None = None
    errors: Mapping[str, float] = field(default_factory=dict)
    compared: tuple[Comparison, ...] = ()

    def against(self, base: str, part: str) -> Comparison | None:
        """How it compares with "8bit" or "float" on the items of "confirm" or "test"; None where nobody looked."""
        return next((c for c in self.compared if (c.base, c.part) == (base, part)), None)

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {number(value)}" for name, value in self.values.items())
        test = "" if self.test is None else f", test {number(self.test)}"
        return f"Solution({values}{test}; {spread(self.widths.values())} bits" + (
            ")" if self.beacon is None else f", retrained as {self.beacon})")

    def _repr_html_(self) -> str:
        rows = [*([name, number(value)] for name, value in self.values.items()),
                *([] if self.test is None else [["test error", number(self.test)]]),
                *([f"bits of {site}", str(bits)] for site, bits in self.widths.items())]
        return html.table(repr(self), ["", ""], rows)

    @property
    def narrowest(self) -> int:
        """Its least width; of a homogeneous solution that of everything but its biases."""
        return min(self.widths.values())

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"key": self.key, "widths": dict(self.widths), "values": dict(self.values), "test": self.test,
                "beacon": self.beacon, "errors": dict(self.errors), "compared": [asdict(c) for c in self.compared]}


@dataclass(frozen=True)
class FloatErrors:
    """The float network's error by part of the data; None where it was not measured."""

    select: float | None
    test: float | None


@dataclass(frozen=True)
class CertificateForm:
    """What came of the wish for a certificate, see `certificate.certify`; `looks` are the search's lengths at which the
    items that confirm were used."""

    margin: float
    confidence: float
    items: int
    against: str
    pick: str | None
    tested: int
    reason: str
    reachable: float | None
    items_needed: int | None
    method: str = ""
    looks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Hypervolumes:
    """Shares of the box between `ideal` and `reference`, see `ReferenceBox`."""

    front: float
    homogeneous: float
    ideal: tuple[float, ...]
    reference: tuple[float, ...]


@dataclass(frozen=True)
class GenerationForm:
    """See `search.loop.Generation`; None for what failed."""

    number: int
    evaluations: int
    new: int
    cached: int
    failed: int
    front_size: int
    hypervolume: float
    best: Mapping[str, float]
    points: tuple[tuple[float | None, ...], ...]
    feasible: tuple[bool, ...]


@dataclass(frozen=True)
class BeaconsForm:
    """What was retrained: names of beacons given, of the search and of the polish; how many trainings, and how long."""

    given: tuple[str, ...]
    search: tuple[str, ...]
    polish: tuple[str, ...]
    retrainings: int
    failed: int
    seconds: float


@dataclass(frozen=True)
class IslandForm:
    """What one island came to, see `islands.island_facts`."""

    evaluations: int
    failed: int
    front_size: int
    hypervolume: float


@dataclass(frozen=True)
class ResultForm:
    """result.json; `items` counts those of each role, `held` has values of homogeneous 8 bit on held-out ones."""

    metric: str | Mapping[str, Any]
    objectives: tuple[str, ...]
    engine: str
    finished: str
    items: Mapping[str, int]
    seconds: Number
    evaluations: int
    failed: int
    dropped: int
    saved_percent: Number
    interrupted: bool
    message: str
    float: FloatErrors
    homogeneous: tuple[Solution, ...]
    front: tuple[Solution, ...]
    picks: Mapping[str, Solution]
    hypervolume: Hypervolumes
    history: tuple[GenerationForm, ...]
    held: Mapping[str, Number] = field(default_factory=dict)
    certificate: CertificateForm | None = None
    islands: tuple[IslandForm, ...] = ()
    beacons: BeaconsForm | None = None

    def __post_init__(self) -> None:
        try:
            datetime.fromisoformat(self.finished)
        except ValueError:
            raise BittailorError(f"finished is '{self.finished}'; expected a date and time") from None
        if any(name not in PARTS or items < 0 for name, items in self.items.items()):
            raise BittailorError(f"items is {shown(self.items)}; expected the numbers of {', '.join(PARTS)}")
        count = len(self.objectives)
        for name in ("ideal", "reference"):
            if len(getattr(self.hypervolume, name)) != count:
                raise BittailorError(f"hypervolume.{name} has not {count} values, one an objective")
        for i, generation in enumerate(self.history):
            if any(len(point) != count for point in generation.points) or (
                    len(generation.feasible) != len(generation.points)):
                raise BittailorError(f"history[{i}] has points that are not of {count} objectives")
        if extra := [name for name in self.picks if name not in PICKS]:
            raise BittailorError(f"picks has '{extra[0]}'; it can have {' and '.join(PICKS)}")

    def solutions(self) -> Iterable[tuple[str, Solution]]:
        """Every solution with the name of its place."""
        for name in ("homogeneous", "front"):
            yield from ((f"{name}[{i}]", solution) for i, solution in enumerate(getattr(self, name)))
        yield from ((f"picks.{name}", solution) for name, solution in self.picks.items())

    def check(self, sites: Collection[str], objectives: Mapping[str, Objective]) -> None:
        """BittailorError unless every solution has the sites and values that the run's space and spec ask for."""
        for name in self.objectives:
            _ = objectives[name]
        wanted = {*self.objectives, *ALWAYS}
        for place, solution in self.solutions():
            check_solution(place, solution.widths, solution.values, sites, wanted, objectives)
        if not any(solution.narrowest == 8 for solution in self.homogeneous):
            raise BittailorError("homogeneous lacks the solution of 8 bits")


def check_solution(
    place: str, widths: Mapping[str, int], values: Mapping[str, float], sites: Collection[str],
    wanted: Collection[str], objectives: Mapping[str, Objective],
) -> None:
    """BittailorError, which names the place, unless widths are those of the sites and values have what is wanted."""
    if widths.keys() != set(sites):
        wrong = min(set(sites) ^ widths.keys())
        raise BittailorError(f"{place}.widths {'lacks' if wrong in sites else 'has'} '{wrong}', which is "
                             f"{'a' if wrong in sites else 'no'} site of the run's space")
    for site, bits in widths.items():
        if not 1 <= bits <= 16 and bits != EXACT_BIAS_BITS:
            raise BittailorError(f"{place}.widths.{site} is {bits}; expected 1..16 bits, or {EXACT_BIAS_BITS}")
    if lacking := sorted(set(wanted) - values.keys()):
        raise BittailorError(f"{place}.values lacks '{lacking[0]}'")
    for name in values:
        _ = objectives[name]
