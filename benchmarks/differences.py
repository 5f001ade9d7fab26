"""What two runs of one search, or two exports of one solution, differ in: files compared by what they mean.

Compared exactly (numbers by `==`): every row of the store but for its seconds; front, picks, baselines, test figures,
history and whatever else result.json holds; fingerprints, space and metric of run.json; every tensor and its header;
sensitivity tables; retrained networks; and of an export every file, C by its tokens and the words of its comments, so
that a formatter may lay it out anew. Left aside: times, checksums of files, the form of run.json, the name of a
beacon (a digest of what it was trained with: names are matched by widths and weights), and fields that are new.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Any

from safetensors import safe_open

OF_ITS_TIME = {"seconds", "finished", "sha256"}
"""Keys of JSON files whose values say when, not what."""
RENAMED = {"error": "classification_error"}
"""Metrics that were given another name."""


def of_values(old: Any, new: Any, where: str) -> Iterator[str]:
    """Differences of two JSON values; keys that only the new one has are none."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key, value in old.items():
            if key in OF_ITS_TIME:
                continue
            if key not in new:
                yield f"{where}.{key}: missing"
            elif key == "metric":
                yield from of_values(RENAMED.get(value, value), RENAMED.get(new[key], new[key]), f"{where}.{key}")
            else:
                yield from of_values(value, new[key], f"{where}.{key}")
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{where}: {len(old)} entries, now {len(new)}"
        for i, (a, b) in enumerate(zip(old, new, strict=False)):
            yield from of_values(a, b, f"{where}[{i}]")
    elif isinstance(old, bool) is not isinstance(new, bool) or old != new:
        yield f"{where}: {short(old)}, now {short(new)}"


