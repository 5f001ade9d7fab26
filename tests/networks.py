"""Random networks, plans and inputs for tests. Everything follows from one integer seed, which a failure prints.

    case = random_case(seed)                       # any operators, widths and lengths
    net = gru_network(28, 64, 10)          # a plain GRU classifier
    plan = uniform_plan(net, x, 8)                 # every site at 8 bits, calibrated on x
    plan = random_plan(net, x, rng)                # every site at a width of its own
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.checks import built_again
from bittailor.core.graph import Graph, Recurrence, State
from bittailor.core.network import Network
from bittailor.core.ops.functions import FUNCTIONS
from bittailor.core.plan import Plan
from bittailor.core.program import Program, bind
from bittailor.core.qformat import EXACT_BIAS_BITS, QFormat, activation_format
from bittailor.errors import RangeError

Rng = np.random.Generator

CELL_VARIANTS = tuple((cell.name, name) for cell in CELLS.values() for name in ("", *cell.variants))
"""(cell, variant) of every cell; "" is the default."""
FUNCTION_OPTIONS = {"leaky_relu": {"slope": 0.25}, "elu": {"alpha": 0.5}, "clamp": {"low": -0.4, "high": 1.5}}
"""Of functions that have options, what random networks give them now and then."""
FUNCTION_NAMES = tuple(function.name for function in FUNCTIONS)


@dataclass(frozen=True)
class Case:
    """A program with an input for it. `lengths` is None where all items have all steps."""

    seed: int
    program: Program
    q: NDArray[np.int64]
    lengths: NDArray[np.int64] | None

    def __repr__(self) -> str:
        ops = "/".join(node.op for node in self.program.graph.nodes())
        return f"Case(seed={self.seed}, q={self.q.shape}, lengths={self.lengths}, ops={ops})"


def random_parameters(graph: Graph, rng: Rng) -> dict[str, NDArray[np.float64]]:
    """Weights of a usual size, 1/sqrt(inputs), and small biases."""
    parameters = {}
    for site in graph.sites.values():
        if site.role == "weight":
            parameters[site.name] = rng.normal(size=site.shape) / np.sqrt(site.shape[1])
        elif site.role == "bias":
            parameters[site.name] = rng.normal(size=site.shape) * 0.3
    return parameters


def options_of(cell: str, variant: str) -> Mapping[str, Any]:
    """The options of a variant of a cell."""
    return CELLS[cell].variants[variant] if variant else {}


def gru_network(
    features: int = 5, hidden: int = 16, out: int = 3, layers: int = 1, bidirectional: bool = False,
    bias: bool = True, seed: int = 0, cell: str = "gru", end: str = "last",
) -> Network:
    """Recurrent layers and a linear head on the last step (`end`: last, mean, sum, max, or sequence)."""
    b = Builder()
    x = b.input("input", features)
    for layer in range(layers):
        outs = [add_layer(b, CELLS[cell], f"{cell}{layer}", x, hidden, bias)]
        if bidirectional:
            outs.append(add_layer(b, CELLS[cell], f"{cell}{layer}.rev", x, hidden, bias, reverse=True))
            if layer == layers - 1 and end == "last":
                outs = [b.op("last", "end", outs[0]), b.op("first", "end.rev", outs[1])]
            x = b.op("concat", f"{cell}{layer}.out", *outs)
        else:
            x = outs[0]
    if end != "sequence" and b.is_sequence(x):
        x = b.op(end, "end", x)
    x = b.linear("head.out", x, "head.W", out, "head.b" if bias else None)
    graph = b.graph(x)
    return Network(graph, random_parameters(graph, np.random.default_rng(seed)))


def calibrate(network: Network, x: NDArray[np.float64], lengths: NDArray[np.int64] | None = None,
              ) -> dict[str, tuple[float, float]]:
    """Site -> the range it took on x; of a state with what it starts at."""
    trace, starts = network.trace(x, lengths), network.graph.starts
    every = {name: np.append(values, starts.get(name, ())) for name, values in trace.items()}
    return {name: (float(values.min()), float(values.max())) for name, values in every.items()}


def plan_of(network: Network, ranges: Mapping[str, tuple[float, float]], widths: Mapping[str, int],
            per_row: Sequence[str] = ()) -> Plan:
    """The plan with these widths; weights named in `per_row` have a scale per row."""
    formats = {}
    for site in network.graph.free:
        bits = widths[site.name]
        if site.kind == "weight":
            W = np.abs(network.parameters[site.name])
            peaks = W.max(axis=1) if site.name in per_row else W.max(keepdims=True).ravel()
            qmax = max(1, (1 << (bits - 1)) - 1)
            formats[site.name] = QFormat("weight", bits, tuple(float(p) / qmax or 1e-6 for p in peaks))
        elif site.kind == "bias":
            formats[site.name] = QFormat("bias", bits, ())
        else:
            given = network.graph.given_format(site.name, bits)
            formats[site.name] = given or activation_format(*ranges[site.name], bits)
    return Plan(formats)


def uniform_plan(network: Network, x: NDArray[np.float64], bits: int, lengths: NDArray[np.int64] | None = None,
                 **widths: int) -> Plan:
    """Every site at `bits`, biases at 16; `widths` by last part of a site's name (h=16)."""
    chosen = {site.name: widths.get(site.name.rsplit(".", 1)[-1], 16 if site.kind == "bias" else bits)
              for site in network.graph.free}
    return plan_of(network, calibrate(network, x, lengths), chosen)


