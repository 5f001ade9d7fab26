"""Modules that are a factor and a shift, a function with slopes, or pooling: a function and a line in `MODULES`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from bittailor.read.scaling import prelu, weighted
from bittailor.read.shapes import SHAPES
from bittailor.read.symbolic import FEATURES, Constant, Refusal, Tensor, WrongLayout
from bittailor.read.writer import Writer


def _batch_norm(w: Writer, path: str, module: nn.BatchNorm1d, source: Any) -> Tensor:
    """With the statistics of training: a factor and a shift for each feature, folded into a neighbour if it can be."""
    x, own = w.single(source), w.own(path)
    if "running_mean" not in own:
        raise Refusal("track_running_stats=False computes statistics of the data at hand; train it with running ones")
    if len(x.axes) < 2 or x.axes[1] != FEATURES:
        raise WrongLayout(f"cannot read '{path}' (BatchNorm1d): it normalises axis 1 of {x.text()}, which must be the "
                          "features: x.transpose(1, 2) before it and after it")
    w.check_features(x, module.num_features, f"num_features={module.num_features}")
    mean, variance = own["running_mean"], own["running_var"]
    factor = 1.0 / np.sqrt(variance + module.eps)
    if "weight" in own:
        factor = factor * own["weight"]
    shift = -mean * factor + own.get("bias", 0.0)
    return weighted(w, x, factor, shift, w.layer_name(path, "norm"))


def _prelu(w: Writer, path: str, module: nn.PReLU, source: Any) -> Tensor:
    return prelu(w, source, Constant(f"{path}.weight"), w.layer_name(path, "prelu"))


def _pool(name: str, w: Writer, path: str, module: Any, source: Any) -> Any:
    return SHAPES[name](w, source, module.output_size)


MODULES: dict[type[nn.Module], Callable[..., Any]] = {
    nn.BatchNorm1d: _batch_norm, nn.SyncBatchNorm: _batch_norm, nn.PReLU: _prelu,
    nn.AdaptiveAvgPool1d: partial(_pool, "adaptive_avg_pool1d"),
    nn.AdaptiveMaxPool1d: partial(_pool, "adaptive_max_pool1d"),
}
"""By the module's class: called with the writer, its path, it, and what it is given. They join `layers.LAYERS`."""
