"""What `check_wheel.py` runs in the environment that the wheel was installed in: equal integers, speed, a search."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

import bittailor as bt
from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.engines import ENGINES, best_engine
from bittailor.engines.native_build import ORIGINS, find_compiler


def make() -> tuple[bt.Network, bt.Splits]:
    """A GRU with random weights, and data that it labels itself."""
    rng = np.random.default_rng(0)
    b = Builder()
    h = add_layer(b, CELLS["gru"], "gru0", b.input("input", 16), 32)
    graph = b.graph(b.linear("head.out", b.op("last", "last", h), "head.W", 5, "head.b"))
    network = bt.Network(graph, {s.name: rng.normal(size=s.shape) / 3 for s in graph.sites.values()
                                 if s.kind in ("weight", "bias")})

    def part() -> bt.Data:
        x = rng.normal(size=(200, 20, 16)).astype(np.float32)
        return bt.Data(x, network(x).argmax(-1))

    return network, bt.Splits(part(), part(), part())


def seconds(engine: str, program: bt.Program, q: np.ndarray) -> float:
    """The fastest of three runs."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        ENGINES[engine].run(program, q)
        times.append(time.perf_counter() - begun)
    return min(times)


def main(wheel: str) -> None:
    """Fails with a traceback where anything is not as it should be."""
    assert find_compiler() is None, "there is a compiler"
    network, data = make()
    calibration = bt.calibrate(network, data.train.x)
    program = calibration.binder().bind(calibration.plan(bt.homogeneous_widths(network.graph, 8)))
    q = program.quantise_input(data.test.x)
    best = best_engine()
    assert (ENGINES[best].run(program, q) == ENGINES["reference"].run(program, q)).all()
    if wheel.endswith("-any.whl"):
        assert best == "reference", best
    else:
        assert best == "native", best
        assert set(ORIGINS.values()) == {"prebuilt"}, ORIGINS
        ratio = seconds("reference", program, q) / seconds("native", program, q)
        print(f"native is {ratio:.0f} times as fast as reference")
    begun = time.perf_counter()
    spec = bt.SearchSpec(search=bt.SearchSettings(population=20, generations=5))
    run = bt.run_search(network, data, Path("run"), spec)
    print(f"searched with {best}: {len(run.front)} solutions on the front, {time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1])
