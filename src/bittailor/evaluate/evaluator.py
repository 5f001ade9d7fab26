"""From a genome to objectives: the one place where data, engine and cost models meet.

The search knows only the callable made here. Objectives stand in one table; adding one is one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Data
from bittailor.common.registry import Table
from bittailor.compile.layouts import DEFAULT_CORE
from bittailor.core.arith import Floats
from bittailor.core.network import Network
from bittailor.core.plan import Plan
from bittailor.core.program import Binder, Program
from bittailor.core.qformat import QFormat
from bittailor.cost import FIGURES, PLATFORMS, Figure, Platform, Workload, account, parameter_bits
from bittailor.cost.firmware import Core, Costs, cores
from bittailor.engines import ENGINES
from bittailor.errors import BittailorError, DataError, RangeError
from bittailor.evaluate.certify import item_costs
from bittailor.evaluate.metrics import Measure, Metric, metric_of
from bittailor.quantise.calibration import Calibration

QUANTISED_VALUES = 1 << 16
"""How many input values are quantised at a time: they stay in a processor's cache."""
HELD_VALUES = 1 << 25
"""How many output values, of 8 bytes in each of two forms, an evaluator holds at a time: half a gigabyte."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A plan under evaluation: what objectives may look at. `work` is that of a step of the network.

    outputs  real outputs on the data, [items, outputs] or [items, steps, outputs]
    """

    network: Network
    plan: Plan
    program: Program
    outputs: Floats
    data: Data
    metric: Metric
    work: Workload

    @property
    def error(self) -> float:
        """The task's metric."""
        return self._measured[0]

    @property
    def loss(self) -> float:
        """What is smooth beside the metric, and minimised: its loss."""
        return self._measured[1]

    @cached_property
    def _measured(self) -> tuple[float, float]:
        return self.metric.with_loss(self.outputs, self.data.targets)

    @cached_property
    def stored(self) -> int:
        """Bytes of constants."""
        return account(self.program).total

    @cached_property
    def costs(self) -> Costs:
        """What it takes as firmware."""
        return Costs(self.program, self.data.x.shape[1])


@dataclass(frozen=True)
class Objective:
    """A figure to minimise or to maximise.

    name      as written on the command line, in constraints and result files
    unit      of the value
    title     beside an axis
    of        candidate -> value
    maximise  whether more of it is better
    platform  the hardware that it is about, if any
    """

    name: str
    unit: str
    title: str
    of: Callable[[Candidate], float]
    maximise: bool = False
    platform: Platform | None = None


def of_platform(platform: Platform) -> list[Objective]:
    """The objectives of a hardware platform, called `<platform>.<figure>`."""

    def of(figure: Figure) -> Callable[[Candidate], float]:
        return lambda c: figure.of(platform, c.work, c.plan.widths)

    return [Objective(f"{platform.name}.{f.name}", f.unit, f"{platform.name} {f.title}", of(f), f.maximise, platform)
            for f in FIGURES.values() if f.has(platform)]


def of_core(core: Core, suffix: str) -> list[Objective]:
    """The objectives of a microcontroller's core: flash and RAM exactly, with its layouts; code and instructions by its
    cost model, whose error on other networks they state."""
    code, instructions = core.errors["code"], core.errors["instructions"]
    return [Objective(f"flash{suffix}", "B", f"firmware for {core.title}: bytes of constants",
                      lambda c: c.costs.image(core.name).flash),
            Objective(f"ram{suffix}", "B", f"firmware for {core.title}: bytes of state and scratch memory",
                      lambda c: c.costs.image(core.name).ram),
            Objective(f"code{suffix}", "B", f"{core.title}: bytes of code (model, {code})",
                      lambda c: c.costs.code(core)),
            Objective(f"instructions{suffix}", "", f"{core.title}: instructions per step (model, {instructions})",
                      lambda c: c.costs.instructions(core))]


OBJECTIVES: Table[Objective] = Table("objective", {o.name: o for o in (
    Objective("error", "", "selection error", lambda c: c.error),
    Objective("loss", "", "selection loss (cross-entropy or squared error)", lambda c: c.loss),
    Objective("size", "bit", "weights and biases times their widths",
              lambda c: parameter_bits(c.network.graph, c.plan)),
    Objective("stored", "B", "bytes of constants as stored", lambda c: c.stored),
    *(objective for suffix, name in {"": DEFAULT_CORE, **{f".{name}": name for name in cores()}}.items()
      for objective in of_core(cores()[name], suffix)),
    *(objective for platform in PLATFORMS.values() for objective in of_platform(platform)),
)})


