"""What torch itself makes of tensors that a module owns, before anything depends on data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

from bittailor.read.recurrent import array
from bittailor.read.symbolic import Constant, each_of, replaced
from bittailor.read.writer import Writer


def evaluated(w: Writer, node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What torch itself makes of tensors that the module owns: a `Constant`, or a number or shape.

    None where a function is given anything else.
    """
    parts = list(each_of((args, kwargs)))
    if not any(isinstance(part, Constant) for part in parts) or any(map(_is_of_data, parts)):
        return None

    def real(value: Any) -> Any:
        return torch.from_numpy(w.tensor(value)) if isinstance(value, Constant) else value

    given, named = replaced(args, real), replaced(kwargs, real)
    with torch.no_grad():
        if node.op == "call_method":
            result = getattr(given[0], str(node.target))(*given[1:], **named)
        elif callable(node.target):
            result = node.target(*given, **named)

    def kept(value: Any) -> Any:
        return Constant(node.name, array(value)) if isinstance(value, torch.Tensor) else value

    return replaced(result, kept)


def _is_of_data(value: Any) -> bool:
    plain = int | float | str | slice | torch.dtype | torch.device | type(...) | None
    return not isinstance(value, Constant | plain)
