"""Programs: binding is pure, integers only, saved and loaded equal; damage is noticed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

import networks
from bittailor.common.files import load_tensors, save_tensors
from bittailor.core.arith import Lookup, Rescale
from bittailor.core.ops import Packed
from bittailor.core.plan import Plan
from bittailor.core.program import PROGRAM_KIND, PROGRAM_VERSION, Binder, Program, bind
from bittailor.core.qformat import QFormat
from bittailor.core.rsqrt import Gain
from bittailor.engines import Reference
from bittailor.engines.reference import Saturation
from bittailor.errors import DataError, FileError, FormatError, RangeError

REFERENCE = Reference()
SMALL = networks.gru_network(2, 3, 2)
X = np.random.default_rng(0).normal(size=(3, 4, 2))


@pytest.mark.parametrize("seed", range(12))
def test_save_and_load_runs_equal(tmp_path: Path, seed: int) -> None:
    case = networks.random_case(seed)
    case.program.save(tmp_path / "p")
    again = Program.load(tmp_path / "p")
    networks.same_constants(case.program, again)
    q = case.q[:2]
    lengths = None if case.lengths is None else case.lengths[:2]
    assert np.array_equal(REFERENCE.run(again, q, lengths), REFERENCE.run(case.program, q, lengths))


@pytest.mark.parametrize("seed", range(12))
def test_nothing_in_it_is_a_float(seed: int) -> None:
    for constants in networks.random_case(seed).program.constants.values():
        for constant in constants.parts().values():
            arrays = {Packed: ("values",), Lookup: ("entries",), Rescale: (), Gain: ()}[type(constant)]
            assert all(getattr(constant, name).dtype == np.int64 for name in arrays)
            if isinstance(constant, Gain):
                assert all(type(v) is int for v in vars(constant).values())
            if isinstance(constant, Rescale):
                assert all(m.dtype == np.int64 for m in constant.multipliers)
                assert all(type(v) is int for v in (constant.shift, constant.offset, constant.lo, constant.hi))


def test_a_binder_remembers_and_gives_the_same() -> None:
    binder = Binder(SMALL)
    rng = np.random.default_rng(0)
    plans = [networks.random_plan(SMALL, X, rng) for _ in range(5)]
    first = [binder.bind(plan) for plan in plans]
    for plan, program in zip(plans, first, strict=True):
        networks.same_constants(program, bind(SMALL, plan))
        again = binder.bind(plan)
        assert all(again.constants[name] is constants for name, constants in program.constants.items())


def test_one_width_rebinds_only_its_neighbours() -> None:
    binder = Binder(SMALL)
    ranges = networks.calibrate(SMALL, X)
    widths = networks.uniform_plan(SMALL, X, 8).widths
    base = binder.bind(networks.plan_of(SMALL, ranges, widths))
    changed = binder.bind(networks.plan_of(SMALL, ranges, {**widths, "gru0.r.pre": 4}))
    fresh = {n for n, c in changed.constants.items() if c is not base.constants[n]}
    assert fresh == {"gru0.r.pre", "gru0.r.post"}


def test_custom_rounding_must_fit_the_format() -> None:
    plan = networks.uniform_plan(SMALL, X, 3)
    for value in (4, -4):
        with pytest.raises(RangeError, match=r"gru0.W_ir: integers -?4..-?4 do not fit 3-bit weights"):
            bind(SMALL, plan, lambda site, fmt, v=value: np.full(SMALL.parameters[site].shape, v))
    binary = Plan({**plan.formats, "head.W": QFormat("weight", 1, (1.0,))})
    with pytest.raises(RangeError, match=r"head.W: integers 0..0 do not fit 1-bit weights"):
        bind(SMALL, binary, lambda site, fmt: np.zeros(SMALL.parameters[site].shape, np.int64))


def test_scales_that_cannot_be_bridged_name_their_site() -> None:
    plan = networks.uniform_plan(SMALL, X, 8)
    for name, scale in (("gru0.n.pre", 1e-12), ("gru0.r.x", 1e-300)):
        broken = Plan({**plan.formats, name: QFormat("activation", 8, (scale,))})
        with pytest.raises(RangeError, match=f"^{name}: scales differ too much"):
            bind(SMALL, broken)


def test_a_plan_that_does_not_fit_is_refused() -> None:
    with pytest.raises(FormatError, match="it lacks"):
        bind(SMALL, Plan({}))


def test_input_and_output_are_the_only_floats() -> None:
    program = bind(SMALL, networks.uniform_plan(SMALL, X, 8))
    assert np.array_equal(program.quantise_input(X), program.input_format.quantise(X))
    assert program.read_output([[program.output_format.zero_point] * 2]).tolist() == [[0.0, 0.0]]
    with pytest.raises(DataError, match="NaN"):
        program.quantise_input([[[np.nan, 0.0]]])


@pytest.mark.parametrize(("q", "lengths", "message"), [
    (np.zeros((1, 2, 2)), None, "takes integers, got float64; use program.quantise_input"),
    (np.zeros((1, 2), int), None, r"takes \[items, steps, 2\]"),
    (np.zeros((1, 2, 3), int), None, r"takes \[items, steps, 2\]"),
    (np.zeros((0, 2, 2), int), None, r"takes \[items, steps, 2\]"),
    (np.full((1, 2, 2), 128), None, r"input integers 128..128 are outside -128..127"),
    (np.zeros((1, 2, 2), int), [3], r"lengths must lie in 1..2"),
    (np.zeros((1, 2, 2), int), [1, 2], "lengths must be 1 integers"),
])
def test_input_an_engine_refuses(q: np.ndarray, lengths: object, message: str) -> None:
    program = bind(SMALL, networks.uniform_plan(SMALL, X, 8))
    with pytest.raises(DataError, match=message):
        REFERENCE.run(program, q, lengths)


def test_wide_operators_are_named() -> None:
    assert bind(SMALL, networks.uniform_plan(SMALL, X, 8)).wide() == ()
    assert "gru0.h" in bind(SMALL, networks.uniform_plan(SMALL, X, 16)).wide()


def test_saturation_counts_valid_steps_only() -> None:
    plan = networks.uniform_plan(SMALL, X, 8)
    tight = Plan({**plan.formats, "gru0.r.pre": QFormat("activation", 8, (1e-4,))})
    program = bind(SMALL, tight)
    lengths = np.array([4, 1, 2])
    counts = REFERENCE.saturation(program, program.quantise_input(X), lengths)
    assert counts["gru0.r.pre"].total == lengths.sum() * 3
    assert 0 < counts["gru0.r.pre"].clamped <= counts["gru0.r.pre"].total
    assert counts["gru0.r.pre"].furthest > 100
    assert counts["gru0.h"] == Saturation(0, int(lengths.sum()) * 3, 0)
    steps = networks.gru_network(2, 3, 2, end="sequence")
    program = bind(steps, networks.uniform_plan(steps, X, 8))
    assert REFERENCE.saturation(program, program.quantise_input(X), lengths)["head.out"].total == lengths.sum() * 2


def test_wrong_kind_and_version(tmp_path: Path) -> None:
    path = tmp_path / "n"
    SMALL.save(path)
    with pytest.raises(FileError, match="is no bittailor program but a network"):
        Program.load(path)
    program = bind(SMALL, networks.uniform_plan(SMALL, X, 8))
    program.save(path)
    body, tensors = load_tensors(path, PROGRAM_KIND, PROGRAM_VERSION)
    save_tensors(path, PROGRAM_KIND, PROGRAM_VERSION + 1, body, tensors)
    with pytest.raises(FileError, match=rf"program of version {PROGRAM_VERSION + 1}; this bittailor reads"):
        Program.load(path)


@pytest.mark.parametrize("change", [
    lambda body, tensors: body.pop("formats"),
    lambda body, tensors: body["formats"].pop("gru0.h"),
    lambda body, tensors: body["constants"].pop("gru0.h"),
    lambda body, tensors: body["constants"]["gru0.h"]["rescale"].pop("shift"),
    lambda body, tensors: body["graph"].update(version=77),
    lambda body, tensors: body["graph"]["steps"].pop(),
    lambda body, tensors: body.update(constants=[]),
    lambda body, tensors: body["formats"]["gru0.h"].update(bits=99),
    lambda body, tensors: tensors.pop("gru0.r.x/W/packed"),
    lambda body, tensors: tensors.update({"gru0.r.x/W/packed": np.zeros(1, np.uint8)}),
])
def test_content_that_makes_no_sense(tmp_path: Path, change: object) -> None:
    """Even with a right checksum."""
    path = tmp_path / "p"
    bind(SMALL, networks.uniform_plan(SMALL, X, 8)).save(path)
    body, tensors = load_tensors(path, PROGRAM_KIND, PROGRAM_VERSION)
    change(body, tensors)
    save_tensors(path, PROGRAM_KIND, PROGRAM_VERSION, body, tensors)
    with pytest.raises(FileError):
        Program.load(path)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "p"
    program = bind(SMALL, networks.uniform_plan(SMALL, X, 4))
    program.save(path)
    whole = path.read_bytes()
    rnd = random.Random(3)
    noticed = 0
    for _ in range(300):
        data = bytearray(whole)
        data[rnd.randrange(len(data))] ^= 1 << rnd.randrange(8)
        path.write_bytes(data if rnd.random() < 0.8 else data[: rnd.randrange(len(data))])
        try:
            again = Program.load(path)
        except FileError:
            noticed += 1
        else:
            networks.same_constants(program, again)
    assert noticed > 100
