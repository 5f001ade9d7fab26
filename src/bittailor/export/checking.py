"""What verifying a folder that needs no compiler has in common: opening it, items to run, the first difference."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bittailor.common.files import read_bytes
from bittailor.core.arith import Ints
from bittailor.core.program import Program
from bittailor.engines.reference import check_integers
from bittailor.errors import DataError, FileError
from bittailor.export.base import PROGRAM_FILE, Exporter, fingerprint
from bittailor.export.folder import read_export_to


@dataclass(frozen=True)
class Checked:
    """What was found in a directory.

    facts     what its export.json says
    runner    what ran it
    words     what items were run
    verdicts  what was compared -> the first thing that is wrong, or None
    """

    facts: Mapping[str, Any]
    runner: str
    words: str
    verdicts: Mapping[str, str | None]

    @property
    def problem(self) -> str | None:
        """The first problem, None if all is right."""
        return next((f"{what}: {problem}" for what, problem in self.verdicts.items() if problem), None)


def opened(folder: Path | str, exporter: type[Exporter]) -> tuple[Mapping[str, Any], Program]:
    """What export.json says, and the program; FileError unless it is an export of this kind, as it was written."""
    facts, place = read_export_to(folder, exporter.name, exporter.form), Path(folder)
    program = Program.load(place / PROGRAM_FILE)
    if fingerprint(program) != facts["program"]:
        raise FileError(f"{place / PROGRAM_FILE} is not the program that {folder} was made from; export it again")
    return facts, program


def items_of(program: Program, items: int, x: ArrayLike, lengths: ArrayLike | None) -> tuple[Ints, Ints]:
    """The first so many real items as integers, and their lengths."""
    if items < 1:
        raise DataError(f"{items} items to run; give at least 1")
    given = None if lengths is None else np.asarray(lengths)[:items]
    return check_integers(program, program.quantise_input(np.asarray(x)[:items]), given)


def said(look: Callable[[], str | None]) -> str | None:
    """What a look found; a file that cannot be used is found, too."""
    try:
        return look()
    except FileError as error:
        return str(error)


def different(got: Ints, want: Ints) -> str | None:
    """The first integer that differs, None if none does."""
    if got.shape != want.shape:
        return f"shape {got.shape}, expected {want.shape}"
    wrong = np.argwhere(got != want)
    if not len(wrong):
        return None
    at = tuple(int(i) for i in wrong[0])
    return f"{len(wrong)} of {want.size} integers differ; at {at}: got {got[at]}, expected {want[at]}"


def golden_items(path: Path) -> Iterator[tuple[Ints, Ints]]:
    """Integers in and out of every item of a golden.json."""
    try:
        golden = json.loads(read_bytes(path))
        pairs = list(zip(golden["x"], golden["y"], strict=True))
        yield from ((np.array(x, np.int64), np.array(y, np.int64)) for x, y in pairs)
    except (KeyError, ValueError, TypeError) as error:
        raise FileError(f"{path} is damaged: {type(error).__name__} {error}") from None
