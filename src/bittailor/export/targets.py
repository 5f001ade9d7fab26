"""Targets: compilers and emulated cores, how to build for them, run there, and look into what was built.

    elf = build(TARGETS["m4"], [Path("main.c"), Path("model.c")], out=Path("main.elf"))
    ran = run(TARGETS["m4"], elf, {"items.bin": data})       # ran.status, ran.output, ran.files

A program is an ordinary C program: `main` without arguments, printf, an exit status; files of the folder it runs in and
exact instruction counts come from `emulator/firmware.h`. Emulation is QEMU's: instructions are counted, not cycles. A
new core is one line of `TARGETS`.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from bittailor.common.registry import Table
from bittailor.engines.native_build import find_compiler
from bittailor.errors import BittailorError

EMULATOR = Path(__file__).resolve().parent / "emulator"
STANDARD = ("-std=c99",)
OPTIMISE = ("-O2", "-ffunction-sections", "-fdata-sections")
"""How exported code is compiled where its size or its instructions are reported."""
SHIFT = 6
"""An emulated instruction takes 2**SHIFT ns of the emulated clock, so that a core's timer counts instructions."""
TIMEOUT = 600.0
_NONE: Mapping[str, str] = MappingProxyType({})


class ToolError(BittailorError):
    """A compiler or emulator that is missing, fails or does not end."""


class NoRoom(ToolError):
    """A program that is larger than the memory of the emulated board."""


@dataclass(frozen=True)
class Target:
    """Where exported code runs.

    name      on the command line, in result files and objectives
    title     for people
    compiler  of C; empty: the host's own
    tools     what the names of size, nm and objdump begin with
    flags     the core: decides its instructions
    start     start-up sources in `emulator/`
    link      flags of the linker
    emulator  command that runs an elf file, which is added at the end; empty: it runs as it is
    counting  what the emulator needs for exact counts; slower
    hz        clock of the core's timer; 0 where instructions are counted as such
    packages  of Debian, that bring what is missing
    """

    name: str
    title: str
    compiler: str = ""
    tools: str = ""
    flags: tuple[str, ...] = ()
    start: tuple[str, ...] = ("host.c",)
    link: tuple[str, ...] = ()
    emulator: tuple[str, ...] = ()
    counting: tuple[str, ...] = ()
    hz: int = 0
    packages: str = "gcc"

    @property
    def emulated(self) -> bool:
        """Whether it needs an emulator."""
        return bool(self.emulator)

    def missing(self) -> str | None:
        """Why nothing can be built or run for it here, and what to install; None if all is there."""
        needed = [self.compiler, f"{self.tools}objdump", *self.emulator[:1]] if self.emulated else ["objdump"]
        absent = [tool for tool in needed if shutil.which(tool) is None]
        if not self.emulated and find_compiler() is None:
            absent.append("cc")
        if absent:
            return f"{self.title} needs {' and '.join(absent)}: apt-get install {self.packages}"
        return None

    def command(self) -> list[str]:
        """The compiler with the core's flags. ToolError if something is missing."""
        reason = self.missing()
        if reason:
            raise ToolError(reason)
        return [self.compiler or find_compiler() or "cc", *self.flags]


def _arm(name: str, title: str, core: str, board: str, hz: int, flash: tuple[int, int], ram: tuple[int, int],
         abi: str = "soft") -> Target:
    """An M-class core; flash and ram are (address, bytes)."""
    places = {"__flash": flash[0], "__flash_size": flash[1], "__ram": ram[0], "__ram_size": ram[1]}
    return Target(
        name, title, "arm-none-eabi-gcc", "arm-none-eabi-",
        ("-mthumb", f"-mcpu={core}", f"-mfloat-abi={abi}", f"-DFW_HZ={hz}", f"-DFW_SHIFT={SHIFT}"),
        ("arm_start.c", "semihost.c"),
        ("--specs=nano.specs", "-nostartfiles", "-T", str(EMULATOR / "arm.ld"),
         *(f"-Wl,--defsym={place}={value:#x}" for place, value in places.items())),
        ("qemu-system-arm", "-machine", board, "-display", "none", "-serial", "none", "-monitor", "none",
         "-chardev", "stdio,id=out", "-semihosting-config", "enable=on,target=native,chardev=out", "-kernel"),
        ("-icount", f"shift={SHIFT}"), hz, "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm",
    )


