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
from bittailor.read.onnx.loading import Input, Model, Node, load
from bittailor.read.onnx.reader import Reader, is_lengths
from bittailor.read.onnx.recurrent import KINDS, written_wrongly
from bittailor.read.onnx.running import Probe, check_installed, outputs_of, probes
from bittailor.read.symbolic import FEATURES, ITEMS, STEPS, Axes, Tensor, WrongLayout

LAYOUTS: tuple[Axes, ...] = ((ITEMS, STEPS, FEATURES), (STEPS, ITEMS, FEATURES))
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
        network, reader, out, output = _read(model, sequence, input_features)
        _warn(model, reader, name)
        cases = probes(model, sequence, reader.layout, network.features, _rows(model, sequence) or 1)
        for case, found in zip(cases, _run(model, cases, name), strict=True):
            what = compare(network, case.x, case.lengths, out, found[output], _TOLERANCE)
            if what:
                raise UnsupportedNetwork(_differs(what, bool((case.lengths == case.x.shape[1]).all())))
    except UnsupportedNetwork as error:
        raise UnsupportedNetwork(f"{name}: {error}") from None
    return network


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
    elif len(found.axes) != 3:
        raise UnsupportedNetwork(f"its input '{found.name}' has {len(found.axes)} axes; expected [items, steps, "
                                 "features] or [steps, items, features]")
    lengths = [each.name for each in model.inputs if is_lengths(each)]
    if len(lengths) > 1:
        raise UnsupportedNetwork(f"several inputs could be lengths: {', '.join(lengths)}; one can be read")
    return found


def _read(model: Model, sequence: Input, features: int | None) -> tuple[Network, Reader, Tensor, str]:
    layouts = INDEX_LAYOUTS if sequence.whole else LAYOUTS
    for layout in layouts:
        size: Any = _rows(model, sequence) if sequence.whole else features
        if size is None and not sequence.whole:
            size = sequence.axes[layout.index(FEATURES)]
        if not isinstance(size, int):
            if sequence.whole:
                raise UnsupportedNetwork(f"its input '{sequence.name}' holds indices, and no table is looked up with "
                                         "it")
            raise UnsupportedNetwork(f"its input '{sequence.name}' does not say how many features a step has; give it: "
                                     "from_onnx(path, input_features=…)")
        reader = Reader(model, sequence, layout, size)
        try:
            name, out = _output(reader)
        except WrongLayout:
            if layout == layouts[-1]:
                raise
            continue
        break
    site = reader.site(Tensor(out.axes, out.features, out.sites))
    return Network(*fold(*pruned(reader.builder.graph(site), reader.parameters))), reader, out, name


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


def _output(reader: Reader) -> tuple[str, Tensor]:
    """The one output that is no final state, or the first."""
    found = {name: reader.value(name) for name in reader.model.outputs}
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise UnsupportedNetwork(f"its output '{name}' is no value of the sequence")
    values = [name for name, value in found.items() if not all(ref.pick for ref in value.each())]
    if len(values) > 1:
        raise UnsupportedNetwork(f"it has several outputs: {', '.join(values)}; one can be read, and final states "
                                 "beside it are left away")
    name = (values or list(found))[0]
    out = found[name]
    if len(out.each()) > 1:
        raise UnsupportedNetwork(f"its output '{name}' is {len(out.each())} final states of a layer at once; pick one")
    if out.each() == reader.input.each():
        raise UnsupportedNetwork("it returns its input and computes nothing")
    return name, out


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
