"""The command line. Every sub-command is one library call; no logic of its own lives here.

Heavy libraries are imported inside the commands, so that `bittailor --help` answers at once.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from bittailor._version import __version__
from bittailor.errors import BittailorError

INTERRUPTED = 130

app = typer.Typer(
    name="bittailor",
    help="Tailors the bit width of every operator of a recurrent network.\n\n"
    "Start with:  bittailor search digits --out runs/digits   and then   bittailor report runs/digits",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DataOption = Annotated[Path | None, typer.Option("--data", help="Folder with data sets, one sub-folder each.")]
SeedOption = Annotated[int, typer.Option(help="Decides split, initial weights and search.")]
HiddenOption = Annotated[int | None, typer.Option(help="Units of the GRU; the task's default if not given.")]
CacheOption = Annotated[Path | None, typer.Option("--cache", help="Folder for trained float networks.")]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"bittailor {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Options of the program itself."""


@app.command(epilog="Example:  bittailor tasks")
def tasks() -> None:
    """List the tasks: data, network, metric, source."""
    from rich.console import Console
    from rich.table import Table as RichTable

    from bittailor.tasks import TASKS

    table = RichTable("task", "what", "inputs", "hidden", "outputs", "metric", "source and licence")
    for task in TASKS.values():
        table.add_row(task.name, task.title, str(task.inputs), str(task.hidden), str(task.outputs), task.metric,
                      f"{task.source}; {task.licence}")
    Console().print(table)


@app.command(epilog="Example:  bittailor train mnist --data ~/data --seed 1")
def train(
    task: Annotated[str, typer.Argument(help="A name from `bittailor tasks`.")],
    hidden: HiddenOption = None,
    seed: SeedOption = 0,
    data: DataOption = None,
    cache: CacheOption = None,
) -> None:
    """Train the float network of a task (kept in a cache; a second call reads it)."""
    from bittailor.api import train_task

    prepared = train_task(task, hidden=hidden, seed=seed, data=data, cache=cache, progress=_epochs)
    _say(prepared.summary)


