"""The integer arithmetic a second time, from `docs/arithmetic.md` alone: plain Python, no NumPy, no bittailor.

Python integers cannot wrap and `Fraction` does not round, so what this file says is what the page says. It binds and
runs any graph (in the JSON form of a program's graph) with any plan, value by value, in loops. Floats appear only
where the page computes in float64: quantising, ratios of scales, tables.

    python tests/golden/make_golden.py            writes the vectors beside this file

The vectors hold float weights, plan, input and what must come out of every site in the first steps.
"""

from __future__ import annotations

import json
import math
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FIRST_STEPS = 2

Json = dict[str, Any]


# --- section 1: formats ---------------------------------------------------------------------------------------


def limits(fmt: Json) -> tuple[int, int]:
    """Smallest and largest integer of a format."""
    bits = fmt["bits"]
    if fmt["kind"] == "weight":
        top = 1 if bits == 1 else 2 ** (bits - 1) - 1
        return -top, top
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def clamp(value: int, low: int, high: int) -> int:
    return low if value < low else high if value > high else value


def half_up(value: float) -> int:
    return math.floor(value + 0.5)


def quantise(value: float, fmt: Json, row: int = 0) -> int:
    if fmt["kind"] == "weight" and fmt["bits"] == 1:
        return -1 if value < 0 else 1
    scale = fmt["scale"][row if len(fmt["scale"]) > 1 else 0]
    return clamp(half_up(value / scale) + fmt["zero_point"], *limits(fmt))


def reach(fmt: Json) -> int:
    low, high = limits(fmt)
    return max(abs(low - fmt["zero_point"]), abs(high - fmt["zero_point"]))


# --- section 2: rescaling -------------------------------------------------------------------------------------


def offset(shift: int, out: Json, constant: float) -> int:
    return out["zero_point"] * 2**shift + (2**shift) // 2 + half_up(constant * 2.0**shift)


def multiplier(ratio: float, shift: int) -> int:
    return half_up(ratio * 2.0**shift)


def choose(
    ratios: list[list[float]], reaches: list[list[int]], out: Json, constant: float = 0.0, accumulator: int = 0,
    sum_bits: int = 0,
) -> Json:
    """S, M, c and narrow or wide: lists have one entry per operand, each one number per row (or a single one)."""
    rows = max(len(x) for x in (*ratios, *reaches))

    def at(values: list[Any], row: int) -> Any:
        return values[row if len(values) > 1 else 0]

    def largest(top: int, limit: int) -> int | None:
        for shift in range(top, -1, -1):
            bound = max(
                sum(multiplier(at(r, o), shift) * max(at(a, o), 1) for r, a in zip(ratios, reaches, strict=True))
                for o in range(rows)
            )
            biggest = max(multiplier(r, shift) for ratio in ratios for r in ratio)
            if bound + abs(offset(shift, out, constant)) < 2**limit and biggest < 2**31:
                return shift
        return None

    def enough(shift: int) -> bool:
        needed = out["bits"] + 3
        if max(multiplier(r, shift) for ratio in ratios for r in ratio).bit_length() < needed:
            return False
        for ratio, a in zip(ratios, reaches, strict=True):
            for o in range(max(len(ratio), len(a))):
                m = multiplier(at(ratio, o), shift)
                moves = max(at(a, o), 1) * abs(Fraction(at(ratio, o)) * 2**shift - m)
                if m.bit_length() < needed and moves > 2**shift:
                    return False
        return True

    wide = True
    shift = None
    if not sum_bits and accumulator < 2**31:
        shift = largest(31, 31)
        wide = shift is None or not enough(shift)
    if wide:
        shift = largest(62, sum_bits or 63)
    if shift is None:
        raise ValueError("scales differ too much")
    return {
        "M": [[multiplier(r, shift) for r in ratio] for ratio in ratios], "S": shift,
        "c": offset(shift, out, constant), "wide": wide,
    }


