"""What surrounds exported C compiles and runs: the class of C++, the Arduino sketch, the Zephyr program."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bittailor.core.program import Program, bind
from bittailor.engines import ENGINES
from bittailor.export import export_program
from networks import gru_network, uniform_plan

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")

ARDUINO = """#pragma once
#include <stddef.h>
#include <stdint.h>
struct Line {
    void begin(long) {}
    int available() { return 1; }
    long parseInt() { return 0; }
    void print(int) {}
    void print(char) {}
};
extern Line Serial;
"""


def exported(folder: Path, both: bool) -> tuple[Program, Path]:
    network = gru_network(4, 6, 3, bidirectional=both)
    program = bind(network, uniform_plan(network, np.random.default_rng(0).normal(size=(4, 6, 4)), 6))
    export_program(program, folder / "net", "c", prefix="net", steps=8)
    return program, folder / "net"


def compiled(place: Path, *words: str, compiler: str = "g++") -> None:
    flags = ["-Wall", "-Wextra", "-Werror", f"-I{place / 'src'}", f"-I{place.parent}"]
    done = subprocess.run([compiler, *flags, *words], capture_output=True, text=True, check=False, cwd=place.parent)
    assert done.returncode == 0, done.stderr


def objects(place: Path) -> list[str]:
    """The exported C, compiled."""
    sources = sorted((place / "src").glob("*.c"))
    compiled(place, "-std=c99", "-c", *map(str, sources), compiler="gcc")
    return [f"{source.stem}.o" for source in sources]


@pytest.mark.parametrize("both", [False, True])
def test_the_class_gives_the_same_integers(both: bool, tmp_path: Path) -> None:
    program, place = exported(tmp_path, both)
    fmt = program.input_format
    q = np.random.default_rng(1).integers(fmt.qmin, fmt.qmax + 1, (1, 5, 4))
    values = ", ".join(map(str, q.ravel()))
    stream = "" if both else """
    net::Network other;
    for (size_t t = 0; t < 5; t++)
        other.step(x + t * net::Network::features, z);
    for (size_t i = 0; i < net::Network::outputs; i++)
        if (z[i] != y[i])
            return 2;"""
    (tmp_path / "main.cpp").write_text(f"""#include <cstdio>
#include "net.hpp"
int main() {{
    const net::Network::in x[] = {{{values}}};
    net::Network network;
    net::Network::out y[net::Network::outputs], z[net::Network::outputs] = {{}};
    if (!network.run(x, 5, y) || network.run(x, 0, z))
        return 1;{stream}
    int16_t fixed[net::Network::outputs];
    net::Network::read(y, fixed);
    for (auto value : y)
        std::printf("%d ", (int)value);
    return fixed[0] < -32767 - 1;
}}
""")
    compiled(place, "-std=c++11", "-pedantic", "main.cpp", *objects(place), "-o", "main")
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    assert [int(n) for n in done.stdout.split()] == ENGINES["reference"].run(program, q)[0].tolist()


@pytest.mark.parametrize("both", [False, True])
def test_the_sketch_compiles_and_links(both: bool, tmp_path: Path) -> None:
    _, place = exported(tmp_path, both)
    (tmp_path / "Arduino.h").write_text(ARDUINO)
    (tmp_path / "main.cpp").write_text("#include <Arduino.h>\nLine Serial;\nvoid setup(); void loop();\n"
                                       "int main() { setup(); for (int i = 0; i < 9; i++) loop(); }\n")
    (sketch,) = (place / "examples").rglob("*.ino")
    assert sketch.parent.name == sketch.stem, "as the Arduino tools want it"
    compiled(place, "-std=c++11", "-x", "c++", str(sketch), "main.cpp", "-x", "none", *objects(place), "-o", "main")
    subprocess.run([tmp_path / "main"], check=True)


@pytest.mark.parametrize("both", [False, True])
def test_the_zephyr_program_compiles_and_the_module_names_what_is_there(both: bool, tmp_path: Path) -> None:
    _, place = exported(tmp_path, both)
    (tmp_path / "zephyr" / "sys").mkdir(parents=True)
    (tmp_path / "zephyr" / "kernel.h").write_text("#include <stdlib.h>\n#define k_msleep(n) exit(0)\n")
    (tmp_path / "zephyr" / "sys" / "printk.h").write_text("#include <stdio.h>\n#define printk printf\n")
    (main,) = (place / "examples").rglob("main.c")
    compiled(place, "-std=c11", str(main), *objects(place), "-o", "main", compiler="gcc")
    assert subprocess.run([tmp_path / "main"], capture_output=True, check=True).stdout
    module = (place / "zephyr" / "module.yml").read_text()
    assert "cmake: zephyr" in module
    assert "config NET\n" in (place / "zephyr" / "Kconfig").read_text()
    assert (main.parent / "prj.conf").read_text() == "CONFIG_NET=y\n"
    assert "if(CONFIG_NET)" in (place / "zephyr" / "CMakeLists.txt").read_text()