@app.command(
    epilog="Examples:  bittailor search digits --out runs/digits\n\n"
    "bittailor search mnist --data ~/data --out runs/mnist --constrain 'size<=8KiB' --workers 2\n\n"
    "bittailor search my_net.py:load --out runs/mine   (load() returns a torch module and bittailor.Splits)\n\n"
    "bittailor search digits --out runs/digits --resume   (goes on after Ctrl-C or a crash; with more --generations "
    "it makes a finished search longer)"
)
def search(
    task: Annotated[str, typer.Argument(help="A task, or FILE.py:FUNCTION returning (torch module, Splits).")],
    out: Annotated[Path, typer.Option("--out", help="The run directory to write.")],
    space: Annotated[str, typer.Option(help="per_operator, per_layer or homogeneous.")] = "per_operator",
    widths: Annotated[str, typer.Option(help="Allowed widths, such as 2-8 or 2,4,8.")] = "2-8",
    activations: Annotated[str | None, typer.Option(help="Allowed widths of activations; as --widths if not given.")]
    = None,
    biases: Annotated[str | None, typer.Option(help="Allowed widths of biases.")] = None,
    objectives: Annotated[str, typer.Option(help="What to minimise, comma separated.")] = "error,size",
    constrain: Annotated[list[str] | None, typer.Option(help="Such as 'size<=8KiB' or 'error<=5'; repeatable.")] = None,
    guide: Annotated[str, typer.Option(help="What selection looks at for the error: loss or error.")] = "loss",
    population: Annotated[int, typer.Option(min=2, help="Solutions per generation.")] = 40,
    generations: Annotated[int, typer.Option(min=1, help="How many generations.")] = 40,
    calibration: Annotated[str, typer.Option(help="mse, percentile or minmax.")] = "mse",
    rounding: Annotated[str, typer.Option(help="Of weights: inputs or nearest.")] = "inputs",
    per_row: Annotated[bool, typer.Option("--per-row", help="One weight scale per output row.")] = False,
    early_stop: Annotated[bool, typer.Option("--early-stop", help="Drop certainly hopeless candidates early.")] = False,
    engine: Annotated[str, typer.Option(help="auto, or a name: reference, native.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Threads or processes; 0 takes every core.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    hidden: HiddenOption = None,
    seed: SeedOption = 0,
    data: DataOption = None,
    cache: CacheOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress display.")] = False,
) -> None:
    """Search the widths of a network: error against size, with homogeneous precision as baseline."""
    from bittailor.api import search_task

    run = search_task(
        task, out, space=space, widths=_widths(widths), activations=_widths(activations), biases=_widths(biases),
        objectives=[name.strip() for name in objectives.split(",")], constraints=constrain or [], guide=guide,
        population=population, generations=generations, method=calibration, rounding=rounding, per_row=per_row,
        early_stop=early_stop, engine=engine, workers=workers, resume=resume, hidden=hidden, seed=seed,
        data=data, cache=cache, quiet=quiet, epochs=None if quiet else _epochs, command=_command(),
    )
    from bittailor.show import print_run

    print_run(run)
    if run.result["interrupted"]:
        _say(f"stopped; go on with:  the same command and --resume   ({run.path})")
        raise typer.Exit(INTERRUPTED)
    _say(f"next:  bittailor report {run.path}")


@app.command(
    epilog="Examples:  bittailor show runs/digits\n\nbittailor show runs/digits --pick smallest\n\n"
    "bittailor show runs/digits --pick 3      bittailor show runs/digits --pick 'error<=4'"
)
def show(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    pick: Annotated[
        str | None, typer.Option(help="Index of the front, smallest, careful, knee, best, or 'error<=X'.")
    ] = None,
) -> None:
    """Print the front of a run, or one solution with the format of every site and its account of bytes."""
    from bittailor.runs import Run
    from bittailor.show import print_run, print_solution

    opened = Run.open(run)
    if pick is None:
        print_run(opened)
    else:
        print_solution(opened, opened.pick(pick))


@app.command(epilog="Example:  bittailor report runs/digits      then open runs/digits/report/index.html")
def report(
    run: Annotated[Path, typer.Argument(help="A finished run directory.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; RUN/report if not given.")] = None,
) -> None:
    """Write figures (PNG), tables (CSV) and one self-contained HTML page."""
    from bittailor.report import write_report
    from bittailor.runs import Run

    page = write_report(Run.open(run), out)
    _say(f"report: {page}")


@app.command(epilog="Example:  bittailor compare runs/digits runs/mnist --csv table.csv")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    csv: Annotated[Path | None, typer.Option(help="Also write the table to this file.")] = None,
) -> None:
    """Compare runs: the smallest solution no worse than homogeneous 8 bits, and the hypervolumes."""
    from bittailor.runs import Run
    from bittailor.show import print_comparison

    print_comparison([Run.open(run) for run in runs], csv)


def _widths(text: str | None) -> tuple[int, ...] | None:
    """"2-8" or "2,4,8" as numbers."""
    if text is None:
        return None
    try:
        found: set[int] = set()
        for part in text.split(","):
            first, _, last = part.strip().partition("-")
            found |= set(range(int(first), int(last or first) + 1))
    except ValueError:
        raise BittailorError(f"cannot read the widths '{text}'; write them like 2-8 or 2,4,8") from None
    if not found:
        raise BittailorError(f"the widths '{text}' are empty; write them like 2-8 or 2,4,8")
    return tuple(sorted(found))


def _epochs(done: int, total: int, loss: float) -> None:
    end = "\n" if done == total else ""
    if sys.stderr.isatty():
        sys.stderr.write(f"\rtraining the float network: epoch {done}/{total}, loss {loss:.4f}{end}")
    elif done == total:
        sys.stderr.write(f"trained the float network: {total} epochs, loss {loss:.4f}\n")
    sys.stderr.flush()


def _command() -> str:
    """What was typed, as it would be typed to begin anew."""
    return shlex.join(["bittailor", *(word for word in sys.argv[1:] if word != "--resume")])


def _say(text: str) -> None:
    typer.echo(text)


def main() -> None:
    """Run the command line: errors a user can cause are one clear message and exit status 2, Ctrl-C is 130."""
    try:
        app()
    except BittailorError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(error.status)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        sys.exit(INTERRUPTED)
    except OSError as error:
        typer.echo(f"FileError: {error.filename or ''}: {error.strerror or error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
