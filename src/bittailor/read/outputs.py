"""What a module returns: one tensor, one with final states beside it, or several, laid side by side by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx, nn

from bittailor.errors import UnsupportedNetwork
from bittailor.read.joining import Output
from bittailor.read.reader import Reader
from bittailor.read.symbolic import Tensor, each_of, replaced


def outputs_of(root: nn.Module, reader: Reader, graph: fx.Graph) -> list[Output]:
    """The outputs, in order. Final states of layers beside them are left away, unless everything is one."""
    end = next(node for node in graph.nodes if node.op == "output")
    result = reader.value(end)
    result = replaced(result, reader.ended)
    found: dict[int | str | None, Any] = {None: result}
    if isinstance(result, tuple | list | Mapping) and result:
        found = dict(result.items() if isinstance(result, Mapping) else enumerate(result))
    first = next(iter(found.values()))
    kept = dict[int | str | None, Tensor]()
    for key, value in found.items():
        if value is not first and _states_or_nothing(value):
            continue
        if not isinstance(value, Tensor):
            kind = "dict" if isinstance(result, Mapping) else f"({', '.join(type(v).__name__ for v in found.values())})"
            raise refusal(root, f"its forward returns {kind}; expected one tensor, a tensor followed by final states, "
                                "which are left away, or several tensors")
        kept[key] = value
        if len(value.each()) > 1:
            raise refusal(root, f"its forward returns {len(value.each())} final states of a layer at once; pick "
                                "one, such as h_n[-1]")
    if first.each() == reader.input.each() and len(kept) == 1:
        raise refusal(root, "it returns its input and computes nothing")
    return _named(root, end, kept)


def _states_or_nothing(value: Any) -> bool:
    """Whether it is None, or final states of layers alone."""
    parts = [part for part in each_of(value) if part is not None]
    return all(isinstance(part, Tensor) and all(ref.pick for ref in part.each()) for part in parts)


def _named(root: nn.Module, end: fx.Node, kept: Mapping[int | str | None, Tensor]) -> list[Output]:
    outputs, taken = list[Output](), set[str]()
    for key, value in kept.items():
        name = base = key if isinstance(key, str) else _layer(root, end, key) or value.each()[0].site
        for i in range(1, len(kept) + 1):
            name = f"{base}_{i}" if name in taken else name
        taken.add(name)
        outputs.append(Output(name, key, value))
    return outputs


def _layer(root: nn.Module, end: fx.Node, key: int | None) -> str:
    """The path of the last layer with parameters on the way to an output; "" where ways meet before."""
    returned = end.args[0]
    node = returned[key] if isinstance(returned, tuple | list) and key is not None else None
    while isinstance(node, fx.Node):
        if node.op == "call_module" and any(True for _ in root.get_submodule(str(node.target)).parameters()):
            return str(node.target)
        node = node.all_input_nodes[0] if len(node.all_input_nodes) == 1 else None
    return ""


def refusal(root: nn.Module, reason: str) -> UnsupportedNetwork:
    """Why the module as a whole cannot be read."""
    return UnsupportedNetwork(f"cannot read {type(root).__name__}: {reason}")
