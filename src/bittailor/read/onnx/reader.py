"""Reader: turns the nodes of a checked ONNX graph into sites and operators, each when an output needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.core.arith import Floats
from bittailor.errors import UnsupportedNetwork
from bittailor.read.onnx.folding import FOLDED, fold
from bittailor.read.onnx.graphs import GraphWriter
from bittailor.read.onnx.loading import STANDARD, Input, Model, Node, parts
from bittailor.read.onnx.operations import HINTS, OPERATIONS, SUPPORTED, vector
from bittailor.read.onnx.recurrent import KINDS, layers_of
from bittailor.read.onnx.sizes import is_sizes
from bittailor.read.recurrence import Layers, begun, lengths_wanted, numbered, stacked
from bittailor.read.recurrence import is_lengths as is_lengths_of
from bittailor.read.symbolic import (
    FEATURES,
    ITEMS,
    STEPS,
    Axes,
    Axis,
    Constant,
    Refusal,
    SiteRef,
    StepIndex,
    Tensor,
    WrongLayout,
    Zeros,
)

DIRECTIONS: Axis = ("directions",)


class Reader(GraphWriter):
    """Reads one graph, for one assumed layout of its sequence.

    layout    meaning of the axes of the sequence
    features  features of a step; without an axis of features, how many indices there are
    sequence  the input that holds it; whole numbers on one axis are lengths, all others states, which start at zero
    """

    def __init__(self, model: Model, sequence: Input, layout: Axes, features: int) -> None:
        super().__init__({})
        self.model, self.sequence, self.layout = model, sequence, layout
        self.opset = next((o.version for o in model.proto.opset_import if o.domain in STANDARD), 1)
        sizes = [(axis[0], size) for axis, size in zip(layout, sequence.axes, strict=True) if axis != FEATURES]
        fixed = tuple((atom, size) for atom, size in sizes if isinstance(size, int))
        indices = sequence.whole
        site = self.builder.index("input", features) if indices else self.builder.input("input", features)
        self.input = Tensor(layout, 1 if indices else features, ((SiteRef(site),),), fixed=fixed)
        self.values: dict[str, Any] = {"": None, **model.constants}
        for each in model.inputs:
            self.values[each.name] = self._given(each)
        self._made = {name: node for node in model.nodes for name in node.outputs if name}
        self._also = ""

    def _given(self, each: Input) -> Any:
        if each is self.sequence:
            return self.input
        return StepIndex((ITEMS,), 1, fixed=self.input.fixed) if is_lengths(each) else Zeros()

    # -- nodes ---------------------------------------------------------------------------------------------

    def value(self, name: str) -> Any:
        """What a name of the graph stands for; reads what it depends on, and nothing else."""
        needed, stack = set[str](), [name]
        while stack:
            at = stack.pop()
            if at in self.values or at in needed or at not in self._made:
                continue
            needed.add(at)
            stack += self._made[at].inputs
        for node in self.model.nodes:
            if needed.intersection(node.outputs):
                self._read(node)
        return self.values[name]

    def _read(self, node: Node) -> None:
        if all(name in self.values for name in node.outputs if name):
            return
        given = [self.values.get(name) for name in node.inputs]
        self.path = node.path
        try:
            found = self._result(node, given)
        except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
            raise UnsupportedNetwork(f"cannot read {node.text}: its arguments: {error}") from None
        except Refusal as error:
            raise UnsupportedNetwork(f"cannot read {node.text}: {error}") from None
        outputs = found if isinstance(found, tuple) and not is_sizes(found) else (found,)
        for name, value in zip((*node.outputs, self._also) if self._also else node.outputs, outputs * 2, strict=False):
            self.values.setdefault(name, value)
        self._also = ""

    def _result(self, node: Node, given: Sequence[Any]) -> Any:
        if node.op == "Constant":
            return self._constant(node)
        constant = all(value is None or isinstance(value, np.ndarray) for value in given)
        if constant and node.op in FOLDED and given:
            return fold(node, given, self.opset)
        if node.op == "If":
            return self._branch(node, given[0])
        if node.op in KINDS:
            return self._recurrent(node, given)
        if node.op not in OPERATIONS:
            raise Refusal(f"{HINTS.get(node.op, 'there is no operator for it')}\n{SUPPORTED}")
        return OPERATIONS[node.op](self, node, *given)

    def _constant(self, node: Node) -> NDArray[Any]:
        from onnx import numpy_helper

        (name, value), = node.options.items()
        if name == "value":
            return numpy_helper.to_array(value)
        if name in ("value_int", "value_ints", "value_float", "value_floats"):
            return np.array(value, np.int64 if "int" in name else np.float32)
        raise Refusal(f"a constant given as '{name}' cannot be read")

    def _branch(self, node: Node, condition: Any) -> tuple[Any, ...]:
        """The side of a condition on sizes that is the same whatever the data."""
        if not isinstance(condition, np.ndarray) or condition.size != 1:
            raise Refusal(HINTS["If"])
        graph = node.options["then_branch" if condition.reshape(-1)[0] else "else_branch"]
        nodes, constants = parts(graph)
        self.values |= {name: value for name, value in constants.items() if name not in self.values}
        for each in nodes:
            self._read(each)
        return tuple(self.values[output.name] for output in graph.output)

    def number(self, tensor: Any) -> float:
        """The first value of a tensor that is an attribute."""
        from onnx import numpy_helper

        return float(numpy_helper.to_array(tensor).reshape(-1)[0])

    # -- layers --------------------------------------------------------------------------------------------

    def linear_path(self, node: Node, kind: str = "linear") -> str:
        """What a matrix is called: its module, or what its constant's name says, or its kind."""
        given = node.inputs if node.op == "Gather" else node.inputs[1:]
        constant = next((name for name in given if name in self.model.constants), "")
        owner = constant.removesuffix(".weight")
        named = owner if owner != constant and owner.replace(".", "_").isidentifier() else ""
        return node.path or named or kind

    def output_name(self, name: str) -> str:
        """What an output is called: as in the file or, where that is a number, as the last matrix on the way to it."""
        at = name
        while name.isdigit() and at in self._made:
            node = self._made[at]
            if node.op in ("Gemm", "MatMul"):
                return self.linear_path(node)
            ways = [each for each in node.inputs if each and not self._is_constant(each)]
            if len(ways) != 1:
                break
            at = ways[0]
        return name

    def bias_behind(self, node: Node, size: int) -> Floats | None:
        """The constant that the one user of a node adds to it; that sum is then the node itself."""
        name = node.outputs[0]
        users = [other for other in self.model.nodes if name in other.inputs]
        if len(users) != 1 or users[0].op != "Add" or name in self.model.outputs:
            return None
        other = next((n for n in users[0].inputs if n != name), name)
        if other == name or not self._is_constant(other):
            return None
        value = self.value(other)
        if not isinstance(value, np.ndarray) or value.shape[-1:] != (size,):
            return None
        bias = vector(value, size)
        self._also = users[0].outputs[0]
        return bias

    def _is_constant(self, name: str) -> bool:
        """Whether a value depends on no input of the graph."""
        seen, stack = set[str](), [name]
        while stack:
            at = stack.pop()
            if at in seen or isinstance(self.values.get(at), np.ndarray):
                continue
            seen.add(at)
            if at not in self._made or (not self._made[at].inputs and self._made[at].op != "Constant"):
                return False
            stack += self._made[at].inputs
        return True

    def _recurrent(self, node: Node, given: Sequence[Any]) -> tuple[Any, ...]:
        """Y [steps, directions, items, features], Y_h and Y_c [directions, items, features]; items first where layout
        is 1."""
        names = ("X", "W", "R", "B", "lengths", "initial_h", *(("initial_c", "P") if node.op == "LSTM" else ()))
        held = {name: value for name, value in zip(names, given, strict=False) if value is not None}
        for name in ("W", "R", "B", "P"):
            if not isinstance(held.get(name, np.empty(0)), np.ndarray):
                raise Refusal(f"its input {name} must be a constant")
        layers = layers_of(node, held)
        layers = begun(self, layers, tuple(_initial(f"initial_{state}", held, layers) for state in layers.states))
        order: Axes = (ITEMS, STEPS, FEATURES) if layers.batch_first else (STEPS, ITEMS, FEATURES)
        x = self.single(held["X"])
        lengths = held.get("lengths")
        if lengths is not None and not is_lengths_of(x, lengths):
            raise Refusal(lengths_wanted(x).replace("forward", "the graph"))
        if x.axes != order:
            text = f"cannot read {node.text}: it takes {replace(x, axes=order).text()} but is given {x.text()}"
            raise WrongLayout(text) if set(x.axes) == set(order) else UnsupportedNetwork(text)
        self.check_features(x, layers.input_size, f"W is for {layers.input_size} features")
        path = node.path or node.op.lower()
        done = stacked(self, [numbered(self, path, layers.cell)], layers, self.site(x))
        features = self.builder.features(done.directions[0])
        refs = tuple(SiteRef(site) for site in done.directions)
        whole: Axes = (STEPS, DIRECTIONS, ITEMS, FEATURES)
        ends: Axes = (DIRECTIONS, ITEMS, FEATURES)
        if layers.batch_first:
            whole, ends = (ITEMS, STEPS, DIRECTIONS, FEATURES), (ITEMS, DIRECTIONS, FEATURES)
        finals = [replace(x, axes=ends, features=features, sites=rows) for rows in done.states]
        return (replace(x, axes=whole, features=features, sites=(refs,)), *finals)


def _initial(name: str, held: Mapping[str, Any], layers: Layers) -> Any:
    """An initial state [directions, items, features], or [items, directions, features] where layout is 1."""
    state = held.get(name)
    if state is None or isinstance(state, Zeros):
        return state
    if not isinstance(state, np.ndarray) or state.ndim != 3:
        raise Refusal(f"its {name} is computed from the data; one that starts at zero or is a constant can be read")
    return Constant(name, state.transpose(1, 0, 2) if layers.batch_first else state)


def is_lengths(each: Input) -> bool:
    """Whether an input of a graph can only be the lengths of sequences."""
    return each.whole and len(each.axes) == 1
