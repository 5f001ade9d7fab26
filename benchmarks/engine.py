"""How fast does the native engine evaluate a genome, and how does that compare?

    python benchmarks/engine.py                              # all cases, a few minutes
    python benchmarks/engine.py --case c1 --quick            # one case, under 40 s
    python benchmarks/engine.py --json rows.json --threads 1

For each case and width style it first checks that the native engine gives the reference engine's integers, then times,
interleaved: `--genomes` fresh random genomes (binding, preparation and run together), float torch.nn.GRU, float
onnxruntime (if installed), and the fake-quantised peers: an eager torch loop and gru-qat (if installed). Peers run the
recurrent layers only. Ratios are to torch.nn.GRU float on the same number of threads, from medians; `best` compares
the fastest runs of each, which a busy machine distorts less. With `--threads 1` the processor time of the process is
taken instead of wall time, which a busy machine hardly changes at all. `floor` is the time that the
multiply-accumulates alone would take at the rate measured for this instruction set.

Peers: pip install torch onnx onnxruntime gru-qat
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from command import arguments, as_command

from bittailor.common.processors import processors
from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.network import Network
from bittailor.core.plan import Plan
from bittailor.core.program import Binder
from bittailor.engines import Reference
from bittailor.engines.native import Native
from bittailor.engines.native_build import FLAGS, RUNTIME, VARIANTS, find_compiler, runnable
from bittailor.quantise.calibration import CalibrationSettings, calibrate

CHECKED_ITEMS = 24


@dataclass(frozen=True)
class Case:
    """Sequences, steps, inputs, hidden size, layers, directions."""

    name: str
    items: int
    steps: int
    inputs: int
    hidden: int
    layers: int = 1
    directions: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the recurrent layers, one pass over all items."""
        first = self.inputs + self.hidden
        later = (self.layers - 1) * (self.hidden * self.directions + self.hidden)
        return self.items * self.steps * 3 * self.hidden * self.directions * (first + later)


CASES = {c.name: c for c in (
    Case("c1", 2000, 28, 28, 64),
    Case("c2", 2000, 100, 40, 128),
    Case("c3", 32, 500, 400, 400),
    Case("b1", 1, 28, 28, 64),
    Case("bi2", 500, 50, 28, 64, layers=2, directions=2),
)}

STYLES = {"2-8": "every site 2..8 bits, input 8", "16-state": "the same, state and its two products at 16 bits",
          "16-all": "every activation at 16 bits"}


# --- the network, from the very weights of the torch module -----------------------------------------------------------


def torch_gru(case: Case, seed: int = 0) -> Any:
    """A float GRU."""
    import torch

    torch.manual_seed(seed)
    return torch.nn.GRU(case.inputs, case.hidden, case.layers, batch_first=True,
                        bidirectional=case.directions == 2).eval()


def network(case: Case, gru: Any) -> Network:
    """The same as a bittailor network, with a head of 10 outputs."""
    cell, b = CELLS["gru"], Builder()
    x = b.input("input", case.inputs)
    parameters: dict[str, Any] = {}
    for layer in range(case.layers):
        outs = []
        for tail, path in (("", f"gru{layer}"), ("_reverse", f"gru{layer}.rev"))[:case.directions]:
            outs.append(add_layer(b, cell, path, x, case.hidden, True, bool(tail)))
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            arrays = {n: getattr(gru, f"{n}_l{layer}{tail}").detach().numpy() for n in names}
            parameters |= cell.parameters(path, arrays)
        x = outs[0] if len(outs) == 1 else b.op("concat", f"gru{layer}.out", *outs)
    rng = np.random.default_rng(0)
    y = b.linear("head.out", b.op("last", "end", x), "head.W", 10, "head.b")
    graph = b.graph(y)
    parameters |= {"head.W": rng.normal(size=graph.sites["head.W"].shape) / 8, "head.b": rng.normal(size=10)}
    return Network(graph, {k: np.asarray(v, np.float64) for k, v in parameters.items()})


