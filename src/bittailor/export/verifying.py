"""Verifying an exported folder, whatever it was exported to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from bittailor.errors import BittailorError
from bittailor.export.base import check_amounts
from bittailor.export.checking import Checked, different, golden_items, items_of, opened, said
from bittailor.export.folder import read_export
from bittailor.export.plain import GOLDEN_FILE, PlainExporter
from bittailor.export.verify import ITEMS, Report, random_items, run_engine, verify


def verify_folder(
    folder: Path | str, cores: Sequence[str] | None = None, items: int = ITEMS, seed: int = 0,
    x: ArrayLike | None = None, lengths: ArrayLike | None = None,
) -> Report | Checked:
    """Verify a directory that `export_program` wrote; `cores` are for C alone. See `export.verify.verify`."""
    check_amounts(items, seed)
    to = read_export(folder)["to"]
    if to == "c":
        return verify(folder, cores, items, seed, x, lengths)
    if cores is not None:
        raise BittailorError(f"{folder} holds an export to {to}, which runs on no core; leave --cores out")
    if to == "onnx":
        from bittailor.export.onnx.verify import verify_onnx

        return verify_onnx(folder, items, seed, x, lengths)
    if to == "onnx-qdq":
        from bittailor.export.onnx.qdq import verify_qdq

        return verify_qdq(folder, items, seed, x, lengths)
    return verify_plain(folder, items, seed, x, lengths)


def verify_plain(
    folder: Path | str, items: int, seed: int = 0, x: ArrayLike | None = None, lengths: ArrayLike | None = None
) -> Checked:
    """Verify a program file and its golden vectors with the best engine."""
    from bittailor.engines import ENGINES, best_engine

    facts, program = opened(folder, PlainExporter)
    q, sizes = random_items(program, items, None, seed) if x is None else items_of(program, items, x, lengths)

    def golden() -> str | None:
        for number, (inputs, y) in enumerate(golden_items(Path(folder) / GOLDEN_FILE)):
            if problem := different(ENGINES["reference"].run(program, inputs[None])[0], y):
                return f"item {number}: {problem}"
        return None

    def engines() -> str | None:
        want = ENGINES["reference"].run(program, q, sizes)
        if want.ndim == 3:
            late = program.graph.late[program.graph.outputs[0]]
            want[np.arange(want.shape[1]) >= sizes[:, None] - late] = 0
        return different(run_engine(program, q, sizes), want)

    return Checked(
        facts, f"engines reference and {best_engine()}", f"{len(q)} {'random' if x is None else 'real'} items",
        {GOLDEN_FILE: said(golden), "every output": said(engines)},
    )
