"""Calibration: what training data says about every site, and the formats that follow from it.

`calibrate` runs the float network over training data and keeps, per site, the extremes and a histogram; per input of
a matrix product also its second moment. From there on everything is a pure function of (site, bits): `format`,
`integers`, `plan`. Ranges are frozen before a search begins and are the same in search and test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bittailor.common.files import ArrayForm, check_arrays, formed, load_tensors, reading, save_tensors
from bittailor.common.processors import algebra_threads
from bittailor.common.records import check, expect, shown
from bittailor.core.arith import TABLE_BITS, Floats, Ints, knots
from bittailor.core.graph import Graph
from bittailor.core.network import Network
from bittailor.core.ops.base import steps_mask
from bittailor.core.ops.functions import Function
from bittailor.core.plan import Plan
from bittailor.core.program import Binder
from bittailor.core.qformat import INDEX_FORMAT, QFormat, activation_format, check_width
from bittailor.errors import BittailorError, DataError, FileError, FormatError
from bittailor.quantise.weights import fit_to_inputs, weight_format

CALIBRATION_KIND, CALIBRATION_VERSION = "calibration", 1
METHODS = ("mse", "percentile", "minmax")
BINS = 1024
SAMPLES = 400_000
"""Values kept per site for its histogram."""
TRACED_BYTES = 2e8
"""What the values of all sites may take at a time."""
FEW, MOST_BYTES = 16, 5e8
"""Where that is only a few items, as many as this allows: what a step costs hardly depends on their number."""
SHRINK = np.linspace(0.05, 1.0, 39)
"""Clipping thresholds that are tried, as shares of the extremes."""


@dataclass(frozen=True)
class CalibrationSettings:
    """How ranges become formats.

    method      activations: minimum mean-square error, a percentile, or the extremes seen
    percentile  for method "percentile": the share of values kept at each end, in %
    given       formats that mathematics gives (sigmoid, tanh, state, complement): "always"; "never" calibrates them
                like all others; "auto" takes whichever has the smaller squared error at that width
    per_row     one weight scale per output row instead of one per matrix
    rounding    weights: "inputs" chooses integers that minimise the error of the product on calibration data,
                "nearest" rounds each weight by itself
    items       at most this many training sequences are run, at equal distances from each other (`evenly`)
    """

    method: str = "mse"
    percentile: float = 99.9
    given: str = "always"
    per_row: bool = False
    rounding: str = "inputs"
    items: int = 1024

    def __post_init__(self) -> None:
        check(self, items=1)
        for name, value, allowed in (
            ("method", self.method, METHODS),
            ("given", self.given, ("always", "auto", "never")),
            ("rounding", self.rounding, ("inputs", "nearest")),
        ):
            if value not in allowed:
                raise BittailorError(f"calibration {name} '{value}' is unknown; choose one of {', '.join(allowed)}")
        if not 50 < self.percentile <= 100:
            raise BittailorError(f"a percentile must lie above 50 and up to 100; got {self.percentile}")


@dataclass(frozen=True, eq=False)
class SiteStatistics:
    """What was seen at one activation site.

    low, high  extremes
    counts     float64 [bins], a histogram between them
    """

    low: float
    high: float
    counts: NDArray[np.float64]

    @property
    def centres(self) -> Floats:
        """The middle of every bin."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        return (edges[1:] + edges[:-1]) / 2

    def quantile(self, share: float) -> float:
        """The value below which this share of values lies."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        cumulated = np.concatenate([[0.0], np.cumsum(self.counts)]) / self.counts.sum()
        return float(np.interp(share, cumulated, edges))


@dataclass(eq=False)
class Calibration:
    """Statistics of one network on its training data; gives formats, plans and a binder.

    network   the float network
    settings  how ranges become formats
    observed  activation site -> what was seen
    moments   input site of a matrix product -> second moment, float64 [features, features]
    """

    network: Network
    settings: CalibrationSettings
    observed: Mapping[str, SiteStatistics]
    moments: Mapping[str, Floats]
    _formats: dict[tuple[str, int], QFormat] = field(default_factory=dict, repr=False)
    _integers: dict[tuple[str, QFormat], Ints] = field(default_factory=dict, repr=False)

    def format(self, site: str, bits: int) -> QFormat:
        """The format of a `site` at `bits`; RangeError or FormatError where it cannot have one."""
        key = (site, bits)
        if key not in self._formats:
            self._formats[key] = self._make(site, bits)
        return self._formats[key]

    def integers(self, site: str, fmt: QFormat) -> Ints:
        """The integers of a weight `site` in the format `fmt`, int64 [rows, columns]: those fitted, else to nearest."""
        self.format(site, fmt.bits)
        found = self._integers.get((site, fmt))
        return fmt.quantise(self.network.parameters[site]) if found is None else found

    def fitted(self, site: str, fmt: QFormat) -> Ints | None:
        """The integers [rows, columns] of a weight `site` that were fitted with `fmt`; None where nearest ones do."""
        return self._integers.get((site, fmt))

    def has(self, site: str, bits: int) -> bool:
        """Whether the format of a `site` at `bits` is there already."""
        return (site, bits) in self._formats

    def take(self, site: str, bits: int, fmt: QFormat, integers: Ints | None) -> None:
        """Keep the format `fmt` of a `site` at `bits`, and the integers [rows, columns] fitted with it, that another
        process made."""
        self._formats[(site, bits)] = fmt
        if integers is not None:
            self._integers[(site, fmt)] = integers

    def plan(self, widths: Mapping[str, int]) -> Plan:
        """The plan for given widths, site -> bits for every free site of the graph."""
        free = [site.name for site in self.network.graph.free]
        if lacking := [name for name in free if name not in widths]:
            raise FormatError(f"site '{lacking[0]}' has no width; give each of the {len(free)} free sites one")
        if extra := sorted(widths.keys() - set(free)):
            raise FormatError(f"there is no free site '{extra[0]}'; there are {', '.join(free[:8])}, …")
        return Plan({name: self.format(name, widths[name]) for name in free})

    def settle(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Keep the formats of these (site, bits), in order, and no others; those that are missing are made.

        What a file of statistics holds then follows from what was asked for, not from what was tried on the way.
        """
        keys = sorted(set(wanted))
        self._formats = {key: self.format(*key) for key in keys}
        self._integers = {(name, fmt): self._integers[name, fmt] for (name, _), fmt in self._formats.items()
                          if (name, fmt) in self._integers}

    def binder(self) -> Binder:
        """A binder that uses these integers."""
        return Binder(self.network, self.integers)

    def _make(self, name: str, bits: int) -> QFormat:
        site = self.network.graph.site(name)
        check_width(site.kind, bits, name)
        if site.role == "index":
            return INDEX_FORMAT
        if site.kind == "bias":
            return QFormat("bias", bits, ())
        if site.kind == "weight":
            return self._weight(name, bits)
        given = self.network.graph.given_format(name, bits)
        if given is not None and self.settings.given == "always":
            return given
        fitted = self._activation(name, bits)
        if given is not None and self.settings.given == "auto":
            error = self._error(name)
            return given if error(given) <= error(fitted) else fitted
        return fitted

    def _weight(self, name: str, bits: int) -> QFormat:
        values, settings = self.network.parameters[name], self.settings
        node = self.network.graph.consumers[name][0]
        if node.operator.access != "whole":
            # one weight a feature: nothing to cancel against, and a scale a row would be a weight
            return weight_format(values, bits, "minmax" if settings.method == "minmax" else "mse", per_row=False)
        moment = self.moments.get(self.network.graph.vector(node.inputs[0]).name)
        if settings.rounding == "inputs" and moment is not None:
            fmt, integers = fit_to_inputs(values, bits, moment, settings.per_row)
            self._integers[(name, fmt)] = integers
            return fmt
        return weight_format(values, bits, "minmax" if settings.method == "minmax" else "mse", settings.per_row)

    def _activation(self, name: str, bits: int) -> QFormat:
        seen = self.observed[name]
        if self.settings.method == "percentile":
            tail = 1 - self.settings.percentile / 100
            return activation_format(seen.quantile(tail), seen.quantile(1 - tail), bits)
        # above 8 bits the steps are fine enough that covering everything is best, unless knots lie between them
        if self.settings.method == "minmax" or (bits > TABLE_BITS and self._function(name) is None):
            return activation_format(seen.low, seen.high, bits)
        error = self._error(name)
        low, high = min(seen.low, 0.0), max(seen.high, 0.0)

        def best(candidates: list[tuple[float, float]]) -> tuple[float, float]:
            scores = [error(activation_format(a, b, bits)) for a, b in candidates]
            return candidates[int(np.argmin(scores))]

        low, high = best([(low * s, high * s) for s in SHRINK])
        for _ in range(2):
            low, _unused = best([(low * s, high) for s in (*np.linspace(0.4, 1.5, 23), 1.0)])
            _unused, high = best([(low, high * s) for s in (*np.linspace(0.4, 1.5, 23), 1.0)])
        return activation_format(low, high, bits)

    def _error(self, name: str) -> Callable[[QFormat], float]:
        """Mean-square error of a format on the site's histogram; where the site only feeds one function of one
        variable, the error behind that function (a sigmoid forgives what it flattens; a table of knots does not)."""
        seen = self.observed[name]
        centres, counts = seen.centres, seen.counts
        through = self._function(name)
        f = through.f if through is not None else (lambda x: x)
        wanted, total = f(centres), counts.sum()

        def error(fmt: QFormat) -> float:
            got = fmt.dequantise(fmt.quantise(centres))
            if through is not None and fmt.bits > TABLE_BITS:
                at = knots(fmt)
                got = np.interp(got, at, f(at))
            else:
                got = f(got)
            return float((counts * (got - wanted) ** 2).sum() / total)

        return error

    def _function(self, name: str) -> Function | None:
        """The function of one variable that alone reads this site, or None."""
        readers = self.network.graph.consumers.get(name, [])
        through = readers[0].operator if len(readers) == 1 else None
        return through if isinstance(through, Function) else None

    def save(self, path: Path | str) -> None:
        """Write the statistics (not the network) to a safetensors file, with every format and weight fitted so far:
        they are then the same on any machine, whatever its linear algebra does to the last bit."""
        tensors: dict[str, NDArray[Any]] = {f"counts/{name}": seen.counts for name, seen in self.observed.items()}
        tensors |= {f"moment/{name}": moment for name, moment in self.moments.items()}
        tensors |= {_fitted_key(name, fmt): q.astype(np.int16) for (name, fmt), q in self._integers.items()}
        body = {
            "settings": asdict(self.settings),
            "network": self.network.fingerprint,
            "extremes": {name: [seen.low, seen.high] for name, seen in self.observed.items()},
            "formats": [[name, fmt.to_json()] for (name, _), fmt in self._formats.items()],
        }
        save_tensors(path, CALIBRATION_KIND, CALIBRATION_VERSION, body, tensors)

    @classmethod
    def load(cls, path: Path | str, network: Network) -> Calibration:
        """Read what `save` wrote; FileError if it is damaged or was made from another network."""
        body, tensors = load_tensors(path, CALIBRATION_KIND, CALIBRATION_VERSION)
        form = formed(path, CalibrationForm, body)
        if form.network != network.fingerprint:
            raise FileError(f"{path} was made from another network; calibrate again")
        with reading(path):
            formats = _formats_of(form, network.graph)
            check_arrays(tensors, _array_forms(form, network.graph, formats, tensors))
        observed = {name: SiteStatistics(low, high, tensors[f"counts/{name}"])
                    for name, (low, high) in form.extremes.items()}
        moments = {name: tensors[f"moment/{name}"] for name in matrix_inputs(network.graph)}
        fitted = {(name, fmt): tensors[key].astype(np.int64) for (name, _), fmt in formats.items()
                  for key in [_fitted_key(name, fmt)] if key in tensors}
        return cls(network, form.settings, observed, moments, formats, fitted)


