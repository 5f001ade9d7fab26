"""CMSIS-NN's products beside ours: `kernels.py --cmsis-nn DIR`, a checkout of https://github.com/ARM-software/CMSIS-NN.

Its functions end in a requantisation, a clamp and a store, which our kernels leave to what follows. So a row is told in
three numbers: all of it at 64 inputs; the slope between 64 and 128 inputs, what a multiply-accumulate costs; and what
is left, the cost of a row. Outputs are compared with NumPy before anything is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bittailor.core.arith import Ints, pack
from bittailor.export.targets import OPTIMISE, Target, build, run

ROWS, INPUTS = 64, (64, 128)
CORES = ("m0", "m3", "m4", "m55", "rv32")
"""m7 and m33 run what m4 runs."""
MULTIPLIER, SHIFT = 1 << 30, -7
SOURCES = ("FullyConnectedFunctions/arm_fully_connected_s8.c", "FullyConnectedFunctions/arm_fully_connected_s4.c",
           "NNSupportFunctions/arm_nn_vec_mat_mult_t_s8.c", "NNSupportFunctions/arm_nn_vec_mat_mult_t_s4.c",
           "NNSupportFunctions/arm_nn_vec_mat_mul_result_acc_s8_s16.c")
FULLY_CONNECTED = """    const cmsis_nn_context ctx = {{zero, sizeof zero}};
    const cmsis_nn_fc_params fc = {{0, 0, 0, {{-128, 127}}}};
    const cmsis_nn_per_tensor_quant_params quant = {{{multiplier}, {shift}}};
    const cmsis_nn_dims in = {{1, 1, 1, {n}}}, filter = {{{n}, 1, 1, {rows}}}, out = {{1, 1, 1, {rows}}};
    arm_fully_connected_{kind}(&ctx, &fc, &quant, &in, x, &filter, (const int8_t *)w{i}, &out, zero, &out, y8);
"""
LSTM = """    arm_nn_vec_mat_mul_result_acc_s8_s16(
        x, (const int8_t *)w{i}, zero, y16, {multiplier}, {shift}, {n}, {rows}, 1, 1);
"""
KERNELS = {"arm_fully_connected_s8": (FULLY_CONNECTED, "s8", 8, "y8"),
           "arm_nn_vec_mat_mul_result_acc_s8_s16": (LSTM, "", 8, "y16"),
           "arm_fully_connected_s4": (FULLY_CONNECTED, "s4", 4, "y8")}
"""Function -> the call, its kind, the width of weights, where it leaves the outputs."""
MAIN = """int main(void) {{
    const int to = fw_open("results.bin", 'w');
    for (int i = 0; i < {count}; i++) {{
        int64_t count;
        memset(y16, 0, sizeof y16); /* to which the LSTM's kernel adds */
        count_start();
        products[i]();
        count = (int64_t)count_stop();
        (void)fw_write(to, &count, sizeof count);
        (void)fw_write(to, y8, sizeof y8);
        (void)fw_write(to, y16, sizeof y16);
    }}
    fw_close(to);
    return 0;
}}
"""


def measure(target: Target, cmsis: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the result file: of every kernel on one core."""
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, max(INPUTS))
    cases = [(name, n, rng.integers(1 - (1 << (bits - 1)), 1 << (bits - 1), (ROWS, n)))
             for name, (_, _, bits, _) in KERNELS.items() for n in INPUTS]
    (folder / "cmsis.c").write_text(_program(cases, x))
    elf = build(target, [folder / "cmsis.c", *(cmsis / "Source" / source for source in SOURCES)], folder / "cmsis.elf",
                [cmsis / "Include"], flags=("-std=gnu11", *OPTIMISE))
    data, counts = run(target, elf).files["results.bin"], {}
    for at, (name, n, W) in zip(range(0, len(data), 8 + 3 * ROWS), cases, strict=True):
        kind, offset = (np.int8, 8) if KERNELS[name][3] == "y8" else (np.dtype("<i2"), 8 + ROWS)
        got = np.frombuffer(data, kind, ROWS, at + offset)
        least, most = (-128, 127) if kind is np.int8 else (-(1 << 15), (1 << 15) - 1)
        if not np.array_equal(got, np.clip(_requantised(W @ x[:n]), least, most)):
            raise SystemExit(f"{target.title}: {name}, {n} inputs: wrong, so nothing is counted")
        counts[name, n] = int(np.frombuffer(data, np.int64, 1, at)[0])
    for name in KERNELS:
        short, long = (counts[name, n] / ROWS for n in INPUTS)
        slope = (long - short) / (INPUTS[1] - INPUTS[0])
        yield {"core": target.name, "kernel": name, "inputs": INPUTS[0], "rows": ROWS,
               "instructions_per_mac": round(short / INPUTS[0], 3), "per_mac": round(slope, 3),
               "per_row": round(short - slope * INPUTS[0], 1)}


def _program(cases: Sequence[tuple[str, int, Ints]], x: Ints) -> str:
    """C that leaves every product's instructions and outputs."""
    parts = [*(f"#include {name}\n" for name in ('"arm_nnfunctions.h"', '"arm_nnsupportfunctions.h"', '"firmware.h"',
                                                 "<string.h>")),
             f"static int32_t zero[{ROWS}];\nstatic int8_t y8[{ROWS}];\nstatic int16_t y16[{ROWS}];\n",
             f"static const int8_t x[] = {{{', '.join(map(str, x))}}};\n"]
    for i, (name, n, W) in enumerate(cases):
        call, kind, bits, _ = KERNELS[name]
        parts += [f"static const uint8_t w{i}[] = {{{', '.join(map(str, pack(W.ravel(), bits)))}}};\n",
                  f"BT_NOIPA static void product{i}(void) {{\n",
                  call.format(i=i, n=n, rows=ROWS, kind=kind, multiplier=MULTIPLIER, shift=SHIFT), "}\n"]
    names = ", ".join(f"product{i}" for i in range(len(cases)))
    return "".join(parts) + f"static void (*const products[])(void) = {{{names}}};\n" + MAIN.format(count=len(cases))


def _requantised(sums: Ints) -> Ints:
    """A product with a Q31 multiplier, rounded half up, then a division by a power of two, rounded half away from 0."""
    high = (sums * MULTIPLIER + (1 << 30)) >> 31
    rest, found = high & ((1 << -SHIFT) - 1), high >> -SHIFT
    rounded: Ints = found + (rest > ((1 << -SHIFT) - 1) // 2 + (found < 0))
    return rounded
