"""Arguments and options that several commands have: their names, their panel, what the shell completes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bittailor.cli.completing import completion, listed
from bittailor.cli.options import panel

TASK_NAMES = completion(listed("tasks:TASKS"))
DATA, RETRAINING, HARDWARE, OUTPUT = (panel(name) for name in ("data", "retraining", "hardware", "output"))

TaskArgument = Annotated[
    str | None, typer.Argument(help="A task, FILE.py:FUNCTION returning (torch module, Splits), or FILE.onnx; as in "
                                    "--spec if not given.", autocompletion=TASK_NAMES)
]
SpecFileOption = Annotated[
    Path | None, typer.Option("--spec", help="TOML or JSON file of settings, or a run; other options override it.",
                              rich_help_panel=OUTPUT)
]
PresetOption = Annotated[
    str | None, typer.Option("--preset", help="Settings of a paper: mohaq. --spec and other options override it.",
                             rich_help_panel=OUTPUT, autocompletion=completion(listed("runs.presets:PRESETS")))
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder with data sets, one sub-folder each; of a network of your own: "
                                     "FILE.npz or FILE.safetensors.", rich_help_panel=DATA)
]
SeedOption = Annotated[int, typer.Option(help="Decides split, initial weights and search.", rich_help_panel=DATA)]
HiddenOption = Annotated[
    int, typer.Option(help="Units of a recurrent layer; 0: as many as the task has.", rich_help_panel=DATA)
]
CellOption = Annotated[
    str, typer.Option(help="Its cell: gru, lstm, sru, …; an unknown name lists all.", rich_help_panel=DATA,
                      autocompletion=completion(listed("core.cells:CELLS")))
]
OwnOption = Annotated[
    str, typer.Option("--from", help="FILE.py:FUNCTION of a run that was searched with one: its code is run.",
                      rich_help_panel=DATA)
]
MetricOption = Annotated[
    str, typer.Option(help="In place of the task's own, such as per_beam or per_ctc; an unknown name lists all.",
                      rich_help_panel=DATA, autocompletion=completion(listed("evaluate.metrics:METRICS")))
]
RecipeOption = Annotated[
    list[str] | None, typer.Option("--recipe", help="Of retraining, such as epochs=10 or rate=1e-3; repeatable.",
                                   rich_help_panel=RETRAINING)
]
ClusterOption = Annotated[
    str, typer.Option(help="Work there: tcp://HOST:PORT of a Dask scheduler, its JSON file, or local:N processes.",
                      rich_help_panel=HARDWARE)
]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", help="Folder for trained float networks.", rich_help_panel=OUTPUT)
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, for other programs: every digit.", rich_help_panel=OUTPUT)
]