_KIB, _MIB = 1 << 10, 1 << 20
_MPS2 = (0x0, 4 * _MIB), (0x2000_0000, 4 * _MIB)

TARGETS: Table[Target] = Table("core", {t.name: t for t in (
    Target("host", "this machine"),
    _arm("m0", "Cortex-M0", "cortex-m0", "microbit", 16_000_000, (0x0, 256 * _KIB), (0x2000_0000, 16 * _KIB)),
    _arm("m3", "Cortex-M3", "cortex-m3", "mps2-an385", 25_000_000, *_MPS2),
    _arm("m4", "Cortex-M4", "cortex-m4", "mps2-an386", 25_000_000, *_MPS2),
    _arm("m7", "Cortex-M7", "cortex-m7", "mps2-an500", 25_000_000, *_MPS2),
    _arm("m33", "Cortex-M33", "cortex-m33", "mps2-an505", 20_000_000, (0x1000_0000, 4 * _MIB), (0x3800_0000, 4 * _MIB)),
    # integers only: Helium without its floating point half
    _arm("m55", "Cortex-M55", "cortex-m55+nofp", "mps3-an547", 32_000_000, (0x0, 512 * _KIB),
         (0x2000_0000, 512 * _KIB), "hard"),
    Target(
        "rv32", "RISC-V RV32IMC", "riscv64-unknown-elf-gcc", "riscv64-unknown-elf-",
        ("-march=rv32imc", "-mabi=ilp32", "-mcmodel=medany", "--specs=picolibc.specs"),
        ("semihost.c",),
        ("--oslib=semihost", "--crt0=semihost",
         *(f"-Wl,--defsym={place}={value:#x}" for place, value in (
             ("__flash", 0x8000_0000), ("__flash_size", 4 * _MIB), ("__ram", 0x8040_0000), ("__ram_size", 4 * _MIB)))),
        ("qemu-system-riscv32", "-machine", "virt", "-bios", "none", "-display", "none", "-serial", "none", "-monitor",
         "none", "-chardev", "stdio,id=out", "-semihosting-config", "enable=on,target=native,chardev=out", "-kernel"),
        ("-icount", "shift=0"), 0, "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc",
    ),
)})


@dataclass(frozen=True)
class Ran:
    """What a program did.

    status  its exit status
    output  what it printed
    files   what it left in its folder: name -> bytes, without the files it was given
    """

    status: int
    output: str
    files: Mapping[str, bytes]


def compile_object(
    target: Target, source: Path, out: Path, includes: Iterable[Path] = (), defines: Mapping[str, str] = _NONE,
    flags: Sequence[str] = (*STANDARD, *OPTIMISE),
) -> Path:
    """Compile one C file to an object file. ToolError with the compiler's first message."""
    _call([*target.command(), *flags, *_arguments(includes, defines), "-c", str(source), "-o", str(out)],
          f"{source.name} does not compile for {target.title}")
    return out


def build(
    target: Target, sources: Sequence[Path], out: Path, includes: Iterable[Path] = (),
    defines: Mapping[str, str] = _NONE, flags: Sequence[str] = (*STANDARD, *OPTIMISE),
) -> Path:
    """Compile and link C and object files with the target's start-up code; what nothing uses is left out, and the
    linker's map is `out`.map (where the linker is GNU's).

    includes  folders of headers; `firmware.h` is found without
    defines   name -> value
    flags     of the compiler, for `sources`; the start-up code has its own
    Raises ToolError with the compiler's first message.
    """
    command = target.command()
    with tempfile.TemporaryDirectory(prefix="bittailor-") as folder:
        objects = [str(s) for s in sources if s.suffix == ".o"]
        for i, source in enumerate(s for s in sources if s.suffix != ".o"):
            # numbered: two sources may have the same name
            made = Path(folder) / f"{i}-{source.stem}.o"
            objects.append(str(compile_object(target, source, made, (*includes, EMULATOR), defines, flags)))
        objects += map(str, _start_up(target))
        gnu = target.emulated or sys.platform.startswith("linux")
        keep = ["-Wl,--gc-sections", f"-Wl,-Map={out}.map"] if gnu else []
        _call([*command, *objects, *target.link, *keep, "-o", str(out)],
              f"{out.name} does not link for {target.title}")
    return out


