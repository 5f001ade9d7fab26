"""From a genome to objectives: the one place where data, engine and cost models meet.

The search knows only the callable made here. Objectives stand in one table; adding one is one line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.arith import Floats
from bittailor.calibration import Calibration
from bittailor.cost import account, parameter_bits
from bittailor.data import Data
from bittailor.engines import ENGINES
from bittailor.errors import BittailorError, DataError, RangeError
from bittailor.metrics import METRICS, Metric
from bittailor.network import Network
from bittailor.plan import Plan
from bittailor.program import Binder, Program
from bittailor.qformat import QFormat
from bittailor.registry import Table
from bittailor.search.space import Genome, Space
from bittailor.search.store import Outcome

CALL_SECONDS = 1.0
"""How long one call of an engine may take in a search, about."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A plan under evaluation: what objectives may look at.

    outputs  real outputs on the data, [items, outputs]
    """

    network: Network
    plan: Plan
    program: Program
    outputs: Floats
    data: Data
    metric: Metric

    @cached_property
    def error(self) -> float:
        """The task's metric."""
        return self.metric.of(self.outputs, self.data.y)

    @cached_property
    def loss(self) -> float:
        """Mean cross-entropy for classes (nat), mean squared error for regression."""
        if self.metric.name != "error":
            return self.error
        shifted = self.outputs - self.outputs.max(axis=1, keepdims=True)
        chosen = shifted[np.arange(len(shifted)), self.data.y]
        return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - chosen))

    @cached_property
    def stored(self) -> int:
        """Bytes of constants."""
        return account(self.program).total


@dataclass(frozen=True)
class Objective:
    """A figure to minimise.

    name    as written on the command line, in constraints and result files
    unit    of the value; "" where the metric says it
    title   beside an axis
    of      candidate -> value
    """

    name: str
    unit: str
    title: str
    of: Callable[[Candidate], float]


OBJECTIVES: Table[Objective] = Table("objective", {o.name: o for o in (
    Objective("error", "", "validation error", lambda c: c.error),
    Objective("loss", "", "validation loss (cross-entropy or squared error)", lambda c: c.loss),
    Objective("size", "bit", "weights and biases times their widths",
              lambda c: parameter_bits(c.network.graph, c.plan)),
    Objective("stored", "B", "bytes of constants as stored", lambda c: c.stored),
)})


class Evaluator:
    """Evaluates widths on one set of data with one engine.

    Everything that candidates share is computed once: formats and integers per (site, width), operators per formats,
    the quantised input per input format.
    """

    def __init__(
        self, calibration: Calibration, data: Data, metric: str, engine: str, objectives: Sequence[str]
    ) -> None:
        self.calibration = calibration
        self.data = data
        self.metric = METRICS[metric]
        self.engine = ENGINES[engine]
        self.objectives = [OBJECTIVES[name] for name in objectives]
        missing = self.engine.available()
        if missing:
            raise BittailorError(f"the engine '{engine}' cannot run here: {missing}")
        self._binder: Binder = calibration.binder()
        self._inputs: dict[tuple[QFormat, Any, Any], NDArray[np.signedinteger[Any]]] = {}
        check_task(calibration.network, data, metric)

    def program(self, widths: dict[str, int]) -> tuple[Plan, Program]:
        """Plan and program for given widths."""
        plan = self.calibration.plan(widths)
        return plan, self._binder.bind(plan)

    def outputs(self, programs: Sequence[Program], items: slice = slice(None)) -> list[Floats]:
        """Real outputs of several programs on the data (or some of its items), [items, outputs] each."""
        jobs = [(program, self._quantised(program, items)) for program in programs]
        results = self.engine.run_jobs(jobs, self.data.lengths[items])
        return [program.read_output(q) for program, q in zip(programs, results, strict=True)]

    def _quantised(self, program: Program, items: slice) -> NDArray[np.signedinteger[Any]]:
        fmt = program.input_format
        key = fmt, items.start, items.stop
        if key not in self._inputs:
            kind = np.int8 if fmt.storage == "int8" else np.int16
            self._inputs[key] = program.quantise_input(self.data.x[items]).astype(kind)
        return self._inputs[key]

    def candidate(self, plan: Plan, program: Program, outputs: Floats) -> Candidate:
        """A candidate with its outputs on the data, or on the first of its items."""
        part = self.data if len(outputs) == len(self.data) else self.data[: len(outputs)]
        return Candidate(self.calibration.network, plan, program, outputs, part, self.metric)

    def values(self, candidate: Candidate) -> dict[str, float]:
        """Objective values; `error` is always among them."""
        return {"error": candidate.error} | {o.name: float(o.of(candidate)) for o in self.objectives}

    def evaluate(self, widths: Sequence[dict[str, int]]) -> list[dict[str, float]]:
        """Objective values of several candidates; RangeError for one that cannot be bound."""
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
        outputs = self.outputs([program for _, _, program in bound])
        for (i, plan, program), y in zip(bound, outputs, strict=True):
            found[i] = self.values(self.candidate(plan, program, y))
        return found


