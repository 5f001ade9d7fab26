"""Exported ONNX in onnxruntime: whole sequences, one frame after the other, and every site of a run."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.common.files import read_bytes
from bittailor.core.arith import Ints
from bittailor.core.graph import Recurrence
from bittailor.core.program import Program
from bittailor.engines.streaming import carried, start
from bittailor.errors import BittailorError, FileError
from bittailor.export.plain import carried_kind

MISSING = "running ONNX files needs onnxruntime, and it is not installed: pip install 'bittailor[onnx]'"


def check_runtime() -> str:
    """onnxruntime's version; BittailorError, one line, where it or onnx is missing."""
    for name in ("onnxruntime", "onnx"):
        if find_spec(name) is None:
            raise BittailorError(MISSING.replace("onnxruntime", name, 1))
    import onnxruntime

    return str(onnxruntime.__version__)


class Session:
    """A model in onnxruntime's CPU provider; `threads` 0 for as many as it likes. FileError for what it cannot load."""

    def __init__(self, model: bytes, name: str = "the model", threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of its own for every kind, all of them Exceptions
            raise FileError(f"onnxruntime cannot load {name}: {_line(error)}") from None
        self.name = name
        self.inputs = [node.name for node in self._session.get_inputs()]
        self.outputs = [node.name for node in self._session.get_outputs()]

    def __call__(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Name -> value of every output. FileError where the model does not run."""
        try:
            return dict(zip(self.outputs, self._session.run(None, feeds), strict=True))
        except Exception as error:
            raise FileError(f"onnxruntime cannot run {self.name}: {_line(error)}") from None


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]


def run(session: Session, program: Program, q: Ints, lengths: Ints) -> Ints:
    """The outputs of whole sequences, as an engine gives them."""
    feeds: dict[str, NDArray[Any]] = {program.graph.inputs[0]: q.astype(np.int32), "lengths": lengths.astype(np.int64)}
    return session(feeds)[program.graph.outputs[0]].astype(np.int64)


def stepped(session: Session, program: Program, q: Ints) -> Iterator[tuple[Ints, list[Ints]]]:
    """Step by step of sequences of one length: the outputs [items, outputs], and what is carried on."""
    from bittailor.export.onnx.layout import next_name

    things = carried(program)
    state = [value.astype(carried_kind(item)) for item, value in zip(things, start(program, len(q)), strict=True)]
    for t in range(q.shape[1]):
        feeds = {item.name: value for item, value in zip(things, state, strict=True)}
        found = session({program.graph.inputs[0]: q[:, t].astype(np.int32), **feeds})
        state = [found[next_name(item.name)] for item in things]
        yield found[program.graph.outputs[0]].astype(np.int64), [value.astype(np.int64) for value in state]


def debug_model(model: bytes, program: Program, name: str = "the model") -> bytes:
    """run.onnx with more outputs: every operator's value, those of loops too."""
    import onnx

    from bittailor.export.onnx.layout import LOOP, LOOPED, WHOLE
    from bittailor.export.onnx.writer import tensor

    try:
        proto = onnx.load_from_string(model)
    except Exception as error:  # protobuf's, which this project does not import
        raise FileError(f"{name} is no ONNX file: {_line(error)}") from None
    for scan in (node for node in proto.graph.node if node.op_type == "Scan"):
        body = next(a.g for a in scan.attribute if a.name == "body")
        shown = {output.name for output in body.output}
        made = [node.output[0] for node in body.node if node.output[0].endswith(LOOP)]
        for value in made:
            site = value.removesuffix(LOOP)
            if value not in shown and site in program.graph.sites:
                body.output.append(tensor(value, "int32", ["items", program.graph.sites[site].features]))
                scan.output.append(site + LOOPED)
    have = {value for node in proto.graph.node for value in node.output}
    given = {output.name for output in proto.graph.output}
    for node in program.graph.nodes():
        features = program.graph.sites[node.output].features
        for value, rank in ((node.output + LOOPED, 3), (node.output + WHOLE, 3), (node.output, 2)):
            if value in have and value not in given:
                proto.graph.output.append(tensor(value, "int32", [*["steps", "items"][3 - rank:], features]))
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def traced(session: Session, program: Program, q: Ints, lengths: Ints) -> dict[str, Ints]:
    """Every site as `Reference.trace` gives it, from a session of a `debug_model`. KeyError for one it lacks."""
    from bittailor.export.onnx.layout import LOOPED, WHOLE

    found = session({program.graph.inputs[0]: q.astype(np.int32), "lengths": lengths.astype(np.int64)})
    backwards = {node.output for step in program.graph.steps if isinstance(step, Recurrence) and step.reverse
                 for node in step.nodes}
    sites = {}
    for node in program.graph.nodes():
        name = node.output
        if name + LOOPED in found:
            own = lengths - program.graph.late[name]
            value = _in_order(found[name + LOOPED].swapaxes(0, 1), own, name in backwards)
        elif name + WHOLE in found:
            value = found[name + WHOLE].swapaxes(0, 1)
        else:
            value = found[name]
        value = value.astype(np.int64)
        if program.graph.sites[name].sequence and value.ndim == 3:
            own = lengths[:, None] - program.graph.late[name]
            value[np.arange(value.shape[1]) >= own] = program.formats[name].zero_point
        sites[name] = value
    return sites


def _in_order(value: NDArray[Any], lengths: Ints, reverse: bool) -> NDArray[Any]:
    """[items, steps, features] of a reversed layer in the order of the input."""
    if not reverse:
        return value
    steps = np.arange(value.shape[1])
    at = np.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return value[np.arange(len(value))[:, None], at]


def load(folder: Path, name: str) -> Session:
    """A session of a file of an exported folder."""
    return Session(read_bytes(folder / name), str(folder / name))
