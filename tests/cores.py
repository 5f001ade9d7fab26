"""Which emulated cores a test runs on: two of them always, the others with the slow tests; skipped where tools are
missing."""

from __future__ import annotations

import pytest

from bittailor.export.targets import TARGETS

QUICK = ("m0", "m4")


def core(name: str, slow: bool = False) -> object:
    """A parameter for this core."""
    marks = [pytest.mark.skipif(TARGETS[name].missing() is not None, reason=str(TARGETS[name].missing()))]
    return pytest.param(name, id=name, marks=[*marks, *([pytest.mark.slow] if slow else [])])


EMULATED = [core(t.name, t.name not in QUICK) for t in TARGETS.values() if t.emulated]
"""Every emulated core, those that are not QUICK as slow."""

EVERY = [core(name) for name in TARGETS]
"""Every target, for what takes a fraction of a second."""
