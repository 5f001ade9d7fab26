"""Where compiled libraries stay: a folder of this user's alone. What is loaded from it is what was put there.

Loading a library runs it. So the folder and its files must belong to this user and be writable by nobody else, no link
is followed, and a file carries the digest of its content in its name, which is compared just before it is loaded: one
that is cut short would end the process with a bus error, and one with a flipped bit could compute anything.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from bittailor.errors import BittailorError

SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
BUILDING = ".build-"
_LEFT_OVER_S = 600.0  # a build takes seconds: what is older was left by a process that was killed
_DIGITS = 32


class Unusable(Exception):
    """A folder or a file that must not be used; the text is the reason, a part of a line."""


def say(text: str) -> None:
    """A line for people, on standard error."""
    print(f"bittailor: {text}", file=sys.stderr, flush=True)


def usable_folder(wanted: Path) -> Path:
    """`wanted`, made if need be and open to nobody else; where that cannot be, a temporary one, which is said."""
    try:
        _make_private(wanted)
    except Unusable as reason:
        return _temporary(f"{wanted} {reason}")
    return wanted


@lru_cache(8)
def _temporary(why: str) -> Path:
    """A private folder that goes with this process."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="bittailor-"))
    except OSError as error:
        raise BittailorError(f"the native engine has no place: {why}, and there is no room among temporary files "
                             f"either ({error.strerror})") from None
    say(f"{why}; the native engine is compiled into a temporary folder instead, at every start")
    owner = os.getpid()
    # a forked child ends as well, while its parent still needs the folder
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    return folder


def _make_private(folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise Unusable("is a link or a file, not a folder")
        _check_owner(status)
        if sys.platform != "win32" and stat.S_IMODE(status.st_mode) != 0o700:
            folder.chmod(0o700)
            if status.st_mode & 0o022:
                _empty(folder)
        if not os.access(folder, os.W_OK):
            raise Unusable("cannot be written")
    except OSError as error:
        raise Unusable(f"cannot be made ({error.strerror or error})") from None


def _empty(folder: Path) -> None:
    """Forget the libraries of a folder that others could write to: any of them may be somebody else's."""
    say(f"others could write to {folder}; its libraries are thrown away and compiled again")
    for path in folder.iterdir():
        if path.suffix == SUFFIX:
            path.unlink()


def _check_owner(status: os.stat_result) -> None:
    if sys.platform != "win32" and status.st_uid != os.geteuid():
        raise Unusable("belongs to another user")


def load_checked(path: Path) -> ctypes.CDLL:
    """Load a library that `add` put there. Raises Unusable where it is not the same any more."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
                         | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise Unusable(f"cannot be opened ({error.strerror or error})") from None
    try:
        _check_file(path, handle)
        about = os.fstat(handle)
        known = _LOADED.get((about.st_dev, about.st_ino))
        if known is not None:  # its file is held open, so that no other has its number
            os.close(handle)
            return known
        # by the open file where the system has a name for it, so that what is loaded is what was read
        opened = Path(f"/proc/self/fd/{handle}")
        loaded = ctypes.CDLL(str(opened if opened.exists() else path))
    except OSError as error:
        os.close(handle)
        raise Unusable(f"cannot be loaded ({str(error).rpartition(': ')[2]})") from None
    except Unusable:
        os.close(handle)
        raise
    if opened.exists():
        # held open for good: the loader knows libraries by name, and another file must not get this one's
        _LOADED[about.st_dev, about.st_ino] = loaded
    else:
        os.close(handle)
    return loaded


_LOADED: dict[tuple[int, int], ctypes.CDLL] = {}


def _check_file(path: Path, handle: int) -> None:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise Unusable("is no plain file")
    _check_owner(status)
    if sys.platform != "win32" and status.st_mode & 0o022:
        raise Unusable("may be written by others")
    with os.fdopen(handle, "rb", closefd=False) as file:
        if path.stem.rpartition("-")[2] != _digest(file.read()):
            raise Unusable("is damaged")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def candidates(folder: Path, stem: str) -> Iterator[Path]:
    """The libraries of this name; one, unless a compiler gave different bytes to processes that started together."""
    yield from sorted(folder.glob(f"{stem}-{'?' * _DIGITS}{SUFFIX}"))


def add(folder: Path, stem: str, build: Callable[[Path], None]) -> Path:
    """Let `build` write a library; returns where it is. It appears under its name when all of it is on the disk."""
    _sweep(folder)
    try:
        aside = Path(tempfile.mkdtemp(dir=folder, prefix=BUILDING))
    except OSError as error:
        raise BittailorError(f"the native engine cannot write to {folder}: {error.strerror}") from None
    try:
        made = aside / f"library{SUFFIX}"
        build(made)
        return _placed(made, folder, stem)
    except OSError as error:
        raise BittailorError(f"the native engine cannot write to {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _placed(made: Path, folder: Path, stem: str) -> Path:
    made.chmod(0o600)
    with made.open("rb+") as file:
        target = folder / f"{stem}-{_digest(file.read())}{SUFFIX}"
        os.fsync(file.fileno())
    try:
        os.replace(made, target)
    except PermissionError:  # Windows replaces no library that another process has just put there and loaded
        if not target.exists():
            raise
    return target


def discard(path: Path) -> None:
    """Remove a library that must not be used; Windows keeps one that some process has loaded."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise BittailorError(f"{path} cannot be used and not be removed ({error.strerror or error}); "
                             "remove it by hand") from None


def _sweep(folder: Path) -> None:
    for left in folder.glob(f"{BUILDING}*"):
        try:
            old = time.time() - left.lstat().st_mtime > _LEFT_OVER_S
        except OSError:  # it is gone already
            continue
        if old and left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        elif old:
            left.unlink(missing_ok=True)
