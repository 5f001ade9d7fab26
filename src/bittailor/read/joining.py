"""Several outputs of a network, laid side by side by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bittailor.read.symbolic import FEATURES, Refusal, Tensor
from bittailor.read.writer import Writer


@dataclass(frozen=True)
class Output:
    """One of the tensors that a network returns.

    name  what it is called: its key, or the layer that makes it
    key   where it is in what the source returns; None where that is the tensor itself
    """

    name: str
    key: int | str | None
    tensor: Tensor


def joined(w: Writer, outputs: Sequence[Output]) -> str:
    """The site that holds all outputs; several are laid side by side."""
    tensors = [replace(out.tensor, softmax="") for out in outputs]
    if len(tensors) == 1:
        return w.site(tensors[0])
    axes = [{atom for axis in (*value.axes, FEATURES) for atom in axis} for value in tensors]
    if any(each != axes[0] for each in axes):
        texts = ", ".join(f"'{out.name}' {out.tensor.text()}" for out in outputs)
        raise Refusal(f"cannot read its outputs together: {texts}; several outputs must all be for each step or all "
                      "for each item. Return one, or give each a network of its own")
    w.check_beginnings(tensors)
    sites = [w.site(value) for value in tensors]
    return w.builder.op("concat", w.name("outputs"), *sites, names=[out.name for out in outputs])
