"""Tracing: torch.fx records what a module's forward does with its input, layers kept whole."""

from __future__ import annotations

import inspect
import operator
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import rnn

from bittailor.errors import UnsupportedNetwork
from bittailor.read.loops import counted
from bittailor.read.operations import PACKING, TENSORS_MADE
from bittailor.read.reader import Reader
from bittailor.read.recurrent import is_recurrent, own_forward
from bittailor.read.symbolic import STEPS, Dim, Tensor, WrongLayout

_FOREIGN = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


RECORDED = (*TENSORS_MADE, *PACKING)
"""Functions that a trace is told to record: they fail with what stands for a value, or do not see it."""


def _holders() -> list[ModuleType]:
    """The user's modules that have one of `RECORDED` among their globals: torch.fx itself looks in the files of the
    forwards alone, and a forward may call a function, or a method of a class, of another file."""
    wanted = set(map(id, RECORDED))
    return [m for m in list(sys.modules.values()) if isinstance(m, ModuleType)
            and not str(getattr(m, "__file__", None)).startswith(_FOREIGN)
            and any(id(value) in wanted for value in list(vars(m).values()))]


class TracedValue(fx.Proxy):
    """What stands for a value in a trace; a shape, or another tuple of known length, can be unpacked."""

    tracer: Tracer

    def __getattr__(self, name: str) -> Any:
        if name == "shape":
            return self.tracer.create_proxy("call_function", getattr, (self, name), {})
        return super().__getattr__(name)

    def __len__(self) -> int:
        value = self.tracer.reader.value(self.node)
        return len(value) if isinstance(value, tuple | list) else super().__len__()

    def __iter__(self) -> Any:
        value = self.tracer.reader.value(self.node)
        if isinstance(value, Tensor) and value.axes[0] == STEPS:
            size = counted(self.tracer.reader, Dim(STEPS))
        elif isinstance(value, tuple | list):
            size = len(value)
        else:
            return super().__iter__()
        pick = self.tracer.create_proxy
        return iter([pick("call_function", operator.getitem, (self, i), {}) for i in range(size)])

    def __index__(self) -> int:
        return counted(self.tracer.reader, self.tracer.reader.value(self.node))


class Tracer(fx.Tracer):
    """Keeps torch's own layers whole, and answers conditions on shapes by reading what was traced so far."""

    proxy_buffer_attributes = True
    """What is called of a buffer, `self.h0.expand(x.size(0), -1)`, is recorded as of a parameter."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(autowrap_functions=RECORDED)
        self._autowrap_search += [torch, rnn, *_holders()]
        self.reader = reader
        self.failed: tuple[str, str] | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, nn.RNNBase) or is_recurrent(m) is not None or own_forward(m, nn.Linear)
        return whole or super().is_leaf_module(m, module_qualified_name)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["line"] = _line(sys._getframe(1))
        return node

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or (self.path_of_module(m), type(m).__name__)
            raise

    def to_bool(self, obj: fx.Proxy) -> bool:
        try:
            value = self.reader.value(obj.node)
        except WrongLayout:
            raise
        except UnsupportedNetwork as error:
            line = obj.node.meta["line"]
            raise UnsupportedNetwork(f"cannot decide a condition at {line}: {error}") from None
        return bool(value) if isinstance(value, bool | int) else super().to_bool(obj)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return TracedValue(node, self)


def _line(frame: FrameType | None) -> str:
    """File and line of the module's own code, which called torch, which called us."""
    while frame is not None and frame.f_code.co_filename.startswith(_FOREIGN):
        frame = frame.f_back
    return "" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def trace(module: nn.Module, reader: Reader) -> fx.Graph:
    """The graph of a module's forward with every argument but the first at its default, or None.

    reader   reads conditions on shapes; its `lengths` names an argument that stays open
    Raises   UnsupportedNetwork where the forward cannot be traced, with path, line and reason
    """
    fixed = {name: default for name, default in arguments(module)[1:] if name != reader.lengths}
    tracer = Tracer(reader)
    try:
        with _called_whole(module, tracer):
            graph = tracer.trace(module, concrete_args={n: None if d is inspect.Parameter.empty else d
                                                    for n, d in fixed.items()})
    except UnsupportedNetwork:
        raise
    except Exception as error:
        raise UnsupportedNetwork(_untraceable(module, tracer, error, list(fixed))) from None
    for node in graph.nodes:
        if node.op == "call_method" and str(node.target).endswith("_") and not node.users:
            name, line = str(node.target), node.meta["line"]
            raise UnsupportedNetwork(f"cannot read {name}() at {line}: it changes a tensor in place; "
                                     f"write x = x.{name.rstrip('_')}(...)")
    return graph


@contextmanager
def _called_whole(root: nn.Module, tracer: Tracer) -> Iterator[None]:
    """Layers whose forward is called by name are recorded as layers, too."""
    whole = [m for path, m in root.named_modules() if m is not root and tracer.is_leaf_module(m, path)
             and "forward" not in vars(m)]
    for module in whole:
        vars(module)["forward"] = partial(_call, module)
    try:
        yield
    finally:
        for module in whole:
            del vars(module)["forward"]


def _call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return module(*args, **kwargs)


def arguments(module: nn.Module) -> list[tuple[str, Any]]:
    """Names and defaults of the arguments of forward, `*args` and `**kwargs` left out."""
    parameters = list(inspect.signature(type(module).forward).parameters.values())[1:]
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not named:
        raise UnsupportedNetwork(f"cannot read {type(module).__name__}: its forward must take the input "
                                 "sequence as its first argument")
    return [(p.name, p.default) for p in named]


def _untraceable(module: nn.Module, tracer: Tracer, error: Exception, fixed: list[str]) -> str:
    path, kind = tracer.failed or ("", type(module).__name__)
    own = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_FOREIGN)]
    at = f" at {Path(own[-1].filename).name}:{own[-1].lineno} `{own[-1].line}`" if own else ""
    where = f"'{path}' ({kind})" if path else kind
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
    given = f" (read with {', '.join(f'{name} at its default or None' for name in fixed)})" if fixed else ""
    first, *more = arguments(module)
    if any(default is inspect.Parameter.empty for _, default in more) and "NoneType" in reason:
        names = ", ".join(name for name, default in more if default is inspect.Parameter.empty)
        return (f"cannot trace {where}{at}: forward needs {names} beside {first[0]}, and a network takes one sequence: "
                "join them on the features before it; lengths are known by a name with 'len' in it")
    return (f"cannot trace {where}{at}: {reason}{given}\n"
            "  forward must do the same whatever the data: no loop over the steps, no condition on values")
