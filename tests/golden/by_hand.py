"""The integer arithmetic a second time, from `docs/arithmetic.md` alone: plain Python, no NumPy, no bittailor.

Python integers cannot wrap and `Fraction` does not round, so what this file says is what the page says. It binds and
runs any graph (in the JSON form of a program's graph) with any plan, value by value, in loops. Floats appear only
where the page computes in float64: quantising, ratios of scales, tables.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

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
    assert op in POINTWISE, f"operator '{op}' is not in by_hand.py; write it down from docs/arithmetic.md"
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
        if update in layer.get("starts", {}):
            state[previous] = [quantise(value, formats[update]) for value in layer["starts"][update]]
        else:
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
