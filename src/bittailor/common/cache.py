"""Where files come from and where they stay: a folder of the user's, the user's cache, the public source."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bittailor.errors import BittailorError, DataError


@dataclass(frozen=True)
class Source:
    """A file that can be fetched.

    path      where it stands below a data folder, e.g. "vowels/JapaneseVowels_TRAIN.ts"
    url       where the public copy is
    digest    the expected checksum, "sha256:<hexadecimal>" or "md5:<hexadecimal>"
    content   file -> the bytes that are digested; None digests the file as it is. For sources whose bytes may
              differ between copies with equal content (white space, an archive packed again)
    """

    path: str
    url: str
    digest: str
    content: Callable[[Path], bytes] | None = None

    def verify(self, file: Path) -> None:
        """Raises DataError when `file` does not hold what `digest` was made from."""
        kind, expected = self.digest.split(":")
        content = file.read_bytes() if self.content is None else self.content(file)
        got = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
        if got != expected:
            raise DataError(f"what {self.url} gave has the {kind} checksum {got[:16]}…; "
                            f"expected {expected[:16]}…. The file was not kept; fetch it by hand and use --data DIR")


def user_cache() -> Path:
    """The folder for files that can be made again, where the system keeps such. It may not exist yet."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local", "bittailor", "Cache")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "bittailor"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "bittailor")


def find(task: str, layouts: Sequence[Sequence[str]], sources: Sequence[Source], folder: Path | None) -> list[Path]:
    """The files of one layout: from `folder`, else from the user's cache, else from the public source.

    task      the name for messages
    layouts   lists of paths below a data folder; the first layout that is there completely is taken
    sources   what to fetch where no layout is found; their paths are one of the layouts, in its order
    folder    an existing folder of the user's (`--data DIR`), or None
    Raises    DataError if nothing is there and nothing can be fetched.
    """
    store = user_cache() / "data"
    places = [store] if folder is None else [folder, store]
    for place in places:
        for layout in layouts:
            files = [place / name for name in layout]
            if all(file.exists() for file in files):
                return files
    for source in sources:
        if not (store / source.path).exists():
            try:
                _fetch(source, store / source.path)
            except _NotFetched as error:
                raise DataError(
                    f"task '{task}' needs {source.path}, which is not in {' nor in '.join(str(p) for p in places)}"
                    f"{_part(layouts, places[0])}\n"
                    f"  fetching {source.url} failed: {error}\n"
                    f"  put the file at DIR/{source.path} and add --data DIR") from None
    return [store / source.path for source in sources]


class _NotFetched(Exception):
    """The text is the reason, a part of a line."""


def _fetch(source: Source, target: Path) -> None:
    try:
        import pooch
    except ImportError:
        raise _NotFetched("pooch is not installed; pip install 'bittailor[tasks]'") from None
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # pooch announces each download and prints its hash
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as fresh:
            file = Path(pooch.retrieve(source.url, known_hash=None, fname=target.name, path=fresh,
                                       downloader=pooch.HTTPDownloader(timeout=20)))
            source.verify(file)
            os.replace(file, target)
    except BittailorError:
        raise
    except Exception as error:  # requests, urllib3, ssl and the file system each have their own families
        raise _NotFetched(_reason(error)) from None
    finally:
        logger.setLevel(level)


def _part(layouts: Sequence[Sequence[str]], place: Path) -> str:
    """A remark where a folder holds some files of a layout but not all; the layout that lacks fewest."""
    lacking = [[name for name in layout if not (place / name).exists()] for layout in layouts]
    fewest = min(range(len(layouts)), key=lambda i: len(lacking[i]))
    if len(lacking[fewest]) == len(layouts[fewest]):
        return ""
    return f"\n  ({place} holds a part of what is needed; it lacks {', '.join(lacking[fewest])})"


def _reason(error: Exception) -> str:
    """What a person can use of an exception whose text may be a chain of library internals."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    name = type(error).__name__
    if "Connection" in name or "Timeout" in name or "SSL" in name or "Proxy" in name:
        return f"no connection ({name})"
    return f"{name}: {str(error).splitlines()[0][:120]}" if str(error) else name
