"""Files that are being written: beside their place, under a name of their own, held by the process that writes them.

What a killed process left is held by nobody: `sweep` removes it, and nothing that another process is at work on.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

ENDING = ".part"
_NAME = re.compile(r"\..+\.[a-z0-9_]{8}\.part"
                   # as they were called before they had an ending
                   r"|\.((run|result|beacon)\.json|(network|calibration|checkpoint)\.safetensors)\.[a-z0-9_]{8}")


def begin(target: Path) -> tuple[int, Path]:
    """A new file beside `target`, open for writing and held until it is closed: its handle, and its path."""
    while True:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=ENDING)
        _hold(handle)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # somebody swept between the two lines


def sweep(*folders: Path) -> None:
    """Remove what killed processes left in these folders (not below them)."""
    for folder in folders:
        with suppress(OSError):
            for path in folder.iterdir():
                if _NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                    _remove(path)


def _hold(handle: int) -> bool:
    """Whether nobody else holds it. Windows keeps open files from being removed by itself."""
    if sys.platform != "win32":
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held; or a file system without locks
            return False
    return True


def _remove(path: Path) -> None:
    with suppress(OSError):
        handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            free = _hold(handle)
            if free and sys.platform != "win32":
                path.unlink()
        finally:
            os.close(handle)
        if free and sys.platform == "win32":
            path.unlink()
