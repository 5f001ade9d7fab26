"""10,000 steps: the integer state stays beside the float state, and does not wander off.

A GRU forgets (its update gate averages), so rounding errors of old steps fade; what remains is the noise of the
latest ones. The figures are printed: pytest -s tests/unit/test_long_sequence.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.network import Network
from bittailor.engines import Reference
from bittailor.quantise.calibration import calibrate
from bittailor.quantise.spaces import homogeneous_widths, per_operator

STEPS, HIDDEN, FEATURES, ITEMS = 10_000, 16, 3, 4


def layer() -> Network:
    b = Builder()
    graph = b.graph(add_layer(b, CELLS["gru"], "gru0", b.input("input", FEATURES), HIDDEN))
    rng, bound = np.random.default_rng(5), HIDDEN**-0.5  # torch's own start of a GRU, doubled: livelier than at rest
    return Network(graph, {
        site.name: rng.uniform(-2 * bound, 2 * bound, site.shape) for site in graph.free if site.kind != "activation"
    })


def slow_input(seed: int) -> np.ndarray:
    """A signal with structure at many time scales, as data have: steps, slow waves and noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(STEPS)[None, :, None]
    waves = np.sin(2 * np.pi * t / rng.uniform(20, 3000, (ITEMS, 1, FEATURES)))
    levels = np.repeat(rng.normal(size=(ITEMS, STEPS // 500, FEATURES)), 500, axis=1)
    return waves + levels + 0.2 * rng.normal(size=(ITEMS, STEPS, FEATURES))


@pytest.fixture(scope="module")
def floats() -> dict[str, Any]:
    network, x = layer(), slow_input(6)
    return {"network": network, "x": x, "h": network(x), "seen": calibrate(network, slow_input(7))}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mean_bound", "largest_bound"), [("8 bits", 0.01, 0.2), ("mixed", 0.08, 1.0)])
def test_the_state_does_not_drift(
    floats: dict[str, Any], name: str, mean_bound: float, largest_bound: float, record_property: Any
) -> None:
    network, x, seen = floats["network"], floats["x"], floats["seen"]
    if name == "8 bits":
        widths = homogeneous_widths(network.graph, 8)
    else:
        space = per_operator(network.graph, widths=(4, 5, 6, 8, 12))
        widths = space.widths(space.random(np.random.default_rng(0), 1)[0])
        assert len(set(widths.values())) > 4
    program = seen.binder().bind(seen.plan(widths))
    h = program.read_output(Reference().run(program, program.quantise_input(x)))
    off = np.abs(h - floats["h"])
    first, second = off[:, : STEPS // 2], off[:, STEPS // 2 :]
    figures = {
        "mean": off.mean(), "max": off.max(), "mean first half": first.mean(), "mean second half": second.mean(),
        "max first half": first.max(), "max second half": second.max(), "state std": floats["h"].std(),
    }
    print(f"\n{name}: " + ", ".join(f"{k} {v:.4f}" for k, v in figures.items()))
    for key, value in figures.items():
        record_property(key, float(value))
    assert off.mean() < mean_bound
    assert off.max() < largest_bound
    assert second.mean() < 1.25 * first.mean()
    assert second.max() < 1.5 * first.max()


@pytest.mark.slow
def test_a_constant_input_settles() -> None:
    """With nothing new to see, float and integer state come to rest, and stay at rest to the last step."""
    network = layer()
    x = np.repeat(np.random.default_rng(7).normal(size=(ITEMS, 1, FEATURES)), 3000, axis=1)
    seen = calibrate(network, x[:, :100])
    program = seen.binder().bind(seen.plan(homogeneous_widths(network.graph, 8)))
    q = Reference().run(program, program.quantise_input(x))
    moving = np.abs(np.diff(q[:, 1000:], axis=1)).max()
    assert moving <= 1
    assert np.abs(program.read_output(q[:, -1]) - network(x)[:, -1]).max() < 0.1
