"""What a solution is shipped as: exporters, and the proof that it is the one that was searched.

Adding one is one file and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bittailor.common.records import expect
from bittailor.common.registry import Table
from bittailor.compile.layouts import DEFAULT_CORE
from bittailor.core.program import Program
from bittailor.engines.reference import check_integers
from bittailor.errors import BittailorError
from bittailor.export.base import Exporter, ExportSettings, Samples, check_amounts, check_program, fingerprint
from bittailor.export.c import CExporter
from bittailor.export.folder import check_files, check_target, read_export
from bittailor.export.onnx import OnnxExporter
from bittailor.export.onnx.qdq import QdqExporter
from bittailor.export.plain import PlainExporter
from bittailor.export.writing import write_export

EXPORTERS: Table[Exporter] = Table("exporter", {exporter.name: exporter for exporter in (
    CExporter(),
    OnnxExporter(),
    QdqExporter(),
    PlainExporter(),
)})

RANDOM_ITEMS, RANDOM_STEPS = 4, 16


@dataclass(frozen=True)
class Exported:
    """A written export.

    folder   where it is
    facts    what its export.json says: checksums, prefix, sizes, fingerprint
    summary  a few lines for people
    """

    folder: Path
    facts: Mapping[str, Any]
    summary: str


def export_program(
    program: Program,
    folder: Path | str,
    to: str = "c",
    *,
    prefix: str = "model",
    force: bool = False,
    steps: int | None = None,
    core: str = DEFAULT_CORE,
    x: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    items: int = RANDOM_ITEMS,
    seed: int = 0,
    about: str = "",
    facts: Mapping[str, str] | None = None,
) -> Exported:
    """Write a program as files for somewhere else.

    folder   new or empty; with `force` also an earlier export, whose files (and no others) are replaced
    to       a name in `EXPORTERS`
    prefix   what every public name of exported code begins with
    steps    the longest sequence; needed by networks with reversed layers that cannot stream
    core     the core whose kernels the weights are laid out for, a name in `compile.layouts.CORES`: `any` where it is
             not known. The code gives the same integers on every core, and is fast on its own
    x        real inputs [items, steps, features] for the self-test (the first `items`), with their lengths; random
             integers from `seed` if not given
    about    one line for the README: what the network is; `facts` more of it
    Raises BittailorError, before anything is written.
    """
    expect(program, Program, "program", "run.program(pick) makes one")
    exporter = EXPORTERS[to]
    settings = ExportSettings(prefix, steps, core, about or "an integer recurrent network", dict(facts or {}))
    check_amounts(items, seed, steps)
    check_program(program)
    exporter.check(program, settings)
    target = Path(folder)
    check_target(target, force)
    least = program.graph.least_steps
    if steps is not None and steps < least:
        raise BittailorError(f"the network drops the first {least - 1} steps of a sequence, so the longest one has "
                             f"{least} or more; got {steps} steps")
    samples = _samples(program, steps, x, lengths, items, seed)
    written = write_export(program, target, force, exporter, settings, samples)
    return Exported(target, written, exporter.summary(target, written))


def _samples(
    program: Program, steps: int | None, x: ArrayLike | None, lengths: ArrayLike | None, items: int, seed: int
) -> Samples:
    """Inputs for the self-test, cut to the longest sequence."""
    if x is None:
        (low, high), rng = program.input_range, np.random.default_rng(seed)
        features = program.graph.sites[program.graph.inputs[0]].features
        least = program.graph.least_steps
        most = RANDOM_STEPS + least - 1
        most = min(most, steps or most)
        q = rng.integers(low, high + 1, (items, most, features))
        sizes = np.append(most, rng.integers(least, most + 1, items - 1))
        return Samples(q, sizes, f"The inputs are random integers, seed {seed}.")
    values = np.asarray(x)[:items]
    given = None if lengths is None else np.asarray(lengths)[:items]
    q, sizes = check_integers(program, program.quantise_input(values), given)
    if steps is not None:
        q, sizes = q[:, :steps], np.minimum(sizes, steps)
    return Samples(q, sizes, f"The inputs are {len(q)} real item{'s' * (len(q) > 1)}.")


__all__ = ["EXPORTERS", "Exported", "Exporter", "check_files", "export_program", "fingerprint", "read_export"]
