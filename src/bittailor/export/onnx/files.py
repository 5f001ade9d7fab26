"""A program's ONNX files, as bytes: the graphs of `layout` with their inputs, outputs and what viewers show."""

from __future__ import annotations

import json

from bittailor._version import __version__
from bittailor.core.ops.forms import Packed
from bittailor.core.program import Program
from bittailor.engines.streaming import carried
from bittailor.export.base import fingerprint
from bittailor.export.onnx.layout import LENGTHS, Run, Step, next_name, words
from bittailor.export.onnx.writer import INTEGERS, Standard, model_bytes, tensor


def run_model(program: Program, about: str, layout: type[Run] = Run, standard: Standard = INTEGERS) -> bytes:
    """run.onnx: sites [items, steps, features] and int64 lengths [items] to outputs."""
    graph, made = program.graph, layout(program)
    made.write()
    (source,), (output,) = graph.inputs, graph.outputs
    site = graph.sites[output]
    steps = "steps_left" if graph.late[output] else "steps"
    shape: list[int | str] = ["items", steps, site.features] if site.sequence else ["items", site.features]
    inputs = [tensor(source, made.kind, ["items", "steps", graph.sites[source].features], words(program, source)),
              tensor(LENGTHS, "int64", ["items"], f"valid steps of each item, {graph.least_steps}..steps")]
    outputs = [tensor(output, made.kind, shape, words(program, output))]
    return model_bytes("run", made.w, inputs, outputs, about, __version__, metadata(program), standard)


def step_model(program: Program, about: str, layout: type[Step] = Step, standard: Standard = INTEGERS) -> bytes:
    """step.onnx: [items, features] and what is carried, to outputs and what is carried on."""
    graph, made = program.graph, layout(program)
    made.write()
    (source,), (output,) = graph.inputs, graph.outputs
    things = carried(program)
    inputs = [tensor(source, made.kind, ["items", graph.sites[source].features], words(program, source)),
              *(made.carried_tensor(item, item.name) for item in things)]
    outputs = [tensor(output, made.kind, ["items", graph.sites[output].features], words(program, output)),
               *(made.carried_tensor(item, next_name(item.name)) for item in things)]
    return model_bytes("step", made.w, inputs, outputs, about, __version__, metadata(program), standard)


def metadata(program: Program) -> dict[str, str]:
    """What a viewer shows of the model: its program, and the format of every site."""
    widths = {node.params[0]: part.bits for node in program.graph.nodes()
              for role, part in program.constants[node.output].parts().items()
              if role == "W" and isinstance(part, Packed)}
    formats = {name: {"bits": f.bits, "scale": f.scale[0], "zero_point": f.zero_point}
               for name, f in program.formats.items()}
    return {"bittailor.program": fingerprint(program), "bittailor.formats": json.dumps(formats),
            "bittailor.weight_bits": json.dumps(widths)}
