"""The options that make a spec: one table, from which `bittailor search` and `bittailor spec` have them alike.

An option that is not given is not applied: the spec file's value stays, the preset's, or the default.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from bittailor.cli.completing import Names, completion, listed
from bittailor.common.records import overlaid, shown
from bittailor.errors import BittailorError

_WIDTHS = re.compile(r" *([0-9]{1,9}) *(?:- *([0-9]{1,9}) *)?")
"""Digits 0 to 9: others, which Python reads too, are more often a slip than meant."""
F = TypeVar("F", bound=Callable[..., None])


PANELS = {
    "data": "Data and network", "space": "Space: which widths, and how they are calibrated", "search": "Search",
    "retraining": "Retraining", "hardware": "Hardware: of the target, and what computes", "output": "Run and output",
}
"""Panel of the help -> its head."""


def panel(name: str) -> str:
    """The head of a panel of the help."""
    return PANELS[name]


@dataclass(frozen=True)
class SpecOption:
    """An option of the command line, as fields of a spec.

    name    of the parameter; `--name` unless `flag` says otherwise
    type    of its value as typed
    fields  dotted names of what it sets
    help    in one line
    read    value as typed -> value of the fields; of settings such as "share=0.5": a table of them
    panel   of the help, under which it stands
    names   what its value can be, for the shell's completion
    """

    name: str
    type: Any
    fields: tuple[str, ...]
    help: str
    read: Callable[[Any], Any] = lambda value: value
    flag: str = ""
    panel: str = "search"
    names: Names | None = None

    @property
    def parameter(self) -> inspect.Parameter:
        """The option as Typer reads it."""
        flags = [self.flag] if self.flag else []
        option = typer.Option(*flags, help=self.help, rich_help_panel=panel(self.panel),
                              autocompletion=None if self.names is None else completion(self.names))
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=None,
                                 annotation=Annotated[self.type | None, option])


def check_words(words: Sequence[str]) -> None:
    """BittailorError for an argument that is empty: a variable that a script forgot, never a value."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not word or (equals and not value and name.startswith("--")):
            where = name if name else words[i - 1] if i and words[i - 1].startswith("-") else f"argument {i + 1}"
            raise BittailorError(f"{where} is empty; give it a value, or leave it out")


def read_widths(text: str) -> list[int]:
    """"2-8" or "2,4,8" as numbers."""
    try:
        found: set[int] = set()
        for part in text.split(","):
            match = _WIDTHS.fullmatch(part)
            if match is None:
                raise ValueError
            low, high = int(match[1]), int(match[2] or match[1])
            if not 0 <= high - low <= 32:
                raise ValueError
            found |= set(range(low, high + 1))
    except ValueError:
        raise BittailorError(f"cannot read the widths {shown(text)}; write them like 2-8 or 2,4,8") from None
    return sorted(found)