def genome(net: Network, style: str, rng: np.random.Generator) -> dict[str, int]:
    """Random widths in a style of `STYLES`."""
    widths = {}
    for site in net.graph.free:
        bits = int(rng.integers(2, 9))
        if site.kind == "bias":
            bits = int(rng.integers(4, 17))
        elif site.kind == "activation" and (
                style == "16-all" or (style == "16-state" and site.name.endswith((".h", ".h.new", ".h.kept")))):
            bits = 16
        widths[site.name] = bits
    return widths | {net.graph.inputs[0]: 8}


# --- peers ------------------------------------------------------------------------------------------------------------


def peer_torch(case: Case, gru: Any, x: np.ndarray, threads: int) -> Callable[[], None]:
    import torch

    torch.set_num_threads(threads)
    tensor = torch.tensor(x, dtype=torch.float32)

    def run() -> None:
        with torch.inference_mode():
            gru(tensor)

    return run


def peer_onnxruntime(case: Case, gru: Any, x: np.ndarray, threads: int) -> Callable[[], None]:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, source = [], [], "X"

    def gates(a: Any) -> np.ndarray:
        r, z, n = np.split(a.detach().numpy(), 3)
        return np.concatenate((z, r, n))

    for layer in range(case.layers):
        tails = ("", "_reverse")[:case.directions]
        stack = {n: np.stack([gates(getattr(gru, f"{n}_l{layer}{t}")) for t in tails])
                 for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        bias = np.concatenate((stack["bias_ih"], stack["bias_hh"]), axis=1)
        for name, array in (("W", stack["weight_ih"]), ("R", stack["weight_hh"]), ("B", bias)):
            weights.append(numpy_helper.from_array(np.ascontiguousarray(array), f"{name}{layer}"))
        nodes.append(helper.make_node(
            "GRU", [source, f"W{layer}", f"R{layer}", f"B{layer}"], [f"Y{layer}"], hidden_size=case.hidden,
            linear_before_reset=1, direction="bidirectional" if case.directions == 2 else "forward"))
        shape = numpy_helper.from_array(np.array([0, 0, case.hidden * case.directions]), f"S{layer}")
        weights.append(shape)
        nodes.append(helper.make_node("Transpose", [f"Y{layer}"], [f"T{layer}"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [f"T{layer}", f"S{layer}"], [f"Z{layer}"]))
        source = f"Z{layer}"
    graph = helper.make_graph(
        nodes, "gru", [helper.make_tensor_value_info("X", TensorProto.FLOAT, [case.steps, case.items, case.inputs])],
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, [None] * 3)], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"X": np.ascontiguousarray(x.transpose(1, 0, 2), np.float32)}
    return lambda: session.run(None, feed) and None


def peer_fake_quant(case: Case, gru: Any, x: np.ndarray, threads: int) -> Callable[[], None]:
    """What a user writes first: the cell in eager torch, every result through torch.fake_quantize_*."""
    import torch

    if case.layers * case.directions > 1:
        raise ImportError("one layer only")
    torch.set_num_threads(threads)
    tensor = torch.tensor(x, dtype=torch.float32)

    def q(v: Any, scale: float = 1 / 16) -> Any:
        return torch.fake_quantize_per_tensor_affine(v, scale, 0, -128, 127)

    W = [q(w, 1 / 128) for w in (*gru.weight_ih_l0.detach().chunk(3), *gru.weight_hh_l0.detach().chunk(3))]
    bias = [*gru.bias_ih_l0.detach().chunk(3), *gru.bias_hh_l0.detach().chunk(3)]
    linear = torch.nn.functional.linear

    def run() -> None:
        with torch.inference_mode():
            h = torch.zeros(case.items, case.hidden)
            for t in range(case.steps):
                v = q(tensor[:, t])
                r = q(torch.sigmoid(q(q(linear(v, W[0], bias[0])) + q(linear(h, W[3], bias[3])))), 1 / 256)
                z = q(torch.sigmoid(q(q(linear(v, W[1], bias[1])) + q(linear(h, W[4], bias[4])))), 1 / 256)
                n = q(torch.tanh(q(q(linear(v, W[2], bias[2])) + q(r * q(linear(h, W[5], bias[5]))))), 1 / 128)
                h = q(q(q(1 - z, 1 / 256) * n, 1 / 128) + q(z * h, 1 / 128), 1 / 128)

    return run


