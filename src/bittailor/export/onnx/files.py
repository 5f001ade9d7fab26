"""A program's ONNX files, as bytes: the graphs of `layout` with their inputs, outputs and what viewers show."""

from __future__ import annotations

import json

from onnx import ValueInfoProto

from bittailor._version import __version__
from bittailor.core.ops.forms import Packed
from bittailor.core.program import Program
from bittailor.engines.streaming import Carried, carried
from bittailor.export.base import fingerprint
from bittailor.export.onnx.layout import LENGTHS, Run, Step, next_name, words
from bittailor.export.onnx.writer import model_bytes, tensor
from bittailor.export.plain import carried_kind


def run_model(program: Program, about: str) -> bytes:
    """run.onnx: int32 [items, steps, features] and int64 lengths [items] to int32 outputs."""
    graph, layout = program.graph, Run(program)
    layout.write()
    (source,), (output,) = graph.inputs, graph.outputs
    site = graph.sites[output]
    shape: list[int | str] = ["items", "steps", site.features] if site.sequence else ["items", site.features]
    inputs = [tensor(source, "int32", ["items", "steps", graph.sites[source].features], words(program, source)),
              tensor(LENGTHS, "int64", ["items"], "valid steps of each item, 1..steps")]
    outputs = [tensor(output, "int32", shape, words(program, output))]
    return model_bytes("run", layout.w, inputs, outputs, about, __version__, metadata(program))


def step_model(program: Program, about: str) -> bytes:
    """step.onnx: int32 [items, features] and what is carried, to int32 outputs and what is carried on."""
    graph, layout = program.graph, Step(program)
    layout.write()
    (source,), (output,) = graph.inputs, graph.outputs
    things = carried(program)
    inputs = [tensor(source, "int32", ["items", graph.sites[source].features], words(program, source)),
              *(_carried(item, item.name) for item in things)]
    outputs = [tensor(output, "int32", ["items", graph.sites[output].features], words(program, output)),
               *(_carried(item, next_name(item.name)) for item in things)]
    return model_bytes("step", layout.w, inputs, outputs, about, __version__, metadata(program))


def _carried(item: Carried, name: str) -> ValueInfoProto:
    return tensor(name, carried_kind(item), ["items", item.features], f"starts at {item.start}")


def metadata(program: Program) -> dict[str, str]:
    """What a viewer shows of the model: its program, and the format of every site."""
    widths = {node.params[0]: part.bits for node in program.graph.nodes()
              for role, part in program.constants[node.output].parts().items()
              if role == "W" and isinstance(part, Packed)}
    formats = {name: {"bits": f.bits, "scale": f.scale[0], "zero_point": f.zero_point}
               for name, f in program.formats.items()}
    return {"bittailor.program": fingerprint(program), "bittailor.formats": json.dumps(formats),
            "bittailor.weight_bits": json.dumps(widths)}
