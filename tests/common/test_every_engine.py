"""Every engine, and every way to compile the native one, gives the reference engine's integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.network import Network
from bittailor.core.program import Program, bind
from bittailor.engines import ENGINES, Engine, Reference
from bittailor.engines.native import Native
from bittailor.engines.native_build import VARIANTS, find_compiler, runnable
from bittailor.errors import DataError, RangeError
from networks import (
    CELL_VARIANTS,
    exposing,
    gru_network,
    options_of,
    plan_of,
    random_case,
    random_lengths,
    random_network,
    random_parameters,
    random_plan,
    random_widths,
    uniform_plan,
)

REFERENCE = Reference()
NATIVE = {f"native-{name}": Native(name, threads=1) for name in VARIANTS}
UNDER_TEST: dict[str, Engine] = {**{n: e for n, e in ENGINES.items() if n != "reference"}, **NATIVE}


@pytest.fixture(params=UNDER_TEST)
def engine(request: pytest.FixtureRequest) -> Engine:
    """An engine other than the reference, skipped by name where it cannot run."""
    found = UNDER_TEST[request.param]
    variant = request.param.removeprefix("native-")
    if variant in VARIANTS and find_compiler() and variant not in runnable():
        pytest.skip(f"this machine cannot run the variant {variant}")
    missing = found.available()
    if missing:
        pytest.skip(missing)
    return found


@pytest.fixture(autouse=True)
def _no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine under test must not hand the work to the reference."""
    for engine in UNDER_TEST.values():
        if isinstance(engine, Native):
            monkeypatch.setattr(engine, "_reference", None)
    return


def check(engine: Engine, program: Program, q: np.ndarray, lengths: np.ndarray | None = None) -> None:
    want = REFERENCE.run(program, q, lengths)
    got = engine.run(program, q, lengths)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    assert np.array_equal(got, want), f"{(got != want).sum()} of {want.size} integers differ"


@pytest.mark.parametrize("seed", range(40))
def test_fixed_cases(engine: Engine, seed: int) -> None:
    case = random_case(seed)
    check(engine, case.program, case.q, case.lengths)


@given(seed=st.integers(0, 2**32 - 1))
def test_random_cases(seed: int) -> None:
    """Any operators, widths and lengths, on all engines that run here."""
    try:
        case = random_case(seed)
    except RangeError:
        return
    for found in UNDER_TEST.values():
        variant = found._variant if isinstance(found, Native) else None
        if (variant is None or variant in runnable()) and found.available() is None:
            check(found, case.program, case.q, case.lengths)


@pytest.mark.parametrize("seed", range(6))
def test_every_site(engine: Engine, seed: int) -> None:
    """Not only the output: the value of every operator at every step."""
    case = random_case(1000 + seed)
    trace = REFERENCE.trace(case.program, case.q, case.lengths)
    for node in case.program.graph.nodes():
        got = engine.run(exposing(case.program, node.output), case.q, case.lengths)
        assert np.array_equal(got, trace[node.output]), f"{node.output} ({node.op}) differs in {case}"


def _program(network: Network, style: str, rng: np.random.Generator) -> Program:
    x = rng.normal(size=(8, 6, network.features))
    return bind(network, random_plan(network, x, rng, style))


