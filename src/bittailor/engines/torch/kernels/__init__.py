"""What a group of operators computes: the bound constants of docs/arithmetic.md, evaluated with PyTorch, exactly.

Sums run in 32-bit integers, in 64-bit ones where an operator is wide; matrix products in float32 or float64, whichever
is proved to hold every partial sum. A kernel belongs to a form, so an operator of a known form needs none of its own.
"""

from __future__ import annotations

from typing import Any

from bittailor.compile.groups import Group
from bittailor.core.graph import Node
from bittailor.core.ops import OPS, forms
from bittailor.core.ops.elementwise import AffineOp
from bittailor.engines.torch.kernels.base import Kernel, Member
from bittailor.engines.torch.kernels.rescaling import Affine, Diagonal, Joined, MatMul, Product
from bittailor.engines.torch.kernels.tables import LookUp
from bittailor.engines.torch.kernels.time import Mean, Pick, Turn

KERNELS: dict[type[forms.Constants], type[Kernel[Any, Any]]] = {
    forms.MatrixProduct: MatMul,
    forms.DiagonalProduct: Diagonal,
    forms.Affine: Affine,
    forms.Product: Product,
    forms.Tabulated: LookUp,
    forms.Joined: Joined,
    forms.Averaged: Mean,
    forms.Copied: Pick,
}
"""Form -> kernel."""

KINDS: dict[type[forms.Constants], str] = {
    forms.MatrixProduct: "matmul", forms.DiagonalProduct: "diagonal", forms.Affine: "affine", forms.Product: "product",
    forms.Tabulated: "lookup", forms.Joined: "concat", forms.Averaged: "mean", forms.Copied: "pick",
}
"""Form -> the kind of group that the schedule makes of it."""


def kind_of(node: Node) -> str:
    """The kind of group that computes a node; only sums of the same signs share one."""
    op = OPS[node.op]
    signs = "".join("+" if sign > 0 else "-" for sign in op.signs) if isinstance(op, AffineOp) else ""
    return KINDS[op.form] + signs


def form_of(group: Group) -> type[forms.Constants] | None:
    """The form of a group's operators; None of the turning of a sequence, which has none."""
    return OPS[group.nodes[0].op].form if group.nodes else None


__all__ = ["KERNELS", "Kernel", "Member", "Turn", "form_of", "kind_of"]
