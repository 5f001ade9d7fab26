"""The Python reference: what is public, by subject. The site shows the docstrings, a forge the table."""

from __future__ import annotations

import inspect
import re
from typing import Any

from sitebuild.public import exported, lent, reachable

import bittailor
from tables.common import markdown_table

GROUPS: dict[str, tuple[str, ...]] = {
    "Networks and data": ("from_torch", "Network", "Data", "Splits", "Targets", "train_task"),
    "Searching": ("run_search", "SearchSpec", "SearchSettings", "SpaceSettings", "TaskSettings", "RoleSettings",
                  "BeaconSettings", "Retraining", "CalibrationSettings"),
    "What was found": ("Run", "Solution", "write_report", "write_comparison", "run_sensitivity", "retrain_picks"),
    "Shipping": ("export_program", "module", "Program", "account"),
    "Metrics and losses": ("metric", "Metric", "Loss"),
    "Piece by piece": ("calibrate", "Calibration", "Plan", "QFormat", "bind", "best_engine", "homogeneous_widths",
                       "parameter_bits"),
    "Spaces": ("Space", "per_operator", "per_layer", "homogeneous", "grouped"),
}
"""Heading -> names of `bittailor`; one that is in none of them stands under OTHERS."""
OTHERS = "More"
NAMES = ("ENGINES", "METRICS", "TASKS")


def sentence(thing: Any) -> str:
    """The first sentence of a docstring."""
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[a-z0-9)`])[.;:] ", text)[0].rstrip(".").replace("|", "\\|")


def directives(names: list[str], things: dict[str, Any]) -> str:
    """What Sphinx makes the reference from."""
    lines = []
    for name in names:
        members = ["   :members:"] if inspect.isclass(things[name]) else []
        members += ["   :inherited-members:"] if members and lent(things[name]) else []
        lines += [f".. auto{'class' if members else 'function'}:: {name}", *members, ""]
    return "\n".join(["```{eval-rst}", *lines[:-1], "```"])


def section(title: str, names: list[str], things: dict[str, Any]) -> str:
    """A heading, a table and the directives; `names` in full."""
    rows = [[f"`{name.replace('bittailor', 'bt') if name.count('.') == 1 else name}`", sentence(things[name])]
            for name in names]
    return "\n\n".join([f"## {title}", markdown_table(["name", "what"], rows), directives(names, things)])


def groups() -> dict[str, list[str]]:
    """Heading -> names, with those that no group has."""
    named = {name for names in GROUPS.values() for name in names}
    left = [name for name in exported() if name not in named and name != "BittailorError"]
    found = {title: [f"bittailor.{name}" for name in names] for title, names in GROUPS.items()}
    return {**found, **({OTHERS: [f"bittailor.{name}" for name in left]} if left else {})}


def api() -> str:
    """Every section."""
    things = {**{f"bittailor.{name}": thing for name, thing in exported().items()}, **reachable()}
    parts = [section(title, names, things) for title, names in groups().items()]
    parts.append(section("What these take and give", list(reachable()), things))
    rows = [[f"`bt.{name}`", ", ".join(f"`{key}`" for key in getattr(bittailor, name))] for name in NAMES]
    rows.append(["`bt.OBJECTIVES`", "[the list](architecture.md#what-exists)"])
    parts.append("## Tables of names\n\nRead-only mappings; an unknown name is an error that lists what there is.\n\n"
                 + markdown_table(["table", "names"], rows))
    return "\n\n".join(parts)


TABLES = {"api": api}