@dataclass(frozen=True)
class CalibrationForm:
    """The JSON part of a calibration's file; `network` is a fingerprint."""

    settings: CalibrationSettings
    network: str
    extremes: Mapping[str, tuple[float, float]]
    formats: tuple[tuple[str, QFormat], ...]


def matrix_inputs(graph: Graph) -> set[str]:
    """The sites that enter matrix products: of these, second moments are kept."""
    return {graph.vector(node.inputs[0]).name for node in graph.nodes() if node.operator.access == "whole"}


def _fitted_key(name: str, fmt: QFormat) -> str:
    return f"fitted/{name}/{fmt.bits}"


def _formats_of(form: CalibrationForm, graph: Graph) -> dict[tuple[str, int], QFormat]:
    """(site, bits) -> the fitted format; BittailorError for extremes or formats that are not of the network's sites."""
    free = {site.name: site for site in graph.free}
    activations = {name for name, site in free.items() if site.kind == "activation"}
    if form.extremes.keys() != activations:
        raise BittailorError(f"extremes has other sites than the network, such as "
                             f"'{min(form.extremes.keys() ^ activations)}'")
    if wrong := [name for name, (low, high) in form.extremes.items() if low > high]:
        raise BittailorError(f"extremes.{wrong[0]} does not ascend")
    for name, fmt in form.formats:
        site = free.get(name)
        if site is None or fmt.kind != site.kind or len(fmt.scale) not in (0, 1, site.features):
            raise BittailorError(f"formats has one of {shown(name)} that is not of a site of the network")
    return {(name, fmt.bits): fmt for name, fmt in form.formats}


