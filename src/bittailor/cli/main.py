"""The command line. Every sub-command is one library call; no logic of its own lives here.

Heavy libraries are imported inside the commands, so that `bittailor --help` answers at once.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bittailor._version import __version__
from bittailor.cli import ending
from bittailor.cli.arguments import (
    HARDWARE,
    OUTPUT,
    RETRAINING,
    TASK_NAMES,
    CacheOption,
    CellOption,
    ClusterOption,
    DataOption,
    HiddenOption,
    JsonOption,
    MetricOption,
    OwnOption,
    PresetOption,
    RecipeOption,
    SeedOption,
    SpecFileOption,
    TaskArgument,
)
from bittailor.cli.completing import completion, listed, picks
from bittailor.cli.ending import say, typed
from bittailor.cli.options import read_settings, values_of, with_spec_options
from bittailor.common import interrupts

app = typer.Typer(
    name="bittailor",
    help="Tailors the bit width of every operator of a recurrent network.\n\n"
    "Start with:  bittailor search digits --out runs/digits   and then   bittailor report runs/digits",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"bittailor {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Options of the program itself."""


@app.command(epilog="Examples:  bittailor tasks      bittailor tasks digits      bittailor tasks --json")
def tasks(
    task: Annotated[str | None, typer.Argument(help="One of them, in full.", autocompletion=TASK_NAMES)] = None,
    as_json: JsonOption = False,
) -> None:
    """List the tasks: data, network, metric; of one also source and licence."""
    from bittailor.cli import lists
    from bittailor.cli.as_json import of_tasks, text_of

    if as_json:
        typer.echo(text_of(of_tasks(task)))
    elif task is None:
        lists.print_tasks()
    else:
        lists.print_task(task)


@app.command(epilog="Example:  bittailor platforms my_chip.toml")
def platforms(
    file: Annotated[Path | None, typer.Argument(help="A TOML file of one's own, to check it.")] = None,
) -> None:
    """List the hardware platforms: widths, objectives, source."""
    from bittailor.cli.lists import print_platforms

    print_platforms(file)


@app.command(epilog="Example:  bittailor train mnist --data ~/data --seed 1")
def train(
    task: Annotated[str, typer.Argument(help="A name from `bittailor tasks`.")],
    hidden: HiddenOption = 0,
    cell: CellOption = "gru",
    metric: MetricOption = "",
    seed: SeedOption = 0,
    data: DataOption = None,
    cache: CacheOption = None,
) -> None:
    """Train the float network of a task (kept in a cache; a second call reads it)."""
    from bittailor.cli.actions import train_task
    from bittailor.runs import TaskSettings

    wanted = TaskSettings(task, cell, hidden, seed, "" if data is None else str(data))
    prepared = train_task(wanted, metric=metric, cache=cache, progress=_epochs)
    say(prepared.summary)
    hint(f"bittailor search {task} --out {_quoted(Path('runs', task))}")


@app.command(
    epilog="Examples:  bittailor search digits --out runs/digits\n\n"
    "bittailor search mnist --data ~/data --out runs/mnist --constrain 'size<=8KiB' --workers 2\n\n"
    "bittailor search my_net.py:load --out runs/mine   (load() returns a torch module and bittailor.Splits)\n\n"
    "bittailor search digits --out runs/digits --retrain   (also retrains some, on the way and at the end)\n\n"
    "bittailor search --spec my.toml --out runs/mine   (bittailor spec digits > my.toml writes one to start from)\n\n"
    "bittailor search digits --out runs/digits --resume   (goes on after Ctrl-C or a crash; with more --generations "
    "it makes a finished search longer)"
)
@with_spec_options
def search(
    task: TaskArgument = None,
    out: Annotated[
        Path, typer.Option("--out", help="The run directory to write.", rich_help_panel=OUTPUT)
    ] = ...,  # type: ignore[assignment]
    spec: SpecFileOption = None,
    preset: PresetOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out.", rich_help_panel=OUTPUT)
    ] = False,
    cache: CacheOption = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress display.", rich_help_panel=OUTPUT)
    ] = False,
    **options: Any,
) -> None:
    """Search the widths of a network: error against flash, with homogeneous precision as baseline."""
    from bittailor.cli.actions import make_spec, search_spec
    from bittailor.cli.show import print_run

    wanted = make_spec(values_of(options), task=task, file=spec, preset=preset)
    run = search_spec(wanted, out, resume=resume, cache=cache, command=typed(), progress=None if quiet else _epochs)
    print_run(run)
    if run.result["interrupted"]:
        say(f"stopped; go on with:  {typed(resume=True)}")
        interrupts.said()
        raise typer.Exit(interrupts.STATUS)
    hint(f"bittailor report {_quoted(run.path)}")