def peer_gru_qat(case: Case, gru: Any, x: np.ndarray, threads: int) -> Callable[[], None]:
    import torch
    from gru_qat import PRESETS, GRULayer

    if case.layers * case.directions > 1:
        raise ImportError("one layer only")
    torch.set_num_threads(threads)
    layer = GRULayer(input_size=case.inputs, hidden_size=case.hidden, recipe=PRESETS["int8_per_channel"],
                     gate_layout="fused", pre_batch_input=True).eval()
    tensor = torch.tensor(x, dtype=torch.float32)

    def run() -> None:
        with torch.inference_mode():
            layer(tensor)

    return run


PEERS = {"torch.nn.GRU": peer_torch, "onnxruntime": peer_onnxruntime, "torch fake-quant": peer_fake_quant,
         "gru-qat": peer_gru_qat}
FLOATS = ("torch.nn.GRU", "onnxruntime")


# --- the floor --------------------------------------------------------------------------------------------------------

FLOOR_C = """
#include "bt_vector.h"
/* Multiply-accumulates of `rounds` rounds of dot products on registers, nothing else. */
uint64_t floor_macs(uint64_t rounds, int32_t *sink) {
    bt_i32 acc[12], x = bt_all(sink[0]), w = bt_all(sink[1]);
    BT_UNROLL for (int i = 0; i < 12; i++) acc[i] = bt_all(i);
    for (uint64_t k = 0; k < rounds; k++) {
        BT_UNROLL for (int i = 0; i < 12; i++) acc[i] = bt_dot4(acc[i], x, w);
        __asm__ volatile("" ::: "memory");
    }
    BT_UNROLL for (int i = 0; i < 12; i++) bt_store(sink, bt_add(acc[i], bt_load(sink)));
    return rounds * 12 * 4 * BT_LANES;
}
"""


def mac_rate(variant: str) -> float:
    """Bytes-by-int8 multiply-accumulates per second of one thread, measured on registers."""
    import ctypes

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "floor.c", Path(folder) / "floor.so"
        source.write_text(FLOOR_C)
        flags = list(FLAGS)
        subprocess.run([str(find_compiler()), *flags, *VARIANTS[variant].flags, f"-I{RUNTIME}", str(source), "-o",
                        str(target)], check=True)
        run = ctypes.CDLL(str(target)).floor_macs
        run.argtypes, run.restype = [ctypes.c_uint64, ctypes.c_void_p], ctypes.c_uint64
        sink = np.ones(64, np.int32)
        best = 0.0
        for _ in range(7):
            start = time.thread_time()
            macs = run(2_000_000, sink.ctypes.data)
            best = max(best, macs / (time.thread_time() - start))
    return best


# --- timing -----------------------------------------------------------------------------------------------------------


def check(net: Network, binder: Binder, plan: Plan, engine: Native, x: np.ndarray) -> None:
    """Refuse to time a wrong answer."""
    program = binder.bind(plan)
    q = program.quantise_input(x)
    want = Reference().run(program, q[:CHECKED_ITEMS])
    if not np.array_equal(engine.run(program, q)[:CHECKED_ITEMS], want):
        sys.exit(f"the native engine ({engine.runtime.name}) differs from the reference: nothing was timed")


def rest() -> None:
    """Let the thread pools of whoever ran last stop spinning: they would sit on the cores of whoever runs next."""
    time.sleep(0.1)


def seconds(run: Callable[[], Any], clock: Callable[[], float], short: bool) -> float:
    rest()
    if short:
        run()  # its own pool sleeps, too; waking it up would be most of a short time
    start = clock()
    run()
    return clock() - start


def spread(values: list[float]) -> tuple[float, float, float, float]:
    """Lowest, lower quartile, median, upper quartile, in ms."""
    ms = sorted(1e3 * v for v in values)
    low, _, high = statistics.quantiles(ms, n=4) if len(ms) > 1 else (ms[0],) * 3
    return ms[0], low, statistics.median(ms), high