def rescaled(values: list[int], rescale: Json, out: Json, row: int = 0, low: int | None = None) -> int:
    total = rescale["c"]
    for v, m in zip(values, rescale["M"], strict=True):
        total += v * m[row if len(m) > 1 else 0]
    lo, hi = limits(out)
    return clamp(total // 2 ** rescale["S"], lo if low is None else low, hi)


# --- section 3: operators ---------------------------------------------------------------------------------------


def sigmoid(x: float) -> float:
    e = math.exp(-abs(x))
    return 1.0 / (1.0 + e) if x >= 0 else e / (1.0 + e)


def ln_1_exp(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def elu(x: float, alpha: float = 1.0) -> float:
    return x if x > 0 else alpha * math.expm1(x)


FUNCTIONS: dict[str, Any] = {
    "sigmoid": sigmoid,
    "tanh": math.tanh,
    "hardsigmoid": lambda x: min(max(x / 6.0 + 0.5, 0.0), 1.0),
    "hardtanh": lambda x: min(max(x, -1.0), 1.0),
    "softsign": lambda x: x / (1.0 + abs(x)),
    "silu": lambda x: x * sigmoid(x),
    "softplus": lambda x, beta=1.0, threshold=math.inf: x if beta * x > threshold else ln_1_exp(beta * x) / beta,
    "elu": elu,
    "leaky_relu": lambda x, slope=0.01: x if x > 0 else slope * x,
    "clamp": lambda x, low=-math.inf, high=math.inf: min(max(x, low), high),
    "gelu": lambda x: 0.5 * x * (1.0 + math.erf(x * math.sqrt(0.5))),
    "gelu_tanh": lambda x: 0.5 * x * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x))),
    "selu": lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772),
    "hardswish": lambda x: x * min(max(x / 6.0 + 0.5, 0.0), 1.0),
    "mish": lambda x: x * math.tanh(ln_1_exp(x)),
    "logsigmoid": lambda x: -ln_1_exp(-x),
    "abs": abs,
}
POINTWISE = ("add", "sub", "mul", "one_minus", "affine", "relu", "requantise")
NORMS = ("layer_norm", "rms_norm")
WINDOWS = ("window", "crop")
OVER_TIME = ("last", "first", "mean", "sum", "max")
COPIES = ("last", "first", "max", "window", "crop")
"""Their output has the format of their input."""


def bind_linear(node: Json, formats: Json, parameters: Json, out: Json) -> Json:
    x, wf = formats[node["inputs"][0]], formats[node["params"][0]]
    weights = parameters[node["params"][0]]
    rows = len(weights)
    W = [[quantise(w, wf, o) for w in weights[o]] for o in range(rows)]
    step = [s * x["scale"][0] for s in wf["scale"]]
    bias = [0] * rows
    if len(node["params"]) > 1:
        bf = formats[node["params"][1]]
        exact = [b / step[o if len(step) > 1 else 0] for o, b in enumerate(parameters[node["params"][1]])]
        e = 0
        low, high = limits(bf)
        while bf["bits"] != 32 and not all(low <= half_up(b / 2.0**e) <= high for b in exact):
            e += 1
        bias = [half_up(b / 2.0**e) * 2**e for b in exact]
    sums = [sum(abs(w) for w in row) for row in W]
    reaches = [sums[o] * reach(x) + abs(bias[o]) for o in range(rows)]
    raw = max(sums) * max(abs(v) for v in limits(x))
    rescale = choose([[s / out["scale"][0] for s in step]], [reaches], out, accumulator=max(raw, *reaches))
    k = [bias[o] - x["zero_point"] * sum(W[o]) for o in range(rows)]
    return {"W": W, "k": k, "rescale": rescale}


def bind_table(function: Any, x: Json, out: Json) -> Json:
    step = max(0, x["bits"] - 8)
    guard = 16 - out["bits"] if step else 0
    low, high = limits(out)
    points = range(limits(x)[0], limits(x)[1] + 1) if step == 0 else [limits(x)[0] + i * 2**step for i in range(257)]
    entries = []
    for q in points:
        real = function(x["scale"][0] * (q - x["zero_point"]))
        fine = half_up(real / out["scale"][0] * 2.0**guard) + out["zero_point"] * 2**guard
        entries.append(clamp(fine, low * 2**guard, high * 2**guard))
    return {"entries": entries, "step": step, "guard": guard}


def bind_embedding(node: Json, formats: Json, parameters: Json, out: Json) -> Json:
    wf = formats[node["params"][0]]
    W = [[quantise(w, wf, o) for w in row] for o, row in enumerate(parameters[node["params"][0]])]
    ratios = [s / out["scale"][0] for s in wf["scale"]]
    return {"W": W, "rescale": choose([ratios], [[max(abs(w) for w in row) for row in W]], out)}


def bind_norm(node: Json, x: Json, out: Json) -> Json:
    """G, t and E of a normalisation."""
    n, eps = node["options"]["features"], node["options"]["eps"]
    centred = node["op"] == "layer_norm"
    gain = (1.0 if centred else math.sqrt(n)) / out["scale"][0]
    epsilon = half_up((float(n) ** 2 if centred else n) * eps / x["scale"][0] ** 2)
    low, high = limits(x)
    largest = (n if centred else 1) * n * reach(x) ** 2
    shift = max((t for t in range(33) if half_up(gain * 2.0**t) < 2**31), default=-1)
    fits = n * (high - low if centred else reach(x)) < 2**31 and largest + epsilon < 2**62
    if shift < 0 or half_up(gain * 2.0**shift) < 2**15 or not fits:
        raise ValueError("scales differ too much")
    return {"G": half_up(gain * 2.0**shift), "t": shift, "E": epsilon}


