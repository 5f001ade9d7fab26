"""What is searched, and what a user sees of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bittailor.common.data import Splits
from bittailor.common.log import log, visible
from bittailor.common.processors import workers_of
from bittailor.common.roles import Roles
from bittailor.core.network import Network
from bittailor.engines import best_engine
from bittailor.evaluate.evaluator import Objective
from bittailor.evaluate.metrics import Metric
from bittailor.runs.spec import SearchSpec
from bittailor.search.executors import Executor
from bittailor.search.loop import MakeOptimiser, Progress, Status
from bittailor.search.progress import Hooked, ValueDisplay, default_progress
from bittailor.search.space import Space


class Display:
    """What a user sees of a search: nothing, but for what a subclass shows.

    shows  whether trainings say by the logger how far they are
    """

    shows = False

    def progress(self, look: ValueDisplay) -> Progress | None:
        """A display of the search as it runs, given how to show values."""
        return None

    def tell(self, text: str) -> None:
        """Told in words what is being done where no progress shows it, such as a calibration."""


QUIET = Display()


class Shown(Display):
    """What is seen from Python where nothing else is asked for: a bar in a notebook, elsewhere a line a generation and
    what is being done, by the logger `bittailor` (see `common.log`)."""

    shows = True

    def progress(self, look: ValueDisplay) -> Progress:
        return default_progress(look)

    def tell(self, text: str) -> None:
        if visible():
            log.info("%s", text)


SHOWN = Shown()


@dataclass(frozen=True, eq=False)
class Problem:
    """What is searched; see `run_search`. The spec's parts that need network and data are looked up here."""

    network: Network
    data: Splits
    folder: Path
    spec: SearchSpec
    display: Display
    executor: Executor | None
    optimiser: MakeOptimiser | None
    on_generation: Callable[[Status], None] | None = None

    def progress(self, look: ValueDisplay) -> Progress | None:
        """What shows the search as it runs, and calls what is to be called."""
        shown = self.display.progress(look)
        return shown if self.on_generation is None else Hooked(self.on_generation, shown)

    @cached_property
    def metric(self) -> Metric:
        """What the error is."""
        return self.spec.known_metric

    @cached_property
    def roles(self) -> Roles:
        """Which items select, and which confirm."""
        return self.spec.divide(self.data)

    @cached_property
    def space(self) -> Space:
        """What may be chosen."""
        return self.spec.make_space(self.network.graph)

    @cached_property
    def engine(self) -> str:
        """Name of the engine that runs candidates."""
        return best_engine() if self.spec.engine == "auto" else self.spec.engine

    @property
    def door(self) -> Executor | None:
        """What works on other machines, if anything does."""
        return self.executor if self.executor is not None and self.executor.remote else None

    @cached_property
    def workers(self) -> int:
        """Threads or processes, 1 or more."""
        return workers_of(self.spec.workers)

    @property
    def objectives(self) -> list[Objective]:
        """What is improved."""
        return [self.spec.known_objectives[name] for name in self.spec.objectives]

    @property
    def maximised(self) -> set[str]:
        """The objectives of which more is better."""
        return {objective.name for objective in self.objectives if objective.maximise}

    @property
    def own_optimiser(self) -> dict[str, str]:
        """What run.json says of an optimiser that was handed in."""
        return {} if self.optimiser is None else {"optimiser": getattr(self.optimiser, "__qualname__", "own")}

    @property
    def guides(self) -> dict[str, str]:
        """Objective -> the value that selection looks at in its place."""
        return {"error": self.spec.guide}

    @property
    def reported(self) -> tuple[str, ...]:
        """Every value that an evaluation reports beside the error."""
        limited = (limit.name for limit in self.spec.limits)
        return tuple(dict.fromkeys((*self.spec.objectives, *limited, "loss", "size", "stored")))
