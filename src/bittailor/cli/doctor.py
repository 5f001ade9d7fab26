"""`bittailor doctor`: what this machine has, what it lacks, and what that costs."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bittailor._version import __version__
from bittailor.cli.tables import Grid, say
from bittailor.common.cache import user_cache
from bittailor.common.console import console
from bittailor.common.mounts import network_filesystem
from bittailor.common.processors import processors
from bittailor.engines import ENGINES
from bittailor.engines.native_build import MISSING, VARIANTS, find_compiler, prebuilt, runnable
from bittailor.errors import BittailorError
from bittailor.export.targets import TARGETS

COSTS = {
    "torch": "no reading of PyTorch networks, no tasks, no retraining",
    "tasks": "some tasks cannot be loaded",
    "onnx": "no --to onnx, and no check of it",
    "report": "no report, no data frames",
    "speech": "no synthetic speech: tasks phones and enhance",
    "enhance": "no PESQ and STOI of enhanced speech",
    "cluster": "no --cluster",
}
"""Extra -> what there is not without it. Which extras there are, pyproject.toml says."""
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    what    its name
    fine    whether it is there and in order
    found   what was found, or what is missing
    costs   what does not work without it, or what to type; empty where it is there
    """

    what: str
    fine: bool
    found: str
    costs: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def examine() -> list[Finding]:
    """Look at everything; nothing is changed, but a native engine that is missing is compiled."""
    return [*_versions(), *_engines(), *_places(), *_extras(), *_cores()]


def _versions() -> Iterator[Finding]:
    yield Finding("bittailor", True, f"{__version__}, {Path(__file__).resolve().parents[1]}")
    yield Finding("Python", True, f"{platform.python_version()}, {sys.executable}")
    yield Finding("machine", True, f"{platform.platform()}, {processors()} cores for this process")


def _engines() -> Iterator[Finding]:
    compiler = find_compiler()
    ready = [v.name for v in VARIANTS.values() if prebuilt(v)]
    if compiler is not None:
        yield Finding("C compiler", True, compiler)
    else:
        yield Finding("C compiler", bool(ready), "none" + (f"; libraries of {', '.join(ready)} came with the package"
                                                          if ready else ""), "" if ready else MISSING)
    fast = list(ENGINES)[-1]
    for name in reversed(list(ENGINES)):
        missing = ENGINES[name].available()
        yield Finding(f"engine {name}", missing is None, ENGINES[name].words if missing is None else missing,
                      "" if missing is None else "a search takes ten to fifty times as long" if name == fast else
                      "another engine serves")
    try:
        yield Finding("native variants", True, ", ".join(runnable()) or "none")
    except BittailorError as error:
        yield Finding("native variants", False, str(error), "a slower engine serves")


def _places() -> Iterator[Finding]:
    cache, size = user_cache(), 0
    with contextlib.suppress(OSError):  # another process tidies up, or a folder of somebody else
        size = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file())
    yield Finding("cache", True, f"{cache}, {size / 2**20:.1f} MiB (data, float networks, compiled engines); "
                                 "it may be removed")
    kind = network_filesystem(Path.cwd())
    yield Finding("this folder", kind is None, f"{Path.cwd()}" + (f" on {kind}" if kind else ""),
                  "" if kind is None else "runs here are slower and must have one writer; see docs/cluster.md")


def _extras() -> Iterator[Finding]:
    """Of every extra that the package's metadata name: which of its distributions are missing."""
    for extra, needed in _wanted().items():
        versions = {name: _version(name) for name in needed}
        missing = [name for name, version in versions.items() if version is None]
        yield Finding(
            f"extra {extra}", not missing,
            f"lacks {', '.join(missing)}" if missing else ", ".join(f"{n} {v}" for n, v in versions.items()),
            f"{COSTS[extra]}; pip install 'bittailor[{extra}]'" if missing else "")


def _wanted() -> dict[str, list[str]]:
    """Extra -> distributions that it names itself, those known in `COSTS`; none where the package is not installed."""
    try:
        lines = importlib.metadata.requires("bittailor") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[str]] = {extra: [] for extra in COSTS}
    for line in lines:
        name, extra = _NAME.match(line), _EXTRA.search(line)
        if name and extra and extra[1] in found and name[0] != "bittailor":
            found[extra[1]].append(name[0])
    return {extra: names for extra, names in found.items() if names}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cores() -> Iterator[Finding]:
    """What `bittailor verify` can run on."""
    for name, target in TARGETS.items():
        missing = target.missing()
        yield Finding(f"core {name}", missing is None, target.title if missing is None else missing,
                      "" if missing is None else f"verify does not try {target.title}")


def print_findings(found: list[Finding]) -> None:
    """A line a finding, and what is missing costs; last, how it is on the whole."""
    grid = Grid("", "", "found", text=(1,), fold=2)
    for finding in found:
        grid.add(finding.what, "ok" if finding.fine else "–",
                 finding.found + (f". Without it: {finding.costs}" if finding.costs else ""),
                 style="" if finding.fine else "yellow")
    grid.show()
    missing = [finding.what for finding in found if not finding.fine]
    say(console(), "\neverything is there" if not missing else
        f"\n{len(missing)} of {len(found)} are missing ({', '.join(missing)}): what they cost stands beside them")
