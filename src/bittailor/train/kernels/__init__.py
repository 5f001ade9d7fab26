"""What a group of operators computes: its integers forward, its straight-through gradient backward.

Forward, every kernel evaluates the constants that the operator's own `bind` made (`Rescale`, `Lookup`, packed weights)
in 32-bit integers, 64-bit ones where the operator is wide: the arithmetic of docs/arithmetic.md, exactly. Matrix
products run in float32 or float64, whichever is proved to hold every partial sum.

Integers are kept centred, u = q - zero_point, so that 0 stands for 0.0 and a real value is scale * u. Gradients are
with respect to real values. A rounding passes its gradient on unchanged, a clamp where it did not bind (Bengio et al.,
arXiv 1308.3432). All views are two-dimensional, [rows, features]: rows are the items of one step, or all steps' items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bittailor.common.registry import Table
from bittailor.core.graph import Node
from bittailor.core.ops import OPS
from bittailor.core.ops.functions import Function
from bittailor.errors import UnsupportedNetwork
from bittailor.train.kernels.base import Kernel, Prepared
from bittailor.train.kernels.rescaling import Affine, Concat, Product
from bittailor.train.kernels.tables import LookUp
from bittailor.train.kernels.time import Mean, Pick, Turn
from bittailor.train.kernels.weights import Diagonal, MatMul


@dataclass(frozen=True)
class Rule:
    """How an operator is trained: the kernel that computes it, and the signs of its operands in the sum."""

    kind: str
    make: Callable[..., Kernel]
    options: Mapping[str, Any] = field(default_factory=dict)


def _affine(*signs: int) -> Rule:
    # only sums of the same signs share a call
    return Rule("affine" + "".join("+" if sign > 0 else "-" for sign in signs), Affine, {"signs": signs})


RULES: Table[Rule] = Table("trainable operator", {
    "linear": Rule("matmul", MatMul),
    "diagonal": Rule("diagonal", Diagonal),
    "add": _affine(1, 1),
    "sub": _affine(1, -1),
    "one_minus": _affine(-1),
    "relu": _affine(1),
    "requantise": _affine(1),
    "mul": Rule("product", Product),
    "concat": Rule("concat", Concat),
    "last": Rule("pick", Pick),
    "first": Rule("pick", Pick),
    "mean": Rule("mean", Mean),
    "turn": Rule("turn", Turn),
    "function": Rule("lookup", LookUp),
})
"""Operator -> rule; every function of one variable is "function"."""


def rule_of(node: Node) -> Rule:
    """The rule of a node's operator; UnsupportedNetwork names one that has none."""
    name = "function" if isinstance(OPS[node.op], Function) else node.op
    if name not in RULES:
        raise UnsupportedNetwork(f"{node.output}: the operator '{node.op}' cannot be trained; "
                                 f"add its rule to bittailor.train.kernels. There are: {', '.join(RULES)}")
    return RULES[name]


__all__ = ["RULES", "Kernel", "Prepared", "Rule", "rule_of"]
