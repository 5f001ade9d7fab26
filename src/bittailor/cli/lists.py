"""What there is to choose from, as text: tasks, platforms, engines, objectives."""

from __future__ import annotations

from pathlib import Path

from bittailor.cli.tables import Grid, say
from bittailor.common.console import console
from bittailor.cost import PLATFORMS, load_platform
from bittailor.cost.firmware import cores
from bittailor.engines import ENGINES
from bittailor.evaluate.evaluator import OBJECTIVES, of_core, of_platform
from bittailor.evaluate.metrics import METRICS
from bittailor.tasks import TASKS


def print_tasks() -> None:
    """A line or two a task: units of the input, of the recurrent layer, of the output."""
    grid = Grid("task", "units", "what", fold=2)
    for task in TASKS.values():
        grid.add(task.name, f"{task.inputs}-{task.hidden}-{task.outputs}", task.title)
    grid.show()
    say(console(), "metric, source and licence of one: bittailor tasks NAME")


def print_task(name: str) -> None:
    """One task, in full."""
    task, screen = TASKS[name], console()
    for word, text in (("task", task.name), ("what", task.title), ("error is", METRICS[task.metric].label),
                       ("network", f"{task.inputs} inputs, {task.hidden} units, {task.outputs} outputs"),
                       ("source", task.source), ("licence", task.licence), ("cite", task.citation)):
        screen.print(f"{word:<10}{text}", highlight=False, soft_wrap=True)
    screen.print(f"next:  bittailor search {task.name} --out runs/{task.name}", highlight=False)


def print_platforms(file: Path | None = None) -> None:
    """The platforms of the package, or that of a file."""
    screen = console()
    for platform in PLATFORMS.values() if file is None else [load_platform(file)]:
        weights, inputs = (", ".join(map(str, bits)) for bits in (platform.weights, platform.activations))
        screen.print(f"{platform.name}: {platform.title}", style="bold", highlight=False)
        screen.print(f"  products    weights of {weights} bits, inputs of "
                      f"{'the same width' if platform.same_width else f'{inputs} bits'}", highlight=False)
        for objective in of_platform(platform):
            more = ", more is better" if objective.maximise else ""
            screen.print(f"  objective   {objective.name:<22} {objective.title} [{objective.unit}]{more}",
                          highlight=False)
        screen.print(f"  space       {platform.name}\n  source      {platform.source}", highlight=False)


def print_engines() -> None:
    """A line for every engine, the fastest first: what it is here, or what it is waiting for."""
    for name in reversed(list(ENGINES)):
        engine = ENGINES[name]
        missing = engine.available()
        print(engine.words if missing is None else f"{name}: {missing}")


def print_objectives() -> None:
    """Everything that a search can improve or limit; those of cores a line a core."""
    of_cores = {o.name: core for core in cores() for o in of_core(cores()[core], f".{core}")}
    grid = Grid("name", "unit", "what", text=(1,), fold=2)
    for o in OBJECTIVES.values():
        if o.name not in of_cores:
            grid.add(o.name, o.unit, o.title + (" (more is better)" if o.maximise else ""))
    grid.show()
    screen = console()
    say(screen, "\nflash, ram, code and instructions of another core: with its name, such as flash.m0\n")
    of_each = Grid("core", "", "code, off by", "instructions per step, off by", text=(1, 2, 3))
    for name, core in cores().items():
        of_each.add(f".{name}", core.title, *(str(core.errors[what]) for what in ("code", "instructions")))
    of_each.show()
    say(screen, "\nsize counts a bias at its width; what is stored of it is an offset, bias and zero-point correction "
                "together, of 7 to 11 bits for a bias of 4: stored and flash count that")
