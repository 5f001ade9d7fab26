"""A program and what it gives, as plain files: for people who write a runtime of their own, in any language."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bittailor.common.files import write_whole
from bittailor.common.records import whole
from bittailor.core.arith import Ints
from bittailor.core.program import Program
from bittailor.engines import ENGINES, Reference
from bittailor.engines.streaming import STEPS, SUM, Carried, carried, needs_the_end
from bittailor.export.base import PROGRAM_FILE, Exporter, ExportSettings, Samples, fingerprint
from bittailor.export.folder import ExportForm
from bittailor.export.template import fill

GOLDEN_FILE = "golden.json"


def carried_kind(item: Carried) -> str:
    """The integer type that holds something that is carried: sums and counts are 64 bits."""
    return "int64" if item.name == STEPS or item.name.endswith(SUM) else "int32"


def golden_json(program: Program, samples: Samples) -> str:
    """Golden vectors from the reference engine, one JSON object (docs/program.md says what is in it)."""
    reference = ENGINES["reference"]
    assert isinstance(reference, Reference)
    sizes = samples.lengths.tolist()
    y = reference.run(program, samples.q, samples.lengths)
    sites = reference.trace(program, samples.q[:1, : sizes[0]])
    late = program.graph.late[program.graph.outputs[0]]
    rows = {
        "kind": "bittailor golden", "version": 1, "program": fingerprint(program), "words": samples.words,
        "input": program.graph.inputs[0], "output": program.graph.outputs[0],
        "carried": {} if needs_the_end(program.graph) else {item.name: _start(item) for item in carried(program)},
        "x": [_rows(samples.q[i, :n]) for i, n in enumerate(sizes)],
        "y": [_rows(y[i, : n - late] if y.ndim == 3 else y[i]) for i, n in enumerate(sizes)],
        "sites_of_the_first": {name: _rows(values[0]) for name, values in sites.items()},
    }
    body = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in rows.items())
    return "{" + body + "}\n"


def _start(item: Carried) -> int | list[int]:
    """One number where every feature starts at the same."""
    return item.start[0] if len(set(item.start)) == 1 else list(item.start)


def _rows(values: Ints) -> Any:
    return np.asarray(values).tolist()


@dataclass(frozen=True, kw_only=True)
class PlainForm(ExportForm):
    """export.json of a plain program: the bytes of its file, and how many items the golden vectors have."""

    bytes: int
    items: int

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.bytes, "bytes")
        whole(self.items, "items", 1)


class PlainExporter(Exporter):
    """The program file and golden vectors."""

    name = "program"
    form = PlainForm
    title = "the program file and golden vectors, for a runtime of your own"

    def check(self, program: Program, settings: ExportSettings) -> None:
        """Every program can be written."""

    def write(self, program: Program, folder: Path, settings: ExportSettings, samples: Samples) -> dict[str, Any]:
        program.save(folder / PROGRAM_FILE)
        write_whole(folder / GOLDEN_FILE, golden_json(program, samples).encode())
        write_whole(folder / "README.md", fill("program.md", about=settings.about, words=samples.words).encode())
        return {"bytes": (folder / PROGRAM_FILE).stat().st_size, "items": len(samples.q)}

    def summary(self, folder: Path, facts: Mapping[str, Any]) -> str:
        return (f"{folder}: the program in {facts['bytes']} bytes, golden vectors of {facts['items']} items\n"
                f"next:  read docs/program.md, or bittailor export {folder / PROGRAM_FILE} DIR --to c")
