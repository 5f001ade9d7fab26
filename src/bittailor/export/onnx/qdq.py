"""The float network with the found widths, as ONNX with QDQ nodes: for the compiler of an NPU. Not bit exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bittailor._version import __version__
from bittailor.common.files import write_whole
from bittailor.common.records import whole
from bittailor.core.program import Program
from bittailor.engines.streaming import carried, needs_the_end
from bittailor.errors import BittailorError
from bittailor.export.base import PROGRAM_FILE, ExportSettings, Samples
from bittailor.export.checking import Checked, items_of, opened, said
from bittailor.export.folder import ExportForm
from bittailor.export.onnx import RUN_FILE, STEP_FILE, OnnxExporter
from bittailor.export.template import fill
from bittailor.export.verify import random_items

TOLERANCE = 0.05
"""How far a file may be from the float network, on average over outputs, as a share of the output's range."""


@dataclass(frozen=True, kw_only=True)
class QdqForm(ExportForm):
    """export.json of such an export: file -> its bytes."""

    bytes: Mapping[str, int]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, size in self.bytes.items():
            whole(size, f"bytes.{name}")


class QdqExporter(OnnxExporter):
    """run.onnx and step.onnx with float inputs and outputs."""

    name = "onnx-qdq"
    form: type[ExportForm] = QdqForm
    title = "ONNX with float operators and QDQ nodes, not bit exact, for compilers of NPUs"

    def check(self, program: Program, settings: ExportSettings) -> None:
        super().check(program, settings)
        import onnx

        from bittailor.export.onnx.qdq_layout import QDQ

        if onnx.defs.onnx_opset_version() < QDQ.opset:
            raise BittailorError(f"QDQ nodes of 16 bits need opset {QDQ.opset}, and onnx {onnx.__version__} is older: "
                                 "pip install 'onnx>=1.16'")

    def write(self, program: Program, folder: Path, settings: ExportSettings, samples: Samples) -> dict[str, Any]:
        from bittailor.export.onnx.files import run_model, step_model
        from bittailor.export.onnx.qdq_layout import QDQ, FloatRun, FloatStep

        models = {RUN_FILE: run_model(program, settings.about, FloatRun, QDQ)}
        if not needs_the_end(program.graph):
            models[STEP_FILE] = step_model(program, settings.about, FloatStep, QDQ)
        for name, data in models.items():
            write_whole(folder / name, data)
        program.save(folder / PROGRAM_FILE)
        write_whole(folder / "README.md", _readme(program, settings).encode())
        return {"bytes": {name: len(data) for name, data in models.items()}}

    def summary(self, folder: Path, facts: Mapping[str, Any]) -> str:
        return f"not bit exact: --to onnx is\n{super().summary(folder, facts)}"


def _readme(program: Program, settings: ExportSettings) -> str:
    graph = program.graph
    (source,), (output,) = graph.inputs, graph.outputs
    site, features = graph.sites[output], graph.sites[source].features
    from bittailor.export.onnx.floats import start_words

    step = "" if needs_the_end(graph) else (
        f"| `step.onnx` | `{source}` float32 [items, {features}] and what is carried: "
        + ", ".join(f"`{item.name}` (starts at {start_words(program, item)})" for item in carried(program))
        + f" | `{output}` float32 [items, {site.features}], and the same as `….next` |\n")
    steps = f"steps - {graph.late[output]}" if graph.late[output] else "steps"
    return fill(
        "onnx_qdq.md", about=settings.about, version=__version__, input=source, output=output, features=features,
        shape=f"[items, {steps}, {site.features}]" if site.sequence else f"[items, {site.features}]", step=step)


def verify_qdq(
    folder: Path | str, items: int, seed: int = 0, x: ArrayLike | None = None, lengths: ArrayLike | None = None
) -> Checked:
    """Compare an exported directory in onnxruntime with the float network rounded to the program's formats.

    It cannot be verified bit for bit: what differs has to stay within `TOLERANCE`. Arguments are those of
    `export.onnx.verify.verify_onnx`.
    """
    from bittailor.export.onnx.floats import fake_quantised
    from bittailor.export.onnx.running import check_runtime, load

    facts, program = opened(folder, QdqExporter)
    version, (source,), (output,) = check_runtime(), program.graph.inputs, program.graph.outputs
    q, sizes = random_items(program, items, None, seed) if x is None else items_of(program, items, x, lengths)
    real, fmt = program.input_format.dequantise(q), program.output_format

    def close() -> str | None:
        session = load(Path(folder), RUN_FILE)
        got = session({source: real.astype(np.float32), "lengths": sizes.astype(np.int64)})[output]
        want = fake_quantised(program, real, sizes)
        if got.shape != want.shape:
            return f"shape {got.shape}, expected {want.shape}"
        away = float(np.abs(got - want).mean()) / (fmt.high - fmt.low)
        # so that NaN is a problem, too
        return None if away <= TOLERANCE else f"{away:.1%} of the output's range away, on average"

    what = f"{RUN_FILE}, not bit for bit: within {TOLERANCE:.0%} of the output's range of the float network, on average"
    return Checked(facts, f"onnxruntime {version}", f"{len(q)} {'random' if x is None else 'real'} items",
                   {what: said(close)})
