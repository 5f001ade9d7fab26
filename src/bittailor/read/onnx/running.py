"""The file itself, run: by onnxruntime, with inputs that the reader's network is compared on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from bittailor.core.arith import Floats
from bittailor.errors import BittailorError, UnsupportedNetwork
from bittailor.export.onnx.running import MISSING, Session
from bittailor.read.onnx.loading import Input, Model
from bittailor.read.onnx.reader import is_lengths
from bittailor.read.symbolic import FEATURES, ITEMS, STEPS, Axes

PROBE_LENGTHS = (7, 4, 1)
"""Of the items that a file is run on whose numbers of items and steps are free."""
MOST_FED = 2**24
"""Values of an input, at most, that a file is run on: what it makes of them takes many times their room."""


@dataclass(frozen=True, eq=False)
class Probe:
    """What a file and the network read from it are both given.

    x        [items, steps, features]
    lengths  [items]
    feeds    the file's inputs
    """

    x: Floats
    lengths: NDArray[np.int64]
    feeds: dict[str, NDArray[Any]]


def probes(model: Model, sequence: Input, layout: Axes, features: int, rows: int, least: int = 1) -> list[Probe]:
    """Random sequences: of full length and, where the file takes lengths, of different ones, `least` steps or more; of
    indices below `rows`, where the file takes them."""
    fixed = {axis: size for axis, size in zip(layout, sequence.axes, strict=True) if isinstance(size, int)}
    count, steps = fixed.get(ITEMS, len(PROBE_LENGTHS)), fixed.get(STEPS, max(PROBE_LENGTHS) + least - 1)
    if count * steps * features > MOST_FED:
        raise UnsupportedNetwork(f"its input is fixed at {count:,} items of {steps:,} steps and {features:,} features, "
                                 "too much to run it and compare; export it with these numbers left open")
    rng = np.random.default_rng(0)
    ragged = np.array([max(least, steps * PROBE_LENGTHS[i % 3] // max(PROBE_LENGTHS)) for i in range(count)])
    takes = any(is_lengths(each) for each in model.inputs)
    x = rng.normal(size=(count, steps, features))
    if sequence.whole:
        x = rng.integers(0, rows, (count, steps, 1)).astype(np.float64)
    return [_probe(model, sequence, layout, x, lengths)
            for lengths in [np.full(count, steps), *([ragged] if takes else [])]]


def freed(model: Model, sequence: Input, layout: Axes) -> tuple[Model, Input] | None:
    """The model with its number of steps left open, where it fixes one; None where it does not. Whether it runs on
    another number is for the runtime to say: the nodes stay as they are."""
    place = layout.index(STEPS)
    if not isinstance(sequence.axes[place], int):
        return None
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for value in proto.graph.input:
        if value.name == sequence.name:
            value.type.tensor_type.shape.dim[place].dim_param = "steps"
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    del proto.graph.value_info[:]
    axes = tuple("steps" if i == place else axis for i, axis in enumerate(sequence.axes))
    opened = replace(sequence, axes=axes)
    inputs = tuple(opened if each is sequence else each for each in model.inputs)
    return replace(model, proto=proto, inputs=inputs), opened


def _probe(model: Model, sequence: Input, layout: Axes, x: Floats, lengths: NDArray[np.int64]) -> Probe:
    own = (ITEMS, STEPS, FEATURES)
    order = [own.index(axis) for axis in layout]
    kinds = {v.name: helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type) for v in model.proto.graph.input}
    named = {axis: len(x) for axis, place in zip(sequence.axes, layout, strict=True) if place == ITEMS}
    feeds: dict[str, NDArray[Any]] = {}
    for each in model.inputs:
        value: NDArray[Any] = (x if FEATURES in layout else x[:, :, 0]).transpose(order)
        if each is not sequence:
            value = lengths if is_lengths(each) else np.zeros([
                axis if isinstance(axis, int) else named.get(axis, len(x)) for axis in each.axes])
        feeds[each.name] = value.astype(kinds[each.name])
    return Probe(x, lengths, feeds)


def check_installed() -> None:
    """BittailorError, in one line, where onnxruntime is missing and so nothing could be checked."""
    if find_spec("onnxruntime") is None:
        raise BittailorError(MISSING)


def outputs_of(model: Model, cases: list[Probe], name: str) -> list[dict[str, NDArray[Any]]]:
    """What the file gives for each probe; FileError where it does not run."""
    session = Session(_items_second(model.proto).SerializeToString(), name, threads=1)
    return [session(case.feeds) for case in cases]


def _items_second(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with recurrent nodes of layout 1, which onnxruntime does not load, as layout 0 between transposes."""
    if not any(a.name == "layout" and a.i for node in proto.graph.node for a in node.attribute):
        return proto
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    nodes = list(changed.graph.node)
    del changed.graph.node[:]
    for i, node in enumerate(nodes):
        layout = next((a for a in node.attribute if a.name == "layout" and a.i), None)
        if layout is None or node.op_type not in ("GRU", "LSTM", "RNN"):
            changed.graph.node.append(node)
            continue
        node.attribute.remove(layout)
        before, after = [], []
        for place, order in ((0, (1, 0, 2)), (5, (1, 0, 2)), (6, (1, 0, 2))):
            if place < len(node.input) and node.input[place]:
                inner = f"items_second_{i}_{place}"
                before.append(helper.make_node("Transpose", [node.input[place]], [inner], perm=order))
                node.input[place] = inner
        for place, back in ((0, (2, 0, 1, 3)), (1, (1, 0, 2)), (2, (1, 0, 2))):
            if place < len(node.output) and node.output[place]:
                inner = f"items_first_{i}_{place}"
                after.append(helper.make_node("Transpose", [inner], [node.output[place]], perm=back))
                node.output[place] = inner
        changed.graph.node.extend([*before, node, *after])
    return changed
