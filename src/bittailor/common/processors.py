"""How many processors this process may use, and how many workers that makes."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from bittailor.common.records import whole

MOST_WORKERS = 4096
"""More threads or processes than any machine gives to one search."""

_most: int | None = None


def processors() -> int:
    """Processors that this process may use, where the system says so; otherwise those of the machine; at least 1, and
    no more than `use_at_most` said."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS, Windows
    return found if _most is None else min(found, _most)


def use_at_most(n: int) -> None:
    """Let this process use so many processors: a worker of a cluster shares its machine with others."""
    global _most
    _most = n


def workers_of(asked: int) -> int:
    """How many workers a count asks for, wherever one is given: 0 stands for every processor of this process.
    BittailorError for a number that is none."""
    return whole(asked, "workers", 0, MOST_WORKERS) or processors()


def algebra_threads(n: int) -> AbstractContextManager[object]:
    """As long as this lasts, numpy's linear algebra uses n threads at most in this process: matrices of a few hundred
    rows are too small for more, and threads that wait for each other take all processors for nothing."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(n, "blas")
    return limits
