"""Tracing: torch.fx records what a module's forward does with its input, layers kept whole."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import rnn

from bittailor.errors import UnsupportedNetwork
from bittailor.read.operations import PACKING, TENSORS_MADE
from bittailor.read.reader import Reader, own_forward

_FOREIGN = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


class Tracer(fx.Tracer):
    """Keeps torch's own layers whole, and answers conditions on shapes by reading what was traced so far."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(autowrap_functions=(*TENSORS_MADE, *PACKING))
        self._autowrap_search += [torch, rnn]
        self.reader = reader
        self.failed: tuple[str, str] | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, nn.RNNBase) or own_forward(m, nn.Linear)
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
        value = self.reader.value(obj.node)
        return bool(value) if isinstance(value, bool | int) else super().to_bool(obj)


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
        graph = tracer.trace(module, concrete_args={n: None if d is inspect.Parameter.empty else d
                                                    for n, d in fixed.items()})
    except UnsupportedNetwork:
        raise
    except Exception as error:
        raise UnsupportedNetwork(_untraceable(module, tracer, error, list(fixed))) from None
    for node in graph.nodes:
        if node.op == "call_method" and str(node.target).endswith("_") and not node.users:
            raise UnsupportedNetwork(f"cannot read {node.target}() at {node.meta['line']}: it changes a tensor in "
                                     f"place; write x = x.{str(node.target).rstrip('_')}(…)")
    return graph


def arguments(module: nn.Module) -> list[tuple[str, Any]]:
    """Names and defaults of the arguments of forward, `*args` and `**kwargs` left out."""
    parameters = list(inspect.signature(type(module).forward).parameters.values())[1:]
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not named:
        raise UnsupportedNetwork(f"cannot read {type(module).__name__}: its forward must take the input sequence as "
                                 "its first argument")
    return [(p.name, p.default) for p in named]


def _untraceable(module: nn.Module, tracer: Tracer, error: Exception, fixed: list[str]) -> str:
    path, kind = tracer.failed or ("", type(module).__name__)
    own = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_FOREIGN)]
    at = f" at {Path(own[-1].filename).name}:{own[-1].lineno} `{own[-1].line}`" if own else ""
    where = f"'{path}' ({kind})" if path else kind
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    given = f" (read with {', '.join(f'{name} at its default or None' for name in fixed)})" if fixed else ""
    return (f"cannot trace {where}{at}: {reason}{given}\n"
            "  its forward must do the same whatever the data: no loops over steps or items, no conditions on values")
