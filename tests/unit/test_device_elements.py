"""What generated code calls with constants, which other tests do not: bt_element gives what bt_bits gives, for every
width, place and size of an array, where integers are read at any address and where they are not; bt_rescale's one
instruction for shift and limits gives what two comparisons give."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bittailor.export.c import DEVICE
from bittailor.export.targets import EMULATOR, STANDARD, TARGETS, build, run
from cores import EMULATED

COUNTS = (1, 2, 3, 4, 5, 7, 8, 9, 17, 100)
MAIN = """
#include <stdio.h>
#include "bt_dot.h"
#include "bt_ops.h"
static const uint8_t bytes[] = {%s};
#define CHECK(n, bits) do { \\
    for (size_t i = 0; i < n; i++) { \\
        int32_t got = bt_element(bytes, (n * bits + 7u) / 8u, i, bits), want = bt_bits(bytes, i, bits); \\
        cases++; \\
        if (got != want) { \\
            printf("%%u bits, %%u of %%u: got %%ld, expected %%ld\\n", bits, (unsigned)i, n, (long)got, (long)want); \\
            return 1; \\
        } \\
    } \\
} while (0)
int main(void) {
    unsigned cases = 0;
%s
    printf("%%u\\n", cases);
    return 0;
}
"""


@pytest.mark.parametrize("flags", [[], ["-D__ARM_BIG_ENDIAN"]])
def test_every_element_of_every_array(flags: list[str], tmp_path: Path, rng: np.random.Generator) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no compiler")
    # what spans more bytes than there are is no case for it; a big-endian machine reads no word, but bytes
    cases = [(n, bits) for bits in range(2, 26) for n in COUNTS
             if (n * bits + 7) // 8 >= max((i * bits % 8 + bits + 7) // 8 for i in range(8))]
    data = ", ".join(map(str, rng.integers(0, 256, 400)))
    (tmp_path / "main.c").write_text(MAIN % (data, "\n".join(f"    CHECK({n}u, {bits}u);" for n, bits in cases)))
    subprocess.run([compiler, "-O2", "-std=c99", *flags, f"-I{DEVICE}", str(tmp_path / "main.c"),
                    str(DEVICE / "bt_dot.c"), "-o", str(tmp_path / "main")], check=True)
    done = subprocess.run([str(tmp_path / "main")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert int(done.stdout) == sum(n for n, _ in cases)


LIMITS = """
#include <stdio.h>
#include "bt_ops.h"
static const int32_t values[] = {%s};
static unsigned cases, wrong;
static void check(int32_t got, int32_t v, volatile unsigned s, volatile int32_t lo, volatile int32_t hi) {
    const int32_t y = v >> s, want = y < lo ? lo : y > hi ? hi : y;
    cases++;
    wrong += got != want;
}
#define CHECK(s, lo, hi) do { \\
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) { \\
        check(bt_shift(values[i], s, lo, hi), values[i], s, lo, hi); \\
        check(bt_rescale(values[i], 1, 0, s, lo, hi), values[i], s, lo, hi); \\
        check(bt_rescale2(0, 5, values[i], 1, 0, s, lo, hi), values[i], s, lo, hi); \\
    } \\
} while (0)
int main(void) {
%s
    printf("%%u %%u\\n", cases, wrong);
    return 0;
}
"""


@pytest.mark.parametrize("level", ["-O1", "-Os", "-O2"])
@pytest.mark.parametrize("name", EMULATED)
def test_shifts_and_limits_that_are_constants(name: str, level: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """Those of signed integers of every width, and a few that are not."""
    limits = [(s, -(1 << bits - 1), (1 << bits - 1) - 1) for bits in (*range(1, 10), 15, 16, 17)
              for s in (0, 1, int(rng.integers(2, 31)), 31)]
    limits += [(22, -127, 127), (22, 0, 127), (22, -128, 126), (22, -64, 127), (3, 0, 0), (22, -3, 2)]
    edges = [edge for s, lo, hi in limits for edge in (lo << s, (hi + 1 << s) - 1)]
    ends = {v for edge in edges for v in (edge - 1, edge, edge + 1)}
    values = sorted({0, 1, -1, -(1 << 31) + 1, (1 << 31) - 1, *(v for v in ends if abs(v) < 1 << 31)})
    calls = "\n".join(f"    CHECK({s}u, {lo}, {hi});" for s, lo, hi in limits)
    (tmp_path / "main.c").write_text(LIMITS % (", ".join(map(str, values)), calls))
    elf = build(TARGETS[name], [tmp_path / "main.c"], tmp_path / "main.elf", [DEVICE, EMULATOR],
                flags=(*STANDARD, level))
    cases, wrong = map(int, run(TARGETS[name], elf, count=False).output.split())
    assert cases == 3 * len(values) * len(limits)
    assert wrong == 0
