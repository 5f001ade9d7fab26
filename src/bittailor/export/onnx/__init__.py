"""The ONNX exporter: the same integers in onnxruntime. The library is loaded when something is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bittailor._version import __version__
from bittailor.common.files import write_whole
from bittailor.common.records import whole
from bittailor.core.program import Program
from bittailor.engines.streaming import carried, needs_the_end
from bittailor.errors import BittailorError
from bittailor.export.base import PROGRAM_FILE, Exporter, ExportSettings, Samples
from bittailor.export.folder import ExportForm
from bittailor.export.plain import GOLDEN_FILE, golden_json
from bittailor.export.template import fill

RUN_FILE, STEP_FILE = "run.onnx", "step.onnx"


@dataclass(frozen=True, kw_only=True)
class OnnxForm(ExportForm):
    """export.json of an ONNX export: file -> its bytes, and how many items the golden vectors have."""

    bytes: Mapping[str, int]
    items: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, size in self.bytes.items():
            whole(size, f"bytes.{name}")
        whole(self.items, "items", 1)


class OnnxExporter(Exporter):
    """run.onnx for whole sequences and, where no layer runs backwards, step.onnx for one frame."""

    name = "onnx"
    form: type[ExportForm] = OnnxForm
    title = "ONNX with the same bits in onnxruntime"

    def check(self, program: Program, settings: ExportSettings) -> None:
        if find_spec("onnx") is None:
            raise BittailorError("the ONNX exporter needs onnx, and it is not installed: pip install 'bittailor[onnx]'")

    def write(self, program: Program, folder: Path, settings: ExportSettings, samples: Samples) -> dict[str, Any]:
        from bittailor.export.onnx.files import run_model, step_model

        models = {RUN_FILE: run_model(program, settings.about)}
        if not needs_the_end(program.graph):
            models[STEP_FILE] = step_model(program, settings.about)
        for name, data in models.items():
            write_whole(folder / name, data)
        program.save(folder / PROGRAM_FILE)
        write_whole(folder / GOLDEN_FILE, golden_json(program, samples).encode())
        write_whole(folder / "README.md", _readme(program, settings, samples).encode())
        return {"bytes": {name: len(data) for name, data in models.items()}, "items": len(samples.q)}

    def summary(self, folder: Path, facts: Mapping[str, Any]) -> str:
        sizes = ", ".join(f"{name} {size} bytes" for name, size in facts["bytes"].items())
        return f"{folder}: {sizes}\nnext:  bittailor verify {folder}"


def _readme(program: Program, settings: ExportSettings, samples: Samples) -> str:
    graph, x, y = program.graph, program.input_format, program.output_format
    (source,), (output,) = graph.inputs, graph.outputs
    site, features = graph.sites[output], graph.sites[source].features
    step = "" if needs_the_end(graph) else (
        f"| `step.onnx` | `{source}` int32 [items, {features}] and what is carried: "
        + ", ".join(f"`{item.name}` (starts at {item.words})" for item in carried(program))
        + f" | `{output}` int32 [items, {site.features}], and the same as `….next` |\n")
    steps = f"steps - {graph.late[output]}" if graph.late[output] else "steps"
    return fill(
        "onnx.md", about=settings.about, version=__version__, input=source, output=output, features=features, step=step,
        shape=f"[items, {steps}, {site.features}]" if site.sequence else f"[items, {site.features}]",
        x_scale=repr(x.scale[0]), x_zero=x.zero_point, x_low=x.qmin, x_high=x.qmax,
        y_scale=repr(y.scale[0]), y_zero=y.zero_point, words=samples.words,
    )


__all__ = ["RUN_FILE", "STEP_FILE", "OnnxExporter"]