def read_settings(texts: list[str]) -> dict[str, Any]:
    """["epochs=10", "ranges=frozen"] as a dictionary; numbers as numbers, yes and no as what they are."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise BittailorError(f"cannot read the setting '{text}'; write NAME=VALUE, such as epochs=10")
        found[name] = {"yes": True, "no": False}.get(value, value)
        for kind in (float, int) if value.isascii() and "_" not in value else ():
            with contextlib.suppress(ValueError):
                found[name] = found[name] if isinstance(found[name], bool) else kind(value)
    return found


def _retraining(wanted: bool) -> dict[str, Any]:
    """The usual retraining, or none."""
    from bittailor.train.beacons.base import BeaconSettings

    if not wanted:
        return {"ladder": 0, "polish": 0, "budget": 0}
    usual = BeaconSettings.usual()
    return {name: getattr(usual, name) for name in ("ladder", "rung", "polish", "budget")}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


SPEC_OPTIONS = (
    SpecOption("platforms", list[Path], ("platforms",), "TOML file of a hardware platform; repeatable.",
               lambda paths: [str(path) for path in paths], "--platform", panel="hardware"),
    SpecOption("space", str, ("space.name",), "per_operator (if not given), per_layer, homogeneous, or a platform: "
               "silago, …", panel="space", names=listed("quantise.spaces:SPACES")),
    SpecOption("widths", str, ("space.widths",), "Allowed widths, such as 2-8 or 2,4,8; those of the space if not "
               "given.", read_widths, panel="space"),
    SpecOption("activations", str, ("space.activations",), "Allowed widths of activations; as --widths if not given.",
               read_widths, panel="space"),
    SpecOption("biases", str, ("space.biases",), "Allowed widths of biases.", read_widths, panel="space"),
    SpecOption("objectives", str, ("objectives",), "What to improve, comma separated; error,flash if not given. All: "
               "see objectives.", _names, names=listed("evaluate.evaluator:OBJECTIVES")),
    SpecOption("constrain", list[str], ("constraints",), "Such as 'size<=8KiB' or 'error<=5'; repeatable."),
    SpecOption("guide", str, ("guide",), "What selection looks at for the error: loss (if not given) or error."),
    SpecOption("optimiser", str, ("search.optimiser",), "nsga2 (if not given); an unknown name lists all.",
               names=listed("search.optimisers:OPTIMISERS")),
    SpecOption("population", int, ("search.population",), "Solutions that survive; 40 if not given."),
    SpecOption("offspring", int, ("search.offspring",), "New solutions per generation; as many as survive if not "
               "given."),
    SpecOption("generations", int, ("search.generations",), "How many; 40 if not given."),
    SpecOption("islands", int, ("islands.number",), "Searches side by side that exchange solutions; 1 if not given."),
    SpecOption("migrate_every", int, ("islands.migrate_every",), "Generations from one exchange to the next; 10 if not "
               "given."),
    SpecOption("migrants", int, ("islands.migrants",), "Members of the front that go each time; 5 if not given."),
    SpecOption("calibration", str, ("calibration.method",), "mse (if not given), percentile or minmax.", panel="space"),
    SpecOption("rounding", str, ("calibration.rounding",), "Of weights: inputs (if not given) or nearest.",
               panel="space"),
    SpecOption("per_row", bool, ("calibration.per_row",), "One weight scale per output row.", panel="space"),
    SpecOption("racing", bool, ("racing",), "Give up on candidates that are dominated with confidence (if not given, "
               "where it pays)."),
    SpecOption("select_items", int, ("roles.select_items",), "Sequences that select, training items among them; 10,000 "
               "if not given.", panel="data"),
    SpecOption("confirm", float, ("roles.confirm",), "Share of the validation items that confirm; 0.5 if not given.",
               panel="data"),
    SpecOption("certify", str, ("certify",), "Such as 0.5@95: at most 0.5 points worse than 8 bit, with 95 % "
               "confidence."),
    SpecOption("seeding", str, ("seeding",), "First population: sensitivity (if not given), templates or homogeneous.",
               names=listed("runs.seeding:SEEDINGS")),
    SpecOption("retrain", bool, ("beacons",), "The usual retraining: --ladder 12 --beacon-rule rung=0.333 --polish 3.",
               _retraining, panel="retraining"),
    SpecOption("beacons", int, ("beacons.budget",), "Candidates to retrain during the search; 0 if not given.",
               panel="retraining"),
    SpecOption("ladder", int, ("beacons.ladder",), "Rungs: members along the front, retrained shortly half-way, each "
               "from one before it; 0 if not given.", panel="retraining"),
    SpecOption("polish", int, ("beacons.polish",), "Members of the front to retrain after it; 0 if not given.",
               panel="retraining"),
    SpecOption("beacons_from", list[Path], ("beacons.given",), "A run whose beacons serve from the start; repeatable.",
               lambda paths: [str(path) for path in paths], panel="retraining"),
    SpecOption("beacon_rule", list[str], ("beacons",), "share=0.5, hopeless=0.5, threshold=0.4, weighted=no, first=8, "
               "every=6, together=2, warm_start=yes, climb=20 or rung=0.32: when a candidate is retrained; repeatable.",
               read_settings, panel="retraining"),
    SpecOption("recipe", list[str], ("beacons.recipe",), "Of retraining, such as epochs=10 or rate=1e-3; repeatable.",
               read_settings, panel="retraining"),
    SpecOption("engine", str, ("engine",), "auto (if not given), or a name: reference, torch, native.",
               panel="hardware", names=listed("engines:ENGINES")),
    SpecOption("workers", int, ("workers",), "Threads or processes; 0 (if not given) takes every core.",
               panel="hardware"),
    SpecOption("cluster", str, ("cluster.address",), "Evaluate and train there: tcp://HOST:PORT of a Dask scheduler, "
               "its JSON file, or local:N processes.", panel="hardware"),
    SpecOption("tls_ca", Path, ("cluster.tls_ca",), "For tls://HOST:PORT: file of the certificate authority.", str,
               panel="hardware"),
    SpecOption("tls_cert", Path, ("cluster.tls_cert",), "File of the own certificate.", str, panel="hardware"),
    SpecOption("tls_key", Path, ("cluster.tls_key",), "File of its key.", str, panel="hardware"),
    SpecOption("hidden", int, ("task.hidden",), "Units of a recurrent layer; the task's own if not given.",
               panel="data"),
    SpecOption("cell", str, ("task.cell",), "Its cell: gru (if not given), lstm, sru, …; an unknown name lists all.",
               panel="data", names=listed("core.cells:CELLS")),
    SpecOption("metric", str, ("metric",), "In place of the task's own, such as per_beam or per_ctc; an unknown name "
               "lists all.", panel="data", names=listed("evaluate.metrics:METRICS")),
    SpecOption("seed", int, ("task.seed", "search.seed", "roles.seed"), "Decides split, initial weights and search; 0 "
               "not given.", panel="data"),
    SpecOption("data", Path, ("task.data",), "Folder with data sets, one sub-folder each; of a network of your own: "
               "FILE.npz or FILE.safetensors.", str, panel="data"),
)


def with_spec_options(command: F) -> F:
    """Give a command the options of a spec: it gets them as keyword arguments, None where one is not given."""
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values()
           if p.kind is not inspect.Parameter.VAR_KEYWORD]
    first, *others = (p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own)  # the task; panels in their order
    options = sorted(SPEC_OPTIONS, key=lambda option: list(PANELS).index(option.panel))
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [first, *(option.parameter for option in options), *others])
    return command


def values_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as typed -> values for `runs.spec.layered`; what was not given is not in them."""
    found: dict[str, Any] = {}
    for option in SPEC_OPTIONS:
        typed = given.get(option.name)
        if typed is None or typed == []:
            continue
        for path in option.fields:
            value = option.read(typed)
            for part in reversed(path.split(".")):
                value = {part: value}
            found = overlaid(found, value)
    return found
