"""Installs a wheel where there is no compiler, and searches there.

    python tools/check_wheel.py dist            # the wheel in dist/ that fits this machine
    python tools/check_wheel.py dist/NAME.whl   # one of them

Makes a virtual environment in a temporary folder, installs the wheel and what it needs (from wherever pip is set up to
look), and runs `check_installed.py` with a PATH that holds nothing but that environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent


def best(folder: Path) -> Path:
    """The wheel of this platform, or the one for any."""
    machine = os.uname().machine if hasattr(os, "uname") else "amd64"
    fitting = sorted(folder.glob(f"*{machine}.whl")) or sorted(folder.glob("*any.whl"))
    if not fitting:
        sys.exit(f"{folder} has no wheel; make them: python tools/wheels.py")
    return fitting[-1]


def main(given: Path) -> int:
    """The exit status of the check."""
    wheel = best(given) if given.is_dir() else given
    with tempfile.TemporaryDirectory(prefix="bittailor-wheel-") as place:
        home = Path(place)
        venv.create(home / "venv", with_pip=True)
        binaries = home / "venv" / ("Scripts" if os.name == "nt" else "bin")
        python = binaries / "python"
        quiet = ["--quiet", "--disable-pip-version-check"]
        subprocess.run([python, "-m", "pip", "install", *quiet, str(wheel)], check=True,
                       env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")})
        kept = {k: v for k, v in os.environ.items() if k in ("SYSTEMROOT", "TEMP", "TMP", "LANG")}
        bare = {**kept, "PATH": str(binaries), "HOME": place, "XDG_CACHE_HOME": str(home / "cache")}
        print(f"installed {wheel.name}; no compiler in {binaries}", flush=True)
        for words in (["-m", "bittailor", "engines"], [str(HERE / "check_installed.py"), wheel.name]):
            done = subprocess.run([python, *words], env=bare, cwd=home, check=False)
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