def check_task(network: Network, data: Data, metric: str) -> None:
    """DataError unless the network's input and output fit the data and the metric."""
    if data.x.shape[2] != network.features:
        raise DataError(f"the data has {data.x.shape[2]} features per step; the network takes {network.features}")
    site = network.graph.sites[network.output]
    if site.sequence:
        raise DataError("the network gives one output per step; this metric needs one per item: "
                        "end it with the last step or the mean")
    if metric == "error":
        if data.y.ndim != 1:
            raise DataError("the metric 'error' needs integer class labels, one per item; use metric 'mse'")
        if data.y.max() >= site.features or data.y.min() < 0:
            raise DataError(f"labels run {data.y.min()}..{data.y.max()} but the network has {site.features} outputs")
    elif data.y.ndim != 2 or data.y.shape[1] != site.features:
        raise DataError(f"targets have shape {data.y.shape} but the network has {site.features} outputs per item")


@dataclass(frozen=True, eq=False)
class WorkerFactory:
    """Builds an evaluator in a worker; picklable, holds what the worker needs."""

    space: Space
    calibration: Calibration
    data: Data
    metric: str
    engine: str
    objectives: tuple[str, ...]

    def evaluator(self) -> Evaluator:
        """The evaluator itself."""
        return Evaluator(self.calibration, self.data, self.metric, self.engine, self.objectives)

    def __call__(self) -> Callable[[Genome], Outcome]:
        evaluator = self.evaluator()

        def evaluate(genome: Genome) -> Outcome:
            start = time.perf_counter()
            (found,) = evaluator.attempt([self.space.widths(genome)])
            return _outcome(found, time.perf_counter() - start)

        return evaluate


def _outcome(found: dict[str, float] | RangeError, seconds: float) -> Outcome:
    return Outcome(None, str(found), seconds) if isinstance(found, RangeError) else Outcome(found, None, seconds)


def evaluate_together(
    evaluator: Evaluator, space: Space, first: int
) -> Callable[[Sequence[Genome]], Iterator[Outcome]]:
    """An `evaluate` for the search that hands many genomes to the engine in one call (native engine: a genome per
    thread): a whole generation, unless that would take longer than about CALL_SECONDS, which is what a killed process
    loses at most. Begins with `first` of them. Results do not depend on how many go together."""
    together = first

    def evaluate(genomes: Sequence[Genome]) -> Iterator[Outcome]:
        nonlocal together
        start = 0
        while start < len(genomes):
            part = genomes[start : start + together]
            begin = time.perf_counter()
            rows = evaluator.attempt([space.widths(genome) for genome in part])
            seconds = (time.perf_counter() - begin) / len(part)
            start += len(part)
            together = max(first, int(CALL_SECONDS / max(seconds, 1e-6)))
            for found in rows:
                yield _outcome(found, seconds)

    return evaluate