@cache
def _start_up(target: Target) -> list[Path]:
    """Its start-up code, compiled once for this process."""
    folder = Path(tempfile.mkdtemp(prefix="bittailor-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return [compile_object(target, EMULATOR / name, folder / f"{name}.o", (), {}, ("-std=gnu99", *OPTIMISE))
            for name in target.start]


def run(
    target: Target, elf: Path, files: Mapping[str, bytes] = MappingProxyType({}), *, count: bool = True,
    timeout: float = TIMEOUT,
) -> Ran:
    """Run a program in a folder of its own.

    files    name -> content of what it finds there
    count    instruction counts are exact; False is faster where nothing is counted
    timeout  seconds
    Raises ToolError if it does not end in time or the emulator fails.
    """
    target.command()
    with tempfile.TemporaryDirectory(prefix="bittailor-") as name:
        folder = Path(name)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        program = str(elf.resolve())
        command = [*target.emulator[:1], *(target.counting if count else ()), *target.emulator[1:], program]
        try:
            done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  errors="replace", check=False, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise ToolError(f"{elf.name} did not end within {timeout:g} s on {target.title}; raise the limit or give "
                            "it less to do") from None
        except OSError as error:
            raise ToolError(f"cannot run {command[0]}: {error.strerror or error}") from None
        if target.emulated and done.stderr.strip() and "qemu" in done.stderr:
            raise ToolError(f"{command[0]} failed on {elf.name}: {done.stderr.strip().splitlines()[0]}")
        left = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name not in files}
        return Ran(done.returncode, done.stdout + done.stderr, left)


def sections(target: Target, file: Path) -> dict[str, int]:
    """Section -> bytes, of an object or elf file (sections of the same name together)."""
    sizes: dict[str, int] = {}
    for line in _call([f"{target.tools}size", "-A", str(file)], f"cannot read {file.name}").splitlines():
        words = line.split()
        if len(words) == 3 and words[1].isdigit() and words[2].isdigit():
            sizes[words[0]] = sizes.get(words[0], 0) + int(words[1])
    return sizes


@dataclass(frozen=True)
class Symbol:
    """A name in an object or elf file. `kind` is nm's letter: T code, R constants, B and D memory, U from elsewhere."""

    name: str
    kind: str
    size: int


def symbols(target: Target, file: Path) -> list[Symbol]:
    """Its symbols, by nm; without the underscore that macOS puts before names of C."""
    lead = "_" if sys.platform == "darwin" and not target.emulated else ""
    found = []
    for line in _call([f"{target.tools}nm", "-S", str(file)], f"cannot read {file.name}").splitlines():
        words = line.split()
        size = int(words[1], 16) if len(words) == 4 else 0
        if len(words) >= 2:
            found.append(Symbol(words[-1].removeprefix(lead), words[-2], size))
    return found


def disassembly(target: Target, file: Path) -> str:
    """Its machine code in words, by objdump."""
    return _call([f"{target.tools}objdump", "-d", "--no-show-raw-insn", str(file)], f"cannot read {file.name}")


def _arguments(includes: Iterable[Path], defines: Mapping[str, str]) -> list[str]:
    return [*(f"-I{folder}" for folder in includes), *(f"-D{name}={value}" for name, value in defines.items())]


def _call(command: Sequence[str], wrong: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise ToolError(f"cannot run {command[0]}: {error.strerror or error}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{command[0]} ended with status {done.returncode}"]
        telling = (line for line in lines if any(w in line.lower() for w in ("error:", "undefined", "overflow")))
        first = next(telling, lines[0])
        if any(" overflowed by " in line or "no room left in RAM" in line for line in lines):
            raise NoRoom(f"{wrong}: it does not fit into the memory of the emulated board ({first.split(': ')[-1]})")
        raise ToolError(f"{wrong}: {first}")
    return done.stdout