@app.command(
    epilog="Examples:  bittailor spec digits > my.toml      then   bittailor search --spec my.toml --out runs/mine\n\n"
    "bittailor spec phones --cell sru --preset mohaq --space bitfusion > paper.toml"
)
@with_spec_options
def spec(
    task: TaskArgument = None,
    spec: SpecFileOption = None,
    preset: PresetOption = None,
    **options: Any,
) -> None:
    """Print what `bittailor search` with the same options would do, as TOML with comments; train nothing."""
    from bittailor.cli.actions import make_spec

    typer.echo(make_spec(values_of(options), task=task, file=spec, preset=preset).to_toml(), nl=False)


@app.command(
    epilog="Examples:  bittailor show runs/digits\n\nbittailor show runs/digits --pick smallest\n\n"
    "bittailor show runs/digits --pick 3      bittailor show runs/digits --pick 'error<=4'\n\n"
    "bittailor show runs/digits --json"
)
def show(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    pick: Annotated[
        str | None,
        typer.Option(help="Index of the front, holds, certified, careful, smallest, knee, best, retrained, "
                          "retrained:NAME or 'error<=X'.", autocompletion=picks)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the front of a run, or one solution with the format of every site and its account of bytes."""
    from bittailor.cli.as_json import of_run, of_solution, text_of
    from bittailor.cli.show import print_run, print_solution
    from bittailor.runs import Run

    opened = Run.open(run)
    if as_json:
        typer.echo(text_of(of_run(opened) if pick is None else of_solution(opened, opened.pick(pick))))
    elif pick is None:
        print_run(opened)
    else:
        print_solution(opened, opened.pick(pick))


@app.command(
    epilog="Examples:  bittailor retrain runs/digits --pick smallest\n\n"
    "bittailor retrain runs/digits --pick smallest --pick 8bit --epochs 10      then   "
    "bittailor show runs/digits --pick retrained:smallest"
)
def retrain(
    run: Annotated[Path, typer.Argument(help="A finished run directory.")],
    pick: Annotated[
        list[str], typer.Option(help="Which solution, as in `bittailor show`; repeatable.", autocompletion=picks)
    ],
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training data, exactly so many.",
                                 rich_help_panel=RETRAINING)
    ] = None,
    recipe: RecipeOption = None,
    data: DataOption = None,
    own: OwnOption = "",
    seed: Annotated[int, typer.Option(min=0, help="Of the training.", rich_help_panel=RETRAINING)] = 0,
    workers: Annotated[
        int, typer.Option(min=0, help="Trainings at a time; 0: every core.", rich_help_panel=HARDWARE)
    ] = 0,
    cluster: ClusterOption = "",
) -> None:
    """Retrain solutions, quantisation-aware; kept beside the originals. Goes on where it was cut short."""
    from bittailor.cli.actions import retrain_run
    from bittailor.cli.show import print_retrained

    asked = {**({} if epochs is None else {"epochs": epochs}), **read_settings(recipe or [])}
    made = retrain_run(run, pick, recipe=asked, seed=seed, data=data, own=own, workers=workers,
                       cluster=cluster)
    print_retrained(run, made)
    done = next((one.after.beacon for one in made if one.after is not None), None)
    hint(f"bittailor show {_quoted(run)}" + (
        "" if done is None else f"      bittailor export {_quoted(run)} firmware --pick retrained:{done}"))


@app.command(
    epilog="Examples:  bittailor sensitivity runs/digits\n\nbittailor sensitivity runs/digits --at smallest"
)
def sensitivity(
    run: Annotated[Path, typer.Argument(help="A finished run directory.")],
    at: Annotated[str, typer.Option(help="Where all others are kept: 8bit, or a solution as in `bittailor show`.")]
    = "8bit",
    data: DataOption = None,
    own: OwnOption = "",
    cluster: ClusterOption = "",
) -> None:
    """Show what every operator does to the error, width by width: a table, a CSV file and a figure."""
    from bittailor.cli.actions import sensitivity_run
    from bittailor.cli.show import print_sensitivity
    from bittailor.runs import Run

    found, file = sensitivity_run(run, at, data=data, own=own, cluster=cluster)
    print_sensitivity(found, Run.open(run).metric.noun)
    say(f"written: {file} and {file.with_suffix('.png').name}")
    hint(f"bittailor report {_quoted(run)}      (the page shows it, too)")


@app.command(epilog="Example:  bittailor report runs/digits      then open runs/digits/report/index.html")
def report(
    run: Annotated[Path, typer.Argument(help="A finished run directory.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; RUN/report if not given.")] = None,
) -> None:
    """Write figures (PNG), tables (CSV) and one self-contained HTML page."""
    from bittailor.report import write_report
    from bittailor.runs import Run

    opened = Run.open(run)
    page = write_report(opened, out)
    say(f"report: {page}")
    hint(f"open {page.resolve().as_uri()}      bittailor export {_quoted(run)} firmware --pick {opened.holds}")


@app.command(epilog="Example:  bittailor compare runs/digits runs/mnist --csv table.csv --html compared.html")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    csv: Annotated[
        Path | None, typer.Option(help="Also write the table to this file.", rich_help_panel=OUTPUT)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page with all fronts in one chart.", rich_help_panel=OUTPUT)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare runs: the smallest solution no worse than homogeneous 8 bits, and the hypervolumes."""
    from bittailor.cli.as_json import text_of
    from bittailor.cli.show import print_comparison, summary_row, write_comparison
    from bittailor.runs import Run

    opened = [Run.open(run) for run in runs]
    rows = [summary_row(run) for run in opened]
    if csv is not None:
        write_comparison(rows, csv)
    if as_json:
        typer.echo(text_of(rows))
    else:
        print_comparison(opened)
    if html is not None:
        from bittailor.report import write_comparison as write_page

        page = write_page(opened, html)
        if not as_json:
            say(f"page: {page}")


@app.command(
    epilog="Examples:  bittailor export runs/digits firmware\n\n"
    "bittailor export runs/digits firmware --pick 'flash<=8KiB' --prefix digits --force\n\n"
    "bittailor export program.safetensors firmware      then   make -C firmware test"
)
def export(
    source: Annotated[Path, typer.Argument(help="A run directory, or a program file.")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write: a new or empty directory.")],
    to: Annotated[
        str, typer.Option(help="What to write: c, onnx, onnx-qdq (not bit exact), or program (the plain file).",
                          rich_help_panel=OUTPUT, autocompletion=completion(listed("export:EXPORTERS")))
    ] = "c",
    pick: Annotated[
        str, typer.Option(help="Which solution: as in `bittailor show`, or a limit such as 'flash<=8KiB'; if not "
                          "given, the certified one, or else the careful one.", autocompletion=picks)
    ] = "holds",
    prefix: Annotated[
        str, typer.Option(help="What every public name of the code begins with.", rich_help_panel=OUTPUT)
    ] = "model",
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier export in DIR.", rich_help_panel=OUTPUT)
    ] = False,
    steps: Annotated[
        int | None, typer.Option(min=1, help="The longest sequence; for networks that read it in both directions.",
                                 rich_help_panel=HARDWARE)
    ] = None,
    core: Annotated[
        str | None, typer.Option(help="The core that weights are laid out for (m4 if not given), or 'any'.",
                                 rich_help_panel=HARDWARE, autocompletion=completion(listed("cost.firmware:cores")))
    ] = None,
    items: Annotated[int, typer.Option(min=1, help="Sequences that the self-test runs.")] = 4,
    data: DataOption = None,
    seed: Annotated[int, typer.Option(help="Of the self-test's inputs, where no data are at hand.")] = 0,
) -> None:
    """Write a solution: as firmware (C code with a self-test and build files), as ONNX, or as a plain program file."""
    from bittailor.cli.actions import export_solution

    say(export_solution(source, out, to=to, pick=pick, prefix=prefix, force=force, steps=steps, core=core, items=items,
                         seed=seed, data=data).summary)


@app.command(
    epilog="Examples:  bittailor verify firmware\n\nbittailor verify firmware --cores m0,m4 --run runs/digits"
)
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A directory that `bittailor export` wrote.")],
    cores: Annotated[
        str | None, typer.Option(help="Such as m0,m4,rv32 or host; if not given, all whose tools are installed.",
                                 rich_help_panel=HARDWARE, autocompletion=completion(listed("export.targets:TARGETS")))
    ] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Sequences to run beside the self-test.")] = None,
    run: Annotated[Path | None, typer.Option(help="The run it comes from: one of its solutions it must be.")] = None,
    data: DataOption = None,
    seed: Annotated[int, typer.Option(help="Of the random sequences, where no data are at hand.")] = 0,
) -> None:
    """Prove an export: compile C and run it, on emulated cores too; run ONNX in onnxruntime; compare every integer."""
    from bittailor.cli.actions import verify_export
    from bittailor.cli.show import print_verification

    names = None if cores is None else [name.strip() for name in cores.split(",")]
    report = verify_export(folder, cores=names, items=items, seed=seed, run=run, data=data)
    print_verification(report)
    if report.problem:
        raise typer.Exit(1)
    hint(f"read {folder / 'README.md'}: how to put it into a project of one's own")


@app.command(epilog="Example:  bittailor engines")
def engines() -> None:
    """List what runs integer programs here, the fastest first, and what the others are waiting for."""
    from bittailor.cli.lists import print_engines

    print_engines()


@app.command(epilog="Example:  bittailor search digits --out runs/d --objectives error,flash --constrain 'ram<=1KiB'")
def objectives(as_json: JsonOption = False) -> None:
    """List what a search can improve or limit; models of cores state their error."""
    from bittailor.cli.as_json import of_objectives, text_of
    from bittailor.cli.lists import print_objectives

    if as_json:
        typer.echo(text_of(of_objectives()))
    else:
        print_objectives()


@app.command(epilog="Examples:  bittailor doctor      bittailor doctor --json > machine.json")
def doctor(as_json: JsonOption = False) -> None:
    """Say what is there, what is missing, and what that costs: compiler, engines, emulators, cores, caches, extras."""
    from bittailor.cli.as_json import text_of
    from bittailor.cli.doctor import examine, print_findings

    found = examine()
    if as_json:
        typer.echo(text_of([finding.to_json() for finding in found]))
    else:
        print_findings(found)


def _epochs(done: int, total: int, loss: float) -> None:
    end = "\n" if done == total else ""
    if sys.stderr.isatty():
        sys.stderr.write(f"\rtraining the float network: epoch {done}/{total}, loss {loss:.4f}{end}")
    elif done == total:
        sys.stderr.write(f"trained the float network: {total} epochs, loss {loss:.4f}\n")
    sys.stderr.flush()


def hint(text: str) -> None:
    """What to type next."""
    say(f"next:  {text}")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def main() -> None:
    """Run the command line and exit; see `cli.ending`."""
    ending.run(app)


if __name__ == "__main__":
    main()
