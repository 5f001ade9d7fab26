"""Reader: turns the nodes of a traced module into sites and operators, each when something needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import fx, nn

from bittailor.core.arith import Floats
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.graph import Builder
from bittailor.errors import UnsupportedNetwork
from bittailor.read.operations import NAMES, OPERATIONS
from bittailor.read.recurrent import Layers, is_recurrent, layers_of, own_forward
from bittailor.read.tables import ACTIVATIONS, HINTS, IGNORED_MODULES, SOFTMAX, SUPPORTED
from bittailor.read.values import (
    FEATURES,
    ITEMS,
    STEPS,
    Axes,
    Constant,
    Packed,
    Ref,
    Refusal,
    StepIndex,
    Tensor,
    WrongLayout,
    Zeros,
)


class Reader:
    """Reads one traced graph, for one assumed layout of its input.

    root      the module
    features  features of its input
    layout    meaning of its input's axes
    lengths   name of the argument that holds lengths, where the trace keeps one
    """

    def __init__(self, root: nn.Module, features: int, layout: Axes, lengths: str | None) -> None:
        self.root = root
        self.layout = layout
        self.lengths = lengths
        self.builder = Builder()
        self.parameters: dict[str, Floats] = {}
        self.path = ""
        # while torch.fx traces, a parameter that is asked for is a proxy; so they are asked for now
        self._own = {path: _parameters(m) for path, m in root.named_modules(remove_duplicate=False)}
        self._tensors = {**dict(root.named_parameters(remove_duplicate=False)),
                         **dict(root.named_buffers(remove_duplicate=False))}
        self._taken: set[str] = {"input"}
        self.input = Tensor(layout, features, ((Ref(self.builder.input("input", features)),),))
        self._values: dict[fx.Node, Any] = {}
        self._picks: dict[Ref, str] = {}
        self._parts: dict[str, tuple[str, ...]] = {}

    # -- nodes ---------------------------------------------------------------------------------------------

    def value(self, node: fx.Node) -> Any:
        """What a node of the trace stands for; reads what it depends on, and nothing else."""
        needed, stack = {node}, [node]
        while stack:
            sources = [n for n in stack.pop().all_input_nodes if n not in needed and n not in self._values]
            needed.update(sources)
            stack += sources
        for each in node.graph.nodes:
            if each in needed and each not in self._values:
                self._values[each] = self._read(each)
        return self._values[node]

    def _read(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._values.__getitem__)
        self.path = node_path(node)
        if node.op == "placeholder":
            return self._placeholder(node)
        if node.op == "get_attr":
            return Constant(str(node.target))
        if node.op == "output":
            return args[0]
        try:
            if node.op == "call_module":
                return self._module(str(node.target), args, kwargs)
            return self._operation(node, args, kwargs)
        except TypeError as error:
            raise UnsupportedNetwork(f"cannot read {self._describe(node)}: its arguments: {error}") from None
        except Refusal as error:
            raise UnsupportedNetwork(f"cannot read {self._describe(node)}: {error}") from None

    def _describe(self, node: fx.Node) -> str:
        line = node.meta.get("line")
        if node.op == "call_module":
            return f"'{node.target}' ({type(self.root.get_submodule(str(node.target))).__name__})"
        name = getattr(node.target, "__name__", node.target)
        where = f" in '{self.path}'" if self.path else ""
        return f"{name}(){where}" + (f" at {line}" if line else "")

    def _placeholder(self, node: fx.Node) -> Any:
        first = next(iter(node.graph.nodes))
        if node is first:
            return self.input
        if node.target == self.lengths:
            return StepIndex((ITEMS,), 1)
        return node.args[0] if node.args else None

    def _operation(self, node: fx.Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        label = str(getattr(node.target, "__name__", node.target))
        known = NAMES.get(node.target) if node.op == "call_function" else label
        if known not in OPERATIONS and known is not None:
            known = known.rstrip("_")
        if known not in OPERATIONS:
            raise Refusal(f"{HINTS.get(label.rstrip('_'), 'there is no operator for it')}\n{SUPPORTED}")
        return OPERATIONS[known](self, *args, **kwargs)

    # -- modules -------------------------------------------------------------------------------------------

    def _module(self, path: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        module = self.root.get_submodule(path)
        kind = type(module)
        layers = self._own[path]
        if isinstance(layers, Layers):
            return self._recurrent(path, layers, *args, **kwargs)
        if layers is not None:
            return self.linear(args[0], layers["weight"], layers.get("bias"), path)
        if isinstance(module, IGNORED_MODULES):
            return args[0]
        if kind is nn.Flatten:
            return OPERATIONS["flatten"](self, args[0], module.start_dim, module.end_dim)
        if kind in SOFTMAX:
            return self.softmax(args[0], cast(int | None, module.dim), SOFTMAX[kind])
        for activation in ACTIVATIONS:
            if kind is activation.module:
                options = {name: getattr(module, name) for name, _ in activation.options}
                name = self.layer_name(path, activation.op)
                return self.activation(activation.op, args[0], options, name)
        if (known := is_recurrent(module)) is not None:
            raise Refusal(f"it has a forward of its own; only {known}'s is known\n{SUPPORTED}")
        hint = next((HINTS[base.__name__] for base in kind.__mro__ if base.__name__ in HINTS), "")
        raise Refusal(f"{hint or 'this type is not known'}\n{SUPPORTED}")

    def _recurrent(self, path: str, layers: Layers, source: Any, given: Any = None) -> Any:
        lengths = isinstance(given, StepIndex) and given.offset == 0 and layers.takes_lengths
        zeros = all(isinstance(state, Zeros) for state in (given if isinstance(given, tuple) else (given,)))
        if given is not None and not zeros and not lengths:
            raise Refusal("its lengths must be the lengths that forward is given, unchanged" if layers.takes_lengths
                          else "it is given an initial state; a state starts at zero: leave the argument away")
        packed = isinstance(source, Packed)
        order: Axes = (ITEMS, STEPS, FEATURES) if layers.batch_first or packed else (STEPS, ITEMS, FEATURES)
        x = self.single(source.tensor if packed else source)
        if x.axes != order:
            text = (f"cannot read '{path}' ({layers.kind}): batch_first={layers.batch_first} takes "
                    f"{replace(x, axes=order).text()} but is given {x.text()}")
            raise WrongLayout(text) if set(x.axes) == set(order) else UnsupportedNetwork(text)
        self.check_features(x, layers.input_size, f"input_size={layers.input_size}")
        cell = CELLS[layers.cell]
        states: dict[str, list[tuple[Ref, ...]]] = {}
        below: list[str] = []
        site = self.site(x)
        for layer, name in zip(layers.each, self._layer_names(path, layers), strict=True):
            full = site
            if layer.projection is not None:
                self.parameters[f"{name}.W_proj"] = array(layer.projection)
                site = self.builder.linear(f"{name}.proj", full, f"{name}.W_proj", len(layer.projection))
            outs = []
            for reverse, arrays in enumerate(layer.directions):
                p = f"{name}.rev" if reverse else name
                options = dict(layer.options)
                if options.get("skip") == "input":
                    options["source"] = below[reverse] if below else full
                outs.append(add_layer(self.builder, cell, p, site, layers.hidden_size, "bias_ih" in arrays,
                                      bool(reverse), states=True, **options))
                self.parameters |= cell.parameters(p, {kind: array(values) for kind, values in arrays.items()})
            for kind in layers.states:
                ends = (Ref(out if kind == "h" else f"{out.removesuffix('.h')}.{kind}", "first" if reverse else "last")
                        for reverse, out in enumerate(outs))
                states.setdefault(kind, []).append(tuple(ends))
            below = outs
            site = outs[0] if len(outs) == 1 else self.concat(outs, self.name(f"{name}.out"))
        out = Tensor(order, self.builder.features(site), ((Ref(site),),))
        axes: Axes = (("layers", "directions"), ITEMS, FEATURES)
        finals = [Tensor(axes, self.builder.features(rows[0][0].site), tuple(rows)) for rows in states.values()]
        return (Packed(out) if packed else out), finals[0] if len(finals) == 1 else tuple(finals)

    def _layer_names(self, path: str, layers: Layers) -> list[str]:
        base = self.name(self.layer_name(path, layers.cell))
        between = ".l" if base[-1].isdigit() else ""
        return [self.name(f"{base}{between}{layer}") for layer in range(len(layers.each))]

    # -- what operations are made of -------------------------------------------------------------------------

    def name(self, base: str) -> str:
        """A name that nothing has yet: base, base_1, …"""
        name, count = base, 0
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name

    def layer_name(self, path: str, kind: str) -> str:
        """What to call the layer at a path; a mere number gets its kind added."""
        return f"{path}.{kind}" if path.split(".")[-1].isdigit() else path

    def local_name(self, kind: str) -> str:
        """What to call a function used in the forward of the module at hand."""
        return f"{self.path}.{kind}" if self.path else kind

    def single(self, value: Any) -> Tensor:
        """The value as a tensor of one site; a refusal says what it is instead."""
        if isinstance(value, Tensor):
            if value.softmax:
                raise Refusal(f"it follows a {value.softmax}, which is only read at the end of a network")
            if len(value.each()) > 1:
                raise Refusal(f"it is given {len(value.each())} final states of a layer at once; pick one, "
                              "such as h_n[-1], or join them with torch.cat on the features")
            return value
        if isinstance(value, tuple) and value and isinstance(value[0], Tensor | Packed):
            raise Refusal("it is given the pair (output, final states) of a recurrent layer; take one: "
                          "output, h_n = gru(x)")
        if isinstance(value, Packed):
            raise Refusal("it is given a packed sequence; use pad_packed_sequence first")
        if isinstance(value, Constant):
            raise Refusal(f"'{value.path}' is a constant tensor and there is no operator with constants: "
                          "normalise the data before the network, or fold it into the weights of a layer")
        if isinstance(value, int | float):
            raise Refusal(f"there is no operator with the number {value:g}; fold it into the weights of a "
                          "layer (1 - x is the one exception)")
        if value is None:
            raise Refusal("it is given None: arguments of forward other than the first are at their default "
                          "or None")
        raise Refusal(f"it is given {type(value).__name__}, not the values of a sequence or a step")

    def site(self, value: Any) -> str:
        """The one site of a tensor; makes its last or first step if that is what it stands for."""
        ref = self.single(value).each()[0]
        if not ref.pick:
            return ref.site
        if ref not in self._picks:
            self._picks[ref] = self.builder.op(ref.pick, self.name(ref.pick), ref.site)
        return self._picks[ref]

    def tensor(self, constant: Constant) -> torch.Tensor:
        """The values of a tensor that the module owns."""
        if constant.path not in self._tensors:
            raise Refusal(f"'{constant.path}' is not a parameter of the module")
        return self._tensors[constant.path]

    def check_features(self, x: Tensor, expected: int, what: str) -> None:
        """Refuse an input of a width that a layer was not made for."""
        if x.features != expected:
            raise Refusal(f"{what}, but its input '{x.each()[0].site}' has {x.features} features")

    def linear(self, source: Any, weight: torch.Tensor, bias: torch.Tensor | None, path: str) -> Tensor:
        """weight source + bias, at this path."""
        x = self.single(source)
        if x.axes[-1:] != (FEATURES,):
            raise Refusal(f"it is given {x.text()}; the features must be the last axis")
        self.check_features(x, weight.shape[1], f"in_features={weight.shape[1]}")
        p = self.name(self.layer_name(path, "linear"))
        given: dict[str, torch.Tensor] = {f"{p}.W": weight} | ({} if bias is None else {f"{p}.b": bias})
        self.parameters |= {name: array(values) for name, values in given.items()}
        b = None if bias is None else f"{p}.b"
        out = self.builder.linear(f"{p}.out", self.site(x), f"{p}.W", len(weight), b)
        return replace(x, features=len(weight), sites=((Ref(out),),))

    def activation(self, op: str, source: Any, options: dict[str, float], name: str) -> Tensor:
        """A function of one variable, if its options are those of the operator."""
        x = self.single(source)
        known = next(a for a in ACTIVATIONS if a.op == op)
        for option, expected in known.options:
            if options.get(option, expected) != expected:
                raise Refusal(f"{option}={options[option]:g}; only {option}={expected:g} can be read")
        return self.pointwise(op, name, x)

    def pointwise(self, op: str, name: str, *sources: Any) -> Tensor:
        """An operator on values with equal axes."""
        values = [self.single(source) for source in sources]
        first = values[0]
        for other in values[1:]:
            if (other.axes, other.features) != (first.axes, first.features):
                raise Refusal(f"its operands are {first.text()} with {first.features} features and "
                              f"{other.text()} with {other.features}; nothing is broadcast")
        sites = [self.site(value) for value in values]
        return replace(first, sites=((Ref(self.builder.op(op, self.name(name), *sites)),),))

    def over_time(self, op: str, name: str, source: Tensor) -> Ref:
        """last, first or mean of a sequence."""
        if op == "mean":
            return Ref(self.builder.op(op, self.name(name), self.site(source)))
        return Ref(self.site(source), op)

    def softmax(self, source: Any, dim: int | None, kind: str) -> Tensor:
        """Left away at the end of a network, since the largest output stays the largest."""
        x = self.single(source)
        if dim is None or x.axes[x.axis(dim)] != FEATURES:
            raise Refusal(f"dim={dim} is not the axis of the features; use dim=-1")
        return replace(x, softmax=kind)

    def concat(self, sites: Sequence[str], name: str) -> str:
        """Features of several sites side by side."""
        out = self.builder.op("concat", name, *sites)
        self._parts[out] = tuple(sites)
        return out

    def joined(self, values: Sequence[Tensor]) -> Ref:
        """The concatenation of tensors of one site each."""
        return Ref(self.concat([self.site(value) for value in values], self.name(self.local_name("concat"))))

    def part(self, ref: Ref, start: int, stop: int) -> Ref:
        """Features start .. stop - 1 of a site, where it is a concatenation with an edge there."""
        width = self.builder.features(ref.site)
        if (start, stop) == (0, width):
            return ref
        edge = 0
        for part in self._parts.get(ref.site, ()):
            if (edge, edge + self.builder.features(part)) == (start, stop):
                return replace(ref, site=part)
            edge += self.builder.features(part)
        raise Refusal(f"features {start}..{stop - 1} of '{ref.site}' ({width} features) are no part of its "
                      "own; only the two directions of a layer, or what torch.cat joined, can be taken apart")


def node_path(node: fx.Node) -> str:
    """Path of the module whose forward holds this node."""
    stack: dict[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()]
    if node.op == "call_module" and paths and paths[-1] == node.target:
        paths.pop()
    return paths[-1] if paths else ""


def _parameters(module: nn.Module) -> Layers | dict[str, torch.Tensor] | None:
    """The parameters of a layer, as its forward would see them; None for other modules."""
    if own_forward(module, nn.Linear):
        names = ("weight", "bias")
        return {name: values for name in names if (values := getattr(module, name)) is not None}
    return layers_of(module)


def array(values: torch.Tensor) -> Floats:
    """A parameter as float64."""
    result: Floats = values.detach().double().numpy().copy()
    return result


