"""run.json and result.json of former versions in the present form: the only place that knows the old ones."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from bittailor.tasks import TASKS

_SAME = ("metric", "objectives", "constraints", "guide", "seeding", "calibration", "space", "platforms")


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
    items = {names.get(k, k): v for k, v in old["items"].items()}
    return {**old, "items": {**items, "held": items["select"], "select_from_training": 0, "confirm": 0},
            "float": {names.get(k, k): v for k, v in old["float"].items()}}


def _third(old: Mapping[str, Any]) -> dict[str, Any]:
    """From version 2, whose searches looked at all validation items and at no others, and at all of each candidate (or
    until it was certainly hopeless, which changed nothing)."""
    spec = {key: value for key, value in old["spec"].items() if key != "early_stopping"}
    return {**old, "spec": {**spec, "racing": False, "roles": {"select_items": 0, "confirm": 0.0}}}


def _second(old: Mapping[str, Any]) -> dict[str, Any]:
    """From version 1.

    What version 1 did not note (the data folder, runs whose beacons were given) is in the command line,
    where there was one.
    """
    task, words = old.get("task", {}), shlex.split(old.get("command", ""))
    name, search, beacons = str(task.get("task", "")), old.get("search", {}), old.get("beacons", {})
    spec = {
        **{key: old[key] for key in _SAME if key in old},
        "task": {
            "name": name if name in TASKS or ":" in name else "",
            **{key: task[key] for key in ("cell", "hidden", "seed") if key in task},
            "data": "".join(_after("--data", words)[-1:]),
        },
        "search": {**search, "offspring": search.get("offspring") or 0},
        "beacons": {"budget": 0, "polish": 0, **beacons, "given": _after("--beacons-from", words)},
    }
    origin = {key: str(task[key]) for key in ("title", "source", "licence", "float_key") if key in task}
    return {
        "bittailor_version": old.get("bittailor_version", ""),
        "origin": {"title": name, **origin, "command": old.get("command", "")},
        "spec": spec,
        **{key: old[key] for key in ("space", "fingerprints") if key in old},
    }


def _after(option: str, words: list[str]) -> list[str]:
    """Every value of an option in a command line."""
    return [following if word == option else word.partition("=")[2]
            for word, following in zip(words, [*words[1:], ""], strict=True)
            if word == option or word.startswith(f"{option}=")]
