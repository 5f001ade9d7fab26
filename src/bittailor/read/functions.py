"""Functions of one variable that are operators here, with the options that they have."""

from __future__ import annotations

FUNCTIONS: dict[str, tuple[tuple[str, float], ...]] = {
    "relu": (),
    "sigmoid": (),
    "tanh": (),
    "hardtanh": (("min_val", -1.0), ("max_val", 1.0)),
    "hardsigmoid": (),
    "softsign": (),
    "silu": (),
    "softplus": (("beta", 1.0), ("threshold", 20.0)),
    "elu": (("alpha", 1.0),),
    "leaky_relu": (("negative_slope", 0.01),),
}
"""A name in `OPS` -> (option, the value that the operator has), in the order of PyTorch's arguments."""
