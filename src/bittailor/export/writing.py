"""Writing an export, and writing one again: the same program, settings and samples give the same bytes.

So a folder that somebody hands over can be proved without running what lies in it: its program is read, exported once
more by this version, and every file compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bittailor._version import __version__
from bittailor.common.files import load_tensors, read_bytes, save_tensors
from bittailor.core.program import Program
from bittailor.engines.reference import check_integers
from bittailor.errors import BittailorError, FileError
from bittailor.export.base import Exporter, ExportSettings, Samples, check_program, fingerprint
from bittailor.export.folder import EXPORT_FILE, write_folder

SAMPLES_FILE, SAMPLES_KIND, SAMPLES_VERSION = "samples.safetensors", "samples", 1
"""The inputs of the self-test, and the settings of the export."""
_LONGEST_NAME = 100
_HEADER = {"bittailor", "version", "sha256"}


def write_export(
    program: Program, folder: Path, force: bool, exporter: Exporter, settings: ExportSettings, samples: Samples
) -> dict[str, Any]:
    """Write an export with all that it can be written again from; returns the content of export.json."""
    def write(place: Path) -> Mapping[str, Any]:
        _save_samples(place / SAMPLES_FILE, settings, samples)
        return exporter.write(program, place, settings, samples)

    return write_folder(folder, force, {
        "to": exporter.name,
        "bittailor_version": __version__,
        "program": fingerprint(program),
        "about": settings.about,
    }, write)


def write_again(
    folder: Path, facts: Mapping[str, Any], program: Program, into: Path, exporter: Exporter
) -> dict[str, Any]:
    """Export a folder's program into a new one, as it was exported before; returns what its export.json says.

    facts   what the export.json of `folder` says
    Raises  FileError for the first file of `folder` that is not what this version writes.
    """
    if SAMPLES_FILE not in facts["files"]:
        raise FileError(f"{folder} was exported by a bittailor that did not keep what its files can be checked by; "
                        "export it again, with --force")
    settings, samples = _read_samples(folder / SAMPLES_FILE, program)
    check_program(program)
    exporter.check(program, settings)
    again = write_export(program, into, False, exporter, settings, samples)
    _compare(folder, facts, into, again)
    return again


def _compare(folder: Path, facts: Mapping[str, Any], into: Path, again: Mapping[str, Any]) -> None:
    """FileError for the first thing in which two exports differ."""
    theirs, mine = facts["bittailor_version"], again["bittailor_version"]
    why = "was changed" if theirs == mine else f"is of bittailor {theirs[:20]}"
    advice = (f"{why}: it is not what this bittailor ({mine}) writes, so nothing was compiled. "
              "Export the network again, with --force")
    for name in sorted(again["files"].keys() | facts["files"].keys()):
        both = name in again["files"] and name in facts["files"]
        if not both or read_bytes(folder / name) != read_bytes(into / name):
            raise FileError(f"{folder / name} {advice}")
    for name in sorted((again.keys() | facts.keys()) - _HEADER):
        if again.get(name) != facts.get(name):
            raise FileError(f"{folder / EXPORT_FILE} ({name}) {advice}")


def _save_samples(path: Path, settings: ExportSettings, samples: Samples) -> None:
    body = {"settings": asdict(settings), "words": samples.words}
    save_tensors(path, SAMPLES_KIND, SAMPLES_VERSION, body, {
        "q": samples.q.astype(np.int16), "lengths": samples.lengths.astype(np.int64)})


def _read_samples(path: Path, program: Program) -> tuple[ExportSettings, Samples]:
    body, tensors = load_tensors(path, SAMPLES_KIND, SAMPLES_VERSION)
    try:
        given, words = body["settings"], body["words"]
        settings = ExportSettings(given["prefix"], given["steps"], given["core"], given["about"],
                                  dict(given["facts"]))
        texts = (settings.prefix, settings.core, settings.about, words, *settings.facts, *settings.facts.values())
        if not all(isinstance(text, str) for text in texts):
            raise FileError(f"{path} is damaged: a text is none")
        if not all(name.isprintable() and len(name) < _LONGEST_NAME for name in (settings.prefix, settings.core)):
            raise FileError(f"{path} is damaged: the prefix or the core is no name")
        if settings.steps is not None and (type(settings.steps) is not int or settings.steps < 1):
            raise FileError(f"{path} is damaged: the longest sequence has {settings.steps!r} steps")
        q, lengths = check_integers(program, tensors["q"], tensors["lengths"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path} is damaged: {type(error).__name__} {error}") from None
    except BittailorError as error:
        raise FileError(f"{path} is damaged: {error}") from None
    return settings, Samples(q, lengths, words)
