"""Modules and functions of PyTorch that are layers of their own here, beside recurrent ones and nn.Linear."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bittailor.core.arith import Floats
from bittailor.read.convolving import convolved, padded, same_padding
from bittailor.read.embedding import embedded
from bittailor.read.modules import MODULES
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


def _one(value: Any, name: str) -> int:
    """The number of a convolution of one axis, which torch keeps as (n,) or n."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    if len(values) != 1 or type(values[0]) is not int:
        raise Refusal(f"{name}={value}; only convolutions over the steps can be read")
    return values[0]


def conv1d(
    w: Writer, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """functional.conv1d."""
    values = _values(w, weight)
    if values is None or values.ndim != 3:
        raise Refusal("its weight must be a parameter of the module with three axes")
    if _one(stride, "stride") != 1:
        raise Refusal(f"stride={_one(stride, 'stride')}; a network has an output for every step, or one for all; "
                      "use stride=1, or thin out the data before the network")
    apart = _one(dilation, "dilation")
    if padding == "same":
        ends = same_padding(values.shape[2], apart)
    else:
        ends = (0, 0) if padding == "valid" else (_one(padding, "padding"),) * 2
    path = weight.path.rpartition(".")[0] or w.local_name("conv")
    return convolved(w, x, values, _values(w, bias), path, ends, apart, groups)


def pad(w: Writer, x: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """functional.pad."""
    if mode != "constant" or value:
        raise Refusal(f"mode='{mode}', value={value}; only zeros can be padded")
    return padded(w, x, pad)


def embedding(w: Writer, x: Any, weight: Any, *_: Any, **options: Any) -> Any:
    """functional.embedding; which row is padding does not matter here."""
    values = _values(w, weight)
    if values is None or options.get("max_norm") is not None:
        raise Refusal("its weight must be a parameter of the module, and without max_norm")
    return embedded(w, x, values, weight.path.rpartition(".")[0] or w.local_name("embedding"))


def _embedding(w: Writer, path: str, module: Any, x: Any) -> Any:
    return embedding(w, x, _own(path, module, "weight"), max_norm=module.max_norm)


def _conv1d(w: Writer, path: str, module: Any, x: Any) -> Any:
    if module.padding_mode != "zeros":
        raise Refusal(f"padding_mode='{module.padding_mode}'; only zeros can be padded")
    return conv1d(w, x, _own(path, module, "weight"), _own(path, module, "bias"), module.stride, module.padding,
                  module.dilation, module.groups)


def _pad1d(w: Writer, path: str, module: Any, x: Any) -> Any:
    return pad(w, x, module.padding, value=getattr(module, "value", 0.0))


LAYERS: Mapping[type[nn.Module], Callable[..., Any]] = {
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
    nn.Conv1d: _conv1d,
    nn.Embedding: _embedding,
    nn.ConstantPad1d: _pad1d,
    nn.ZeroPad1d: _pad1d,
    **MODULES,
}
"""Module -> how it is read, from a writer, its path, itself and what it is given."""

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "layer_norm": layer_norm, "rms_norm": rms_norm, "conv1d": conv1d, "pad": pad,
    "embedding": embedding,
}
"""By name, as in `operations.OPERATIONS`."""
