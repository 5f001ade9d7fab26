"""Functions of one variable: known values, symmetry, saturation at the ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from bittailor.core.ops import OPS, Bound
from bittailor.core.ops.functions import FUNCTIONS, Function
from bittailor.core.qformat import activation_format, symmetric_unit_format, unit_format

TORCHS: dict[str, Any] = {
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "abs": torch.abs, "clamp": torch.clone,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
}
"""Of functions that `torch.nn.functional` does not have by that name; a clamp without bounds is the identity."""


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_floats_are_those_of_torch(function: Function) -> None:
    x = torch.linspace(-12, 12, 101, dtype=torch.float64)
    there = TORCHS.get(function.name) or getattr(functional, function.name)
    assert np.allclose(function.f(x.numpy()), there(x).numpy(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("name", "options", "there"), [
    ("leaky_relu", {"slope": 0.2}, lambda x: functional.leaky_relu(x, 0.2)),
    ("elu", {"alpha": 0.3}, lambda x: functional.elu(x, 0.3)),
    ("softplus", {"beta": 3.0, "threshold": 5.0}, lambda x: functional.softplus(x, 3.0, 5.0)),
    ("clamp", {"low": 0.0, "high": 6.0}, functional.relu6),
    ("clamp", {"low": -2.0}, lambda x: x.clamp(min=-2.0)),
    ("clamp", {"low": 3.0, "high": -2.0}, lambda x: x.clamp(3.0, -2.0)),
])
def test_options_are_those_of_torch(name: str, options: dict[str, float], there: Any) -> None:
    x = torch.linspace(-12, 12, 101, dtype=torch.float64)
    assert np.allclose(OPS[name].of(options).real([x.numpy()], {}), there(x).numpy(), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("bits", range(2, 17))
def test_tanh_of_zero_is_zero_and_sigmoid_of_zero_a_half(bits: int) -> None:
    source = activation_format(-4.0, 4.0, bits)
    zero = np.array([source.zero_point])
    for name, out, wanted in (("tanh", symmetric_unit_format(8), 0.0), ("sigmoid", unit_format(8), 0.5)):
        op = OPS[name]
        got = op.integers(op.bind(Bound((source,), out)), [source], [zero])
        # between knots the chord of an asymmetric table may be off by a step
        assert abs(out.dequantise(got)[0] - wanted) <= (out.scale[0] if source.zero_point else 0.0)


def test_ends_saturate() -> None:
    source = activation_format(-100.0, 100.0, 8)
    ends = np.array([source.qmin, source.qmax])
    for name, out in (("tanh", symmetric_unit_format(8)), ("sigmoid", unit_format(8))):
        op = OPS[name]
        assert op.integers(op.bind(Bound((source,), out)), [source], [ends]).tolist() == [-128, 127]


def test_huge_inputs_make_no_noise() -> None:
    x = np.array([-1e4, 1e4])
    for function in FUNCTIONS:
        with np.errstate(all="raise", under="ignore"):
            assert np.isfinite(function.f(x)).all()
