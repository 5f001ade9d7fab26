"""from_onnx from end to end: load the file, read its graph, compare with the file run by onnxruntime."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bittailor.core.network import Network
from bittailor.errors import FileError, UnsupportedNetwork
from bittailor.read.embedding import INDEX_LAYOUTS
from bittailor.read.finishing import compare, pruned
from bittailor.read.folding import fold
from bittailor.read.joining import Output, joined
from bittailor.read.onnx.loading import Input, Model, Node, load
from bittailor.read.onnx.reader import Reader, is_lengths
from bittailor.read.onnx.recurrent import KINDS, written_wrongly
from bittailor.read.onnx.running import Probe, check_installed, freed, outputs_of, probes
from bittailor.read.symbolic import FEATURES, ITEMS, STEPS, Axes, Tensor, WrongLayout, Zeros

LAYOUTS: dict[int, tuple[Axes, ...]] = {
    3: ((ITEMS, STEPS, FEATURES), (STEPS, ITEMS, FEATURES), (ITEMS, FEATURES, STEPS)), 2: ((ITEMS, STEPS),)}
"""Axes of the sequence -> what they may mean, in the order in which they are tried; two are of one feature."""
_TOLERANCE = 1e-4
"""Of what onnxruntime computes in float32, its own sigmoid and tanh among it."""


def read(path: Path | str, input_features: int | None = None) -> Network:
    """See `bittailor.read.from_onnx`."""
    check_installed()
    model = load(path)
    name = Path(path).name
    try:
        _refuse_loops(model)
        sequence = _sequence(model)
        network, reader, outs = _read(model, sequence, input_features)
        _warn(model, reader, name)
        cases = probes(model, sequence, reader.layout, network.features, _rows(model, sequence) or 1,
                       network.graph.least_steps)
        for case, found in zip(cases, _run(model, cases, name), strict=True):
            _compare(network, case, outs, found)
        if said := _elsewhere(model, sequence, reader, network, outs):
            warnings.warn(f"{name}: {said}", stacklevel=3)
    except UnsupportedNetwork as error:
        raise UnsupportedNetwork(f"{name}: {error}") from None
    return network


def _elsewhere(model: Model, sequence: Input, reader: Reader, network: Network, outs: list[Output]) -> str:
    """What is to be said of a file that fixes its number of steps: whether what was read agrees on another number."""
    other = freed(model, sequence, reader.layout)
    if other is None:
        return ""
    steps = sequence.axes[reader.layout.index(STEPS)]
    fixed = f"it fixes its number of steps, {steps}, so what was read was compared on that alone"
    cases = probes(*other, reader.layout, network.features, _rows(model, sequence) or 1, network.graph.least_steps + 4)
    try:
        for case, found in zip(cases, outputs_of(other[0], cases, "it"), strict=True):
            _compare(network, case, outs, found)
    except FileError:
        return f"{fixed}; with another the file does not run"
    except UnsupportedNetwork:
        return f"{fixed}; with another the file computes something else"
    return ""


def _compare(network: Network, case: Probe, outs: list[Output], found: dict[str, Any]) -> None:
    start = 0
    for out in outs:
        columns = slice(start, start + out.tensor.features)
        start = columns.stop
        what = compare(network, case.x, case.lengths, out.tensor, found[str(out.key)], _TOLERANCE, columns)
        if what:
            raise UnsupportedNetwork(_differs(what, bool((case.lengths == case.x.shape[1]).all())))


def _run(model: Model, cases: list[Probe], name: str) -> list[dict[str, Any]]:
    try:
        return outputs_of(model, cases, name)
    except FileError as error:
        raise UnsupportedNetwork(f"the file itself does not run: {error}") from None


def _sequence(model: Model) -> Input:
    """The input that holds the sequence: the first of real numbers, or else of indices."""
    found = next((each for each in model.inputs if not each.whole), None)
    if found is None:
        found = next((each for each in model.inputs if len(each.axes) == 2), None)
        if found is None:
            raise UnsupportedNetwork("it has no input of real numbers, and none of indices [items, steps]")
    elif len(found.axes) not in LAYOUTS:
        raise UnsupportedNetwork(f"its input '{found.name}' has {len(found.axes)} axes; expected [items, steps, "
                                 "features], [steps, items, features], [items, features, steps] or [items, steps]")
    lengths = [each.name for each in model.inputs if is_lengths(each)]
    if len(lengths) > 1:
        raise UnsupportedNetwork(f"several inputs could be lengths: {', '.join(lengths)}; one can be read")
    return found


def _read(model: Model, sequence: Input, features: int | None) -> tuple[Network, Reader, list[Output]]:
    refusals = list[UnsupportedNetwork]()
    for layout in INDEX_LAYOUTS if sequence.whole else LAYOUTS[len(sequence.axes)]:
        size = _features(model, sequence, layout, features)
        if size is None:
            continue
        reader = Reader(model, sequence, layout, size)
        try:
            outs = _outputs(reader)
            break
        except UnsupportedNetwork as error:
            refusals.append(error)
    else:
        # what stops it in another layout than its own says little; what is no matter of layouts is the reason
        raise next((error for error in refusals if not isinstance(error, WrongLayout)), [*refusals, _open(sequence)][0])
    site = joined(reader, outs)
    return Network(*fold(*pruned(reader.builder.graph(site), reader.parameters))), reader, outs


def _features(model: Model, sequence: Input, layout: Axes, given: int | None) -> int | None:
    """Features of a step, or indices of a table; None where the file leaves them open or fixes others."""
    if sequence.whole:
        return _rows(model, sequence)
    size = sequence.axes[layout.index(FEATURES)] if FEATURES in layout else 1
    if given is not None:
        return given if not isinstance(size, int) or size == given else None
    return size if isinstance(size, int) else None


def _open(sequence: Input) -> UnsupportedNetwork:
    if sequence.whole:
        return UnsupportedNetwork(f"its input '{sequence.name}' holds indices, and no table is looked up with it")
    return UnsupportedNetwork(f"its input '{sequence.name}' {list(sequence.axes)} does not say how many features a "
                              "step has, or has others; give them: from_onnx(path, input_features=…)")


def _rows(model: Model, sequence: Input) -> int | None:
    """How many indices there are: the rows of the table that they are looked up in."""
    names = {sequence.name}
    for node in model.nodes:
        if node.op in ("Cast", "Identity", "Transpose") and node.inputs[0] in names:
            names.update(node.outputs)
        if node.op == "Gather" and len(node.inputs) > 1 and node.inputs[1] in names:
            table = model.constants.get(node.inputs[0])
            return len(table) if table is not None and table.ndim == 2 else None
    return None


def _outputs(reader: Reader) -> list[Output]:
    """The outputs that are no final states, or the first."""
    found = {name: reader.value(name) for name in reader.model.outputs}
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise UnsupportedNetwork(f"its output '{name}' is no value of the sequence")
    values = [name for name, value in found.items() if not all(ref.pick for ref in value.each())] or list(found)[:1]
    outs = [Output(reader.output_name(name), name, found[name]) for name in values]
    for out in outs:
        if (count := len(out.tensor.each())) > 1:
            raise UnsupportedNetwork(f"its output '{out.key}' is {count} final states of a layer at once; pick one")
    if len(outs) == 1 and outs[0].tensor.each() == reader.input.each():
        raise UnsupportedNetwork("it returns its input and computes nothing")
    return outs


def _refuse_loops(model: Model) -> None:
    """Unrolled loops, by the number of times that one matrix meets another step."""
    if any(node.op in KINDS for node in model.nodes):
        return
    used = Counter(name for node in model.nodes if node.op in ("MatMul", "Gemm") for name in node.inputs[1:2])
    most = max(used.values(), default=0)
    if most > 1:
        raise UnsupportedNetwork(
            f"it has no recurrent node, and one matrix is used {most} times: a loop over {most} steps that the "
            "exporter unrolled, so the file is for that many steps only\n"
            "  export the layer (nn.GRU, nn.LSTM) in place of the loop over cells; of Keras give the model itself: "
            "bt.from_keras(model)")


def _warn(model: Model, reader: Reader, name: str) -> None:
    read = {name for node in model.nodes for name in node.inputs}
    states = [each.name for each in model.inputs if each.name in read and isinstance(reader.values[each.name], Zeros)]
    if states:
        warnings.warn(f"{name}: its input {', '.join(states)} is read as a state that starts at zero; a program "
                      "carries its states by itself", stacklevel=4)
    producer = f"{model.proto.producer_name} {model.proto.producer_version}".strip()
    nodes = [node for node in _recurrent_nodes(model)
             if written_wrongly(model.proto.producer_name, node, _bias(reader, node))]
    if nodes:
        warnings.warn(
            f"{name}: {nodes[0].text} says linear_before_reset=0, which PyTorch has no layer for; {producer} wrote "
            "that by mistake for some months (github.com/microsoft/onnxscript/issues/2852). It is read as the file "
            "says: compare with your module, or export it again with onnxscript 0.7 or newer", stacklevel=4)


def _bias(reader: Reader, node: Node) -> Any:
    return reader.value(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else None


def _recurrent_nodes(model: Model) -> Iterator[Node]:
    return (node for node in model.nodes if node.op in KINDS)


def _differs(what: str, full: bool) -> str:
    if full:
        return f"what was read {what} in onnxruntime on random data"
    return (f"with sequences of different lengths what was read {what} in onnxruntime: a network sees valid steps "
            "only; give every recurrent node the lengths (sequence_lens), and pick the last step by them")
