"""Builds what is uploaded: the sdist, the wheel for any system, and wheels with compiled libraries.

    python tools/wheels.py                                           # sdist, any, this platform
    python tools/wheels.py --target linux-aarch64 --cc aarch64-linux-gnu-gcc   # one more, cross-compiled

Run from the folder of the project, with setuptools and wheel. A wheel for a platform is the one for any system plus
`bittailor/runtime/prebuilt/`: a library for every instruction set of that platform, loaded by ctypes, so that one wheel
serves every Python. Equal sources and compilers give equal bytes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from setuptools import build_meta
from wheel.wheelfile import WheelFile

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE / "src"))

from bittailor.engines.native_build import (  # noqa: E402
    CPU,
    FLAGS,
    RUNTIME,
    TRAINING,
    VARIANTS,
    Variant,
    find_compiler,
    prebuilt_name,
)

OLDEST_GLIBC = (2, 17)
"""manylinux2014: what every Linux of the last ten years has."""


@dataclass(frozen=True)
class Target:
    """A platform.

    tag       of the wheel; for Linux the oldest glibc is put in
    variants  the instruction sets
    flags     more for the compiler
    """

    tag: str
    variants: tuple[str, ...]
    flags: tuple[str, ...] = ()


PLAIN = ("plain", "plain-few")
X86 = ("avx512vnni", "avx2", "x86-64-v2", "avx512vnni-few", "avx2-few", *PLAIN)
TARGETS = {
    "linux-x86_64": Target("manylinux_{}_{}_x86_64", X86, ("-s",)),
    "linux-aarch64": Target("manylinux_{}_{}_aarch64", PLAIN, ("-s",)),
    "macos-arm64": Target("macosx_11_0_arm64", PLAIN, ("-mmacosx-version-min=11.0",)),
    "macos-x86_64": Target("macosx_11_0_x86_64", X86, ("-mmacosx-version-min=11.0",)),
    "windows-amd64": Target("win_amd64", X86, ("-s", "-static-libgcc")),
}
"""Those of macOS and Windows are built where they run (`.github/workflows/wheels.yml`)."""


def this_target() -> str:
    """The target of the machine that this runs on."""
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}[sys.platform]
    machine = os.uname().machine if hasattr(os, "uname") else "amd64"
    return f"{system}-{machine}"


def compile_all(target: Target, compiler: str, folder: Path) -> None:
    """Every library of a target. Names hold a digest of the source, which is compared when one is looked for."""
    training = [v for v in TRAINING if not v.level or target.variants is X86]
    for variant in (CPU, *(VARIANTS[name] for name in target.variants), *training):
        compile_one(variant, target, compiler, folder / prebuilt_name(variant))


def compile_one(variant: Variant, target: Target, compiler: str, path: Path) -> None:
    command = [compiler, *FLAGS, *variant.flags, *target.flags, f"-ffile-prefix-map={RUNTIME}=.",
               str(RUNTIME / variant.source), "-o", str(path)]
    subprocess.run(command, check=True)


def glibc(folder: Path, compiler: str) -> tuple[int, int]:
    """The newest version of glibc that the libraries of a folder ask for, at least `OLDEST_GLIBC`."""
    tool = re.sub(r"(gcc|clang|cc)$", "objdump", compiler)
    text = "".join(subprocess.run([tool, "-T", str(path)], check=True, capture_output=True, text=True).stdout
                   for path in folder.iterdir())
    found = [(int(a), int(b)) for a, b in re.findall(r"GLIBC_(\d+)\.(\d+)", text)]
    return max([OLDEST_GLIBC, *found])


def with_libraries(wheel: Path, target: Target, compiler: str, out: Path) -> Path:
    """The wheel of a platform from the one for any system."""
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place)
        with WheelFile(wheel) as file:
            file.extractall(tree)
        folder = tree / "bittailor" / "runtime" / "prebuilt"
        folder.mkdir(parents=True)
        compile_all(target, compiler, folder)
        tag = target.tag.format(*glibc(folder, compiler)) if "manylinux" in target.tag else target.tag
        about = next(tree.glob("*.dist-info")) / "WHEEL"
        text = about.read_text().replace("Root-Is-Purelib: true", "Root-Is-Purelib: false")
        about.write_text(text.replace("Tag: py3-none-any", f"Tag: py3-none-{tag}"))
        (next(tree.glob("*.dist-info")) / "RECORD").unlink()
        path = out / wheel.name.replace("py3-none-any", f"py3-none-{tag}")
        with WheelFile(path, "w") as file:
            file.write_files(str(tree))
    return path


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=TARGETS, default=this_target())
    parser.add_argument("--cc", default=find_compiler(), help="the compiler for it")
    parser.add_argument("--out", type=Path, default=HERE / "dist")
    arguments = parser.parse_args()
    if arguments.cc is None or shutil.which(arguments.cc) is None:
        sys.exit(f"there is no compiler {arguments.cc or ''}; install one, or name it with --cc")
    os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800")  # zip files know no earlier time
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.chdir(HERE)
    sdist = build_meta.build_sdist(str(arguments.out))
    pure = arguments.out / build_meta.build_wheel(str(arguments.out))
    made = with_libraries(pure, TARGETS[arguments.target], arguments.cc, arguments.out)
    for path in (arguments.out / sdist, pure, made):
        print(f"{path.relative_to(HERE) if path.is_relative_to(HERE) else path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
