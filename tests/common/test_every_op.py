"""Every operator of the table: integers against plain Python, and against its own float meaning."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bittailor.core.arith import Lookup, Rescale
from bittailor.core.ops import OPS, Bound
from bittailor.core.ops.functions import FUNCTIONS
from bittailor.core.ops.grouped import gathered, spread
from bittailor.core.ops.linear import quantise_bias
from bittailor.core.ops.normalising import deviations
from bittailor.core.qformat import INDEX_FORMAT, QFormat
from bittailor.core.rsqrt import integer_root, normal_shift
from bittailor.errors import RangeError, UnsupportedNetwork
from golden import by_hand, make_golden
from values import edges_and_random

OPTIONS: dict[str, list[dict[str, float]]] = {
    "affine": [{}, {"factor": 0.3, "shift": -0.7}, {"factor": -1.5}, {"shift": 2.0}],
    "leaky_relu": [{}, {"slope": 0.25}, {"slope": -0.5}],
    "elu": [{}, {"alpha": 0.5}],
    "softplus": [{}, {"beta": 2.0, "threshold": 1.0}],
    "clamp": [{}, {"low": 0.0, "high": 0.6}, {"low": -0.3}, {"high": 0.2}],
}
"""Of an operator's node, those to be tried."""
OPERANDS = {"add": 2, "sub": 2, "mul": 2, "concat": 3}
POINTWISE = [name for name, op in OPS.items() if op.access in ("feature", "joined") and not op.roles]

NORMS = [name for name, op in OPS.items() if op.access == "statistics"]


def draw_format(rng: random.Random, low: int = 2, high: int = 16) -> QFormat:
    bits = rng.randint(low, high)
    half = 2 ** (bits - 1)
    scale = 2.0 ** rng.randint(-3, 2) * rng.uniform(0.5, 1.0) * 2 / half
    zero = rng.choice([-half, 0, half - 1, rng.randint(-half, half - 1)]) if bits <= 8 else 0
    return QFormat("activation", bits, (scale,), zero)