MEASURED = ("error", "loss")
"""Objectives that depend on data; all others are known of a program."""


def objectives_with(platforms: Sequence[Platform], metric: Metric | None = None) -> Table[Objective]:
    """`OBJECTIVES`, and those of a user's platforms; `error` as the metric has it: with its title, unit and direction.
    BittailorError where a name stands for two of them."""
    table = dict(OBJECTIVES)
    if metric is not None:
        if metric.name in table and metric.name != "error":
            raise BittailorError(f"there is an objective called '{metric.name}'; give your metric another name")
        table["error"] = replace(table["error"], unit=metric.unit, title=f"selection {metric.title}",
                                 maximise=metric.maximise)
    for platform in platforms:
        for objective in of_platform(platform):
            if objective.name in table:
                raise BittailorError(f"there is a platform called '{platform.name}' already; give yours another name")
            table[objective.name] = objective
    return Table("objective", table)


class Evaluator:
    """Evaluates widths on one set of data with one engine.

    Everything that candidates share is computed once: formats and integers per (site, width), operators per formats,
    the quantised input per input format.
    """

    def __init__(
        self, calibration: Calibration, data: Data, metric: str | Metric | Measure, engine: str,
        objectives: Sequence[str], platforms: Sequence[Platform] = (),
    ) -> None:
        """`platforms`: those of a user, beside the ones of the package."""
        self.calibration = calibration
        self.data = data
        self.metric = metric_of(metric)
        self.engine = ENGINES[engine]
        table = objectives_with(platforms, self.metric)
        self.objectives = [table[name] for name in objectives]
        self.maximised = frozenset(o.name for o in self.objectives if o.maximise)
        self.work = Workload.of(calibration.network.graph)
        self._platforms = list({o.platform.name: o.platform for o in self.objectives if o.platform}.values())
        missing = self.engine.available()
        if missing:
            raise BittailorError(f"the engine '{engine}' cannot run here: {missing}")
        self._binder: Binder = calibration.binder()
        self._parts: dict[tuple[int, ...], Data] = {}
        self._inputs: dict[tuple[QFormat, int, int], NDArray[np.signedinteger[Any]]] = {}
        check_task(calibration.network, data, self.metric)

    def program(self, widths: dict[str, int]) -> tuple[Plan, Program]:
        """Plan and program for given widths; RangeError where they cannot be bound, or a platform cannot run them."""
        for platform in self._platforms:
            platform.check(self.work, widths)
        plan = self.calibration.plan(widths)
        return plan, self._binder.bind(plan)

    def runs(self, widths: dict[str, int]) -> bool:
        """Whether the platforms that are asked for have operations for these widths."""
        try:
            for platform in self._platforms:
                platform.check(self.work, widths)
        except RangeError:
            return False
        return True

    def outputs(self, programs: Sequence[Program], items: slice = slice(None)) -> list[Floats]:
        """Real outputs of several programs on the data (or some of its items), [items, (steps,) outputs] each."""
        jobs = [(program, self._quantised(program, items)) for program in programs]
        results = self.engine.run_jobs(jobs, self.data.lengths[items])
        return [program.read_output(q) for program, q in zip(programs, results, strict=True)]

    def _quantised(self, program: Program, items: slice) -> NDArray[np.signedinteger[Any]]:
        """The input's integers, the same array each time: a part is a view of the whole."""
        fmt = program.input_format
        key = fmt, *items.indices(len(self.data))[:2]
        if key not in self._inputs:
            whole = fmt, 0, len(self.data)
            if whole not in self._inputs:
                self._inputs[whole] = _quantised(program, self.data.x)
            self._inputs[key] = self._inputs[whole][items]
        return self._inputs[key]

    def candidate(self, plan: Plan, program: Program, outputs: Floats, items: slice = slice(None)) -> Candidate:
        """A candidate with its outputs on the data, or on some of its items."""
        return Candidate(self.calibration.network, plan, program, outputs, self._part(items), self.metric, self.work)

    def candidates(
        self, bound: Sequence[tuple[int, Plan, Program]], items: slice = slice(None)
    ) -> Iterator[tuple[int, Candidate]]:
        """Candidates (any number, plan, program) run on the data or on some of its items, one after the other."""
        for some in self._portions(bound, len(self._part(items))):
            outputs = self.outputs([program for _, _, program in some], items)
            for (i, plan, program), y in zip(some, outputs, strict=True):
                yield i, self.candidate(plan, program, y, items)

    def _part(self, items: slice) -> Data:
        key = items.indices(len(self.data))[:2]
        if key not in self._parts:
            self._parts[key] = self.data if key == (0, len(self.data)) else self.data[items]
        return self._parts[key]

    def values(self, candidate: Candidate) -> dict[str, float]:
        """Objective values; `error` is always among them."""
        return {"error": candidate.error} | {o.name: float(o.of(candidate)) for o in self.objectives}

    def exact(self, candidate: Candidate) -> dict[str, float]:
        """The same with NaN for what depends on data: error and loss."""
        return {"error": nan} | {o.name: nan if o.name in MEASURED else float(o.of(candidate)) for o in self.objectives}

    def evaluate(self, widths: Sequence[dict[str, int]]) -> list[dict[str, float]]:
        """Objective values of several candidates; RangeError for one that cannot be bound or run."""
        rows = []
        for found in self.attempt(widths):
            if isinstance(found, RangeError):
                raise found
            rows.append(found)
        return rows

    def attempt(self, widths: Sequence[dict[str, int]]) -> list[dict[str, float] | RangeError]:
        """`evaluate`, with the error in the place of a candidate that cannot be bound: it costs only itself."""
        found: list[dict[str, float] | RangeError] = []
        bound: list[tuple[int, Plan, Program]] = []
        for i, w in enumerate(widths):
            try:
                bound.append((i, *self.program(w)))
                found.append({})
            except RangeError as error:
                found.append(error)
        for i, candidate in self.candidates(bound):
            found[i] = self.values(candidate)
        return found

    def each_output(self, widths: Sequence[dict[str, int]]) -> Iterator[Floats]:
        """The outputs of several candidates on the data, one after the other; RangeError as in `program`."""
        for _, candidate in self.candidates([(i, *self.program(w)) for i, w in enumerate(widths)]):
            yield candidate.outputs

    def measured(self, widths: Sequence[dict[str, int]]) -> list[tuple[float, NDArray[np.float64] | None]]:
        """The error of several candidates, and the metric item by item, minimised (`certify.item_costs`); RangeError as
        in `program`."""
        targets = self.data.targets
        return [(self.metric.value(outputs, targets), item_costs(self.metric, outputs, targets))
                for outputs in self.each_output(widths)]

    def _portions(
        self, bound: Sequence[tuple[int, Plan, Program]], items: int
    ) -> Iterator[Sequence[tuple[int, Plan, Program]]]:
        """The programs, so many at a time that their outputs fit into memory: one output per step is much."""
        network = self.calibration.network
        steps = self.data.x.shape[1] if network.graph.sites[network.output].sequence else 1
        each = items * steps * network.graph.sites[network.output].features
        together = max(1, HELD_VALUES // each)
        for start in range(0, len(bound), together):
            yield bound[start : start + together]


def _quantised(program: Program, x: NDArray[Any]) -> NDArray[np.signedinteger[Any]]:
    """Integers of an input [items, steps, features], as small as they may be."""
    found = np.empty(x.shape, np.int8 if program.input_format.storage == "int8" else np.int16)
    step = max(1, QUANTISED_VALUES // max(1, x[0].size))
    for start in range(0, len(x), step):
        found[start : start + step] = program.quantise_input(x[start : start + step])
    return found


def check_task(network: Network, data: Data, metric: Metric) -> None:
    """DataError unless the network's input and output fit the data and the metric."""
    if data.x.shape[2] != network.features:
        raise DataError(f"the data has {data.x.shape[2]} features per step; the network takes {network.features}")
    site = network.graph.sites[network.output]
    late = network.graph.late[network.output]
    if data.late != late:
        what = (f"no output for the first {late} steps: leave them away of the targets and say so, "
                f"Data(x, y[:, {late}:], late={late})" if late else
                "an output for every step, or one for each item: leave it away")
        raise DataError(f"the data have late={data.late}, and the network gives {what}")
    if data.lengths.min() < network.graph.least_steps:
        raise DataError(f"an item has {data.lengths.min()} steps; the network drops the first "
                        f"{network.graph.least_steps - 1} steps, so it needs more: leave such items away")
    metric.check(data.targets, site.features, site.sequence)
