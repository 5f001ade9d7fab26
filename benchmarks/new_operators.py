"""How far the integer convolution, embedding and normalisations are from their floats, by width.

    python benchmarks/new_operators.py            # results/new_operators.csv, half a minute

Every operator is a network of its own, beside a matrix product to compare with: input, weights and result at the same
width, biases at 16 bits, calibrated on random frames and measured on others, over five seeds. Frames have features of
very different sizes and follow each other slowly, as spectra do.

signal_db   mean square of the float result over that of the error, in dB
steps       the largest difference, in steps of the result, to the float operator of the very integers that went in:
            what integer arithmetic adds is what is beyond half a step; empty where there is more than one operator
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from command import arguments, as_command, write_rows

from bittailor.core.arith import Floats
from bittailor.core.builder import Builder
from bittailor.core.graph import Node
from bittailor.core.network import Network
from bittailor.core.program import bind
from bittailor.engines import ENGINES
from bittailor.errors import BittailorError
from bittailor.quantise.calibration import Calibration, calibrate
from bittailor.quantise.spaces import homogeneous_widths

OUT = Path(__file__).resolve().parents[1] / "results" / "new_operators.csv"
WIDTHS = (16, 8, 6, 4)
SEEDS = 5
FEATURES, ITEMS, STEPS, ROWS = 64, 64, 32, 1000


def linear(b: Builder) -> str:
    """A matrix product, to compare with."""
    return b.linear("y", b.input("input", FEATURES), "W", FEATURES)


def convolution(b: Builder) -> str:
    """Three taps, causal, all features."""
    window = b.op("window", "window", b.input("input", FEATURES), taps=3, dilation=1, ahead=0)
    return b.linear("y", window, "W", FEATURES)


def depthwise(b: Builder) -> str:
    """Five taps, looking two steps ahead, every feature alone."""
    window = b.op("window", "window", b.input("input", FEATURES), taps=5, dilation=1, ahead=2)
    return b.grouped_linear("y", window, "W", FEATURES, FEATURES)


def embedding(b: Builder) -> str:
    """A thousand rows."""
    return b.embedding("y", b.index("input", ROWS), "W", FEATURES)


def norm(op: str, affine: bool) -> Callable[[Builder], str]:
    """layer_norm or rms_norm, with weight and bias or without."""
    def build(b: Builder) -> str:
        x = b.op(op, "norm", b.input("input", FEATURES), features=FEATURES, eps=1e-5)
        return b.diagonal("y", x, "W", "b") if affine else x

    return build


OPERATORS: dict[str, Callable[[Builder], str]] = {
    "linear": linear,
    "Conv1d, 3 taps": convolution,
    "Conv1d, 5 taps, depthwise": depthwise,
    "Embedding": embedding,
    "LayerNorm, no weight": norm("layer_norm", False),
    "LayerNorm": norm("layer_norm", True),
    "RMSNorm, no weight": norm("rms_norm", False),
    "RMSNorm": norm("rms_norm", True),
}


def network(build: Callable[[Builder], str], rng: np.random.Generator) -> Network:
    """The operator with weights of a usual size: matrices 1 / sqrt(inputs), those of a norm around 1."""
    b = Builder()
    graph = b.graph(build(b))
    parameters = {}
    for site in graph.sites.values():
        if site.role == "weight" and site.shape[1] == 1:
            parameters[site.name] = 1.0 + 0.3 * rng.normal(size=site.shape)
        elif site.role == "weight":
            parameters[site.name] = rng.normal(size=site.shape) / np.sqrt(site.shape[1])
        elif site.role == "bias":
            parameters[site.name] = 0.3 * rng.normal(size=site.shape)
    return Network(graph, parameters)


def frames(net: Network, rng: np.random.Generator, sizes: Floats) -> Floats:
    """Frames that follow each other slowly, with features of these sizes; or indices."""
    if net.graph.sites["input"].role == "index":
        return rng.integers(0, ROWS, (ITEMS, STEPS, 1)).astype(np.float64)
    x = rng.normal(size=(ITEMS, STEPS, FEATURES))
    for t in range(1, STEPS):
        x[:, t] = 0.8 * x[:, t - 1] + 0.6 * x[:, t]
    return np.asarray(x * sizes + 0.5 * sizes)


def of_integers(net: Network, calibration: Calibration, plan: Any, x: Floats) -> Floats:
    """The float operator, of the input and the weights that the integers stand for."""
    weights = {s.name: plan.formats[s.name].dequantise(calibration.integers(s.name, plan.formats[s.name]))
               for s in net.graph.free if s.kind == "weight"}
    held = plan.formats["input"]
    return Network(net.graph, {**net.parameters, **weights})(held.dequantise(held.quantise(x)))


def measured(name: str, bits: int, seed: int) -> tuple[float, float | None]:
    """Decibels, and steps where there is one rounding."""
    rng = np.random.default_rng([seed, list(OPERATORS).index(name)])
    net, sizes = network(OPERATORS[name], rng), np.exp(0.7 * rng.normal(size=FEATURES))
    seen, new = frames(net, rng, sizes), frames(net, rng, sizes)
    calibration = calibrate(net, seen)
    plan = calibration.plan(homogeneous_widths(net.graph, bits))
    program = bind(net, plan, calibration.integers)
    results = {engine.name: engine.run(program, program.quantise_input(new)) for engine in ENGINES.values()
               if engine.available() is None}
    q = results["reference"]
    if not all(np.array_equal(q, other) for other in results.values()):
        raise BittailorError(f"{name} at {bits} bits: the engines differ")
    real, got, out = net(new), program.read_output(q), program.output_format
    decibels = 10 * np.log10((real**2).mean() / ((got - real) ** 2).mean())
    computing = [node for node in net.graph.nodes() if isinstance(node, Node) and node.op != "window"]
    if len(computing) > 1:
        return float(decibels), None
    exact = np.clip(of_integers(net, calibration, plan, new), out.low, out.high)
    return float(decibels), float(np.abs(got - exact).max() / out.scale[0])


def main() -> int:
    """Measure, and write the rows."""
    parser = arguments(__doc__)
    parser.add_argument("--csv", type=Path, default=OUT)
    options = parser.parse_args()
    rows = []
    for name in OPERATORS:
        for bits in WIDTHS:
            found = [measured(name, bits, seed) for seed in range(SEEDS)]
            steps = [step for _, step in found if step is not None]
            rows.append({"operator": name, "bits": bits, "seeds": SEEDS,
                         "signal_db": f"{np.mean([db for db, _ in found]):.2f}",
                         "steps": f"{max(steps):.4f}" if steps else ""})
            print(", ".join(map(str, rows[-1].values())))
    write_rows(options.csv, rows)
    return 0


if __name__ == "__main__":
    as_command(main)
