"""Random networks of every cell, shape and width, and some that are nothing but single operators: what cost models are
fitted to (cores.py)."""

from __future__ import annotations

import numpy as np

from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.network import Network
from bittailor.core.ops.functions import FUNCTIONS
from bittailor.core.program import Program, bind
from bittailor.core.qformat import EXACT_BIAS_BITS
from bittailor.errors import BittailorError
from bittailor.quantise.calibration import CalibrationSettings, calibrate

Rng = np.random.Generator

STEPS = 5


def random_network(rng: Rng) -> Network:
    """A chain of layers over steps, an end, layers on single values; operators of every kind."""
    b = Builder()
    x = b.input("input", int(rng.integers(1, 65)))
    layers = int(rng.choice([0, 1, 2], p=[0.15, 0.6, 0.25]))
    for i in range(layers):
        x = _recurrent(b, rng, x, f"r{i}")
    # some networks are nothing but these, so that what they cost is not lost beside matrices
    for i in range(int(rng.integers(1, 5)) if layers == 0 else int(rng.random() < 0.3)):
        x = _single(b, rng, x, f"s{i}")
    # of a network that is nothing but operators, the first step would be the only one that is computed
    end = str(rng.choice(["last", "first", "mean", ""], p=[0.5, 0.1, 0.25, 0.15] if layers else [0.6, 0, 0.25, 0.15]))
    if end:
        x = b.op(end, "end", x)
    for i in range(int(rng.choice([0, 1, 2], p=[0.5, 0.3, 0.2]))):
        x = _single(b, rng, x, f"v{i}")
    if rng.random() < 0.9:
        x = b.linear("head.out", x, "head.W", int(rng.integers(1, 33)), "head.b" if rng.random() < 0.8 else None)
    graph = b.graph(x)
    scale = {s.name: 1 / np.sqrt(s.shape[-1]) if s.role == "weight" else 0.3 for s in graph.sites.values()}
    return Network(graph, {s.name: rng.normal(size=s.shape) * scale[s.name] for s in graph.sites.values()
                           if s.role in ("weight", "bias")})


def _recurrent(b: Builder, rng: Rng, x: str, p: str) -> str:
    cell = CELLS[str(rng.choice(list(CELLS)))]
    options = dict(cell.variants[str(rng.choice(list(cell.variants)))]) if cell.variants and rng.random() < 0.4 else {}
    hidden, bias = int(rng.integers(2, 81)), bool(rng.random() < 0.8)
    if options.get("scaled") or options.get("skip", "") is None:
        hidden = b.features(x) if options.get("scaled") else hidden
    outs = [add_layer(b, cell, p, x, hidden, bias, bool(rng.random() < 0.1), **options)]
    if rng.random() < 0.15:
        outs.append(add_layer(b, cell, f"{p}.rev", x, hidden, bias, True, **options))
    return b.op("concat", f"{p}.out", *outs) if len(outs) > 1 else outs[0]


def _single(b: Builder, rng: Rng, x: str, p: str) -> str:
    kind = str(rng.choice(["linear", "diagonal", "function", "relu", "requantise", "one_minus", "mul", "sub", "add",
                           "concat", "norm", *["convolution"] * b.is_sequence(x)]))
    bias = f"{p}.b" if rng.random() < 0.5 else None
    if kind == "norm":
        return b.op(str(rng.choice(["layer_norm", "rms_norm"])), f"{p}.norm", x, features=b.features(x), eps=1e-5)
    if kind == "convolution":
        return _convolution(b, rng, x, p, bias)
    if kind == "linear":
        return b.linear(f"{p}.linear", x, f"{p}.W", int(rng.integers(1, 65)), bias)
    if kind == "diagonal":
        return b.diagonal(f"{p}.diagonal", x, f"{p}.v", bias)
    if kind == "function":
        return b.op(str(rng.choice([f.name for f in FUNCTIONS])), f"{p}.function", x)
    if kind in ("mul", "sub", "add"):
        return b.op(kind, f"{p}.{kind}", x, b.op("tanh", f"{p}.tanh", x))
    if kind == "concat":
        return b.op("concat", f"{p}.concat", x, b.op("relu", f"{p}.relu", x))
    return b.op(kind, f"{p}.{kind}", x)


def _convolution(b: Builder, rng: Rng, x: str, p: str, bias: str | None) -> str:
    """Causal or looking ahead, of all features or of each alone."""
    taps, dilation, width = int(rng.integers(2, 6)), int(rng.integers(1, 3)), b.features(x)
    ahead = int(rng.integers(1, taps)) if rng.random() < 0.2 else 0
    window = b.op("window", f"{p}.window", x, taps=taps, dilation=dilation, ahead=ahead)
    if width > 1 and rng.random() < 0.4:
        return b.grouped_linear(f"{p}.depthwise", window, f"{p}.W", width, width, bias)
    return b.linear(f"{p}.linear", window, f"{p}.W", int(rng.integers(1, 33)), bias)


def random_program(rng: Rng) -> Program:
    """A random network at random widths."""
    while True:
        network = random_network(rng)
        x = rng.normal(size=(4, STEPS, network.features))
        settings = CalibrationSettings(method="minmax", rounding="nearest", per_row=bool(rng.random() < 0.3))
        try:
            return bind(network, calibrate(network, x, None, settings).plan(_widths(network, rng)))
        except BittailorError:
            continue  # random scales may not be bindable


def _widths(network: Network, rng: Rng) -> dict[str, int]:
    style = rng.choice(["narrow", "any", "wide", "homogeneous"], p=[0.4, 0.25, 0.1, 0.25])
    same = int(rng.choice([2, 3, 4, 5, 6, 8, 16]))
    low, high = {"narrow": (2, 8), "any": (2, 16), "wide": (9, 16), "homogeneous": (same, same)}[str(style)]
    widths = {}
    for site in network.graph.free:
        bits = int(rng.integers(low, high + 1))
        if site.kind == "weight":
            bits = 1 if low == 2 and rng.random() < 0.1 else bits
        elif site.kind == "bias":
            bits = int(rng.choice([4, 8, 16, EXACT_BIAS_BITS]))
        widths[site.name] = bits
    return widths
