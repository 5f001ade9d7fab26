"""An exported folder: written aside inside it, then moved to its place, `export.json` last; replaced only if asked to.

A folder with an `export.json` is complete. What an export did not write is never touched.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bittailor.common.files import formed, load_json, read_bytes, save_json
from bittailor.common.records import shown
from bittailor.errors import BittailorError, FileError

EXPORT_FILE, EXPORT_KIND, EXPORT_VERSION, FORMER_VERSION = "export.json", "export", 2, 1
"""Version 1 did not keep what an export is written again from; such a folder can be replaced, not verified."""
STAGING = ".export-"
"""How the name of a folder begins that is being written; one that is left over is of a process that was killed."""

_FILE_NAME = re.compile(r"(?!\.{1,2}(/|$))[\w.-]+(/(?!\.{1,2}(/|$))[\w.-]+)*", re.ASCII)
_PROGRAM, _CHECKSUM = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class ExportForm:
    """What every export.json says; an exporter's own form adds what it writes there.

    to                 the exporter
    bittailor_version  that wrote it
    program            fingerprint of the program
    files              name in the folder -> checksum
    about              what the network is, one line; version 1 did not say it
    """

    to: str
    bittailor_version: str
    program: str
    files: Mapping[str, str]
    about: str = ""

    def __post_init__(self) -> None:
        if not _PROGRAM.fullmatch(self.program):
            raise BittailorError(f"program is {shown(self.program)}; expected 16 hexadecimal digits")
        for name, digest in self.files.items():
            if not _FILE_NAME.fullmatch(name):
                raise BittailorError(f"files names {shown(name)}, which is no file inside its directory")
            if not _CHECKSUM.fullmatch(digest):
                raise BittailorError(f"files.{name} is {shown(digest)}; expected 32 hexadecimal digits")


def check_target(folder: Path, force: bool) -> list[str]:
    """The files of an earlier export that may be replaced; FileError if the folder is no place for a new one."""
    try:
        if not folder.exists():
            return []
        if not folder.is_dir():
            raise FileError(f"{folder} is a file; name a new or empty directory")
        present = sorted(p.name for p in folder.iterdir() if not p.name.startswith(STAGING))
    except OSError as error:
        raise FileError(f"cannot look into {folder}: {error.strerror or error}") from None
    if not present:
        return []
    if EXPORT_FILE not in present:
        raise FileError(f"{folder} is not empty ({_few(present)}) and no finished export; choose another directory")
    if not force:
        raise FileError(f"{folder} holds an export already; add --force to replace it, or choose another directory")
    return [*read_export(folder)["files"], EXPORT_FILE]


def write_folder(
    folder: Path, force: bool, body: Mapping[str, Any], write: Callable[[Path], Mapping[str, Any]]
) -> dict[str, Any]:
    """Let `write` fill a new folder, add `export.json` with the files' checksums, and move it to its place.

    body   what export.json says; what `write` returns is added to it
    Returns export.json's content. Raises FileError if the target is in use or cannot be written.
    """
    old, fresh = check_target(folder, force), not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{STAGING}*"):
            shutil.rmtree(left, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(dir=folder, prefix=STAGING))
        try:
            content = {**body, **write(staging)}
            files = sorted(p.relative_to(staging).as_posix() for p in staging.rglob("*") if p.is_file())
            content["files"] = {name: _digest(staging / name) for name in files}
            save_json(staging / EXPORT_FILE, EXPORT_KIND, EXPORT_VERSION, content)
            _move(staging, folder, old, [*files, EXPORT_FILE])
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            if fresh and not any(folder.iterdir()):
                folder.rmdir()
    except OSError as error:
        raise FileError(f"cannot write {folder}: {error.strerror or error}") from None
    return content


def read_export(folder: Path | str) -> dict[str, Any]:
    """export.json of a folder, with all that `ExportForm` asks for; FileError if there is none or it is damaged."""
    path = Path(folder) / EXPORT_FILE
    if not path.is_file():
        raise FileError(f"{folder} is no exported directory: it has no {EXPORT_FILE}. "
                        "Make one: bittailor export RUN --pick smallest --to c DIR")
    content = load_json(path, EXPORT_KIND, EXPORT_VERSION, (FORMER_VERSION,))
    common = {f.name for f in fields(ExportForm)}
    formed(path, ExportForm, {name: value for name, value in content.items() if name in common})
    home = Path(folder).resolve()
    for name in content["files"]:
        # a link among its folders would lead elsewhere
        if (home / name).parent.resolve() != (home / name).parent:
            raise FileError(f"{folder} leads elsewhere: the folder of {name} is a link; choose another directory")
    return content


def read_export_to(folder: Path | str, to: str, form: type[ExportForm]) -> dict[str, Any]:
    """export.json of a folder that one exporter wrote, as its form says, whose files are all as they were written."""
    content = read_export(folder)
    if content["to"] != to:
        raise FileError(f"{folder} holds an export to {content['to']}, not to {to}")
    if content["version"] == EXPORT_VERSION:
        formed(Path(folder) / EXPORT_FILE, form, content)
    return check_files(folder)


def check_files(folder: Path | str) -> dict[str, Any]:
    """export.json of a folder whose files are all as they were written; FileError names the first that is not."""
    content = read_export(folder)
    for name, digest in content["files"].items():
        path = Path(folder) / name
        if not path.is_file():
            raise FileError(f"{path} is missing; export the network again")
        if _digest(path) != digest:
            raise FileError(f"{path} is damaged or was changed: it does not match its checksum in {EXPORT_FILE}; "
                            "export the network again")
    return content


def _digest(path: Path) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest()[:32]


def _move(staging: Path, folder: Path, old: list[str], new: list[str]) -> None:
    """From the staging folder to their places; what was there before goes first, and its export.json before all."""
    for name in sorted(old, key=lambda name: name != EXPORT_FILE):
        (folder / name).unlink(missing_ok=True)
    for name in new:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging / name, folder / name)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
