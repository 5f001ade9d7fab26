"""Files of the project: JSON and safetensors, each with a kind and a version, written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.errors import FileError

_HEADER = "bittailor"


def write_whole(path: Path | str, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a half. FileError if it cannot."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FileError(f"cannot write {target}: {error.strerror or error}") from None


def read_bytes(path: Path | str) -> bytes:
    """A file's bytes; FileError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from None


def save_json(path: Path | str, kind: str, version: int, body: Mapping[str, Any]) -> None:
    """Write a JSON object with its kind and version."""
    text = json.dumps({_HEADER: kind, "version": version, **body}, indent=1)
    write_whole(path, text.encode() + b"\n")


def load_json(path: Path | str, kind: str, version: int) -> dict[str, Any]:
    """Read what `save_json` wrote; FileError if it is something else, damaged or of another version."""
    try:
        item = json.loads(read_bytes(path))
    except ValueError as error:
        raise FileError(f"{path} is damaged: not JSON ({error})") from None
    check_header(path, item, kind, version)
    return dict(item)


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
    """Write arrays and a JSON object to a safetensors file."""
    from safetensors.numpy import save

    header = {_HEADER: kind, "version": str(version), "body": json.dumps(body)}
    data = save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, metadata=header)
    write_whole(path, data)


def load_tensors(path: Path | str, kind: str, version: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `save_tensors` wrote: (body, tensors)."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_bytes(path)
    try:
        tensors = load(data)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError) as error:
        raise FileError(f"{path} is damaged: not a safetensors file ({error})") from None
    check_header(path, {**header, "version": _number(header.get("version"))}, kind, version)
    try:
        return dict(json.loads(header["body"])), tensors
    except (KeyError, ValueError) as error:
        raise FileError(f"{path} is damaged: its header is incomplete ({error})") from None


def _number(text: Any) -> int | None:
    try:
        return int(text)
    except (TypeError, ValueError):
        return None