def measure(case: Case, options: argparse.Namespace, rate: float) -> list[dict[str, Any]]:
    """The rows of one case."""
    rng = np.random.default_rng(options.seed)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    gru = torch_gru(case)
    net = network(case, gru)
    x = rng.normal(size=(case.items, case.steps, case.inputs))
    calibration = calibrate(net, x[:8, :64], settings=CalibrationSettings(rounding="nearest"))
    engine = Native(options.variant, options.threads)
    peers: dict[str, Callable[[], None]] = {}
    for name, make in PEERS.items():
        if options.quick and name not in FLOATS:
            continue
        try:
            peers[name] = make(case, gru, x, options.threads)
            peers[name]()
        except ImportError as error:
            print(f"  {case.name}: {name} left out ({error})")
    floor = case.macs / rate / options.threads * 1e3
    rows: list[dict[str, Any]] = []
    times: dict[str, list[float]] = {name: [] for name in peers}
    bound: dict[str, list[float]] = {}
    binder = calibration.binder()
    styles = ("2-8", "16-state") if options.quick else tuple(STYLES)
    for style in styles:
        plans = iter([calibration.plan(genome(net, style, rng)) for _ in range(options.genomes * (options.repeat + 2))])
        check(net, binder, next(plans), engine, x)
        q = binder.bind(next(plans)).quantise_input(x).astype(np.int8)
        times[style], bound[style] = [], []
        some = [next(plans) for _ in range(options.genomes)]
        for round_ in range(options.repeat + 1):
            for name, run in peers.items():
                if name in FLOATS or (style == styles[0] and round_ < 4):
                    times[name].append(seconds(run, clock, case.items == 1))
            rest()
            if case.items == 1:
                engine.run_many([binder.bind(plan) for plan in some[:1]], q)
            start = clock()
            programs = [binder.bind(plan) for plan in some]
            bound[style].append(clock() - start)
            engine.run_many(programs, q)
            taken = clock() - start
            if round_:  # the first one warms caches up
                times[style].append(taken / options.genomes)
            some = [next(plans, plan) for plan in some]
    base = spread(times["torch.nn.GRU"])
    for name, values in times.items():
        low, q1, median, q3 = spread(values)
        row: dict[str, Any] = {
            "case": case.name, "what": name, "variant": engine.runtime.name if name in STYLES else "",
            "threads": options.threads, "ms": median, "quartiles": [q1, q3], "ms_best": low,
            "ratio": median / base[2], "ratio_best": low / base[0],
        }
        if name in STYLES:
            row |= {"bind_ms": 1e3 * statistics.median(bound[name][1:]) / options.genomes, "floor_ms": floor,
                    "times_floor": median / floor}
            if "onnxruntime" in times:
                row["ratio_onnxruntime"] = median / spread(times["onnxruntime"])[2]
        rows.append(row)
        extra = "" if name not in STYLES else (
            f"  {row['times_floor']:4.1f} x floor {floor:.2f} ms, of it binding {row['bind_ms']:.2f} ms"
            + (f", {row['ratio_onnxruntime']:.3f} x onnxruntime" if "ratio_onnxruntime" in row else ""))
        print(f"  {case.name:3} {name:16} {median:9.2f} ms ({q1:.2f}..{q3:.2f})  ratio {row['ratio']:6.3f}  "
              f"best {row['ratio_best']:6.3f}{extra}", flush=True)
    return rows


def main() -> int:
    """Measure and print; exit status 0."""
    parser = arguments(__doc__)
    parser.add_argument("--case", choices=CASES, action="append", help="may be given several times; all if not given")
    parser.add_argument("--variant", choices=runnable(), default=runnable()[0])
    parser.add_argument("--threads", type=int, default=processors())
    parser.add_argument("--genomes", type=int, default=None, help="genomes per timed call")
    parser.add_argument("--repeat", type=int, default=None, help="timed calls per style")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, floats only as peers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    options.genomes = options.genomes or 4 * options.threads
    options.repeat = options.repeat or (5 if options.quick else 9)
    missing = Native(options.variant).available()
    if missing:
        sys.exit(missing)
    rate = mac_rate(options.variant)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    print(f"{options.variant}, {options.threads} thread(s), {rate / 1e9:.0f} GMAC/s per thread measured, "
          f"{options.genomes} genomes a call; load of the machine {load:.1f}")
    rows = []
    for name in options.case or CASES:
        rows += measure(CASES[name], options, rate)
    if options.json:
        options.json.write_text(json.dumps({"mac_per_s": rate, "load": load, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    as_command(main)
