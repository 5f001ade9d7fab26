"""Reader: turns the nodes of a traced module into sites and operators, each when something needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import fx, nn

from bittailor.core.cells import CELLS, add_layer
from bittailor.errors import UnsupportedNetwork
from bittailor.read.operations import NAMES, OPERATIONS
from bittailor.read.recurrent import Layers, is_recurrent, layers_of, own_forward
from bittailor.read.symbolic import (
    FEATURES,
    ITEMS,
    STEPS,
    Axes,
    Constant,
    PackedSequence,
    Refusal,
    SiteRef,
    StepIndex,
    Tensor,
    WrongLayout,
    Zeros,
)
from bittailor.read.tables import ACTIVATIONS, HINTS, IGNORED_MODULES, SOFTMAX, SUPPORTED
from bittailor.read.writer import Writer, array


class Reader(Writer):
    """Reads one traced graph, for one assumed layout of its input.

    root      the module
    features  features of its input
    layout    meaning of its input's axes
    lengths   name of the argument that holds lengths, where the trace keeps one
    """

    def __init__(self, root: nn.Module, features: int, layout: Axes, lengths: str | None) -> None:
        # while torch.fx traces, a parameter that is asked for is a proxy; so they are asked for now
        super().__init__({**dict(root.named_parameters(remove_duplicate=False)),
                          **dict(root.named_buffers(remove_duplicate=False))})
        self._own = {path: _parameters(m) for path, m in root.named_modules(remove_duplicate=False)}
        self.root = root
        self.layout = layout
        self.lengths = lengths
        self.input = Tensor(layout, features, ((SiteRef(self.builder.input("input", features)),),))
        self._values: dict[fx.Node, Any] = {}

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
        packed = isinstance(source, PackedSequence)
        order: Axes = (ITEMS, STEPS, FEATURES) if layers.batch_first or packed else (STEPS, ITEMS, FEATURES)
        x = self.single(source.tensor if packed else source)
        if x.axes != order:
            text = (f"cannot read '{path}' ({layers.kind}): batch_first={layers.batch_first} takes "
                    f"{replace(x, axes=order).text()} but is given {x.text()}")
            raise WrongLayout(text) if set(x.axes) == set(order) else UnsupportedNetwork(text)
        self.check_features(x, layers.input_size, f"input_size={layers.input_size}")
        cell = CELLS[layers.cell]
        states: dict[str, list[tuple[SiteRef, ...]]] = {}
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
                sites = [out if kind == "h" else f"{out.removesuffix('.h')}.{kind}" for out in outs]
                ends = tuple(SiteRef(site, step) for site, step in zip(sites, ("last", "first"), strict=False))
                states.setdefault(kind, []).append(ends)
            below = outs
            site = outs[0] if len(outs) == 1 else self.concat(outs, self.name(f"{name}.out"))
        out = Tensor(order, self.builder.features(site), ((SiteRef(site),),))
        axes: Axes = (("layers", "directions"), ITEMS, FEATURES)
        finals = [Tensor(axes, self.builder.features(rows[0][0].site), tuple(rows)) for rows in states.values()]
        return (PackedSequence(out) if packed else out), finals[0] if len(finals) == 1 else tuple(finals)

    def _layer_names(self, path: str, layers: Layers) -> list[str]:
        base = self.name(self.layer_name(path, layers.cell))
        between = ".l" if base[-1].isdigit() else ""
        return [self.name(f"{base}{between}{layer}") for layer in range(len(layers.each))]


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
