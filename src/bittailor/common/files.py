"""Files of the project: JSON and safetensors, each with a kind and a version, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bittailor.common import aside
from bittailor.common.records import make, shown
from bittailor.errors import BittailorError, FileError

T = TypeVar("T")

_HEADER = "bittailor"
_DIGEST = "sha256"

MOST_BYTES = 1 << 33
"""Of one file: eight gigabytes. Calibrations of large networks take some hundred megabytes."""


def write_whole(path: Path | str, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a half. FileError if it cannot."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = aside.begin(target)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                # mkstemp lets only the owner read; a result should be as readable as any new file
                mask = os.umask(0)
                os.umask(mask)
                os.chmod(name, 0o666 & ~mask)
                if sys.platform != "win32":
                    os.replace(name, target)  # while it is held; Windows moves no open file
            if sys.platform == "win32":
                os.replace(name, target)
        except BaseException:
            name.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FileError(f"cannot write {target}: {error.strerror or error}") from None


def read_bytes(path: Path | str) -> bytes:
    """A file's bytes; FileError if it cannot be read, is no plain file (a device never ends) or is larger than any."""
    try:
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FileError(f"cannot read {path}: it is no plain file")
            if status.st_size > MOST_BYTES:
                raise FileError(f"cannot read {path}: it has {status.st_size:,} bytes; at most {MOST_BYTES:,} are read")
            return file.read()
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from None


def read_values(path: Path | str) -> dict[str, Any]:
    """The values in a file that people write, TOML or (`.json`) JSON, not looked at yet; FileError where it is neither.
    """
    kind = "JSON" if Path(path).suffix == ".json" else "TOML"
    data = read_bytes(path)
    try:
        values = json.loads(data) if kind == "JSON" else tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is not {kind}: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(values, dict):
        raise FileError(f"{path} holds no table of values")
    return values


def save_json(path: Path | str, kind: str, version: int, body: Mapping[str, Any]) -> None:
    """Write a JSON object with its kind, its version and a checksum of its content."""
    header = {_HEADER: kind, "version": version, _DIGEST: _json_digest(json.loads(json.dumps(body)))}
    text = json.dumps({**header, **body}, indent=1)
    write_whole(path, text.encode() + b"\n")


def load_json(path: Path | str, kind: str, version: int, former: Collection[int] = ()) -> dict[str, Any]:
    """Read what `save_json` wrote; FileError if it is something else, damaged, or of another version than `version` and
    `former`.

    A file without a checksum is taken as it is, so that one can be written or edited by hand.
    """
    try:
        item = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is damaged: not JSON ({error})") from None
    found = item.get("version") if isinstance(item, dict) else None
    check_header(path, item, kind, found if isinstance(found, int) and found in former else version)
    expected = item.pop(_DIGEST, None)
    if expected is not None and expected != _json_digest(item):
        raise FileError(
            f"{path} is damaged: its content does not match its checksum. If you changed it by hand, "
            f'remove its "{_DIGEST}" line'
        )
    return dict(item)


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """FileError, with the path and what to do, for whatever is wrong with the content of a file."""
    try:
        yield
    except BittailorError as error:
        said = str(error)
        if said.startswith(str(path)):
            raise
        raise FileError(f"{path} is damaged: {said.rstrip('.')}. Restore a copy of it, or make it again") from None


def formed(path: Path | str, form: type[T], item: Mapping[str, Any]) -> T:
    """What `load_json` or `load_tensors` read as a record; FileError names the field that is not as the form says."""
    with reading(path):
        return make(form, {name: value for name, value in item.items() if name not in (_HEADER, "version")})


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:32]


def _json_digest(item: Mapping[str, Any]) -> str:
    content = {key: value for key, value in item.items() if key not in (_HEADER, "version", _DIGEST)}
    return _digest(json.dumps(content, sort_keys=True).encode())


def _tensor_digest(body: str, tensors: Mapping[str, NDArray[Any]]) -> str:
    parts = [body.encode()]
    for name in sorted(tensors):
        value = tensors[name]
        parts += [f"{name} {value.dtype.str} {value.shape}".encode(), value.tobytes()]
    return _digest(*parts)


def check_header(path: Path | str, item: Any, kind: str, version: int) -> None:
    """FileError unless `item` says it is of this kind and version."""
    if not isinstance(item, dict) or item.get(_HEADER) != kind:
        found = item.get(_HEADER) if isinstance(item, dict) else None
        raise FileError(f"{path} is no bittailor {kind}" + (f" but a {found}" if found else ""))
    if item.get("version") != version:
        raise FileError(
            f"{path} is a {kind} of version {item.get('version')}; this bittailor reads version {version}. "
            "Make it again, or use the bittailor that wrote it"
        )


def save_tensors(
    path: Path | str, kind: str, version: int, body: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> None:
    """Write arrays and a JSON object, with a checksum of both, to a safetensors file."""
    write_whole(path, tensors_to_bytes(kind, version, body, tensors))


def tensors_to_bytes(
    kind: str, version: int, body: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> bytes:
    """What `save_tensors` writes."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    text = json.dumps(body)
    header = {_HEADER: kind, "version": str(version), _DIGEST: _tensor_digest(text, arrays), "body": text}
    return _ordered(save(arrays, metadata=header))


def _ordered(data: bytes) -> bytes:
    """A safetensors file with its metadata in order (the library writes it in any): equal content, equal bytes."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def load_tensors(path: Path | str, kind: str, version: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `save_tensors` wrote: (body, tensors); FileError if it is something else, damaged or of another
    version."""
    return tensors_from_bytes(read_bytes(path), path, kind, version)


def tensors_from_bytes(
    data: bytes, path: Path | str, kind: str, version: int
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `load_tensors` reads; `path` is what error messages call it."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileError(f"{path} is damaged: not a safetensors file ({error})") from None
    check_header(path, {**header, "version": _number(header.get("version"))}, kind, version)
    if header.get(_DIGEST) != _tensor_digest(str(header.get("body")), tensors):
        raise FileError(f"{path} is damaged: its content does not match its checksum")
    try:
        return dict(json.loads(header["body"])), tensors
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise FileError(f"{path} is damaged: its header is incomplete ({error})") from None


@dataclass(frozen=True)
class ArrayForm:
    """What an array of a file must be: its type, its shape, and the least and the largest value it may hold."""

    kind: type[np.generic]
    shape: tuple[int, ...]
    least: float = -np.inf
    most: float = np.inf


def check_arrays(arrays: Mapping[str, NDArray[Any]], forms: Mapping[str, ArrayForm]) -> None:
    """FileError unless these are the arrays of the forms, each of its type and shape, finite, and in its range."""
    if arrays.keys() != forms.keys():
        name = min(arrays.keys() ^ forms.keys())
        raise FileError(f"the array {shown(name)} is {'missing' if name in forms else 'one too many'}")
    for name, form in forms.items():
        array = arrays[name]
        if array.dtype != form.kind or array.shape != form.shape:
            raise FileError(f"the array '{name}' is {array.dtype} {array.shape}; expected {np.dtype(form.kind)} "
                            f"{form.shape}")
        if array.size and not (np.isfinite(array).all() and form.least <= array.min() and array.max() <= form.most):
            raise FileError(f"the array '{name}' holds NaN, infinity or values outside {form.least:g}..{form.most:g}")


def _number(text: Any) -> int | None:
    try:
        return int(text)
    except (TypeError, ValueError):
        return None
