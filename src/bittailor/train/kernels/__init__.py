"""What a group of operators in training computes: the torch engine's integers forward, straight-through gradients back.

Gradients are with respect to real values, scale * u of an integer u. A rounding passes its gradient on unchanged, a
clamp where it did not bind (Bengio et al., arXiv 1308.3432).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bittailor.compile.groups import Group
from bittailor.core.ops import forms
from bittailor.errors import UnsupportedNetwork
from bittailor.train.kernels.base import Trainable
from bittailor.train.kernels.indexing import Rows
from bittailor.train.kernels.normalising import Normalise
from bittailor.train.kernels.rescaling import Affine, Diagonal, Joined, MatMul, Product
from bittailor.train.kernels.tables import LookUp
from bittailor.train.kernels.time import Max, Mean, Pick, Sum, Turn
from bittailor.train.kernels.windows import Crop, GroupedMatMul, Windows

GRADIENTS: Mapping[type[forms.Constants], type[Trainable[Any]]] = {
    forms.MatrixProduct: MatMul,
    forms.GroupedProduct: GroupedMatMul,
    forms.TableRows: Rows,
    forms.DiagonalProduct: Diagonal,
    forms.Affine: Affine,
    forms.Product: Product,
    forms.Tabulated: LookUp,
    forms.Joined: Joined,
    forms.Normalised: Normalise,
    forms.Averaged: Mean,
    forms.Summed: Sum,
    forms.Largest: Max,
    forms.Copied: Pick,
    forms.Windowed: Windows,
    forms.Cropped: Crop,
}
"""Form -> kernel."""


def trainable(group: Group) -> type[Trainable[Any]]:
    """The kernel that trains a group; UnsupportedNetwork names an operator whose form has none."""
    if group.form is None:
        return Turn
    if group.form not in GRADIENTS:
        node = group.nodes[0]
        raise UnsupportedNetwork(f"{node.output}: the operator '{node.op}' cannot be trained; its form "
                                 f"{group.form.__name__} has no kernel in bittailor.train.kernels")
    return GRADIENTS[group.form]


__all__ = ["GRADIENTS", "Trainable", "trainable"]