def _input(program: Program, items: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    fmt = program.input_format
    features = program.graph.sites[program.graph.inputs[0]].features
    return rng.integers(fmt.qmin, fmt.qmax + 1, (items, steps, features))


@pytest.mark.parametrize("style", ["narrow", "any"])
@pytest.mark.parametrize(("cell", "variant"), CELL_VARIANTS)
def test_every_site_of_a_cell(engine: Engine, cell: str, variant: str, style: str, rng: np.random.Generator) -> None:
    """Two layers, the first reversed and as wide as its input, the second with lanes left over."""
    b = Builder()
    options = options_of(cell, variant)
    x = add_layer(b, CELLS[cell], "first", b.input("input", 16), 16, True, True, states=True, **options)
    graph = b.graph(add_layer(b, CELLS[cell], "second", x, 19, False, **options))
    network = Network(graph, random_parameters(graph, rng))
    program = _program(network, style, rng)
    q, lengths = _input(program, 9, 4, rng), rng.integers(1, 5, 9)
    trace = REFERENCE.trace(program, q, lengths)
    for node in graph.nodes():
        got = engine.run(exposing(program, node.output), q, lengths)
        assert np.array_equal(got, trace[node.output]), f"{node.output} ({node.op}) differs"


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("source", [3, 8, 16])
def test_every_width_of_a_diagonal(engine: Engine, source: int, bits: int, rng: np.random.Generator) -> None:
    """Weights and inputs at both ends of their ranges, with biases that outweigh them, per vector and per feature."""
    b = Builder()
    x = b.input("input", 37)
    graph = b.graph(b.diagonal("y", x, "v", "b"), b.diagonal("z", x, "w"))
    network = Network(graph, {"v": rng.normal(size=(37, 1)), "b": 100 * rng.normal(size=37),
                              "w": rng.normal(size=(37, 1))})
    ranges = {"input": (-3.0, 1.0), "y": (-90.0, 200.0), "z": (-2.0, 3.0)}
    widths = {"input": source, "v": bits, "w": bits, "b": 32, "y": int(rng.integers(2, 17)),
              "z": int(rng.integers(2, 17))}
    program = bind(network, plan_of(network, ranges, widths, ["w"]))
    fmt = program.input_format
    q = np.stack([np.full((2, 37), fmt.qmin), np.full((2, 37), fmt.qmax), _input(program, 1, 2, rng)[0]])
    for site in ("y", "z"):
        check(engine, exposing(program, site), q)


@pytest.mark.parametrize("hidden", [1, 3, 15, 16, 17, 31, 33, 64, 100])
@pytest.mark.parametrize("style", ["narrow", "any"])
def test_hidden_sizes_around_the_lanes(engine: Engine, hidden: int, style: str, rng: np.random.Generator) -> None:
    program = _program(gru_network(7, hidden, 5), style, rng)
    check(engine, program, _input(program, 9, 4, rng))


@pytest.mark.parametrize("items", [1, 2, 7, 8, 9, 17])
@pytest.mark.parametrize("end", ["last", "mean", "sequence"])
def test_batches_around_the_block(engine: Engine, items: int, end: str, rng: np.random.Generator) -> None:
    program = _program(gru_network(5, 20, 3, layers=2, bidirectional=True, end=end), "narrow", rng)
    q = _input(program, items, 6, rng)
    check(engine, program, q)
    check(engine, program, q, rng.integers(1, 7, items))
    check(engine, program, q[:, :1])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 5, 8, 9, 12, 16])
def test_every_width(engine: Engine, bits: int, bias: bool, rng: np.random.Generator) -> None:
    network = gru_network(6, 19, 4, bias=bias)
    x = rng.normal(size=(8, 6, 6))
    program = bind(network, uniform_plan(network, x, bits))
    check(engine, program, program.quantise_input(x))


@pytest.mark.parametrize("bits", range(1, 17))
def test_every_weight_width(engine: Engine, bits: int, rng: np.random.Generator) -> None:
    network = gru_network(6, 19, 4)
    x = rng.normal(size=(8, 6, 6))
    widths = uniform_plan(network, x, 8).widths | {s.name: bits for s in network.graph.free if s.kind == "weight"}
    ranges = {name: (float(v.min()), float(v.max())) for name, v in network.trace(x).items()}
    program = bind(network, plan_of(network, ranges, widths, ["gru0.W_hn", "head.W"]))
    check(engine, program, program.quantise_input(x))


@pytest.mark.parametrize("end", ["qmin", "qmax"])
@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("weights", [4, 8, 16])
def test_extremes(engine: Engine, bits: int, weights: int, end: str, rng: np.random.Generator) -> None:
    """All weights at their largest magnitude, all inputs at one end of their range, so that sums are largest."""
    network = gru_network(100, 40, 4)
    x = rng.normal(size=(8, 6, 100))
    widths = uniform_plan(network, x, bits).widths
    widths |= {s.name: weights for s in network.graph.free if s.kind == "weight"}
    ranges = {name: (float(v.min()), float(v.max())) for name, v in network.trace(x).items()}
    for sign in (1, -1, 0):
        def rounding(site, fmt, sign=sign):  # type: ignore[no-untyped-def]
            signs = np.sign(network.parameters[site]) if sign == 0 else np.full(network.parameters[site].shape, sign)
            return (np.where(signs == 0, 1, signs) * fmt.qmax).astype(np.int64)
        program = bind(network, plan_of(network, ranges, widths), rounding)
        q = np.full((9, 3, 100), getattr(program.input_format, end))
        check(engine, program, q)