def random_widths(network: Network, rng: Rng, style: str = "any") -> dict[str, int]:
    """Site -> bits. Styles: narrow (up to 8), wide (9..16), any; each site draws on its own."""
    low, high = {"narrow": (2, 8), "wide": (9, 16), "any": (2, 16)}[style]
    widths = {}
    for site in network.graph.free:
        if site.kind == "bias":
            widths[site.name] = int(rng.choice([2, 4, 8, 16, EXACT_BIAS_BITS]))
        elif site.kind == "weight":
            widths[site.name] = int(rng.integers(1 if low == 2 else low, high + 1))
        else:
            widths[site.name] = int(rng.integers(low, high + 1))
    return widths


def random_plan(network: Network, x: NDArray[np.float64], rng: Rng, style: str = "any") -> Plan:
    """Every site at a width of its own, some weights with a scale per row."""
    weights = [site.name for site in network.graph.free if site.kind == "weight"]
    return plan_of(network, calibrate(network, x), random_widths(network, rng, style),
                   [name for name in weights if rng.random() < 0.4])


def sample(rng: Rng, network: Network, items: int, steps: int) -> NDArray[np.float64]:
    """Random input of a network: real numbers, or indices."""
    site = network.graph.sites[network.graph.inputs[0]]
    if site.role == "index" and site.proven is not None:
        return rng.integers(0, int(site.proven[1]) + 1, (items, steps, 1)).astype(np.float64)
    return rng.normal(size=(items, steps, network.features))


def index_network(rng: Rng, rows: int = 11, features: int = 5) -> Network:
    """A table, a GRU and a head."""
    b = Builder()
    x = b.embedding("table.out", b.index("input", rows), "table.W", features)
    x = add_layer(b, CELLS["gru"], "gru0", x, 6)
    graph = b.graph(b.linear("head.out", b.op("last", "end", x), "head.W", 3, "head.b"))
    return Network(graph, random_parameters(graph, rng))


def random_network(rng: Rng, features: int | None = None, without: Collection[str] = ("crop",)) -> Network:
    """Any chain of layers over steps, then (mostly) over single values, with branches and joins.

    without  "norm", "conv", "crop": kinds of operators that are not drawn. With "crop" a network takes one step as well
    """
    b = Builder()
    sizes = [1, 2, 3, 5, 15, 16, 17, 31, 33, 48, 64, 100]
    x = b.input("input", features or int(rng.choice(sizes[:9])))
    for i in range(int(rng.integers(1, 4))):
        if "conv" not in without and rng.random() < 0.2:
            x = conv(b, rng, x, f"c{i}", int(rng.choice(sizes)), "crop" not in without)
        x = _layer(b, rng, x, f"s{i}", int(rng.choice(sizes)), "norm" not in without)
    end = rng.choice(["last", "first", "mean", "sum", "max", "sequence"], p=[0.3, 0.15, 0.15, 0.1, 0.15, 0.15])
    if end != "sequence":
        x = b.op(str(end), "end", x)
        for i in range(int(rng.integers(0, 3))):
            x = _pointwise(b, rng, x, f"v{i}", int(rng.choice(sizes)), "norm" not in without)
    (own,) = rng.spawn(1)  # what it draws leaves the others' draws as they are
    graph = begun(b.graph(x), own, share=0.5) if own.random() < 0.5 else b.graph(x)
    return Network(graph, random_parameters(graph, rng))


