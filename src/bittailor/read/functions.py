"""Functions of one variable that are operators here, with the options that PyTorch gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

FUNCTIONS: dict[str, tuple[tuple[str, Any], ...]] = {
    "relu": (),
    "sigmoid": (),
    "tanh": (),
    "hardtanh": (("min_val", -1.0), ("max_val", 1.0)),
    "relu6": (),
    "hardsigmoid": (),
    "softsign": (),
    "silu": (),
    "softplus": (("beta", 1.0), ("threshold", 20.0)),
    "elu": (("alpha", 1.0),),
    "leaky_relu": (("negative_slope", 0.01),),
    "gelu": (("approximate", "none"),),
    "selu": (),
    "hardswish": (),
    "mish": (),
    "logsigmoid": (),
}
"""A name -> (option, the value that the operator of that name has), in the order of PyTorch's arguments."""

_FIXED: dict[str, tuple[str, dict[str, float]]] = {"relu6": ("clamp", {"low": 0.0, "high": 6.0})}
"""Those that are no operators of their own."""

_OTHERWISE: dict[str, Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]] = {
    "hardtanh": lambda o: ("clamp", {"low": o["min_val"], "high": o["max_val"]}),
    "softplus": lambda o: ("softplus", {"beta": o["beta"], "threshold": o["threshold"]}),
    "elu": lambda o: ("elu", {"alpha": o["alpha"]}),
    "leaky_relu": lambda o: ("leaky_relu", {"slope": o["negative_slope"]}),
    "gelu": lambda o: ("gelu_tanh", {}),
}
"""What other values of the options make."""


def operator_of(name: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The operator's name in `OPS` and its options, of a function with PyTorch's options; those not given are at their
    default."""
    given = {**dict(FUNCTIONS[name]), **options}
    if given == dict(FUNCTIONS[name]):
        return _FIXED.get(name, (name, {}))
    return _OTHERWISE[name](given)
