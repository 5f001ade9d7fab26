"""A network's C, built for a target together with a runner that feeds it items: outputs, every site, counts, sizes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bittailor.compile.image import SIZES, ctype_of
from bittailor.compile.order import order_of
from bittailor.core.arith import Ints
from bittailor.core.program import Program
from bittailor.errors import BittailorError
from bittailor.export.artefact import Bytes, linked, total
from bittailor.export.targets import EMULATOR, TIMEOUT, Ran, Target, ToolError, build, compile_object, run, symbols

_RECORD = np.dtype([("site", "<u2"), ("feature", "<u2"), ("value", "<i4")])


class Differs(BittailorError):
    """Exported code gives other integers than the program it was made from."""

    status = 1


@dataclass(frozen=True)
class Counts:
    """Instructions on an emulated core.

    per_step  mean of a step; without the output, unless every step has one
    read_out  what the output takes on top of a step; 0 where it is a part of every step, or there are no steps
    """

    per_step: float
    read_out: float


@dataclass(frozen=True)
class Sizes:
    """Bytes, from the linker.

    flash    constants of the network's object: promised to the byte
    ram      its state and scratch, likewise
    model    machine code of the network's object
    runtime  machine code of the runtime's functions that it uses
    """

    flash: int
    ram: int
    model: int
    runtime: int

    @property
    def code(self) -> int:
        """All machine code."""
        return self.model + self.runtime


@dataclass(frozen=True, eq=False)
class Firmware:
    """C sources of a program, built for one target in a folder.

    sources  the network's own .c first, then the runtime's: .c, or .o that were compiled for this target
    longest  steps of the longest sequence it will be given
    headers  folders of headers that do not stand beside the sources
    """

    program: Program
    prefix: str
    sources: Sequence[Path]
    target: Target
    folder: Path
    longest: int
    headers: tuple[Path, ...] = ()

    @property
    def includes(self) -> tuple[Path, ...]:
        """Where its headers are."""
        return tuple(dict.fromkeys((*(source.parent for source in self.sources), *self.headers)))

    @cached_property
    def objects(self) -> list[Path]:
        """Object files of its sources, as shipped."""
        return [source if source.suffix == ".o" else
                compile_object(self.target, source, self.folder / f"{source.stem}.o", self.includes)
                for source in self.sources]

    @cached_property
    def runner(self) -> Path:
        """The program that runs items."""
        return build(self.target, [EMULATOR / "runner.c", *self.objects], self.folder / "runner.elf", self.includes,
                     self._defines)

    @cached_property
    def traced(self) -> list[Path]:
        """The same, but the network's own calls <prefix>_trace with every value of every site."""
        model, *rest = self.objects
        return [compile_object(self.target, self.sources[0], model.with_suffix(".trace.o"), self.includes,
                               {"BT_TRACE": f"{self.prefix}_trace"}), *rest]

    @cached_property
    def tracer(self) -> Path:
        """The runner with a network that tells every value."""
        return build(self.target, [EMULATOR / "runner.c", *self.traced], self.folder / "tracer.elf", self.includes,
                     self._defines | {"FW_TRACE": f"{self.prefix}_trace"})

    def selftest(self, source: Path, timeout: float = TIMEOUT) -> Ran:
        """Build and run the self-test that is shipped beside the sources."""
        elf = build(self.target, [source, *self.traced], self.folder / "selftest.elf",
                    (*self.includes, source.parent))
        return run(self.target, elf, count=False, timeout=timeout)

    @property
    def _defines(self) -> dict[str, str]:
        graph = self.program.graph
        order = order_of(graph)
        return {
            "FW_MODEL": self.prefix, "FW_HEADER": f'"{self.prefix}.h"',
            "FW_FEATURES": f"{graph.sites[order.input].features}u",
            "FW_OUTPUTS": f"{graph.sites[order.output].features}u",
            "FW_STEPS": f"{self.longest}u", "FW_STREAM": str(int(order.streaming)),
            "FW_SEQUENCE": str(int(graph.sites[order.output].sequence)), "FW_LATE": f"{graph.late[order.output]}u",
        }

    @property
    def mapped(self) -> bool:
        """Whether the linker says what it kept: GNU ld does."""
        return Path(f"{self.runner}.map").exists()

    @cached_property
    def sizes(self) -> Sizes:
        """Bytes of what was linked."""
        found = linked(self.runner)
        model, runtime = total(found, self.objects[:1]), total(found, self.objects[1:])
        own = {s.name: s.size for s in symbols(self.target, self.runner)}
        memory = model + Bytes(data=runtime.data, memory=runtime.memory)
        return Sizes(model.constants + runtime.constants + memory.data,
                     own["fw_state"] + own["fw_scratch"] + memory.data + memory.memory, model.code, runtime.code)

    def run(
        self, q: Ints, lengths: Ints, counted: int = 0, timeout: float = TIMEOUT
    ) -> tuple[Ints, Counts | None]:
        """Output integers of items, [items, outputs] or [items, steps, outputs] of the steps that have one (0 beyond an
        item's end), and the instruction counts of the first `counted` items (None on a target that cannot count).

        q [items, steps, features], lengths [items]. Raises Differs if steps and whole sequences do not agree.
        """
        ran = self._start(self.runner, q, lengths, counted, bool(counted), timeout)
        steps, per_step, outs, read_out = struct.unpack("<4Q", ran.files["counts.bin"])
        counts = Counts(per_step / steps, read_out / max(outs, 1)) if steps and self.target.emulated else None
        return self._outputs(ran, lengths, q.shape[1]), counts

    def _outputs(self, ran: Ran, lengths: Ints, longest: int) -> Ints:
        site = self.program.graph.sites[self.program.graph.outputs[0]]
        kind = np.int8 if SIZES[ctype_of(self.program.output_format)] == 1 else np.dtype("<i2")
        flat = np.frombuffer(ran.files["outputs.bin"], kind).astype(np.int64)
        if not site.sequence:
            return flat.reshape(len(lengths), site.features)
        late = self.program.graph.late[site.name]
        outputs = np.zeros((len(lengths), longest - late, site.features), np.int64)
        outputs[np.arange(longest - late) < lengths[:, None] - late] = flat.reshape(-1, site.features)
        return outputs

    def trace(self, q: Ints, timeout: float = TIMEOUT) -> dict[str, Ints]:
        """Every site's integers of ONE item as the target computes them: [steps, features], or [features] for sites
        with a single value. q [1, steps, features]."""
        ran = self._start(self.tracer, q, np.array([q.shape[1]]), 0, False, timeout)
        records = np.frombuffer(ran.files["trace.bin"], _RECORD)
        graph, order = self.program.graph, order_of(self.program.graph)
        found: dict[str, Ints] = {}
        for number, site in enumerate(order.traced):
            here = records[records["site"] == number]
            if not len(here):
                continue
            features = graph.sites[site].features
            # the values of one feature come in the order of the steps, whatever loops they come from
            rows = here["value"][np.argsort(here["feature"], kind="stable")].astype(np.int64)
            if (np.bincount(here["feature"], minlength=features) * features != len(rows)).any():
                raise Differs(f"{site}: its features are not all computed equally often")
            values = rows.reshape(features, -1).T
            if site in order.pass_of and order.passes[order.pass_of[site]].reverse:
                values = values[::-1]
            found[site] = values if graph.sites[site].sequence else values[0]
        return found

    def _start(self, elf: Path, q: Ints, lengths: Ints, counted: int, count: bool, timeout: float) -> Ran:
        kind = np.int8 if SIZES[ctype_of(self.program.input_format)] == 1 else np.dtype("<i2")
        parts = [struct.pack("<2I", len(q), counted)]
        for item, steps in zip(q.astype(kind), lengths.tolist(), strict=True):
            parts += [struct.pack("<I", steps), item[:steps].tobytes()]
        ran = run(self.target, elf, {"items.bin": b"".join(parts)}, count=count, timeout=timeout)
        if ran.status:
            text = ran.output.strip() or f"status {ran.status}"
            raise (Differs if "another output" in text else ToolError)(f"{elf.name} on {self.target.title}: {text}")
        return ran