def short(value: Any) -> str:
    """A value in a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"


# --- runs -------------------------------------------------------------------------------------------------------------


def of_runs(old: Path, new: Path) -> Iterator[str]:
    """Differences of two run directories."""
    for name in ("network.safetensors", "calibration.safetensors"):
        yield from of_tensors(old / name, new / name, name)
    asked = ("fingerprints", "space", "metric", "objectives", "constraints", "guide", "seeding")
    before, now = ({key: found(config, key) for key in asked}
                   for config in (read_json(old / "run.json"), read_json(new / "run.json")))
    yield from of_values(before, now, "run.json")
    names, lost = matched_beacons(old / "beacons", new / "beacons")
    yield from lost
    for theirs, ours in names.items():
        was, became = old / "beacons" / ours, new / "beacons" / theirs
        yield from of_tensors(was / "calibration.safetensors", became / "calibration.safetensors",
                              f"beacons/{ours} calibration")
        yield from of_values(read_json(was / "beacon.json"), translated(read_json(became / "beacon.json"), names),
                             f"beacons/{ours}")
    yield from of_values(stored(old), translated(stored(new), names), "store")
    yield from of_values(read_json(old / "result.json"), translated(read_json(new / "result.json"), names), "result")
    yield from of_sensitivity(old / "sensitivity", new / "sensitivity")


def read_json(path: Path) -> Any:
    """The content of a JSON file, None where there is none."""
    return json.loads(path.read_text()) if path.is_file() else None


def found(document: Any, key: str) -> Any:
    """The value of a key, wherever in a nested document it stands; the outermost of several. None where nowhere."""
    level = [document]
    while level:
        for item in level:
            if isinstance(item, Mapping) and key in item:
                return item[key]
        level = [value for item in level if isinstance(item, Mapping) for value in item.values()]
    return None


def translated(value: Any, names: Mapping[str, str]) -> Any:
    """A JSON value with some strings replaced."""
    if isinstance(value, Mapping):
        return {key: translated(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [translated(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def stored(run: Path) -> dict[str, list[dict[str, Any]]]:
    """Evaluations, in the order in which they were asked for, and decisions of a store."""
    with closing(sqlite3.connect(f"file:{run / 'evaluations.sqlite'}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        rows = {table: [dict(row) for row in db.execute(f"SELECT * FROM {table} ORDER BY {order}")]
                for table, order in (("evaluations", "ordinal"), ("decisions", "generation"))}
    for row in rows["evaluations"]:
        row.pop("digest", None)  # a checksum of the row, its seconds among it
        row.pop("dropped", None)  # the reason has the number as well
        row["vals"] = None if row["vals"] is None else json.loads(row["vals"])
    for row in rows["decisions"]:
        row["value"] = json.loads(row["value"])
    return rows


def matched_beacons(old: Path, new: Path) -> tuple[dict[str, str], list[str]]:
    """New name -> old name of retrained networks with the same widths and weights, and what has no match."""
    ours, theirs = beacons(old), beacons(new)
    names = {theirs[key]: name for key, name in ours.items() if key in theirs}
    return names, [
        *(f"beacons/{name}: retrained to other weights, or not at all" for key, name in ours.items()
          if key not in theirs),
        *(f"beacons/{name}: only now" for key, name in theirs.items() if key not in ours)]


def beacons(folder: Path) -> dict[str, str]:
    """What a retrained network is (widths, seed, kind, weights, or why there are none) -> its name."""
    named = {}
    for file in sorted(folder.glob("*/beacon.json")):
        about, weights = read_json(file), file.parent / "network.safetensors"
        digest = hashlib.sha256()
        for name, (tensor, _) in (tensors(weights)[0] if weights.exists() else {}).items():
            digest.update(name.encode() + tensor)
        what = [about[key] for key in ("widths", "seed", "kind", "label", "failed")]
        named[json.dumps([what, digest.hexdigest()], sort_keys=True)] = file.parent.name
    return named


def of_sensitivity(old: Path, new: Path) -> Iterator[str]:
    """Differences of what narrowing every gene does."""
    for file in sorted([*old.glob("*.json"), *old.glob("*.csv")]):
        if not (new / file.name).is_file():
            yield f"sensitivity/{file.name}: missing"
        elif file.suffix == ".json":
            yield from of_values(read_json(file), read_json(new / file.name), f"sensitivity/{file.name}")
        else:
            was, became = (list(csv.DictReader(path.read_text().splitlines())) for path in (file, new / file.name))
            yield from of_values(was, became, f"sensitivity/{file.name}")


def tensors(path: Path) -> tuple[dict[str, tuple[bytes, str]], Any]:
    """Name -> (bytes, shape and type) of a safetensors file, and what its header says."""
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        header = {key: json.loads(text) if text[:1] in "{[" else text for key, text in (file.metadata() or {}).items()}
    return {name: (array.tobytes(), f"{array.dtype}{list(array.shape)}") for name, array in arrays.items()}, header


def of_tensors(old: Path, new: Path, where: str) -> Iterator[str]:
    """Differences of two safetensors files."""
    if not old.exists() or not new.exists():
        if old.exists() or new.exists():
            yield f"{where}: {'missing' if old.exists() else 'only now'}"
        return
    (before, header), (now, other) = tensors(old), tensors(new)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            kinds = [content[name][1] if name in content else "absent" for content in (before, now)]
            yield f"{where} {name}: " + (f"other numbers ({kinds[0]})" if kinds[0] == kinds[1]
                                         else f"{kinds[0]}, now {kinds[1]}")
    yield from of_values(header, other, f"{where} header")


# --- exports ----------------------------------------------------------------------------------------------------------


C_FILES = {".c", ".h", ".S", ".s"}
LITERAL = r'"(?:\\.|[^"\\\n])*"' + r"|'(?:\\.|[^'\\\n])*'"
COMMENT = re.compile(LITERAL + r"|/\*.*?\*/|//[^\n]*", re.DOTALL)
TOKEN = re.compile(LITERAL + r"|\.?\d(?:[eEpP][+-]|[\w.])*|\w+|<<=|>>=|\.\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||##"
                   r"|[-+*/%&|^]=|\S")
END = "end of the directive"


def of_exports(old: Path, new: Path, known: Collection[str] = ()) -> Iterator[str]:
    """Differences of two exported directories, but for files of some names."""
    before, now = ({str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()} for folder in (old, new))
    yield from (f"{old.name}/{name}: missing" for name in sorted(before - now))
    for name in sorted(name for name in before & now if Path(name).name not in known):
        where = f"{old.name}/{name}"
        if Path(name).suffix in C_FILES:
            yield from of_c((old / name).read_text(), (new / name).read_text(), where)
        elif name.endswith(".safetensors"):
            yield from of_tensors(old / name, new / name, where)
        elif name == "export.json":
            was, became = ({**read_json(f / name), "files": None} for f in (old, new))
            yield from of_values(was, became, where)
        elif (old / name).read_bytes() != (new / name).read_bytes():
            yield from of_words((old / name).read_text().splitlines(), (new / name).read_text().splitlines(), where)


def of_c(old: str, new: str, where: str) -> Iterator[str]:
    """Differences of two C sources that no formatter makes."""
    (code, words), (other_code, other_words) = parts_of_c(old), parts_of_c(new)
    yield from of_words(code, other_code, where)
    yield from of_words(words, other_words, f"{where} (comments)")


def of_words(old: list[str], new: list[str], where: str, around: int = 6) -> Iterator[str]:
    """The first difference of two lists of words, if there is one."""
    for i, (a, b) in enumerate(zip_longest(old, new)):
        if a != b:
            near = slice(max(0, i - around), i + around)
            yield f"{where}: … {' '.join(old[near])} …, now … {' '.join(new[near])} …"
            return


def parts_of_c(text: str) -> tuple[list[str], list[str]]:
    """Tokens of a C source, with an end after every directive, and the words of its comments.

    >>> parts_of_c("#define A 2 /* a\\n * b */\\nint  x=A;  // c")
    (['#', 'define', 'A', '2', 'end of the directive', 'int', 'x', '=', 'A', ';'], ['a', 'b', 'c'])
    """
    words: list[str] = []

    def aside(match: re.Match[str]) -> str:
        if not match[0].startswith("/"):
            return match[0]
        inside = match[0][2:].removesuffix("*/") if match[0].startswith("/*") else match[0][2:]
        for line in inside.splitlines():
            words.extend(line.strip().lstrip("*").split())
        return " "

    code: list[str] = []
    for line in COMMENT.sub(aside, text.replace("\\\n", " ")).splitlines():
        code += TOKEN.findall(line)
        if line.lstrip().startswith("#"):
            code.append(END)
    return code, words
