"""Reader: turns the nodes of a traced module into sites and operators, each when something needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import fx, nn

from bittailor.core.arith import Floats
from bittailor.errors import UnsupportedNetwork
from bittailor.read.evaluating import evaluated
from bittailor.read.layers import LAYERS
from bittailor.read.loops import CELLS, Loops
from bittailor.read.operations import NAMES, OPERATIONS
from bittailor.read.recurrence import Layers, recurrent
from bittailor.read.recurrent import array, is_recurrent, layers_of, own_forward
from bittailor.read.symbolic import ITEMS, Axes, Constant, Refusal, SiteRef, StepIndex, Tensor, each_of
from bittailor.read.tables import ACTIVATIONS, HINTS, IGNORED_MODULES, SOFTMAX, SUPPORTED
from bittailor.read.writer import Writer


class Reader(Writer):
    """Reads one traced graph, for one assumed layout of its input.

    root      the module
    features  features of its input, or how many indices there are
    indices   its input is indices
    layout    meaning of its input's axes
    lengths   name of the argument that holds lengths, where the trace keeps one
    """

    def __init__(
        self, root: nn.Module, features: int, layout: Axes, lengths: str | None, indices: bool = False
    ) -> None:
        # while torch.fx traces, a parameter that is asked for is a proxy; so they are asked for now
        tensors = {**dict(root.named_parameters(remove_duplicate=False)),
                   **dict(root.named_buffers(remove_duplicate=False))}
        super().__init__({path: array(values) for path, values in tensors.items()
                          if not (values.is_meta or values.is_complex() or values.is_sparse)})
        self._own = {path: _parameters(m) for path, m in root.named_modules(remove_duplicate=False)}
        self.root = root
        self.layout = layout
        self.lengths = lengths
        site = self.builder.index("input", features) if indices else self.builder.input("input", features)
        self.input = Tensor(layout, 1 if indices else features, ((SiteRef(site),),))
        self.loops = Loops(self)
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
            return self._attribute(str(node.target))
        if node.op == "output":
            return args[0]
        try:
            if node.op == "call_module" and (cell := self.root.get_submodule(str(node.target))).__class__ in CELLS:
                return self.loops.cell(str(node.target), cell, self.own(str(node.target)), args)
            called = self._called(node)
            chosen = called == "getitem" and isinstance(args[0], tuple | list | dict)
            if not chosen and any(isinstance(p, Tensor) and p.at is not None for p in each_of((args, kwargs))):
                return self.loops.read(called, args, kwargs, lambda *a, **k: self._apply(node, a, k))
            return self._apply(node, args, kwargs)
        except TypeError as error:
            raise UnsupportedNetwork(f"cannot read {self._describe(node)}: its arguments: {error}") from None
        except Refusal as error:
            raise UnsupportedNetwork(f"cannot read {self._describe(node)}: {error}") from None

    def _apply(self, node: fx.Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        if node.op == "call_module":
            return self._module(str(node.target), args, kwargs)
        known = evaluated(self, node, args, kwargs)
        return self._operation(node, args, kwargs) if known is None else known

    def _called(self, node: fx.Node) -> str:
        """What a node calls: a function's name, or a module's path behind its kind."""
        if node.op == "call_module":
            return f"module {node.target}"
        return str(NAMES.get(node.target, node.target) if node.op == "call_function" else node.target)

    def _attribute(self, path: str) -> Constant:
        """A tensor of the module; one that is neither parameter nor buffer, or was computed, by its values."""
        if path in self._tensors:
            return Constant(path)
        *owner, name = path.split(".")
        return Constant(path, array(getattr(self.root.get_submodule(".".join(owner)), name)))

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
            return recurrent(self, path, layers, *args, **kwargs)
        if layers is not None:
            return self.linear(args[0], layers["weight"], layers.get("bias"), path)
        if kind in LAYERS:
            return LAYERS[kind](self, path, module, *args, **kwargs)
        if isinstance(module, IGNORED_MODULES):
            return args[0]
        if kind is nn.Flatten:
            return OPERATIONS["flatten"](self, args[0], module.start_dim, module.end_dim)
        if kind in SOFTMAX:
            return self.softmax(args[0], cast(int | None, module.dim), SOFTMAX[kind])
        for activation in ACTIVATIONS:
            if kind is activation.module:
                options = {name: getattr(module, name) for name, _ in activation.options}
                return self.activation(activation.op, args[0], options, self.layer_name(path, activation.op))
        if (known := is_recurrent(module)) is not None:
            raise Refusal(f"it has a forward of its own; only {known}'s is known\n{SUPPORTED}")
        hint = next((HINTS[base.__name__] for base in kind.__mro__ if base.__name__ in HINTS), "")
        raise Refusal(f"{hint or 'this type is not known'}\n{SUPPORTED}")


def node_path(node: fx.Node) -> str:
    """Path of the module whose forward holds this node."""
    stack: dict[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()]
    if node.op == "call_module" and paths and paths[-1] == node.target:
        paths.pop()
    return paths[-1] if paths else ""


def _parameters(module: nn.Module) -> Layers | dict[str, Floats] | None:
    """The parameters of a layer, as its forward would see them; None for other modules."""
    if own_forward(module, nn.Linear):
        names = ("weight", "bias")
        return {name: array(values) for name in names if (values := getattr(module, name)) is not None}
    return layers_of(module)
