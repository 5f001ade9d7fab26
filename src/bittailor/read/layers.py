"""Modules and functions of PyTorch that are layers of their own here, beside recurrent ones and nn.Linear."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bittailor.core.arith import Floats
from bittailor.read.normalising import normalised
from bittailor.read.symbolic import Constant, Refusal
from bittailor.read.writer import Writer

RMS_EPS = torch.finfo(torch.float32).eps
"""What PyTorch takes where nothing is given."""


def _norm(w: Writer, op: str, x: Any, shape: Sequence[int], weight: Any, bias: Any, eps: float) -> Any:
    """A layer at the path of its weight, or of the module that calls the function."""
    if len(sizes := tuple(shape)) != 1:
        raise Refusal(f"it normalises over axes of {sizes}; only the features can be normalised")
    path = weight.path.rpartition(".")[0] if isinstance(weight, Constant) else ""
    w.check_features(w.single(x), sizes[0], f"it normalises {sizes[0]} features")
    return normalised(w, op, x, eps, _values(w, weight), _values(w, bias), path or w.local_name(op))


def _values(w: Writer, constant: Any) -> Floats | None:
    if constant is None:
        return None
    if not isinstance(constant, Constant):
        raise Refusal("its weight and bias must be parameters of the module")
    return w.tensor(constant)


def layer_norm(
    w: Writer, x: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """functional.layer_norm."""
    return _norm(w, "layer_norm", x, normalized_shape, weight, bias, eps)


def rms_norm(w: Writer, x: Any, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
    """functional.rms_norm."""
    return _norm(w, "rms_norm", x, normalized_shape, weight, None, RMS_EPS if eps is None else eps)


def _own(path: str, module: nn.Module, name: str) -> Constant | None:
    """A parameter of a module, where it has it."""
    return None if getattr(module, name, None) is None else Constant(f"{path}.{name}")


def _layer_norm(w: Writer, path: str, module: Any, x: Any) -> Any:
    if module.weight is None:
        return normalised(w, "layer_norm", x, module.eps, None, None, path)
    return layer_norm(w, x, module.normalized_shape, _own(path, module, "weight"), _own(path, module, "bias"),
                      module.eps)


def _rms_norm(w: Writer, path: str, module: Any, x: Any) -> Any:
    eps = RMS_EPS if module.eps is None else module.eps
    if module.weight is None:
        return normalised(w, "rms_norm", x, eps, None, None, path)
    return rms_norm(w, x, module.normalized_shape, _own(path, module, "weight"), eps)


LAYERS: Mapping[type[nn.Module], Callable[..., Any]] = {
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
}
"""Module -> how it is read, from a writer, its path, itself and what it is given."""

FUNCTIONS: Mapping[str, Callable[..., Any]] = {"layer_norm": layer_norm, "rms_norm": rms_norm}
"""By name, as in `operations.OPERATIONS`."""