def _array_forms(
    form: CalibrationForm, graph: Graph, formats: Mapping[tuple[str, int], QFormat], there: Collection[str]
) -> dict[str, ArrayForm]:
    """What the arrays of a calibration must be: counts, second moments, and what of weights has been fitted so far."""
    wanted = {f"counts/{name}": ArrayForm(np.float64, (BINS,), 0) for name in form.extremes}
    for name in matrix_inputs(graph):
        wanted[f"moment/{name}"] = ArrayForm(np.float64, (graph.sites[name].features,) * 2)
    for (name, _), fmt in formats.items():
        if fmt.kind == "weight" and (key := _fitted_key(name, fmt)) in there:
            wanted[key] = ArrayForm(np.int16, graph.sites[name].shape, -fmt.qmax, fmt.qmax)
    return wanted


def evenly(count: int, items: int) -> slice | NDArray[np.int64]:
    """Which of `count` sequences are looked at, at most `items`: from the whole range, since data sorted by class, by
    speaker or by day have only some of them in front."""
    return slice(None) if count <= items else np.linspace(0, count - 1, items).round().astype(np.int64)


def calibrate(
    network: Network, x: ArrayLike, lengths: ArrayLike | None = None, settings: CalibrationSettings | None = None
) -> Calibration:
    """Run the float network over training data and collect statistics.

    network   the float network
    x         [items, steps, features], training data only
    lengths   [items], 1..steps; all steps if not given
    settings  how ranges become formats; the defaults if not given
    Raises    DataError for data that does not fit the network, is empty or makes a site NaN or infinite.
    """
    expect(network, Network, "network", "from_torch(module, features) makes one")
    settings = settings or CalibrationSettings()
    expect(settings, CalibrationSettings, "settings")
    values, sizes = network.check_input(x, lengths, None)  # floats of 64 bits are made piece by piece
    chosen = evenly(len(values), settings.items)
    with algebra_threads(1):
        return _calibrated(network, values[chosen], sizes[chosen], settings)


