"""bt_element, which generated code reads packed integers with, gives what bt_bits gives: every width, place and size of
an array, where integers are read at any address and where they are not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bittailor.export.c import DEVICE

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
             if (n * bits + 7) // 8 >= (bits // 8 if bits % 8 == 0 else (bits + 14) // 8)]
    data = ", ".join(map(str, rng.integers(0, 256, 400)))
    (tmp_path / "main.c").write_text(MAIN % (data, "\n".join(f"    CHECK({n}u, {bits}u);" for n, bits in cases)))
    subprocess.run([compiler, "-O2", "-std=c99", *flags, f"-I{DEVICE}", str(tmp_path / "main.c"),
                    str(DEVICE / "bt_dot.c"), "-o", str(tmp_path / "main")], check=True)
    done = subprocess.run([str(tmp_path / "main")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert int(done.stdout) == sum(n for n, _ in cases)
