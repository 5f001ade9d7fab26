"""run.json of version 1 in the present form: the only place that knows the old one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from bittailor.tasks import TASKS

_SAME = ("metric", "objectives", "constraints", "guide", "seeding", "calibration", "space", "platforms")


def upgraded(old: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a run.json of version 1 as version 2 has it.

    What version 1 did not note (early stopping, the data folder, runs whose beacons were given) is in the command line,
    where there was one.
    """
    task, words = old.get("task", {}), shlex.split(old.get("command", ""))
    name, search, beacons = str(task.get("task", "")), old.get("search", {}), old.get("beacons", {})
    spec = {
        **{key: old[key] for key in _SAME if key in old},
        "early_stopping": "--early-stop" in words,
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
