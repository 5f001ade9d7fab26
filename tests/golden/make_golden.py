"""The golden vectors: networks written down in JSON, bound and run by the plain Python of `by_hand.py`.

    python tests/golden/make_golden.py            writes the vectors beside this file

The vectors hold float weights, plan, input and what must come out of every site in the first steps.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
if __package__ in (None, ""):  # run as a command
    sys.path.insert(0, str(HERE.parent))

from golden.by_hand import COPIES, NORMS, Json, bind_all, quantise, run  # noqa: E402

FIRST_STEPS = 2


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


def draw_starts(rng: random.Random, graph: Json, parameters: Json, hidden: int) -> None:
    """What every state is before the first step, beyond the range of its format now and then."""
    for step in graph["steps"]:
        for _, update in step.get("states", ()):
            project = parameters.get(f"{step['recurrence']}.W_hr")
            size = len(project) if project and update.endswith(".h") else hidden
            step.setdefault("starts", {})[update] = [round(rng.gauss(0.0, 0.7), 4) for _ in range(size)]


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
    "starts": {"seed": 24, "widths": (2, 12), "end": "last linear", "directions": 2, "begun": True},
    "starts_lstm": {"seed": 25, "cell": "lstm", "options": {"project": 2}, "widths": (3, 16), "end": "mean linear",
                    "layers": 2, "begun": True},
    "starts_sru": {"seed": 26, "cell": "sru", "widths": (2, 9), "end": "linear", "directions": 2, "begun": True},
    "one_of_each": {"seed": 7, "widths": (4, 12), "end": "mean silu linear", "hidden": 1, "features": 1, "steps": 1},
}


def make_case(
    seed: int, widths: tuple[int, int], end: str, features: int = 2, hidden: int = 3, layers: int = 1,
    directions: int = 1, bias: bool = True, bias_bits: int | None = None, per_row: bool = False, steps: int = 4,
    cell: str = "gru", options: Json | None = None, rows: int = 0, least: int = 1,
    begun: bool = False,
) -> Json:
    """One vector: everything that goes in, and the integers that must come out.

    rows   of a table, if there is one
    least  the fewest steps of an item
    begun  whether states start at values of their own
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
    if begun:
        draw_starts(rng, graph, parameters, hidden)
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
