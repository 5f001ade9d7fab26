"""The example at the end of `arithmetic.md`: y = tanh(W x + b), by real numbers, by its formulas and by the package.

    python docs/arithmetic_example.py
"""

from __future__ import annotations

import math

import numpy as np

from bittailor.core.builder import Builder
from bittailor.core.network import Network
from bittailor.core.plan import Plan
from bittailor.core.program import bind
from bittailor.core.qformat import QFormat, activation_format, symmetric_unit_format
from bittailor.engines import Reference

W, BIAS = [0.9, -0.4], 0.25
INPUTS = [[0.0, 0.0], [1.0, -0.5], [-1.5, 2.5], [0.3, 0.7]]


def half_up(x: float) -> int:
    return math.floor(x + 0.5)


def clamp(q: int, low: int, high: int) -> int:
    return min(max(q, low), high)


def main() -> list[list[int]]:
    # formats: equations (1) to (3)
    x, y, tanh = activation_format(-1.5, 2.5, 8), activation_format(-4.0, 4.0, 8), symmetric_unit_format(8)
    w = QFormat("weight", 8, (0.9 / 127,))
    s_x, z_x, s_y, z_y, s_w = x.scale[0], x.zero_point, y.scale[0], y.zero_point, w.scale[0]
    print(f"formats   x: s {s_x:.4f}, z {z_x}    y: s {s_y:.4f}, z {z_y}    tanh: s 2^-7, z 0")
    weights = [clamp(half_up(v / s_w), -127, 127) for v in W]
    print(f"weights   {W} -> {weights}, s {s_w:.5f}")

    # linear: equations (10) and (11); a bias of 16 bits, e = 0 fits
    beta = half_up(BIAS / (s_w * s_x))
    offset = beta - z_x * sum(weights)
    print(f"offsets   bias {BIAS} -> {beta} steps, less z sum(w) -> {offset}")

    # rescaling: equations (5) to (8), trying every shift from the largest down
    ratio = s_w * s_x / s_y
    bound = sum(abs(v) for v in weights) * max(127 - z_x, z_x + 128) + abs(beta)
    for S in range(31, -1, -1):
        M, c = half_up(ratio * 2.0**S), z_y * 2**S + 2**S // 2
        if bound * M + abs(c) < 2**31:
            break
    print(f"rescaling R {ratio:.6f}, S {S}, M {M}, c {c}")

    # the same network for the package
    b = Builder()
    b.op("tanh", "t", b.linear("y", b.input("input", 2), "W", 1, "b"))
    network = Network(b.graph("t"), {"W": np.array([W]), "b": np.array([BIAS])})
    program = bind(network, Plan({"input": x, "W": w, "b": QFormat("bias", 16, ()), "y": y, "t": tanh}))
    q = program.quantise_input([INPUTS])
    trace = Reference().trace(program, q)

    print("    x            real        by hand     package     tanh")
    rows = []
    for k, real in enumerate(INPUTS):
        q_x = [clamp(half_up(v / s_x) + z_x, -128, 127) for v in real]  # (2)
        accumulator = sum(a * b for a, b in zip(weights, q_x, strict=True)) + offset  # (10)
        q_y = clamp((accumulator * M + c) >> S, -128, 127)  # (7)
        q_t = clamp(half_up(math.tanh(s_y * (q_y - z_y)) / 2.0**-7), -128, 127)  # (12)
        exact = sum(a * b for a, b in zip(W, real, strict=True)) + BIAS
        theirs, their_tanh = int(trace["y"][0, k, 0]), int(trace["t"][0, k, 0])
        print(f"    {real!s:13} {exact:7.4f}    {q_y:4d} ({s_y * (q_y - z_y):.3f})  {theirs:4d}       "
              f"{their_tanh:4d} ({their_tanh / 128:.3f})")
        rows.append([q_y, theirs, q_t, their_tanh])
    return rows


if __name__ == "__main__":
    main()
