"""Executors: where genomes are evaluated. To add one, write a subclass of `Executor` and say here when it is taken."""

from __future__ import annotations

from bittailor.errors import BittailorError
from bittailor.search.executors.base import Executor as Executor
from bittailor.search.executors.given import Given as Given
from bittailor.search.executors.in_process import InProcess as InProcess
from bittailor.search.executors.processes import Processes as Processes


def make_executor(workers: int = 1, threaded: bool = False) -> Executor:
    """The executor that fits; use it as a context manager, or `close` it.

    workers   1 for this process, more for as many worker processes
    threaded  the worker uses as many threads by itself: this process suffices
    Raises    BittailorError for fewer than 1 worker.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise BittailorError(f"workers is {workers!r}; expected a whole number, 1 or more")
    return InProcess(workers) if threaded or workers == 1 else Processes(workers)
