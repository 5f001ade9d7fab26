"""LayerNorm and RMSNorm: the normalised vector, then weight and bias as a `diagonal`, each with a format of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bittailor.core.arith import Floats
from bittailor.read.symbolic import FEATURES, Refusal, SiteRef, Tensor
from bittailor.read.writer import Writer


def normalised(
    w: Writer, op: str, source: Any, eps: float, weight: Floats | None, bias: Floats | None, path: str
) -> Tensor:
    """op(source) * weight + bias over the features, at this path.

    op            layer_norm or rms_norm
    weight, bias  [features], None where there are none
    """
    x = w.single(source)
    if x.axes[-1:] != (FEATURES,):
        raise Refusal(f"it is given {x.text()}; the features must be the last axis")
    p = w.name(w.layer_name(path, op))
    site = w.builder.op(op, f"{p}.norm", w.site(x), features=x.features, eps=float(eps))
    if weight is None and bias is not None:
        raise Refusal("it has a bias and no weight")
    if weight is not None:
        w.check_features(x, len(weight), f"it normalises {len(weight)} features")
        w.parameters |= {f"{p}.W": weight[:, None]} | ({} if bias is None else {f"{p}.b": bias})
        site = w.builder.diagonal(f"{p}.out", site, f"{p}.W", None if bias is None else f"{p}.b")
    return replace(x, sites=((SiteRef(site),),))


__all__ = ["normalised"]
