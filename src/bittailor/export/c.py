"""The C exporter: a folder with generated code, the device runtime, a self-test and build files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bittailor._version import __version__
from bittailor.common.files import read_bytes, write_whole
from bittailor.common.records import whole
from bittailor.compile.layouts import CORES
from bittailor.core.program import Program
from bittailor.export.base import PROGRAM_FILE, Exporter, ExportSettings, Samples
from bittailor.export.c_model import Model
from bittailor.export.c_more import surroundings
from bittailor.export.c_names import check_prefix, plain
from bittailor.export.c_selftest import Golden, golden_header, selftest_source
from bittailor.export.c_text import header, source
from bittailor.export.c_words import readme
from bittailor.export.folder import ExportForm
from bittailor.export.template import fill

DEVICE = Path(__file__).resolve().parent.parent / "runtime" / "device"


def device_files(core: str = "") -> list[Path]:
    """The files of the device runtime: all, or what exports for a core come with: the dot products, the kernels of its
    layouts, and what these include."""
    files = {p.name: p for p in sorted(DEVICE.iterdir()) if p.suffix in (".c", ".h")}
    if not core:
        return list(files.values())
    needed, new = set[str](), {"bt_dot.c", "bt_norm.c", "bt_window.c", f"bt_rows_{CORES[core].name}.c"} & files.keys()
    while new:
        needed |= new
        texts = "".join(files[name].read_text(encoding="utf-8") for name in new)
        new = (set(re.findall(r'^#include "(\w+\.h)"', texts, re.MULTILINE)) & files.keys()) - needed
    return [p for name, p in files.items() if name in needed]


@dataclass(frozen=True, kw_only=True)
class CForm(ExportForm):
    """export.json of exported C.

    prefix      what every public name begins with
    core        whose layouts weights have
    streaming   whether it takes one step at a time
    most_steps  the longest sequence, None where any length will do
    account     what constants are for -> bytes
    flash, state, scratch, ram  bytes
    sites       whose integers a trace tells, in the order of computation
    """

    prefix: str
    core: str
    streaming: bool
    most_steps: int | None
    account: Mapping[str, int]
    flash: int
    state: int
    scratch: int
    ram: int
    sites: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prefix(self.prefix)
        _ = CORES[self.core]
        whole(self.most_steps or 1, "most_steps", 1)
        for name in ("flash", "state", "scratch", "ram"):
            whole(getattr(self, name), name)
        for name, size in self.account.items():
            whole(size, f"account.{name}")


class CExporter(Exporter):
    """C99 for microcontrollers and hosts."""

    name = "c"
    form = CForm
    title = "C99 for microcontrollers: no heap, no float, no library"

    def check(self, program: Program, settings: ExportSettings) -> None:
        check_prefix(settings.prefix)
        _ = CORES[settings.core]
        model = Model(program, settings.prefix, settings.steps, settings.core)
        _ = model.image

    def write(self, program: Program, folder: Path, settings: ExportSettings, samples: Samples) -> dict[str, Any]:
        model = Model(program, settings.prefix, settings.steps, settings.core)
        golden, p = Golden.of(model, samples), settings.prefix
        runtime = device_files(settings.core)
        names = {"prefix": p, "PREFIX": model.macro, "version": __version__, "sentence": plain(settings.about),
                 "sources": " ".join(f"src/{f.name}" for f in runtime if f.suffix == ".c")}
        texts = {
            f"src/{p}.h": header(model, settings.about),
            f"src/{p}.c": source(model),
            f"selftest/{p}_golden.h": golden_header(model, golden, samples.words),
            f"selftest/{p}_selftest.h": fill("selftest.h", **names),
            "selftest/selftest.c": selftest_source(model, golden),
            "README.md": readme(model, golden, settings, samples.words),
            **{name: fill(name, **names)
               for name in ("CMakeLists.txt", "Makefile", "library.properties", "library.json")},
            **surroundings(model, names),
        }
        for name, text in texts.items():
            write_whole(folder / name, text.encode())
        for file in runtime:
            write_whole(folder / "src" / file.name, read_bytes(file))
        program.save(folder / PROGRAM_FILE)
        image = model.image
        return {
            "prefix": p,
            "core": settings.core,
            "streaming": model.order.streaming,
            "most_steps": model.limit,
            "account": dict(image.items),
            "flash": image.flash,
            "state": image.state_bytes,
            "scratch": image.scratch_bytes,
            "ram": image.ram,
            "sites": list(model.order.traced),
        }

    def summary(self, folder: Path, facts: Mapping[str, Any]) -> str:
        items = " + ".join(f"{item} {size}" for item, size in facts["account"].items() if size)
        return (f"{folder}: {facts['flash']} bytes of flash ({items}), {facts['ram']} bytes of RAM "
                f"(state {facts['state']} + scratch {facts['scratch']}); code comes on top\n"
                f"next:  bittailor verify {folder}")
