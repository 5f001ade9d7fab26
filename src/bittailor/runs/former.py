"""run.json and result.json of former versions in the present form: the only place that knows the old ones."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from bittailor.common import records
from bittailor.errors import BittailorError
from bittailor.tasks import TASKS

_SAME = ("metric", "objectives", "constraints", "guide", "seeding", "calibration", "space", "platforms")


@dataclass(frozen=True)
class FormerForm:
    """What was looked at of a run.json of version 1; the rest of it is in a spec's form already."""

    space: Mapping[str, Any]
    bittailor_version: str = ""
    command: str = ""
    task: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    beacons: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)


_READ = {f.name for f in fields(FormerForm)}


def upgraded(old: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a run.json of any version as the present one has it."""
    second = _second(old) if old["version"] == 1 else dict(old)
    return _third(second) if old["version"] <= 2 else second


def upgraded_result(old: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a result.json of any version as the present one has it."""
    if old["version"] >= 2:
        return dict(old)
    names = {"valid": "select"}
    # all validation items selected
    items = {names.get(k, k): v for k, v in _table(old, "items").items()}
    return {**old, "items": {**items, "held": items.get("select", 0), "select_from_training": 0, "confirm": 0},
            "float": {names.get(k, k): v for k, v in _table(old, "float").items()}}


def _table(old: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A table of an old file; BittailorError where it is none."""
    found: Mapping[str, Any] = records.read(Mapping[str, Any], old.get(name), name)
    return found


def _third(old: Mapping[str, Any]) -> dict[str, Any]:
    """From version 2, whose searches looked at all validation items and at no others, and at all of each candidate (or
    until it was certainly hopeless, which changed nothing)."""
    spec = {key: value for key, value in _table(old, "spec").items() if key != "early_stopping"}
    return {**old, "spec": {**spec, "racing": False, "roles": {"select_items": 0, "confirm": 0.0}}}


def _second(old: Mapping[str, Any]) -> dict[str, Any]:
    """From version 1.

    What version 1 did not note (the data folder, runs whose beacons were given) is in the command line,
    where there was one.
    """
    form = records.make(FormerForm, {key: value for key, value in old.items() if key in _READ})
    try:
        words = shlex.split(form.command)
    except ValueError as error:
        raise BittailorError(f"command is {records.shown(form.command)}: {error}") from None
    task, search = form.task, form.search
    name = str(task.get("task", ""))
    spec = {
        **{key: old[key] for key in _SAME if key in old},
        "task": {
            "name": name if name in TASKS or ":" in name else "",
            **{key: task[key] for key in ("cell", "hidden", "seed") if key in task},
            "data": "".join(_after("--data", words)[-1:]),
        },
        "search": {**search, "offspring": search.get("offspring") or 0},
        "beacons": {"budget": 0, "polish": 0, **form.beacons, "given": _after("--beacons-from", words)},
    }
    origin = {key: str(task[key]) for key in ("title", "source", "licence", "float_key") if key in task}
    return {
        "bittailor_version": form.bittailor_version,
        "origin": {"title": name, **origin, "command": form.command},
        "spec": spec,
        "space": form.space,
        "fingerprints": form.fingerprints,
    }


def _after(option: str, words: list[str]) -> list[str]:
    """Every value of an option in a command line."""
    return [following if word == option else word.partition("=")[2]
            for word, following in zip(words, [*words[1:], ""], strict=True)
            if word == option or word.startswith(f"{option}=")]
