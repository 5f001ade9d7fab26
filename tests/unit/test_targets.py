"""The harness itself: programs are built for every core, run there, see their files, and are counted exactly."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bittailor.export import targets
from bittailor.export.targets import TARGETS, ToolError, build, compile_object, disassembly, run, sections, symbols
from cores import EVERY, core
from firmware_host import STRICT

PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include "firmware.h"
#if defined(__arm__)
#define LOOP __asm__ volatile("1: sub %0, #1\n cmp %0, #0\n bne 1b" : "+l"(n) : : "cc")
#elif defined(__riscv)
#define LOOP __asm__ volatile("1: addi %0, %0, -1\n nop\n bnez %0, 1b" : "+r"(n))
#else
#define LOOP (void)n
#endif
BT_NOIPA static void loop(unsigned n) { LOOP; }

static unsigned before = 7;
static unsigned zero;
const unsigned char constants[5] = {1, 2, 3, 4, 5};

int main(void)
{
    static const unsigned counts[] = {1, 10, 1000, 1000000, 9000000};
    char text[32];
    int file = fw_open("in.txt", 'r');
    const size_t bytes = fw_read(file, text, sizeof text);
    fw_close(file);
    if (fw_open("absent", 'r') >= 0) return 9;
    file = fw_open("out.txt", 'w');
    if (fw_write(file, text, bytes) != bytes) return 8;
    fw_close(file);
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
        count_start();
        loop(counts[i]);
        printf("%u %lu\n", counts[i], (unsigned long)count_stop());
    }
    before += zero + constants[bytes % 5];
    return (int)before;
}
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    source = tmp_path / "program.c"
    source.write_text(PROGRAM)
    return source


@pytest.mark.parametrize("name", EVERY)
def test_a_program_runs_with_its_files_and_is_counted(name: str, program: Path, tmp_path: Path) -> None:
    target = TARGETS[name]
    flags = (*STRICT, *targets.OPTIMISE)
    if name == "host":
        flags = tuple(f for f in flags if f != "-Wpedantic")
    elf = build(target, [program], tmp_path / "a.elf", flags=flags)
    ran = run(target, elf, {"in.txt": b"some bytes"})
    assert ran.status == 8, ran.output  # 7 from initialised memory, 0 from cleared memory, 1 from flash
    assert ran.files == {"out.txt": b"some bytes"}
    counted = [tuple(map(int, line.split())) for line in ran.output.splitlines()]
    assert [n for n, _ in counted] == [1, 10, 1000, 1000000, 9000000]
    for n, count in counted:
        # three instructions a round; around it the call's own, and a few for every wrap of a 24-bit timer
        assert 0 <= count - 3 * n <= 30 if target.emulated else count == 0, (n, count)
    assert run(target, elf, {"in.txt": b"some bytes"}) == ran


@pytest.mark.parametrize("name", EVERY)
def test_what_was_built_can_be_looked_into(name: str, program: Path, tmp_path: Path) -> None:
    target = TARGETS[name]
    made = compile_object(target, program, tmp_path / "a.o", [targets.EMULATOR])
    assert sum(n for name, n in sections(target, made).items() if name.endswith("rodata.constants")) == 5
    found = {s.name: s for s in symbols(target, made)}
    assert (found["constants"].kind, found["constants"].size) == ("R", 5)
    assert found["count_start"].kind == "U"
    assert "<main>:" in disassembly(target, made)


@pytest.mark.parametrize("name", [core("host"), core("m4"), core("rv32")])
def test_a_program_that_hangs(name: str, tmp_path: Path) -> None:
    source = tmp_path / "p.c"
    source.write_text("int main(void) { for (volatile int i = 0;; ) { (void)i; } }")
    with pytest.raises(ToolError, match=r"a\.elf did not end within 0\.3 s on .*; raise the limit or give it less"):
        run(TARGETS[name], build(TARGETS[name], [source], tmp_path / "a.elf"), timeout=0.3)


@pytest.mark.parametrize("name", [p for p in EVERY if p.id not in ("host", "rv32")])
def test_a_program_that_faults(name: str, tmp_path: Path) -> None:
    source = tmp_path / "p.c"
    source.write_text("int main(void) { __asm__ volatile(\"udf #0\"); return 0; }")
    ran = run(TARGETS[name], build(TARGETS[name], [source], tmp_path / "a.elf"), timeout=20)
    assert (ran.status, ran.output) == (70, "fault: the core took an exception\n")


def test_compiler_errors_are_one_line(tmp_path: Path) -> None:
    source = tmp_path / "p.c"
    source.write_text("int main(void) { return x; }")
    with pytest.raises(ToolError, match=r"p\.c does not compile for this machine: .*p\.c:1:.*undeclared") as error:
        build(TARGETS["host"], [source], tmp_path / "a.elf")
    assert "\n" not in str(error.value)
    source.write_text("extern int nowhere(void); int main(void) { return nowhere(); }")
    with pytest.raises(ToolError, match=r"a\.elf does not link for this machine: .*nowhere") as error:
        build(TARGETS["host"], [source], tmp_path / "a.elf")
    assert "\n" not in str(error.value)


def test_missing_tools_say_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = shutil.which
    monkeypatch.setattr(targets.shutil, "which", lambda name: None if "arm" in name else real(name))
    with pytest.raises(ToolError, match=r"^Cortex-M4 needs arm-none-eabi-gcc and arm-none-eabi-objdump and "
                                        r"qemu-system-arm: apt-get install gcc-arm-none-eabi"):
        build(TARGETS["m4"], [], tmp_path / "a.elf")
    assert TARGETS["host"].missing() is None


def test_the_start_up_code_has_no_warnings(tmp_path: Path) -> None:
    for target in TARGETS.values():
        if target.missing() is None:
            for name in target.start:
                compile_object(target, targets.EMULATOR / name, tmp_path / "a.o",
                               flags=("-std=gnu99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror"))
