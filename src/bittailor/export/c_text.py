"""The two files of a network, `<prefix>.h` and `<prefix>.c`: declarations and constants around `c_loops`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bittailor._version import __version__
from bittailor.compile.image import COUNTER, SIZES, Array, Vector, ctype_of, position_of
from bittailor.core.arith import Ints, pack
from bittailor.core.ops.time import MEAN_MOST_STEPS
from bittailor.export.c_loops import functions
from bittailor.export.c_model import Model
from bittailor.export.c_names import identifier, plain
from bittailor.export.template import fill

NOTHING = "    uint8_t nothing;\n"
"""C has no empty structures."""


def header(model: Model, about: str) -> str:
    """`<prefix>.h`."""
    x, y = model.program.input_format, model.program.output_format
    low, high = model.program.input_range
    limit = "" if model.limit is None else (
        f"/* The longest sequence that {model.prefix}_run takes. */\n"
        f"#define {model.macro}_MAX_STEPS {model.limit}u\n")
    if model.late:
        limit += ("/* The first frames of a sequence, which give no output. */\n"
                  f"#define {model.macro}_LATE {model.late}u\n")
    return fill(
        "model.h", prefix=model.prefix, PREFIX=model.macro, version=__version__, about=plain(about),
        features=model.features, outputs=model.outputs, in_type=ctype_of(x), out_type=ctype_of(y),
        x_low=low, x_high=high, x_bits=x.bits, x_real=real(x.scale[0], "x", x.zero_point),
        y_low=y.qmin, y_high=y.qmax, y_bits=y.bits, y_real=real(y.scale[0], "y", y.zero_point),
        flash=model.image.flash, state_bytes=model.image.state_bytes, scratch_bytes=model.image.scratch_bytes,
        state=_state(model), scratch=_scratch(model), limits=limit + _parts(model),
        in_places=model.fixed.input_places, out_places=model.fixed.output_places,
        step=_step(model), run=_run(model),
    )


def _parts(model: Model) -> str:
    """Which of the outputs is which, where a network has several."""
    lines, taken = list[str](), set[str]()
    for name, columns in model.program.parts.items():
        word = f"{model.macro}_{identifier(name, taken).upper()}"
        lines.append(f"#define {word} {columns.start}u /* {plain(name)}: its first output */\n"
                     f"#define {word}_OUTPUTS {columns.stop - columns.start}u\n")
    title = "\n/* Several outputs side by side: where each begins, and how many there are. */\n"
    return "".join([title, *lines]) if lines else ""


def source(model: Model) -> str:
    """`<prefix>.c`."""
    return fill(
        "model.c", prefix=model.prefix, PREFIX=model.macro, version=__version__, sites=_sites(model), rom=_rom(model),
        reset=_reset(model), body=functions(model), headers=_headers(model),
        quantise=model.fixed.quantise.text("fixed[i]"), read=model.fixed.read.text("y[i]"),
    )


def real(scale: float, name: str, zero_point: int) -> str:
    """What an integer stands for.

    >>> real(0.5, "x", -3), real(0.25, "y", 0)
    ('0.5 * (x + 3)', '0.25 * y')
    """
    sign = "-" if zero_point > 0 else "+"
    return f"{scale:.9g} * " + (f"({name} {sign} {abs(zero_point)})" if zero_point else name)


def output_words(model: Model) -> str:
    """What y means after a frame of a stream."""
    late = f" The first {model.late} after a reset give none: y stays as it is." if model.late else ""
    if model.per_step:
        return f"The network has an output for every frame.{late}"
    order = model.order
    words = {"last": "the last frame is this one", "first": "the first frame is kept",
             "max": "the maximum is that of the frames so far",
             "sum": f"the sum runs over the frames so far, the first {MEAN_MOST_STEPS:,} at most",
             "mean": f"the mean runs over the frames so far, the first {MEAN_MOST_STEPS:,} at most"}
    ends = sorted({model.program.graph.producer[site].op for site in (*order.alias, *order.kept, *order.sums)})
    return f"y is the output as if the sequence ended here: {', '.join(words[end] for end in ends)}.{late}"


def numbers(values: Ints, indent: int) -> str:
    """Integers of up to 32 bits as lines of C."""
    return _lines([str(value) for value in values.ravel().tolist()], indent)


# --- declarations ---


@dataclass(frozen=True)
class _Row:
    """A declaration and what it is, to be set in two columns."""

    code: str
    note: str = ""


def _columns(rows: Sequence[_Row], indent: str) -> str:
    width = max((len(row.code) for row in rows if row.note), default=0)
    lines = (f"{row.code.ljust(width)}  /* {plain(row.note)} */" if row.note else row.code for row in rows)
    return "".join(f"{indent}{line}\n" for line in lines)


def _declaration(model: Model, v: Vector, name: str) -> str:
    steps = f"[{model.macro}_MAX_STEPS]" if v.steps else ""
    return f"{v.ctype} {name}{steps}[{v.features}];"


def _state(model: Model) -> str:
    rows = []
    for v in model.image.state:
        if v.site == COUNTER:
            rows.append(_Row(f"{v.ctype} {COUNTER};", f"frames so far, counted up to {MEAN_MOST_STEPS}"))
        elif v.site in model.order.sums:
            rows.append(_Row(_declaration(model, v, model.names[v.site]), f"sums of {model.order.sums[v.site]}"))
        elif v.site in model.order.kept:
            op = model.program.graph.producer[v.site].op
            rows.append(_Row(_declaration(model, v, model.names[v.site]), f"{op} step of {model.order.kept[v.site]}"))
        elif v.site in model.order.windows:
            note = f"ring of past frames of {model.order.windows[v.site].source}"
            rows.append(_Row(_declaration(model, v, model.names[v.site]), note))
        elif v.site in map(position_of, model.order.windows):
            rows.append(_Row(f"{v.ctype} {model.names[v.site]};", "its oldest frame"))
        else:
            rows.append(_Row(_declaration(model, v, model.names[v.site])))
    return _columns(rows, "    ") or NOTHING


def _scratch(model: Model) -> str:
    text = []
    for i, slot in enumerate(model.image.scratch):
        rows = [_Row(_declaration(model, v, model.members[v.site, v.steps > 0])) for v in slot.vectors]
        if len(rows) == 1:
            text.append(_columns(rows, "    "))
        else:
            inner = _columns(rows, " " * 8)
            text.append(f"    union {{  /* never in use at the same time */\n{inner}    }} share{i};\n")
    return "".join(text) or NOTHING


def _sites(model: Model) -> str:
    """A table of the sites, numbered as a trace numbers them."""
    rows = []
    for i, site in enumerate([*model.order.traced, model.order.input]):
        f, count = model.program.formats[site], model.program.graph.sites[site].features
        number = "-" if site == model.order.input else str(i)
        rows.append(f" * {number:>5}  {plain(site):<28} {count:>6} of {f.bits:>2} bit"
                    f"   {f.scale[0]:<14.8g} {f.zero_point:>6}")
    return "\n".join(rows)


def _rom(model: Model) -> str:
    """The structure of all constants."""
    if not model.image.arrays:
        return ""
    named = list(zip(model.arrays, model.image.arrays, strict=True))
    members = [_Row(f"{a.ctype} {name}[{a.count}];", _array_note(model, a)) for name, a in named]
    values = "".join(f"    {{ /* {name} */\n{_initialiser(a)}    }},\n" for name, a in named)
    return (f"/* All constants: {model.image.flash} bytes of flash. */\nstatic const struct {model.prefix}_rom {{\n"
            f"{_columns(members, '    ')}}} rom = {{\n{values}}};\n\n")


def _array_note(model: Model, a: Array) -> str:
    owners = [owner for owner, _ in a.owners]
    op = model.program.graph.producer[owners[0]].op
    what = {"weights": f"{a.bits}-bit weights", "offsets": f"{a.bits}-bit bias and zero-point terms",
            "multipliers": "multiplier of each row", "tables": op,
            "starts": "before the first frame"}[a.item]
    if a.item == "weights":
        what = (f"weights in layout {a.layout}" if a.layout else
                f"{a.bits}-bit weights" + " of rows left over" * (owners[0] in model.image.blocks.laid))
    return f"{what}: {', '.join(owners)}"


def _initialiser(a: Array) -> str:
    """The lines of an array's values: packed bytes in hexadecimal, integers in decimal."""
    if a.layout and a.ctype.startswith("uint"):
        return _lines([f"0x{word:0{2 * SIZES[a.ctype]}x}" for word in a.values.tolist()], 8)
    if a.ctype == "uint8_t":
        return _lines([f"0x{byte:02x}" for byte in pack(a.values, a.bits).tolist()], 8)
    return numbers(a.values, 8)