def _layer(b: Builder, rng: Rng, x: str, p: str, features: int, norms: bool) -> str:
    kind = rng.choice(["one", "bi", "odd", "pointwise"], p=[0.3, 0.25, 0.25, 0.2])
    bias = bool(rng.random() < 0.7)
    cell, variant = CELL_VARIANTS[rng.integers(len(CELL_VARIANTS))]
    options = options_of(cell, variant)
    if rng.random() < 0.2:
        features = b.features(x)  # a cell may treat that in a way of its own
    if kind == "one":
        return add_layer(b, CELLS[cell], p, x, features, bias, bool(rng.random() < 0.3),
                         states=bool(rng.random() < 0.2), **options)
    if kind == "bi":
        small = min(features, 33)
        outs = [add_layer(b, CELLS[cell], f"{p}.f", x, small, bias, **options),
                add_layer(b, CELLS[cell], f"{p}.r", x, small, bias, reverse=True, **options)]
        return b.op("concat", f"{p}.out", *outs)
    if kind == "odd":
        return odd_recurrence(b, rng, p, x, features, bool(rng.random() < 0.4), norms)
    return _pointwise(b, rng, x, p, features, norms)


def begun(graph: Graph, rng: Rng, share: float = 1.0) -> Graph:
    """The graph with a share of its states beginning at random values, some beyond what the state reaches later."""
    def start(state: State) -> State:
        features = graph.sites[state.update].features
        values = rng.normal(size=features) * rng.choice([0.3, 0.3, 1.5])
        return replace(state, start=tuple(values.tolist())) if rng.random() < share else state

    steps = tuple(replace(step, states=tuple(map(start, step.states))) if isinstance(step, Recurrence) else step
                  for step in graph.steps)
    return built_again(replace(graph, steps=steps))


def odd_recurrence(b: Builder, rng: Rng, p: str, x: str, features: int, reverse: bool = False,
                   norms: bool = True) -> str:
    """A cell of no name that uses what known cells do not: two states, a projection inside the step, a concat
    inside the step, a linear operator on this step's state, every element-wise operator, two visible outputs."""
    b.begin()
    h = b.state(f"{p}.h", features)
    c = b.state(f"{p}.c", 3)
    both = b.op("concat", f"{p}.both", x, h, c)
    u = b.linear(f"{p}.u", both, f"{p}.U", features, f"{p}.b")
    f = b.op("sigmoid", f"{p}.f", u)
    g = b.op(str(rng.choice(FUNCTION_NAMES)), f"{p}.g", b.linear(f"{p}.v", h, f"{p}.V", features))
    keep = b.op("mul", f"{p}.keep", f, h)
    fresh = b.op("mul", f"{p}.fresh", b.op("one_minus", f"{p}.not", f), g)
    h_new = b.op("sub" if rng.random() < 0.3 else "add", f"{p}.h", keep, fresh)
    small = b.linear(f"{p}.w", norm(b, rng, f"{p}.n", h_new) if norms and rng.random() < 0.5 else h_new, f"{p}.P", 3)
    b.op("tanh", f"{p}.c", b.op("add", f"{p}.d", b.op("requantise", f"{p}.e", small), c))
    y = b.diagonal(f"{p}.y", b.op("relu", f"{p}.x", h_new), f"{p}.D", f"{p}.d_b" if rng.random() < 0.5 else None)
    b.end(p, "odd", (y, f"{p}.c"), reverse)
    wide = b.linear(f"{p}.cw", f"{p}.c", f"{p}.C", features)
    return b.op("add", f"{p}.out", y, wide)


def conv(b: Builder, rng: Rng, x: str, p: str, features: int, crop: bool = False) -> str:
    """A convolution over the steps, causal or looking ahead, perhaps in groups or of every feature alone; where `crop`
    allows it, perhaps without its first outputs."""
    width, taps, dilation = b.features(x), int(rng.integers(2, 5)), int(rng.choice([1, 1, 2, 3]))
    ahead = int(rng.choice([0, 0, 0, 1, (taps - 1) * dilation]))
    window = b.op("window", f"{p}.window", x, taps=taps, dilation=dilation, ahead=ahead)
    if crop and rng.random() < 0.4:
        window = b.op("crop", f"{p}.crop", window, steps=int(rng.integers(1, 4)))
    bias = f"{p}.b" if rng.random() < 0.5 else None
    divisors = [n for n in range(2, width + 1) if width % n == 0]
    if divisors and rng.random() < 0.5:
        return b.grouped_linear(f"{p}.out", window, f"{p}.W", width, int(rng.choice(divisors)), bias)
    return b.linear(f"{p}.out", window, f"{p}.W", features, bias)


def norm(b: Builder, rng: Rng, output: str, x: str) -> str:
    """Over the root of the variance, or of the mean square."""
    eps = float(rng.choice([0.0, 1e-5, 0.1]))
    return b.op(str(rng.choice(["layer_norm", "rms_norm"])), output, x, features=b.features(x), eps=eps)


