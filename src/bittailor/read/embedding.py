"""Embeddings: the network's input is one index a step, and a table gives its features."""

from __future__ import annotations

from bittailor.core.arith import Floats
from bittailor.read.symbolic import FEATURES, ITEMS, STEPS, Axes, Refusal, SiteRef, Tensor
from bittailor.read.writer import Writer

INDEX_LAYOUTS: tuple[Axes, ...] = ((ITEMS, STEPS), (STEPS, ITEMS))
"""Of an input of indices."""


def embedded(w: Writer, source: object, weight: Floats, path: str) -> Tensor:
    """The row of every index, at this path; `weight` is [indices, features]."""
    x = w.single(source)
    if FEATURES in x.axes or w.builder.role(w.site(x)) != "index":
        raise Refusal("an embedding is of the network's input, as [items, steps] of indices")
    p = w.name(w.layer_name(path, "embedding"))
    w.parameters[f"{p}.W"] = weight
    site = w.builder.embedding(f"{p}.out", w.site(x), f"{p}.W", weight.shape[1])
    return Tensor((*x.axes, FEATURES), weight.shape[1], ((SiteRef(site),),), fixed=x.fixed)


__all__ = ["INDEX_LAYOUTS", "embedded"]