def _lines(texts: list[str], indent: int) -> str:
    per = 16 if max(map(len, texts)) < 6 else 8
    return "".join(f"{' ' * indent}{', '.join(texts[i : i + per])},\n" for i in range(0, len(texts), per))


def _headers(model: Model) -> str:
    """The headers of what is in use: layouts, normalisations, windows."""
    found = sorted({laid.layout.header for laid in model.image.blocks.laid.values()})
    found += ["bt_norm.h"] * bool(model.norms) + ["bt_window.h"] * bool(model.order.windows)
    return "".join(f'#include "{name}"\n' for name in found)


def _reset(model: Model) -> str:
    lines = []
    for v in model.image.state:
        if v.site == COUNTER:
            lines.append(f"    state->{COUNTER} = 0;\n")
            continue
        if v.site in map(position_of, model.order.windows):
            lines.append(f"    state->{model.names[v.site]} = 0;\n")
            continue
        fills = v.site in model.order.states or v.site in model.order.windows
        zero = model.program.formats[v.site].zero_point if fills else 0
        member, start = f"state->{model.names[v.site]}", model.roms.get((v.site, "starts"))
        lines.append(f"    memset({member}, {zero}, sizeof {member});\n" if start is None else
                     f"    memcpy({member}, {start}, sizeof {member});\n")
    return "".join(lines) or "    (void)state;\n"


def _step(model: Model) -> str:
    if not model.order.streaming:
        return (f"/* There is no {model.prefix}_step: the network {not_streaming(model)}, "
                "so it needs all of it. */\n")
    return fill("step.h", prefix=model.prefix, PREFIX=model.macro, features=model.features, count=model.outputs,
                outputs=output_words(model))


def not_streaming(model: Model) -> str:
    """Why a network cannot be given its sequence frame by frame."""
    if any(run.reverse for run in model.order.passes):
        return "also reads its sequence from the end"
    return f"looks {max(w.of.ahead for w in model.order.windows.values())} frames ahead"


def _run(model: Model) -> str:
    late = model.late
    frames, after = (f"steps - {late}", f" after the first {late}") if late else ("steps", "")
    y = f"y: [{frames}][{model.outputs}], one output per frame{after}" if model.per_step else f"y: [{model.outputs}]"
    least = model.program.graph.least_steps
    few = "steps is 0" if least == 1 else f"there are fewer than {least} steps"
    limit = "" if model.limit is None else f" or more than {model.macro}_MAX_STEPS"
    return f"{y}; may be NULL. Returns 0, or -1 if {few}{limit} (then nothing was computed)."
