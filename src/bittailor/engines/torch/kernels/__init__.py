"""What a group of operators computes: the bound constants of docs/arithmetic.md, evaluated with PyTorch, exactly.

Sums run in 32-bit integers, in 64-bit ones where an operator is wide; matrix products in float32 or float64, whichever
is proved to hold every partial sum. A kernel belongs to a form, so an operator of a known form needs none of its own.
"""

from __future__ import annotations

from typing import Any

from bittailor.core.ops import forms
from bittailor.engines.torch.kernels.base import Kernel, Member
from bittailor.engines.torch.kernels.indexing import Rows
from bittailor.engines.torch.kernels.normalising import Normalise
from bittailor.engines.torch.kernels.rescaling import Affine, Diagonal, Joined, MatMul, Product
from bittailor.engines.torch.kernels.tables import LookUp
from bittailor.engines.torch.kernels.time import Max, Mean, Pick, Sum, Turn
from bittailor.engines.torch.kernels.windows import Crop, GroupedMatMul, Windows

KERNELS: dict[type[forms.Constants], type[Kernel[Any, Any]]] = {
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

__all__ = ["KERNELS", "Kernel", "Member", "Turn"]
