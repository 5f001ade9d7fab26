"""How many processors this process may use."""

from __future__ import annotations

import os


def processors() -> int:
    """Processors that this process may use, where the system says so; otherwise those of the machine; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS, Windows