def _pointwise(b: Builder, rng: Rng, x: str, p: str, features: int, norms: bool) -> str:
    kind = rng.choice(["linear", "function", "relu", "requantise", "square", "one_minus", "concat", "sub", "diagonal",
                       "affine", *["norm"] * norms])
    if kind == "linear":
        return b.linear(f"{p}.lin", x, f"{p}.W", features, f"{p}.b" if rng.random() < 0.5 else None)
    if kind == "diagonal":
        return b.diagonal(f"{p}.diag", x, f"{p}.D", f"{p}.b" if rng.random() < 0.5 else None)
    if kind == "norm":
        return norm(b, rng, f"{p}.norm", x)
    if kind == "function":
        name = str(rng.choice(FUNCTION_NAMES))
        return b.op(name, f"{p}.fn", x, **(FUNCTION_OPTIONS.get(name, {}) if rng.random() < 0.7 else {}))
    if kind == "affine":
        return b.op("affine", f"{p}.affine", x, factor=float(rng.choice([-1.0, 0.3, 1.7])), shift=float(rng.normal()))
    if kind == "square":
        return b.op("mul", f"{p}.sq", x, x)
    if kind == "concat":
        return b.op("concat", f"{p}.cat", x, b.op("relu", f"{p}.relu", x), x)
    if kind == "sub":
        return b.op("sub", f"{p}.sub", x, b.op("tanh", f"{p}.t", x))
    return b.op(str(kind), f"{p}.{kind}", x)


def exposing(program: Program, site: str) -> Program:
    """The same program with another site as its output, also one from inside a step: a way to look into an engine."""
    graph = program.graph
    steps = tuple(
        replace(step, outputs=tuple(dict.fromkeys((*step.outputs, site))))
        if isinstance(step, Recurrence) and any(node.output == site for node in step.nodes) else step
        for step in graph.steps
    )
    return replace(program, graph=replace(graph, steps=steps, outputs=(site,)))


def random_lengths(rng: Rng, items: int, steps: int, least: int = 1) -> NDArray[np.int64] | None:
    """None, or any lengths of least..steps, at least one of them full with probability one half."""
    if rng.random() < 0.4:
        return None
    lengths = rng.integers(least, steps + 1, items)
    if rng.random() < 0.5:
        lengths[rng.integers(items)] = steps
    return lengths


def random_integers(rng: Rng, fmt: QFormat, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Integers of a format: random ones, the extremes, or the two alternating."""
    kind = rng.random()
    if kind < 0.7:
        return rng.integers(fmt.qmin, fmt.qmax + 1, shape)
    if kind < 0.8:
        return np.full(shape, fmt.qmin, np.int64)
    if kind < 0.9:
        return np.full(shape, fmt.qmax, np.int64)
    return rng.choice([fmt.qmin, fmt.qmax], shape).astype(np.int64)


def input_integers(rng: Rng, program: Program, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The same of a program's input: of an index only those that there are."""
    low, high = program.input_range
    q = random_integers(rng, program.input_format, shape)
    return q if low < 0 else q % (high + 1)


def random_case(seed: int, network: Network | None = None, style: str | None = None) -> Case:
    """A network, a plan and an input. Weights stand at their extremes now and then. The next seed's, where the scales
    of this one differ too much to be bound, as happens once in thousands."""
    rng = np.random.default_rng(seed)
    given, network = network, network or random_network(rng, without=())
    style = style or str(rng.choice(["narrow", "wide", "any"], p=[0.4, 0.2, 0.4]))
    plan = random_plan(network, sample(rng, network, 6, 6 + network.graph.least_steps), rng, style)
    rounding: Any = None
    if rng.random() < 0.2:
        def rounding(site: str, fmt: QFormat) -> NDArray[np.int64]:
            return np.where(network.parameters[site] < 0, -fmt.qmax, fmt.qmax).astype(np.int64)
    try:
        program = bind(network, plan, rounding)
    except RangeError:
        return random_case(seed + 1, given, style)
    items = int(rng.choice([1, 2, 7, 8, 9, 16, 21]))
    least = network.graph.least_steps
    steps = least - 1 + int(rng.choice([1, 2, 5, 11]))
    q = input_integers(rng, program, (items, steps, network.features))
    return Case(seed, program, q, random_lengths(rng, items, steps, least))


def same_constants(a: Any, b: Any) -> None:
    """Assert that two programs hold the same integers."""
    assert a.graph == b.graph
    assert a.formats == b.formats
    assert a.constants.keys() == b.constants.keys()
    for owner, constants in a.constants.items():
        parts, others = constants.parts(), b.constants[owner].parts()
        assert parts.keys() == others.keys()
        for role, part in parts.items():
            for field, value in vars(part).items():
                other = getattr(others[role], field)
                if isinstance(value, tuple):
                    assert all(np.array_equal(p, q) for p, q in zip(value, other, strict=True)), (owner, role, field)
                else:
                    assert np.array_equal(value, other), (owner, role, field)