def normalise(node: Json, constants: Json, x: Json, out: Json, values: list[int]) -> list[int]:
    """A vector over the root of its variance, or of its mean square."""
    n, u = len(values), [q - x["zero_point"] for q in values]
    if node["op"] == "layer_norm":
        d, v = [n * a - sum(u) for a in u], n * sum(a * a for a in u) - sum(u) ** 2
    else:
        d, v = u, sum(a * a for a in u)
    v, h = max(v + constants["E"], 1), 0
    while v < 2**60:
        v, h = 4 * v, h + 1
    p = constants["G"] * (2**60 // math.isqrt(v)) // 2**30
    shift = constants["t"] + 30 - h
    return [clamp((a * p + 2**shift // 2) // 2**shift + out["zero_point"], *limits(out)) for a in d]


def bind(node: Json, formats: Json, parameters: Json) -> Json:
    """The integers that one operator needs."""
    op, out = node["op"], formats[node["output"]]
    ins = [formats[name] for name in node["inputs"]]
    sy = out["scale"][0]
    if op == "embedding":
        return bind_embedding(node, formats, parameters, out)
    if op in ("linear", "grouped_linear", "diagonal"):  # a diagonal holds rows of one weight, groups those of theirs
        return bind_linear(node, formats, parameters, out)
    if op in FUNCTIONS:
        return {"table": bind_table(lambda x: FUNCTIONS[op](x, **node["options"]), ins[0], out)}
    if op in COPIES:
        return {}
    if op in NORMS:
        return bind_norm(node, ins[0], out)
    if op == "mul":
        product = reach(ins[0]) * reach(ins[1])
        ratio = ins[0]["scale"][0] * ins[1]["scale"][0] / sy
        return {"rescale": choose([[ratio]], [[product]], out, accumulator=product)}
    if op == "concat":
        return {f"rescale{i}": choose([[f["scale"][0] / sy]], [[reach(f)]], out) for i, f in enumerate(ins)}
    ratios, reaches = [[f["scale"][0] / sy] for f in ins], [[reach(f)] for f in ins]
    if op in ("mean", "sum"):
        return {"rescale": choose(ratios, reaches, out, sum_bits=46)}
    constant = 1.0 / sy if op == "one_minus" else 0.0
    if op == "affine":
        ratios = [[abs(node["options"].get("factor", 1.0)) * ins[0]["scale"][0] / sy]]
        constant = node["options"].get("shift", 0.0) / sy
    assert op in POINTWISE, f"operator '{op}' is not in make_golden.py; write it down from docs/arithmetic.md"
    return {"rescale": choose(ratios, reaches, out, constant=constant)}


def lookup(q: int, table: Json, x: Json, out: Json) -> int:
    index, step = q - limits(x)[0], table["step"]
    if step == 0:
        return table["entries"][index]
    i, k = divmod(index, 2**step)
    total = table["entries"][i] * (2**step - k) + table["entries"][i + 1] * k
    shift = step + table["guard"]
    return clamp((total + 2 ** (shift - 1)) // 2**shift, *limits(out))


def apply(node: Json, constants: Json, formats: Json, inputs: list[list[int]]) -> list[int]:
    """One operator on the values of one step, feature by feature."""
    op, out = node["op"], formats[node["output"]]
    ins = [formats[name] for name in node["inputs"]]
    if op == "linear":
        y = []
        for o, row in enumerate(constants["W"]):
            accumulator = constants["k"][o]
            for w, x in zip(row, inputs[0], strict=True):
                accumulator += w * x
            y.append(rescaled([accumulator], constants["rescale"], out, o))
        return y
    if op == "embedding":
        (row,) = inputs[0]
        return [rescaled([w], constants["rescale"], out, row) for w in constants["W"][row]]
    if op == "grouped_linear":
        y, own = [], len(constants["W"][0])
        for o, row in enumerate(constants["W"]):
            first = o // (len(constants["W"]) // node["options"]["groups"]) * own
            accumulator = sum(w * inputs[0][first + k] for k, w in enumerate(row))
            y.append(rescaled([accumulator + constants["k"][o]], constants["rescale"], out, o))
        return y
    if op == "diagonal":
        rows = zip(constants["W"], inputs[0], constants["k"], strict=True)
        return [rescaled([w * x + k], constants["rescale"], out, o) for o, ((w,), x, k) in enumerate(rows)]
    if op in FUNCTIONS:
        return [lookup(q, constants["table"], ins[0], out) for q in inputs[0]]
    if op in NORMS:
        return normalise(node, constants, ins[0], out, inputs[0])
    u = [[q - f["zero_point"] for q in values] for values, f in zip(inputs, ins, strict=True)]
    if op == "concat":
        return [rescaled([v], constants[f"rescale{i}"], out) for i, part in enumerate(u) for v in part]
    r = constants["rescale"]
    if op == "mul":
        return [rescaled([a * b], r, out) for a, b in zip(*u, strict=True)]
    if op == "add":
        return [rescaled([a, b], r, out) for a, b in zip(*u, strict=True)]
    if op == "sub":
        return [rescaled([a, -b], r, out) for a, b in zip(*u, strict=True)]
    if op == "one_minus" or (op == "affine" and node["options"].get("factor", 1.0) < 0):
        return [rescaled([-a], r, out) for a in u[0]]
    return [rescaled([a], r, out, low=out["zero_point"] if op == "relu" else None) for a in u[0]]


def over_time(node: Json, constants: Json, formats: Json, steps: list[list[int]]) -> list[int]:
    """An operator that reads the valid steps of one item at once."""
    if node["op"] == "last":
        return steps[-1]
    if node["op"] == "first":
        return steps[0]
    if node["op"] == "max":
        return [max(values) for values in zip(*steps, strict=True)]
    x, out, r = formats[node["inputs"][0]], formats[node["output"]], constants["rescale"]
    y = []
    for f in range(len(steps[0])):
        total = sum(values[f] - x["zero_point"] for values in steps)
        if node["op"] == "sum":
            y.append(rescaled([total], r, out))
            continue
        floor = (total * r["M"][0][0] + len(steps) * r["c"]) // (len(steps) * 2 ** r["S"])
        y.append(clamp(floor, *limits(out)))
    return y


def window(node: Json, formats: Json, steps: list[list[int]]) -> list[list[int]]:
    """The frames around every valid step of one item, feature by feature; the zero-point beyond its ends."""
    taps, dilation, ahead = (node["options"][name] for name in ("taps", "dilation", "ahead"))
    zero, y = formats[node["inputs"][0]]["zero_point"], []
    for t in range(len(steps)):
        row = []
        for c in range(len(steps[0])):
            for k in range(taps):
                at = t + ahead - (taps - 1 - k) * dilation
                row.append(steps[at][c] if 0 <= at < len(steps) else zero)
        y.append(row)
    return y


def crop(node: Json, steps: list[list[int]]) -> list[list[int]]:
    """The valid steps of one item without the first ones."""
    return [list(values) for t, values in enumerate(steps) if t >= node["options"]["steps"]]


# --- section 4: recurrence --------------------------------------------------------------------------------------


def all_formats(graph: Json, plan: Json) -> Json:
    """The plan's formats, and those of the sites that copy another one."""
    formats = dict(plan)
    for step in graph["steps"]:
        for previous, update in step.get("states", ()):
            formats[previous] = formats[update]
        for node in step.get("nodes", [step]):
            if node["op"] in COPIES:
                formats[node["output"]] = formats[node["inputs"][0]]
    return formats


def bind_all(graph: Json, plan: Json, parameters: Json) -> Json:
    """Constants of every operator, by its output site."""
    formats = all_formats(graph, plan)
    nodes = [node for step in graph["steps"] for node in step.get("nodes", [step])]
    return {node["output"]: bind(node, formats, parameters) for node in nodes}


def run(graph: Json, plan: Json, constants: Json, item: list[list[int]]) -> dict[str, Any]:
    """Every site of one item (only its valid steps): lists [steps][features], or [features] after a last or mean."""
    formats = all_formats(graph, plan)
    values: dict[str, Any] = {graph["inputs"][0]: item}
    for step in graph["steps"]:
        if "recurrence" in step:
            values.update(recur(graph, step, formats, constants, values, len(values[step["inputs"][0]])))
            continue
        sources = [values[name] for name in step["inputs"]]
        own = constants[step["output"]]
        if step["op"] == "window":
            values[step["output"]] = window(step, formats, sources[0])
        elif step["op"] == "crop":
            values[step["output"]] = crop(step, sources[0])
        elif step["op"] in OVER_TIME:
            values[step["output"]] = over_time(step, own, formats, sources[0])
        elif isinstance(sources[0][0], list):
            values[step["output"]] = [
                apply(step, own, formats, [s[t] for s in sources]) for t in range(len(sources[0]))
            ]
        else:
            values[step["output"]] = apply(step, own, formats, sources)
    return values


def recur(graph: Json, layer: Json, formats: Json, constants: Json, values: Json, steps: int) -> Json:
    found: Json = {node["output"]: [None] * steps for node in layer["nodes"]}
    state: Json = {}
    for previous, update in layer["states"]:
        state[previous] = [formats[update]["zero_point"]] * state_size(graph, layer, constants, previous)
    for t in reversed(range(steps)) if layer["reverse"] else range(steps):
        now = dict(state) | {name: values[name][t] for name in layer["inputs"]}
        for node in layer["nodes"]:
            sources = [now[name] for name in node["inputs"]]
            now[node["output"]] = apply(node, constants[node["output"]], formats, sources)
            found[node["output"]][t] = now[node["output"]]
        state = {previous: now[update] for previous, update in layer["states"]}
    return found


def state_size(graph: Json, layer: Json, constants: Json, previous: str) -> int:
    """Features of a state: as its site says, else as many as the operator that writes it gives."""
    for site in graph.get("sites", ()):
        if site["name"] == previous:
            return site["shape"][0]
    makers = {node["output"]: node for node in layer["nodes"]}

    def features(name: str) -> int:
        item = makers.get(name)
        if item is None:  # the state itself, or what comes from outside
            return 0
        if item["params"]:
            return len(constants[name]["W"])
        found = [features(source) for source in item["inputs"]]
        return sum(found) if item["op"] == "concat" else max(found)

    return features(dict(layer["states"])[previous])


# --- the vectors ------------------------------------------------------------------------------------------------


def node(op: str, output: str, *inputs: str, params: tuple[str, ...] = (), **options: Any) -> Json:
    return {"op": op, "inputs": list(inputs), "output": output, "params": list(params), "options": options}


class Layer:
    """One layer being written down: its nodes in order, and the shapes of its parameters."""

    def __init__(self, p: str, hidden: int, bias: bool, widths: dict[str, int]) -> None:
        self.p, self.hidden, self.bias = p, hidden, bias
        self.widths = dict(widths)
        self.nodes: list[Json] = []
        self.shapes: dict[str, list[int]] = {}

    def name(self, short: str) -> str:
        """A site of this layer; names of sites outside stand as they are."""
        return short if short in self.widths else f"{self.p}.{short}"

    def op(self, op: str, output: str, *inputs: str) -> None:
        sources = [self.name(short) for short in inputs]
        self.widths[f"{self.p}.{output}"] = self.widths[sources[0]]
        self.nodes.append(node(op, f"{self.p}.{output}", *sources))

    def linear(self, output: str, source: str, weight: str, bias: str | None = None, rows: int = 0) -> None:
        rows, source = rows or self.hidden, self.name(source)
        self.shapes[f"{self.p}.{weight}"] = [rows, self.widths[source]]
        params = [f"{self.p}.{weight}"]
        if bias and self.bias:
            params.append(f"{self.p}.{bias}")
            self.shapes[f"{self.p}.{bias}"] = [rows]
        self.widths[f"{self.p}.{output}"] = rows
        self.nodes.append(node("linear", f"{self.p}.{output}", source, params=tuple(params), features=rows))

    def diagonal(self, output: str, source: str, weight: str) -> None:
        source = self.name(source)
        size = self.widths[source]
        self.shapes[f"{self.p}.{weight}"] = [size, 1]
        self.widths[f"{self.p}.{output}"] = size
        self.nodes.append(node("diagonal", f"{self.p}.{output}", source, params=(f"{self.p}.{weight}",), features=size))

    def gate(self, gate: str, x: str, function: str, w: str, b: str, h: str = "h.prev") -> None:
        """function(W_i x + b + W_h h)"""
        self.linear(f"{gate}.x", x, f"W_i{w}", b)
        self.linear(f"{gate}.h", h, f"W_h{w}")
        self.op("add", f"{gate}.pre", f"{gate}.x", f"{gate}.h")
        self.op(function, f"{gate}.post", f"{gate}.pre")

    def mix(self, gate: str, new: str, old: str, output: str) -> None:
        """(1 - gate) * new + gate * old"""
        self.op("one_minus", f"{gate}.not", f"{gate}.post")
        self.op("mul", f"{output}.new", f"{gate}.not", new)
        self.op("mul", f"{output}.kept", f"{gate}.post", old)
        self.op("add", output, f"{output}.new", f"{output}.kept")


def gru(step: Layer, x: str) -> list[str]:
    """The GRU of PyTorch."""
    step.gate("r", x, "sigmoid", "r", "b_r")
    step.gate("z", x, "sigmoid", "z", "b_z")
    step.linear("n.x", x, "W_in", "b_in")
    step.linear("n.h", "h.prev", "W_hn", "b_hn")
    step.op("mul", "n.reset", "r.post", "n.h")
    step.op("add", "n.pre", "n.x", "n.reset")
    step.op("tanh", "n.post", "n.pre")
    step.mix("z", "n.post", "h.prev", "h")
    return ["h"]


def gru_cho(step: Layer, x: str) -> list[str]:
    """The GRU with the reset gate before the matrix."""
    step.gate("r", x, "sigmoid", "r", "b_r")
    step.gate("z", x, "sigmoid", "z", "b_z")
    step.linear("n.x", x, "W_in", "b_n")
    step.op("mul", "h.reset", "r.post", "h.prev")
    step.linear("n.h", "h.reset", "W_hn")
    step.op("add", "n.pre", "n.x", "n.h")
    step.op("tanh", "n.post", "n.pre")
    step.mix("z", "n.post", "h.prev", "h")
    return ["h"]


def ligru(step: Layer, x: str) -> list[str]:
    """The light GRU."""
    step.gate("z", x, "sigmoid", "z", "b_z")
    step.gate("n", x, "relu", "n", "b_n")
    step.mix("z", "n.post", "h.prev", "h")
    return ["h"]


def lstm(step: Layer, x: str, project: int = 0) -> list[str]:
    """The LSTM of PyTorch, with its projection."""
    for gate in "ifgo":
        step.gate(gate, x, "tanh" if gate == "g" else "sigmoid", gate, f"b_{gate}")
    step.op("mul", "c.kept", "f.post", "c.prev")
    step.op("mul", "c.new", "i.post", "g.post")
    step.op("add", "c", "c.kept", "c.new")
    step.op("tanh", "c.post", "c")
    if project:
        step.op("mul", "h.full", "o.post", "c.post")
        step.linear("h", "h.full", "W_hr", rows=project)
    else:
        step.op("mul", "h", "o.post", "c.post")
    return ["h", "c"]


def mingru(step: Layer, x: str) -> list[str]:
    """minGRU: 1 - z keeps."""
    step.linear("z.pre", x, "W_z", "b_z")
    step.op("sigmoid", "z.post", "z.pre")
    step.linear("n", x, "W_n", "b_n")
    step.op("mul", "h.new", "z.post", "n")
    step.op("one_minus", "z.not", "z.post")
    step.op("mul", "h.kept", "z.not", "h.prev")
    step.op("add", "h", "h.new", "h.kept")
    return ["h"]


def rnn(step: Layer, x: str, activation: str = "tanh") -> list[str]:
    """The RNN of PyTorch."""
    step.linear("n.x", x, "W_in", "b_n")
    step.linear("n.h", "h.prev", "W_hn")
    step.op("add", "n.pre", "n.x", "n.h")
    step.op(activation, "h", "n.pre")
    return ["h"]


def sru(
    step: Layer, x: str, skip: str | None = "auto", source: str = "", scaled: bool = False, activation: str = ""
) -> list[str]:
    """SRU with every choice."""
    step.linear("x", x, "W_x")
    for gate in "fr":
        step.linear(f"{gate}.x", x, f"W_{gate}", f"b_{gate}")
        step.diagonal(f"{gate}.c", "c.prev", f"v_{gate}")
        step.op("add", f"{gate}.pre", f"{gate}.x", f"{gate}.c")
        step.op("sigmoid", f"{gate}.post", f"{gate}.pre")
    step.op("one_minus", "f.not", "f.post")
    step.op("mul", "c.new", "f.not", "x")
    step.op("mul", "c.kept", "f.post", "c.prev")
    step.op("add", "c", "c.kept", "c.new")
    shown, given = "c", source or x
    if activation:
        step.op(activation, "c.post", "c")
        shown = "c.post"
    if skip is None:
        step.op("mul", "h", "r.post", shown)
        return ["c"]
    if skip == "matrix" or (skip == "auto" and step.widths[given] != step.hidden):
        step.linear("s", x, "W_s")
        given = "s"
    elif scaled:
        step.diagonal("s", given, "v_s")
        given = "s"
    step.op("mul", "h.shown", "r.post", shown)
    step.op("one_minus", "r.not", "r.post")
    step.op("mul", "h.skip", "r.not", given)
    step.op("add", "h", "h.shown", "h.skip")
    return ["c"]


CELLS = {"gru": gru, "gru_cho": gru_cho, "lstm": lstm, "ligru": ligru, "mingru": mingru, "rnn": rnn, "sru": sru}


def recurrence(
    cell: str, p: str, x: str, width: int, hidden: int, bias: bool, reverse: bool, source: str, options: Json
) -> tuple[Json, dict[str, list[int]], int]:
    """A layer in one direction, the shapes of its parameters, and the features of its output."""
    features = {"h": options.get("project") or hidden, "c": hidden}
    outside = {x: width} | ({source: hidden} if source else {})
    step = Layer(p, hidden, bias, outside | {f"{p}.{state}.prev": size for state, size in features.items()})
    states = CELLS[cell](step, x, **options, **({"source": source} if source else {}))
    read = dict.fromkeys(name for item in step.nodes for name in item["inputs"] if name in outside)
    return {
        "recurrence": p, "cell": cell, "inputs": list(read),
        "states": [[f"{p}.{state}.prev", f"{p}.{state}"] for state in states], "nodes": step.nodes,
        "outputs": [f"{p}.h"], "reverse": reverse,
    }, step.shapes, features["h"]


def in_drawing_order(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    """Matrices, then biases."""
    return dict(sorted(shapes.items(), key=lambda item: len(item[1]) == 1))


def network(
    features: int, hidden: int, layers: int, directions: int, bias: bool, end: str, classes: int, cell: str = "gru",
    options: Json | None = None, rows: int = 0,
) -> Json:
    """An embedding (or not), stacked layers of a cell, then relu (or not), a linear head and what follows it."""
    steps: list[Json] = []
    shapes: dict[str, list[int]] = {}
    x, width = "input", features
    if rows:
        steps.append(node("embedding", "table.out", x, params=("table.W",), features=features, rows=rows))
        shapes["table.W"] = [rows, features]
        x = "table.out"
    for i in range(layers):
        below = [step["outputs"][0] for step in steps[-directions - 1:-1]] if i and directions > 1 else []
        outs, sizes = [], []
        for d in range(directions):
            p = f"{cell}{i}" + (".rev" if d else "")
            source = below[d] if cell == "sru" and below else ""
            step, own, size = recurrence(cell, p, x, width, hidden, bias, bool(d), source, options or {})
            steps.append(step)
            shapes |= in_drawing_order(own)
            outs.append(f"{p}.h")
            sizes.append(size)
        x, width = outs[0], sizes[0]
        if directions > 1:
            x, width = f"{cell}{i}.out", sum(sizes)
            steps.append(node("concat", x, *outs))
    for op in end.split():
        if op == "linear":
            params = ("head.W", "head.b") if bias else ("head.W",)
            steps.append(node("linear", "head.out", x, params=params, features=classes))
            shapes["head.W"] = [classes, width]
            if bias:
                shapes["head.b"] = [classes]
            x, width = "head.out", classes
        elif op.startswith("conv"):  # conv:taps:dilation:ahead:groups:drops, with twice the features
            taps, dilation, ahead, groups, drops = map(int, op.split(":")[1:])
            steps.append(node("window", "conv.window", x, taps=taps, dilation=dilation, ahead=ahead))
            if drops:
                steps.append(node("crop", "conv.crop", "conv.window", steps=drops))
            params = ("conv.W", "conv.b") if bias else ("conv.W",)
            shapes["conv.W"] = [2 * width, width * taps // groups]
            if bias:
                shapes["conv.b"] = [2 * width]
            kind, more = ("grouped_linear", {"groups": groups}) if groups > 1 else ("linear", {})
            steps.append(node(kind, "conv.out", steps[-1]["output"], params=params, features=2 * width, **more))
            x, width = "conv.out", 2 * width
        elif op in NORMS:
            steps.append(node(op, op, x, features=width, eps=1e-5))
            x = op
        else:
            steps.append(node(op, op, x))
            x = op
    return {"inputs": ["input"], "outputs": [x], "steps": steps, "parameters": shapes}


def draw_parameters(rng: random.Random, shapes: dict[str, list[int]]) -> Json:
    def values(shape: list[int]) -> Any:
        if len(shape) > 1:
            return [values(shape[1:]) for _ in range(shape[0])]
        return [round(rng.gauss(0.0, 0.6), 4) for _ in range(shape[0])]

    return {name: values(shape) for name, shape in shapes.items()}


BOUNDED = ("gru", "gru_cho")
"""Cells whose states are drawn a format that covers (-1, 1)."""


def draw_plan(
    rng: random.Random, graph: Json, parameters: Json, widths: Any, bias_bits: int | None, per_row: bool
) -> Json:
    """Formats for every site that has one of its own; `widths(kind)` draws a width."""
    plan: Json = {}

    def activation(name: str, op: str | None) -> Json:
        bits = widths("activation")
        half = 2 ** (bits - 1)
        fmt = {"kind": "activation", "bits": bits, "scale": [2.0 ** -(bits - 1)], "zero_point": 0}
        if op in ("tanh", "state"):
            return fmt
        if op in ("sigmoid", "one_minus"):
            return fmt if bits > 8 else fmt | {"scale": [2.0**-bits], "zero_point": -half}
        zero = rng.randint(-half // 2, half // 2 - 1) if bits <= 8 else 0
        return fmt | {"scale": [round(rng.uniform(1.5, 4.0), 3) / half], "zero_point": zero}

    plan["input"] = activation("input", None)
    for step in graph["steps"]:
        states = [update for _, update in step.get("states", ()) if step["cell"] in BOUNDED]
        for item in step.get("nodes", [step]):
            if item["op"] not in COPIES:
                role = "state" if item["output"] in states else item["op"]
                plan[item["output"]] = activation(item["output"], role)
    for name, values in parameters.items():
        if isinstance(values[0], list):
            bits = widths("weight")
            top = 1 if bits == 1 else 2 ** (bits - 1) - 1
            rows = values if per_row else [[w for row in values for w in row]]
            scale = [max(abs(w) for w in row) / top for row in rows]
            plan[name] = {"kind": "weight", "bits": bits, "scale": scale, "zero_point": 0}
        else:
            bits = bias_bits or rng.randint(2, 16)
            plan[name] = {"kind": "bias", "bits": bits, "scale": [], "zero_point": 0}
    return plan


CASES: dict[str, Json] = {
    "homogeneous8": {"seed": 1, "widths": (8, 8), "end": "last linear"},
    "homogeneous2": {"seed": 2, "widths": (2, 2), "end": "linear mean"},
    "all16_wide": {"seed": 3, "widths": (16, 16), "bias_bits": 32, "end": "relu linear last", "layers": 2},
    "mixed": {"seed": 4, "widths": (1, 16), "end": "linear mean sigmoid", "layers": 2, "directions": 2},
    "per_row": {"seed": 5, "widths": (1, 8), "end": "requantise last linear", "per_row": True, "directions": 2},
    "no_bias": {"seed": 6, "widths": (3, 9), "bias": False, "end": "first linear tanh"},
    "gru_cho": {"seed": 8, "cell": "gru_cho", "widths": (2, 9), "end": "last linear"},
    "lstm": {"seed": 9, "cell": "lstm", "widths": (2, 10), "end": "last linear", "directions": 2},
    "lstm_projected": {"seed": 10, "cell": "lstm", "options": {"project": 2}, "widths": (3, 12), "end": "mean linear"},
    "ligru": {"seed": 11, "cell": "ligru", "widths": (2, 9), "end": "last linear"},
    "mingru": {"seed": 12, "cell": "mingru", "widths": (2, 12), "end": "last linear", "layers": 2},
    "sru": {"seed": 13, "cell": "sru", "widths": (1, 16), "end": "linear", "layers": 2, "directions": 2,
            "options": {"scaled": True}},
    "sru_plain": {"seed": 14, "cell": "sru", "widths": (1, 9), "end": "last linear", "bias": False, "per_row": True,
                  "options": {"skip": None, "activation": "tanh"}},
    "conv": {"seed": 17, "widths": (2, 12), "end": "conv:3:1:0:1:0 last linear", "steps": 6},
    "conv_ahead": {"seed": 18, "widths": (1, 8), "end": "conv:3:2:2:1:0 mean linear", "steps": 6, "directions": 2},
    "conv_depthwise": {"seed": 19, "widths": (2, 16), "end": "conv:2:3:0:3:0 linear", "steps": 6, "per_row": True},
    "conv_valid": {"seed": 23, "widths": (2, 12), "end": "conv:3:1:0:1:2 mean linear", "steps": 6, "least": 3},
    "embedding": {"seed": 20, "widths": (1, 12), "end": "last linear", "features": 3, "rows": 7, "per_row": True},
    "layer_norm": {"seed": 15, "widths": (2, 12), "end": "layer_norm linear last", "hidden": 5},
    "rms_norm": {"seed": 16, "widths": (4, 16), "end": "rms_norm mean linear", "hidden": 4},
    "rnn": {"seed": 21, "cell": "rnn", "widths": (2, 10), "end": "sum linear", "layers": 2, "directions": 2},
    "rnn_relu": {"seed": 22, "cell": "rnn", "options": {"activation": "relu"}, "widths": (2, 12), "end": "max linear"},
    "one_of_each": {"seed": 7, "widths": (4, 12), "end": "mean silu linear", "hidden": 1, "features": 1, "steps": 1},
}


def make_case(
    seed: int, widths: tuple[int, int], end: str, features: int = 2, hidden: int = 3, layers: int = 1,
    directions: int = 1, bias: bool = True, bias_bits: int | None = None, per_row: bool = False, steps: int = 4,
    cell: str = "gru", options: Json | None = None, rows: int = 0, least: int = 1,
) -> Json:
    """One vector: everything that goes in, and the integers that must come out.

    rows   of a table, if there is one
    least  the fewest steps of an item
    """
    rng = random.Random(seed)
    graph = network(features, hidden, layers, directions, bias, end, 2, cell, options, rows)
    parameters = draw_parameters(rng, graph.pop("parameters"))

    def draw(kind: str) -> int:
        return rng.randint(max(widths[0], 2) if kind == "activation" else widths[0], widths[1])

    plan = draw_plan(rng, graph, parameters, draw, bias_bits, per_row)
    lengths = [steps, max(least, steps - 2), least]
    x: Any = [[[round(rng.gauss(0.0, 1.0), 3) for _ in range(features)] for _ in range(steps)] for _ in lengths]
    if rows:  # an index is the integer itself
        plan["input"] = {"kind": "activation", "bits": 16, "scale": [1.0], "zero_point": 0}
        x = [[[rng.randrange(rows)] for _ in range(steps)] for _ in lengths]
    constants = bind_all(graph, plan, parameters)
    items = []
    for length, item in zip(lengths, x, strict=True):
        q = [[quantise(v, plan["input"]) for v in values] for values in item[:length]]
        items.append(run(graph, plan, constants, q))
    about = {"cell": cell, "hidden": hidden, "bias": bias, "features": features, "options": options or {}}
    about |= {"rows": rows} if rows else {}
    return {
        "about": about, "graph": graph, "plan": plan, "parameters": parameters, "x": x, "lengths": lengths,
        "constants": constants,
        "sites": [{name: first(values) for name, values in item.items()} for item in items],
        "output": [item[graph["outputs"][0]] for item in items],
    }


def first(values: Any) -> Any:
    """The first steps of a sequence; all of anything else."""
    return values[:FIRST_STEPS] if isinstance(values[0], list) else values


def text(case: Json) -> str:
    """JSON with one line per entry of the second level: small, and a change shows in a diff."""
    parts = []
    for key, value in case.items():
        if isinstance(value, dict):
            lines = ",\n".join(f'  {json.dumps(k)}: {json.dumps(v)}' for k, v in value.items())
            parts.append(f" {json.dumps(key)}: {{\n{lines}\n }}")
        else:
            lines = ",\n".join(f"  {json.dumps(v)}" for v in value)
            parts.append(f" {json.dumps(key)}: [\n{lines}\n ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    for name, arguments in CASES.items():
        (HERE / f"{name}.json").write_text(text(make_case(**arguments)))
        print(HERE / f"{name}.json")