def test_many_programs_at_once(engine: Engine, rng: np.random.Generator) -> None:
    network = gru_network(6, 19, 4)
    x = rng.normal(size=(21, 6, 6))
    plans = [random_plan(network, x, rng, "any") for _ in range(12)]
    shared = plans[0].formats["input"]
    programs = [bind(network, type(p)({**p.formats, "input": shared})) for p in plans]
    q, lengths = programs[0].quantise_input(x), random_lengths(rng, 21, 6)
    for program, got in zip(programs, engine.run_many(programs, q, lengths), strict=True):
        assert np.array_equal(got, REFERENCE.run(program, q, lengths))


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5))
def test_random_populations(seed: int, count: int) -> None:
    """Programs of one random network at widths of their own, each with its own input, beside one of another network."""
    rng = np.random.default_rng(seed)
    network, other = random_network(rng), random_network(rng, 3)
    x = rng.normal(size=(5, 4, network.features))
    try:
        programs = [bind(network, random_plan(network, x, rng)) for _ in range(count)]
        stranger = bind(other, random_plan(other, x[..., :1].repeat(3, axis=2), rng))
    except RangeError:
        return
    jobs = [(program, _input(program, 5, 4, rng)) for program in (*programs, stranger)]
    jobs += jobs[:1]
    lengths = random_lengths(rng, 5, 4)
    for found in ENGINES.values():
        if found.available() is None:
            for (program, q), got in zip(jobs, found.run_jobs(jobs, lengths), strict=True):
                assert np.array_equal(got, REFERENCE.run(program, q, lengths)), found.name


def test_input_types(engine: Engine, rng: np.random.Generator) -> None:
    network = gru_network(6, 19, 4)
    x = rng.normal(size=(9, 5, 6))
    program = bind(network, uniform_plan(network, x, 8))
    q = program.quantise_input(x)
    want = REFERENCE.run(program, q)
    for form in (q.astype(np.int8), q.astype(np.int16), q.astype(np.int32), np.asfortranarray(q), q[:, ::1]):
        assert np.array_equal(engine.run(program, form), want)
    backwards = q[::-1, ::-1]
    assert np.array_equal(engine.run(program, backwards), REFERENCE.run(program, backwards))


def test_wrong_input_is_refused(engine: Engine, rng: np.random.Generator) -> None:
    network = gru_network(6, 5, 4)
    x = rng.normal(size=(3, 5, 6))
    program = bind(network, uniform_plan(network, x, 4))
    q = program.quantise_input(x)
    for wrong in (q + 100, q[:, :, :5], q[0], x, q[:0]):
        with pytest.raises(DataError):
            engine.run(program, wrong)
    for lengths in ([1, 2], [0, 1, 2], [1, 2, 6], [1.0, 2.0, 3.0]):
        with pytest.raises(DataError):
            engine.run(program, q, lengths)


def test_one_input_one_weight(engine: Engine) -> None:
    """One-hot inputs and power-of-two weights: a wrong tap can be read off the wrong number."""
    from bittailor.core.plan import Plan
    from bittailor.core.qformat import QFormat

    b = Builder()
    x = b.input("input", 37)
    graph = b.graph(b.op("last", "end", b.linear("y", x, "W", 35)))
    W = np.zeros((35, 37))
    W[np.arange(35), np.arange(35)] = 2.0 ** (np.arange(35) % 6)
    W[np.arange(35), np.arange(35) + 2] = -1.0
    plan = Plan({"input": QFormat("activation", 8, (1.0,)), "W": QFormat("weight", 7, (1.0,)),
                 "y": QFormat("activation", 16, (1.0,))})
    program = bind(Network(graph, {"W": W}), plan)
    hot = np.eye(37, dtype=np.int64)[:, None, :]
    assert np.array_equal(engine.run(program, hot), W.T)


def test_widths_of_random_plans_cover_all() -> None:
    """The generator does reach every width; otherwise the tests above would be weaker than they say."""
    network = gru_network(3, 4, 2)
    seen = {"weight": set(), "activation": set(), "bias": set()}
    for seed in range(60):
        widths = random_widths(network, np.random.default_rng(seed))
        for site in network.graph.free:
            seen[site.kind].add(widths[site.name])
    assert seen["weight"] == set(range(1, 17))
    assert seen["activation"] == set(range(2, 17))
    assert seen["bias"] >= {2, 16, 32}
