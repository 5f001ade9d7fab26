"""The C runtime under the sanitizers: random good programs give the reference's integers, damaged ones a status."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from bittailor.engines import Reference
from bittailor.engines.lowering import Lowering
from bittailor.engines.native_build import FLAGS, RUNTIME, VARIANTS, Runtime, find_compiler, runnable
from networks import random_case

SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1")
HERE = Path(__file__).parent


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    if find_compiler() is None:
        pytest.skip("no C compiler")
    if request.param not in runnable():
        pytest.skip(f"this machine cannot run the variant {request.param}")
    return str(request.param)


@pytest.fixture(scope="module")
def fuzzer(variant: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fuzzer, built with the sanitizers."""
    target = tmp_path_factory.mktemp("fuzz") / f"fuzz-{variant}"
    flags = [flag for flag in FLAGS if flag not in ("-O3", "-shared")]
    command = [str(find_compiler()), *flags, *SANITIZE, *VARIANTS[variant].flags, f"-I{RUNTIME}",
               str(RUNTIME / VARIANTS[variant].source), str(HERE / "native_fuzz.c"), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "asan" in done.stderr:
        pytest.skip("the compiler has no sanitizers here")
    assert done.returncode == 0, done.stderr
    return target


def _attack(fuzzer: Path, variant: str, seed: int, count: int, folder: Path) -> tuple[int, int]:
    case = random_case(seed)
    code = Lowering(Runtime(VARIANTS[variant]).layout)(case.program)
    kind = np.int8 if case.program.input_format.bits <= 8 else np.int16
    q = np.ascontiguousarray(case.q, kind)
    want = Reference().run(case.program, case.q, case.lengths)
    ragged = case.lengths is not None
    head = np.array([code.size, q.itemsize, *q.shape, want.size, ragged, 0], np.uint32)
    lengths = np.asarray(case.lengths if ragged else [], np.int32)
    file = folder / f"case-{seed}"
    file.write_bytes(head.tobytes() + code.tobytes() + lengths.tobytes() + q.tobytes())
    done = subprocess.run([str(fuzzer), str(file), str(count), str(seed)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{case}\n{done.stderr[-3000:]}"
    got = np.fromfile(f"{file}.out", np.int64).reshape(want.shape)
    assert np.array_equal(got, want), case
    words = done.stdout.split()
    return int(words[1]), int(words[3])


def test_damaged_programs(fuzzer: Path, variant: str, tmp_path: Path, rng: np.random.Generator) -> None:
    refused = ran = 0
    for seed in rng.integers(0, 2**31, 8):
        some = _attack(fuzzer, variant, int(seed), 400, tmp_path)
        refused, ran = refused + some[0], ran + some[1]
    assert refused > 500
    assert ran > 200  # otherwise the damage is so gross that nothing behind the checks is ever reached


@pytest.mark.slow
def test_many_damaged_programs(fuzzer: Path, variant: str, tmp_path: Path, rng: np.random.Generator) -> None:
    for seed in rng.integers(0, 2**31, 60):
        _attack(fuzzer, variant, int(seed), 3000, tmp_path)
