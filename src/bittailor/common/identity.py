"""Which code this is: what has to be equal on every machine of a cluster, so that results are."""

from __future__ import annotations

import hashlib
import platform
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from bittailor._version import __version__

_SOURCES = {".py", ".c", ".h", ".json", ".toml"}


@lru_cache(1)
def code_identity() -> dict[str, str]:
    """Name -> version of everything that an evaluation's result may depend on: bittailor, a digest of its source files,
    Python and numpy. A module's own versions of torch are not in it: a training is done once, wherever it is."""
    folder = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in _SOURCES):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return {"bittailor": __version__, "code": digest.hexdigest()[:12],
            "Python": ".".join(platform.python_version_tuple()[:2]), "numpy": version("numpy")}


def difference(ours: dict[str, str], theirs: dict[str, str]) -> str:
    """What differs, in words such as "numpy 2.1 there, 2.2 here"; empty where nothing does."""
    return ", ".join(f"{name} {theirs.get(name, 'missing')} there, {ours[name]} here"
                     for name in ours if theirs.get(name) != ours[name])
