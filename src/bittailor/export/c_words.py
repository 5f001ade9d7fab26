"""The README of an exported network: what it is, its figures, how to build and call it, its numbers."""

from __future__ import annotations

from bittailor._version import __version__
from bittailor.core.qformat import QFormat
from bittailor.export.base import ExportSettings
from bittailor.export.c_model import Model
from bittailor.export.c_selftest import Golden
from bittailor.export.c_text import not_streaming, output_words, real
from bittailor.export.template import fill

SAMPLE_SHARE = 0.37
"""Where in the range of a format the worked number stands."""


def readme(model: Model, golden: Golden, settings: ExportSettings, words: str) -> str:
    """README.md."""
    program, image, fixed = model.program, model.image, model.fixed
    x, y = program.input_format, program.output_format
    sample = round(_inside(x), 3)
    sample_fixed = round(sample * 2.0**fixed.input_places)
    sample_q = int(fixed.quantise(sample_fixed).item())
    out_q = int(y.quantise(_inside(y)))
    out_fixed = int(fixed.read(out_q).item())
    return fill(
        "README.md", prefix=model.prefix, version=__version__, about=settings.about, facts=_facts(settings),
        account="\n".join(f"| {item} | {size} |" for item, size in image.items.items() if size),
        flash=image.flash, state=image.state_bytes, scratch=image.scratch_bytes, frame=image.frame,
        example=_example(model), streams=_streams(model),
        features=model.features, outputs=model.outputs, per=" per frame" if model.per_step else "",
        x_real=real(x.scale[0], "x", x.zero_point), x_low=x.qmin, x_high=x.qmax, in_places=fixed.input_places,
        y_real=real(y.scale[0], "y", y.zero_point), y_low=y.qmin, y_high=y.qmax, out_places=fixed.output_places,
        sample=f"{sample:g}", sample_fixed=sample_fixed, sample_q=sample_q,
        sample_real=f"{float(x.dequantise(sample_q)):.6g}", out_q=out_q, out_real=f"{float(y.dequantise(out_q)):.6g}",
        out_fixed=out_fixed, out_fixed_real=f"{out_fixed / 2.0**fixed.output_places:.6g}",
        choice=_choice(model), items=f"{len(golden.steps)} item{'s' * (len(golden.steps) > 1)}",
        traced=golden.traced, words=words,
    )


def _inside(fmt: QFormat) -> float:
    return fmt.low + (1 - SAMPLE_SHARE) * (fmt.high - fmt.low)


def _facts(settings: ExportSettings) -> str:
    rows = [f"| {name} | {text} |" for name, text in settings.facts.items()]
    return "\n".join(["| | |", "|---|---|", *rows, ""]) if rows else ""


def _example(model: Model) -> str:
    p = model.prefix
    if not model.order.streaming:
        steps = f"{model.macro}_MAX_STEPS" if model.limit is not None else "steps"
        rows = f"{f'(steps - {model.late})' if model.late else 'steps'} * " if model.per_step else ""
        y = f"{p}_out y[{rows}{model.macro}_OUTPUTS];"
        return (f"/* frames: the whole sequence, [steps][{model.macro}_FEATURES], steps <= {steps} */\n"
                f"{y}\nif ({p}_run(&state, &scratch, frames, steps, y) == 0) {{\n    /* y is the result */\n}}")
    return (f"{p}_reset(&state);\n"
            f"for (;;) {{\n    int16_t samples[{model.macro}_FEATURES];  /* fixed point, see below */\n"
            f"    {p}_in x[{model.macro}_FEATURES];\n    {p}_out y[{model.macro}_OUTPUTS];\n"
            f"    get_frame(samples);\n    {p}_quantise(samples, x);\n"
            f"    {p}_step(&state, &scratch, x, y);  /* y: the result so far; NULL where none is wanted */\n}}")


def _streams(model: Model) -> str:
    p = model.prefix
    if model.order.streaming:
        return (f"Call `{p}_step` once for every frame, as long as you like, and `{p}_reset` where a new sequence "
                f"begins;\nor `{p}_run` with a whole sequence in memory.\n{output_words(model)}")
    limit = ("" if model.limit is None else
             f"\nSequences may have up to {model.limit} steps (`{model.macro}_MAX_STEPS`); memory is made for that.")
    return (f"This network {not_streaming(model)}, so there is no `{p}_step`: collect the frames, then\n"
            f"call `{p}_run`.{limit}")


def _choice(model: Model) -> str:
    if model.outputs == 1:
        return "Comparing outputs with a threshold needs no conversion: compare the integers."
    return "To choose the class with the largest output, compare the output integers as they are: they share one scale."
