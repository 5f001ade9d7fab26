"""Exported folders that were changed by somebody who knows their checksums."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from bittailor.common.files import load_json, save_json
from bittailor.export.folder import EXPORT_KIND, EXPORT_VERSION


def rewritten(folder: Path, copy: Path, name: str, data: bytes) -> Path:
    """A folder whose file and checksum were changed together."""
    shutil.copytree(folder, copy)
    (copy / name).write_bytes(data)
    facts = load_json(copy / "export.json", EXPORT_KIND, EXPORT_VERSION)
    facts["files"][name] = hashlib.sha256(data).hexdigest()[:32]
    save_json(copy / "export.json", EXPORT_KIND, EXPORT_VERSION, {
        k: v for k, v in facts.items() if k not in ("bittailor", "version", "sha256")})
    return copy