def _calibrated(network: Network, values: NDArray[Any], sizes: Ints, settings: CalibrationSettings) -> Calibration:
    graph = network.graph
    width = sum(site.features for site in graph.sites.values() if site.kind == "activation")
    each = 8 * max(1, width * values.shape[1])
    batch = int(TRACED_BYTES / each)
    batch = batch if batch > FEW else max(1, min(FEW, int(MOST_BYTES / each)))
    parts: dict[str, list[Floats]] = {site.name: [] for site in graph.free if site.kind == "activation"}
    products = matrix_inputs(graph)
    moments = {name: np.zeros((graph.sites[name].features,) * 2) for name in products}
    counts = dict.fromkeys(products, 0)
    for start in range(0, len(values), batch):
        piece, size = values[start : start + batch], sizes[start : start + batch]
        piece = piece[:, : int(size.max())]
        for name, array in network.trace(piece, size).items():
            if name not in parts and name not in moments:
                continue
            own = size - graph.late[name]
            rows = array[steps_mask(own, array.shape[1])] if graph.sites[name].sequence else array
            if name in graph.starts:  # what the first step reads: in the range, and in the second moment
                rows = np.concatenate([np.tile(graph.starts[name], (len(piece), 1)), rows])
            if name in moments:
                moments[name] += rows.T @ rows
                counts[name] += len(rows)
            if name not in parts:  # a window has the range of what it copies
                continue
            if not np.isfinite(rows).all():
                raise DataError(f"site {name} becomes NaN or infinite on the calibration data; check data and weights")
            # a copy: a view would keep the whole array
            parts[name].append(rows.ravel()[:: _stride(rows, SAMPLES * len(piece) // len(values))].copy())
            parts[name].append(np.asarray([rows.min(), rows.max()]))
    observed = {}
    for name, pieces in parts.items():
        seen = np.concatenate(pieces)
        low, high = float(seen.min()), float(seen.max())
        largest = max(-low, high)
        if largest < 1e-30:  # never anything but zero
            low = high = 0.0
        elif high - low < 1e-6 * largest:  # constant: bins need an extent
            low, high = min(low, 0.0), max(high, 0.0)
        histogram, _ = np.histogram(seen, bins=BINS, range=(low, high))
        observed[name] = SiteStatistics(low, high, histogram.astype(np.float64))
    return Calibration(network, settings, observed, {name: m / counts[name] for name, m in moments.items()})


def _stride(rows: Floats, samples: int) -> int:
    """The step that leaves about so many values of an array and, coprime to its features, meets all of them."""
    step = max(1, rows.size // max(1, samples))
    while math.gcd(step, rows.shape[-1]) > 1:
        step += 1
    return step


def with_settings(calibration: Calibration, **changes: Any) -> Calibration:
    """The same statistics under other settings."""
    settings = CalibrationSettings(**{**asdict(calibration.settings), **changes})
    return Calibration(calibration.network, settings, calibration.observed, calibration.moments)
