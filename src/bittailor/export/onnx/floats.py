"""A program as the float network it stands for, every value rounded to its format: what QDQ files compute.

A program holds no floats but the scales of activations. A weight's scale is what its multiplier stands for, so a row's
scale here is the one that the integers are rescaled with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.core.arith import Floats, Ints
from bittailor.core.graph import Node
from bittailor.core.ops.forms import TableRows, Weighted
from bittailor.core.program import Program
from bittailor.core.walk import walk
from bittailor.engines.streaming import MAX, Carried


@dataclass(frozen=True, eq=False)
class RealWeights:
    """The parameters of a weighted operator as integers and their scales.

    W           [rows, columns]
    scale       [1] or [rows], positive: the weights are scale * W
    bias        [rows] in steps of the accumulator, None where all are zero
    bias_scale  like `scale`: the biases are bias_scale * bias
    """

    W: Ints
    scale: Floats
    bias: Ints | None
    bias_scale: Floats

    @property
    def real(self) -> dict[str, Floats]:
        """Role -> real values."""
        found: dict[str, Floats] = {"W": self.W * self.scale[:, None]}
        return found if self.bias is None else {**found, "b": self.bias * self.bias_scale}


def real_weights(program: Program, node: Node) -> RealWeights:
    """The parameters of an operator with weights."""
    constants = program.constants[node.output]
    assert isinstance(constants, Weighted)
    x, y, r = program.formats[node.inputs[0]], program.formats[node.output], constants.rescale
    W = constants.W.values
    # a multiplier of 0 is a row too small to count; a scale must be positive, so it is the least there is
    step = np.maximum(r.multipliers[0] * 2.0**-r.shift * y.scale[0], float(np.finfo(np.float32).tiny))
    bias = x.zero_point * W.sum(axis=1)
    if constants.offsets is not None:
        bias = bias + constants.offsets.values
    return RealWeights(W, step / x.scale[0], bias if bias.any() else None, step)


def real_table(program: Program, node: Node) -> RealWeights:
    """The table of an embedding."""
    constants = program.constants[node.output]
    assert isinstance(constants, TableRows)
    r = constants.rescale
    step = r.multipliers[0] * 2.0**-r.shift * program.formats[node.output].scale[0]
    step = np.maximum(step, float(np.finfo(np.float32).tiny))
    return RealWeights(constants.W.values, step, None, step)


def real_start(program: Program, item: Carried) -> Floats:
    """What is carried into the first frame, as real values [features]: 0, a state's start, the least of a maximum."""
    fmt = program.formats.get(item.name.removesuffix(MAX))
    return np.zeros(item.features) if fmt is None else fmt.dequantise(item.start)


def start_words(program: Program, item: Carried) -> str:
    """What is carried into the first frame, for people; one number where all are the same."""
    values = [f"{value:.9g}" for value in real_start(program, item).tolist()]
    return values[0] if len(set(values)) == 1 else ", ".join(values)


def fake_quantised(program: Program, x: NDArray[Any], lengths: Ints) -> Floats:
    """The output in float64, every operator a real function whose result is rounded to its format.

    Ties go to even integers, as QuantizeLinear has it; in the integer program they go up.

    x        real inputs [items, steps, features]
    lengths  [items], 1..steps
    """
    formats, (source,) = program.formats, program.graph.inputs
    real = {node.output: real_weights(program, node).real for node in program.graph.nodes()
            if isinstance(program.constants[node.output], Weighted)}
    real |= {node.output: real_table(program, node).real for node in program.graph.nodes()
             if isinstance(program.constants[node.output], TableRows)}

    def rounded(site: str, values: Floats) -> Floats:
        fmt = formats[site]
        q = np.rint(values / fmt.scale[0]) + fmt.zero_point
        return fmt.dequantise(np.clip(q, fmt.qmin, fmt.qmax))

    def apply(node: Node, inputs: list[Floats], own: Ints) -> Floats:
        y = node.operator.real(inputs, real.get(node.output, {}), own)
        return y if node.operator.tied else rounded(node.output, y)

    values = walk(program.graph, {source: rounded(source, np.asarray(x, np.float64))}, lengths, apply, lambda _: 0.0,
                  {name: formats[name].dequantise(q) for name, q in program.starts.items()})
    return values[program.graph.outputs[0]]
