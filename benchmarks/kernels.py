"""What does a weight cost on a microcontroller? Instructions per multiply-accumulate, and bytes of code.

    python benchmarks/kernels.py                          # every core that has its tools here: a minute
    python benchmarks/kernels.py --core m4 --core m0      # some
    python benchmarks/kernels.py --json kernels.json

Every dot product of the device runtime, 1..16-bit weights by 8- and 16-bit activations, runs in QEMU on every core and
in every variant (plain C, Arm's DSP instructions, Helium), over rows of several lengths; results are compared with
NumPy first. Counts are repeatable, and good to an instruction or two per row. They are instructions, not cycles: a core
takes one to three cycles per load; a vector instruction of Helium takes several, and a gathering load more.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from command import arguments, as_command

from bittailor.core.arith import pack
from bittailor.engines.native_build import RUNTIME
from bittailor.export.targets import OPTIMISE, STANDARD, TARGETS, build, compile_object, run, symbols

DEVICE = RUNTIME / "device"
ROWS = {n: tuple(n * row for row in range(8)) for n in (12, 28, 32, 64, 128)}
"""Row length -> where its rows begin: eight rows of a matrix, so that alignments occur as often as they do there."""
SIZES = {"O2": "-O2", "Os": "-Os"}


@dataclass(frozen=True)
class Variant:
    """A core and which of its instructions are used."""

    core: str
    name: str
    defines: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """For tables."""
        return f"{self.core.upper()} {self.name}" if self.name else self.core.upper()


VARIANTS = (
    Variant("m0", ""), Variant("m3", ""),
    *(Variant(core, name, flags) for core in ("m4", "m7", "m33")
      for name, flags in (("plain", ("-DBT_PLAIN",)), ("DSP", ()))),
    *(Variant("m55", name, flags) for name, flags in (
        ("plain", ("-DBT_PLAIN",)), ("DSP", ("-DBT_NO_HELIUM",)), ("Helium", ()))),
    Variant("rv32", ""),
)


def cases(seed: int = 0) -> tuple[bytes, np.ndarray]:
    """The file of cases, and the products: [width, activation width, row]."""
    rng = np.random.default_rng(seed)
    rows = [(first, n) for n, firsts in ROWS.items() for first in firsts]
    count, longest = max(first + n for first, n in rows), max(ROWS)
    xs = [rng.integers(-(1 << (b - 1)), 1 << (b - 1), longest) for b in (8, 16)]
    data = np.array([len(rows), count, longest], np.uint32).tobytes() + np.array(rows, np.uint32).tobytes()
    data += xs[0].astype(np.int8).tobytes() + xs[1].astype(np.int16).tobytes()
    want = np.zeros((16, 2, len(rows)), np.int64)
    for bits in range(1, 17):
        top = (1 << (bits - 1)) - 1
        w = rng.choice(np.array([-1, 1]), count) if bits == 1 else rng.integers(-top, top + 1, count)
        data += pack(w, bits).tobytes()
        for k, x in enumerate(xs):
            want[bits - 1, k] = [int(w[first:first + n] @ x[:n]) for first, n in rows]
    return data, want.astype(np.int32).astype(np.int64)


def counts(variant: Variant, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Activation width -> row length -> instructions per multiply-accumulate, for widths 1..16."""
    target = TARGETS[variant.core]
    flags = (*STANDARD, *OPTIMISE, *variant.defines)
    elf = build(target, [DEVICE / "bt_dot.c", Path(__file__).with_suffix(".c")], folder / "kernels.elf",
                includes=[DEVICE], flags=flags)
    data, want = cases()
    ran = run(target, elf, {"cases.bin": data})
    got = np.frombuffer(ran.files["results.bin"], np.int64).reshape(*want.shape, 2)
    if ran.status or not np.array_equal(got[..., 0], want):
        raise SystemExit(f"{variant.title}: wrong products; nothing is counted")
    found: dict[str, dict[str, list[float]]] = {}
    for k, storage in enumerate(("8", "16")):
        at = 0
        found[storage] = {}
        for n, firsts in ROWS.items():
            spent = got[:, k, at:at + len(firsts), 1].sum(axis=1) / (n * len(firsts))
            found[storage][str(n)] = [round(float(v), 3) for v in spent]
            at += len(firsts)
    return found


def code(variant: Variant, folder: Path) -> dict[str, dict[str, int]]:
    """Optimisation -> function -> bytes."""
    target, found = TARGETS[variant.core], {}
    for name, flag in SIZES.items():
        made = compile_object(target, DEVICE / "bt_dot.c", folder / "bt_dot.o",
                              flags=(*STANDARD, flag, "-ffunction-sections", *variant.defines))
        found[name] = {s.name: s.size for s in symbols(target, made) if s.kind in "tT" and s.size}
    return found


def measure(cores: list[str]) -> dict[str, Any]:
    """Rows of the result file."""
    rows = []
    for variant in VARIANTS:
        if variant.core not in cores:
            continue
        missing = TARGETS[variant.core].missing()
        if missing:
            print(f"{variant.title}: left out: {missing}")
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows.append({"core": variant.core, "variant": variant.name, "title": variant.title,
                         "instructions_per_mac": counts(variant, folder), "bytes": code(variant, folder)})
    return {"flags": " ".join(OPTIMISE), "rows": rows}


def show(found: dict[str, Any], length: str = "64") -> None:
    """Print instructions per multiply-accumulate, and bytes."""
    for storage in ("8", "16"):
        print(f"\n{storage}-bit activations, rows of {length}: instructions per multiply-accumulate, call included")
        print(f"{'weights':14}" + "".join(f"{bits:6}" for bits in range(1, 17)))
        for row in found["rows"]:
            values = row["instructions_per_mac"][storage][length]
            print(f"{row['title']:14}" + "".join(f"{v:6.2f}" for v in values))
    for size in SIZES:
        print(f"\nbytes of bt_dot<b>_x8 at -{size}")
        for row in found["rows"]:
            bytes_ = row["bytes"][size]
            print(f"{row['title']:14}" + "".join(f"{bytes_[f'bt_dot{b}_x8']:6}" for b in range(1, 17)))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--core", action="append", choices=[*dict.fromkeys(v.core for v in VARIANTS)])
    parser.add_argument("--length", default="64", choices=[str(n) for n in ROWS])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.core or [*dict.fromkeys(v.core for v in VARIANTS)])
    show(found, options.length)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    as_command(main)
