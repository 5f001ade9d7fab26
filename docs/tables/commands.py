"""The command-line reference, from the program's own help."""

from __future__ import annotations

import re
from typing import Any

import typer

from bittailor.cli.main import app
from tables.common import markdown_table


def entry(parameter: Any) -> str:
    """An argument or option as one types it."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    return ", ".join(f"`{flag}`" for flag in [*parameter.opts, *parameter.secondary_opts])


def meaning(parameter: Any) -> str:
    """Its help, and what holds where it is not given."""
    text = (parameter.help or "").replace("|", "\\|")
    default = parameter.default
    if parameter.required:
        return f"{text} **Required.**"
    if isinstance(default, bool) or default is None or default == "" or callable(default):
        return text
    return f"{text} Default: `{default}`."


def examples(epilog: str) -> str:
    """The lines of a command's epilog, as a block of code."""
    lines = re.sub(r"^Examples?:\s*", "", epilog).split("\n\n")
    return "\n".join(["```text", *lines, "```"])


def panels(parameters: list[Any]) -> dict[str, list[Any]]:
    """Parameters by the panel of the help that they stand in, in order."""
    found: dict[str, list[Any]] = {}
    for parameter in parameters:
        found.setdefault(getattr(parameter, "rich_help_panel", None) or "", []).append(parameter)
    return found


def command(name: str, found: Any) -> str:
    """The section of one command."""
    arguments = " ".join((p.metavar or p.name.upper()) if p.required else f"[{p.metavar or p.name.upper()}]"
                         for p in found.params if p.param_type_name == "argument")
    parts = [f"## bittailor {name}", f"`bittailor {name} {arguments}".rstrip() + " [OPTIONS]`", found.help or ""]
    for title, parameters in panels([p for p in found.params if not p.hidden]).items():
        parts += [f"**{title}**"] if title else []
        parts.append(markdown_table(["", "what"], [[entry(p), meaning(p)] for p in parameters]))
    return "\n\n".join([*parts, *([examples(found.epilog)] if found.epilog else [])])


def commands() -> str:
    """All of them."""
    found: Any = typer.main.get_command(app)
    return "\n\n".join(command(name, one) for name, one in found.commands.items() if not one.hidden)


TABLES = {"commands": commands}