def case(
    op: str, ins: list[QFormat], out: QFormat, options: dict[str, float] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    names = [f"x{i}" for i in range(len(ins))]
    node = make_golden.node(op, "y", *names, **options or {})
    return node, {name: f.to_json() for name, f in zip((*names, "y"), (*ins, out), strict=True)}


def values_for(rng: random.Random, ins: list[QFormat]) -> list[list[int]]:
    """Columns of operands: every edge of each, beside edges and random values of the others."""
    lists = [edges_and_random(f.qmin, f.qmax, rng, 50) for f in ins]
    size = max(map(len, lists)) * 2
    return [values + [rng.choice(values) for _ in range(size - len(values))] for values in lists]


@pytest.mark.parametrize("name", POINTWISE)
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_integers_are_those_of_plain_python(name: str, seed: int) -> None:
    rng = random.Random(seed)
    ins = [draw_format(rng) for _ in range(OPERANDS.get(name, 1))]
    out = draw_format(rng)
    options = rng.choice(OPTIONS.get(name, [{}]))
    op = OPS[name].of(options)
    node, formats = case(name, ins, out, options)
    constants = op.bind(Bound(tuple(ins), out))
    plain = by_hand.bind(node, formats, {})
    columns = values_for(rng, ins)
    got = op.integers(constants, ins, [np.array([v]) for v in columns])
    assert got.shape == (1, op.features([len(v) for v in columns], {}))
    assert got[0].tolist() == by_hand.apply(node, plain, formats, columns)
    assert out.qmin <= got.min() <= got.max() <= out.qmax


@pytest.mark.parametrize("name", POINTWISE)
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_integers_mean_what_the_float_operator_says(name: str, seed: int) -> None:
    """Half an output step, and what the multipliers' own rounding can add; tables of wide inputs are measured in
    `unit/test_arith.py`."""
    rng = random.Random(seed)
    ins = [draw_format(rng, high=8) for _ in range(OPERANDS.get(name, 1))]
    out = draw_format(rng)
    options = rng.choice(OPTIONS.get(name, [{}]))
    op = OPS[name].of(options)
    constants = op.bind(Bound(tuple(ins), out))
    columns = [np.array([v]) for v in values_for(rng, ins)]
    got = op.integers(constants, ins, columns)
    real = op.real([f.dequantise(v) for f, v in zip(ins, columns, strict=True)], {})
    exact = np.clip(real, out.low, out.high) / out.scale[0] + out.zero_point
    slack = 0.0
    for constant in constants.parts().values():
        assert isinstance(constant, Rescale | Lookup)
        if isinstance(constant, Rescale):
            reach = ins[0].reach * ins[1].reach if name == "mul" else max(f.reach for f in ins)
            slack += reach * len(ins) * 2.0 ** -(constant.shift + 1) + 2.0**-constant.shift
    assert np.abs(got - exact).max() <= 0.5 + slack + 1e-6


def draw_norm(name: str, rng: random.Random) -> tuple[QFormat, QFormat, dict[str, Any], dict[str, Any]]:
    """Formats, options, and the operator in the form of the golden maker."""
    x, out = draw_format(rng), draw_format(rng)
    options = {"features": rng.choice([1, 2, 3, 7, 64, 400]), "eps": rng.choice([0, 1e-12, 1e-5, 1e-3, 1.0])}
    node, formats = case(name, [x], out)
    node["options"] = options
    return x, out, options, {"node": node, "formats": formats}


def norm_vectors(rng: random.Random, x: QFormat, features: int) -> list[list[int]]:
    """Silence, one step, the extremes, and what lies between."""
    pool = edges_and_random(x.qmin, x.qmax, rng, 20)
    vectors = [[q] * features for q in (x.zero_point, x.qmin, x.qmax)]
    vectors += [[first, *[x.zero_point] * (features - 1)] for first in (x.qmin, x.qmax, pool[len(pool) // 2])]
    vectors.append([(x.qmin, x.qmax)[i % 2] for i in range(features)])
    return vectors + [[rng.choice(pool) for _ in range(features)] for _ in range(20)]


@pytest.mark.parametrize("name", NORMS)
@settings(max_examples=80)
@given(seed=st.integers(0, 2**32))
def test_normalised_integers_are_those_of_plain_python(name: str, seed: int) -> None:
    rng = random.Random(seed)
    x, out, options, plain = draw_norm(name, rng)
    bound = by_hand.bind(plain["node"], plain["formats"], {})
    op = OPS[name].of(options)
    constants = op.bind(Bound((x,), out))
    vectors = norm_vectors(rng, x, options["features"])
    got = op.integers(constants, [x], [np.array(vectors)])
    assert got.tolist() == [by_hand.apply(plain["node"], bound, plain["formats"], [v]) for v in vectors]


@pytest.mark.parametrize("name", NORMS)
@settings(max_examples=80)
@given(seed=st.integers(0, 2**32))
def test_normalised_integers_keep_the_proved_error(name: str, seed: int) -> None:
    """docs/arithmetic.md: 1/2 + |y| (2**-27 + 1 / (4 N - 2)) + sqrt(n) 2**-30, in output steps."""
    rng = random.Random(seed)
    x, out, options, _ = draw_norm(name, rng)
    op = OPS[name].of(options)
    constants = op.bind(Bound((x,), out))
    q = np.array(norm_vectors(rng, x, options["features"]))
    got = op.integers(constants, [x], [q])
    real = op.real([x.dequantise(q)], {})
    exact = np.clip(real, out.low, out.high) / out.scale[0] + out.zero_point
    _, power = deviations(q - x.zero_point, name == "layer_norm")
    N = np.maximum(power + constants.gain.epsilon, 1)[:, None]
    steps = np.abs(real) / out.scale[0]
    # a power of nothing but a rounded epsilon is as far off as that
    known = (N > 1) | (steps == 0)
    allowed = 0.5 + steps * (2.0**-27 + 1 / (4 * N - 2)) + math.sqrt(q.shape[1]) * 2.0**-30 + 1e-9
    assert (np.abs(got - exact) <= allowed)[np.broadcast_to(known, got.shape)].all()


def test_the_integer_root_and_its_shift() -> None:
    rng = random.Random(0)
    values = [v for v in edges_and_random(1, 2**62 - 1, rng, 500) if v > 0]
    values += [k * k + near for k in (2, 3, 2**30, 2**31 - 1, *(rng.randrange(2**31) for _ in range(200)))
               for near in (-1, 0, 1) if 0 < k * k + near < 2**62]
    v, h = normal_shift(np.array(values))
    assert v.tolist() == [n << 2 * int(s) for n, s in zip(values, h, strict=True)]
    assert v.min() >= 2**60
    assert integer_root(np.array(values)).tolist() == [math.isqrt(n) for n in values]


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.over_time])
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_over_time_with_ragged_lengths(name: str, seed: int) -> None:
    rng = random.Random(seed)
    x, features, steps, items = draw_format(rng), rng.randint(1, 3), rng.randint(1, 9), rng.randint(1, 4)
    out = x if OPS[name].tied else draw_format(rng)
    node, formats = case(name, [x], out)
    constants = OPS[name].bind(Bound((x,), out))
    plain = by_hand.bind(node, formats, {})
    pool = edges_and_random(x.qmin, x.qmax, rng, 20)
    q = [[[rng.choice(pool) for _ in range(features)] for _ in range(steps)] for _ in range(items)]
    lengths = [rng.randint(1, steps) for _ in range(items)]
    got = OPS[name].integers(constants, [x], [np.array(q)], np.array(lengths))
    for i, length in enumerate(lengths):
        assert got[i].tolist() == by_hand.over_time(node, plain, formats, q[i][:length])
    real = OPS[name].real([x.dequantise(q)], {}, np.array(lengths))
    exact = np.clip(real, out.low, out.high) / out.scale[0] + out.zero_point
    assert np.abs(got - exact).max() <= 0.5 + 1e-3


@settings(max_examples=80)
@given(seed=st.integers(0, 2**32))
def test_window(seed: int) -> None:
    rng = random.Random(seed)
    x, features, steps, taps, dilation = (draw_format(rng), *(rng.randint(1, n) for n in (3, 9, 3, 4)))
    options = {"taps": taps + 1, "dilation": dilation, "ahead": rng.randint(0, taps * dilation)}
    node, formats = case("window", [x], x)
    node["options"] = options
    q = [[rng.randint(x.qmin, x.qmax) for _ in range(features)] for _ in range(steps)]
    op = OPS["window"].of(options)
    got = op.integers(op.bind(Bound((x,), x)), [x], [np.array([q])])
    assert got[0].tolist() == by_hand.window(node, formats, q)
    assert np.array_equal(op.real([x.dequantise([q])], {}), x.dequantise(got))
    assert op.features([features], options) == got.shape[2]


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_crop(seed: int) -> None:
    rng = random.Random(seed)
    x, features, steps, dropped = (draw_format(rng), *(rng.randint(1, n) for n in (3, 9, 11)))
    node, _ = case("crop", [x], x)
    node["options"] = {"steps": dropped}
    q = [[rng.randint(x.qmin, x.qmax) for _ in range(features)] for _ in range(steps)]
    op = OPS["crop"].of(node["options"])
    got = op.integers(op.bind(Bound((x,), x)), [x], [np.array([q])])
    assert got[0].tolist() == by_hand.crop(node, q)
    assert np.array_equal(op.real([x.dequantise([q])], {}), x.dequantise(got))
    assert (op.features([features], node["options"]), op.drops) == (features, dropped)


@settings(max_examples=80)
@given(seed=st.integers(0, 2**32))
def test_grouped_linear(seed: int) -> None:
    rng = random.Random(seed)
    x, out, bits, groups = draw_format(rng), draw_format(rng), rng.randint(1, 16), rng.randint(1, 4)
    rows, columns = groups * rng.randint(1, 3), rng.randint(1, 5)
    weights = [[rng.gauss(0, 1) for _ in range(columns)] for _ in range(rows)]
    wf = QFormat("weight", bits, tuple(rng.uniform(0.5, 2.0) / 2**bits for _ in range(rng.choice([1, rows]))))
    bf = QFormat("bias", rng.choice([4, 8, 16, 32]), ())
    bias = [rng.gauss(0, 1) for _ in range(rows)]
    options = {"features": rows, "groups": groups}
    node = make_golden.node("grouped_linear", "y", "x0", params=("W", "b"), **options)
    formats = {"x0": x.to_json(), "y": out.to_json(), "W": wf.to_json(), "b": bf.to_json()}
    op = OPS["grouped_linear"].of(options)
    params = {"W": (wf.quantise(weights), wf), "b": (quantise_bias(np.array(bias), bf.bits, wf, x), bf)}
    try:
        plain = by_hand.bind(node, formats, {"W": weights, "b": bias})
    except ValueError:
        with pytest.raises(RangeError):
            op.bind(Bound((x,), out, params))
        return
    pool = edges_and_random(x.qmin, x.qmax, rng, 20)
    q = [[rng.choice(pool) for _ in range(groups * columns)] for _ in range(20)]
    got = op.integers(op.bind(Bound((x,), out, params)), [x], [np.array(q)])
    assert got.tolist() == [by_hand.apply(node, plain, formats, [v]) for v in q]
    assert np.array_equal(gathered(spread(params["W"][0], groups), groups), params["W"][0])


@settings(max_examples=80)
@given(seed=st.integers(0, 2**32))
def test_embedding(seed: int) -> None:
    rng = random.Random(seed)
    out, bits, rows, columns = draw_format(rng), rng.randint(1, 16), rng.randint(1, 9), rng.randint(1, 4)
    weights = [[rng.gauss(0, 1) * rng.choice([1, 1, 0]) for _ in range(columns)] for _ in range(rows)]
    wf = QFormat("weight", bits, tuple(rng.uniform(0.5, 2.0) / 2**bits for _ in range(rng.choice([1, rows]))))
    options = {"features": columns, "rows": rows}
    node = make_golden.node("embedding", "y", "x0", params=("W",), **options)
    formats = {"x0": INDEX_FORMAT.to_json(), "y": out.to_json(), "W": wf.to_json()}
    plain = by_hand.bind(node, formats, {"W": weights})
    op = OPS["embedding"].of(options)
    q = np.arange(rows)[None, :, None]
    got = op.integers(op.bind(Bound((INDEX_FORMAT,), out, {"W": (wf.quantise(weights), wf)})), [INDEX_FORMAT], [q])
    assert got[0].tolist() == [by_hand.apply(node, plain, formats, [[i]]) for i in range(rows)]
    assert np.array_equal(op.real([q.astype(float)], {"W": np.array(weights)})[0], weights)


@pytest.mark.parametrize("op", ["linear", "diagonal"])
@settings(max_examples=150)
@given(seed=st.integers(0, 2**32))
def test_weighted(op: str, seed: int) -> None:
    rng = random.Random(seed)
    x, out = draw_format(rng), draw_format(rng)
    rows, columns, bits = rng.randint(1, 4), rng.randint(1, 6), rng.randint(1, 16)
    if op == "diagonal":
        columns = 1
    weights = [[rng.gauss(0, 1) * rng.choice([1, 1, 0]) for _ in range(columns)] for _ in range(rows)]
    count = rng.choice([1, rows])
    scale = [rng.uniform(0.5, 2.0) / max(1, 2 ** (bits - 1) - 1) * 10 ** rng.choice([0, 0, -3]) for _ in range(count)]
    wf = QFormat("weight", bits, tuple(scale))
    node = make_golden.node(op, "y", "x0", params=("W", "b"), features=rows)
    formats = {"x0": x.to_json(), "y": out.to_json(), "W": wf.to_json()}
    parameters: dict[str, Any] = {"W": weights}
    params = {"W": (wf.quantise(weights), wf)}
    if rng.random() < 0.7:
        bf = QFormat("bias", rng.choice([*range(2, 17), 32]), ())
        parameters["b"] = [rng.gauss(0, 1) for _ in range(rows)]
        formats["b"] = bf.to_json()
        params["b"] = (quantise_bias(np.array(parameters["b"]), bf.bits, wf, x), bf)
    else:
        node["params"] = ["W"]
    try:
        plain = by_hand.bind(node, formats, parameters)
    except ValueError:
        with pytest.raises(RangeError):
            OPS[op].bind(Bound((x,), out, params))
        return
    constants = OPS[op].bind(Bound((x,), out, params))
    pool = edges_and_random(x.qmin, x.qmax, rng, 20)
    size = rows if op == "diagonal" else columns
    q = [[rng.choice(pool) for _ in range(size)] for _ in range(20)]
    # and the two vectors that take each row to its extremes
    for row in [[w for w, in params["W"][0].tolist()]] if op == "diagonal" else params["W"][0].tolist():
        q += [[x.qmax if w > 0 else x.qmin for w in row], [x.qmin if w > 0 else x.qmax for w in row]]
    got = OPS[op].integers(constants, [x], [np.array(q)])
    assert got.tolist() == [by_hand.apply(node, plain, formats, [v]) for v in q]
    # what a device holds: raw products, offsets and corrected accumulators in its own word
    word = 2**63 if constants.rescale.wide else 2**31
    for v in q:
        for o, (row, k) in enumerate(zip(plain["W"], plain["k"], strict=True)):
            raw = sum(a * b for a, b in zip(row, [v[o]] if op == "diagonal" else v, strict=True))
            assert max(abs(raw), abs(k), abs(raw + k)) < word


@pytest.mark.parametrize("name", OPS)
def test_every_operator_is_known_to_the_plain_implementation(name: str) -> None:
    known = {"linear", "grouped_linear", "embedding", "diagonal", "concat", *by_hand.NORMS, *by_hand.WINDOWS,
             *by_hand.POINTWISE, *by_hand.OVER_TIME, *by_hand.FUNCTIONS}
    assert name in known, f"write '{name}' down in tests/golden/make_golden.py, from docs/arithmetic.md"


@pytest.mark.parametrize("name", OPS)
def test_contract(name: str) -> None:
    op = OPS[name]
    assert op.name == name
    counts = op.work([4] * OPERANDS.get(name, 1), 4)
    assert set(counts) <= {"mac", "add", "mul", "lookup"}
    given_format = op.given_format(8, [(0.0, 1.0)] * OPERANDS.get(name, 1))
    ranges = op.proven([(-0.5, 0.25)] * OPERANDS.get(name, 1))
    if given_format is not None and ranges is not None:
        # the last step below the end is the price of a power of two as scale
        assert given_format.low <= ranges[0] + 1e-12
        assert given_format.high >= min(ranges[1], 1.0) - given_format.scale[0] - 1e-12


@pytest.mark.parametrize("name", [n for n, op in OPS.items() if not op.roles and op.access not in
                                  ("statistics", "window")])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_proven_ranges_hold(name: str, seed: int) -> None:
    rng = random.Random(seed)
    ranges = [tuple(sorted((rng.uniform(-3, 3), rng.uniform(-3, 3)))) for _ in range(OPERANDS.get(name, 1))]
    op = OPS[name].of(rng.choice(OPTIONS.get(name, [{}])))
    proven = op.proven(ranges)
    if proven is None:
        return
    shape = (1, 30, 1)
    xs = [np.array([rng.uniform(*r) for _ in range(30)]).reshape(shape) for r in ranges]
    y = op.real(xs, {}, np.array([30]))
    assert proven[0] - 1e-12 <= y.min() <= y.max() <= proven[1] + 1e-12


def test_functions_match_plain_python() -> None:
    x = np.linspace(-30, 30, 301)
    for function in FUNCTIONS:
        plain = [by_hand.FUNCTIONS[function.name](float(v)) for v in x]
        assert np.allclose(function.f(x), plain, rtol=1e-13, atol=1e-14), function.name
    assert Fraction(float(FUNCTIONS[0].f(np.zeros(1))[0])) == Fraction(1, 2)


def test_options_that_an_operator_does_not_have_are_refused() -> None:
    for name, options in (("elu", {"slope": 1.0}), ("elu", {"alpha": "1"}), ("clamp", {"low": float("nan")}),
                          ("tanh", {"alpha": 1.0}), ("affine", {"factor": 0.0})):
        with pytest.raises(UnsupportedNetwork, match=name):
            OPS[name].of(options)
