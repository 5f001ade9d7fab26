"""How many processors this process may use, and how many workers that makes."""

from __future__ import annotations

import os


def processors() -> int:
    """Processors that this process may use, where the system says so; otherwise those of the machine; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS, Windows


def workers_of(asked: int) -> int:
    """How many workers a count asks for, wherever one is given: 0 stands for every processor of this process."""
    return asked or processors()
