"""Whether a file lies on a network file system, by the system's table of mounts."""

from __future__ import annotations

import re
import sys
from pathlib import Path

TABLE = Path("/proc/self/mounts")
NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2",
    "orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "virtiofs", "wekafs",
}
"""Types of which several machines may have one mounted, also behind `fuse.`."""
_FUSE = {"sshfs", "s3fs", "juicefs", "rclone", "gcsfuse", "mount.ceph", "moosefs", "lizardfs", "davfs"}


def network_filesystem(path: Path | str) -> str | None:
    """The type of the network file system that a path lies on, such as "nfs4"; None where it lies on none, or the
    system does not say (macOS)."""
    if sys.platform == "win32":
        return "smb" if str(Path(path).resolve()).startswith("\\\\") else None
    try:
        lines = TABLE.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    place = Path(path).resolve()
    best: tuple[int, str] = (-1, "")
    for line in lines:
        _, mount, kind, *_ = line.split(" ")
        where = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), mount))
        # of two on one place the later hides the earlier
        if place.is_relative_to(where) and len(where.parts) >= best[0]:
            best = len(where.parts), kind
    kind = best[1]
    bare = kind.removeprefix("fuse.")
    return kind if bare in NETWORK or (kind.startswith("fuse.") and bare in _FUSE) else None
