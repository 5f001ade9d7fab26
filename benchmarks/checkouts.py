"""Two checkouts of bittailor beside each other: what `same.py`, `versus.py` and `counts.py` have in common."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bittailor.errors import BittailorError

HERE = Path(__file__).resolve().parents[1]


def parser(about: str | None) -> argparse.ArgumentParser:
    """A parser that knows --old, --old-commit and --new."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = made.add_mutually_exclusive_group()
    which.add_argument("--old", type=Path, help="a checkout")
    which.add_argument("--old-commit", default="HEAD", help="a commit of this repository; HEAD if not given")
    made.add_argument("--new", type=Path, default=HERE, help="a checkout; this one if not given")
    return made


@contextmanager
def checkouts(options: argparse.Namespace) -> Iterator[tuple[Path, Path]]:
    """Old and new; the files of --old-commit in a folder that is gone afterwards.

    Raises  BittailorError where one is no checkout.
    """
    with tempfile.TemporaryDirectory(prefix="bittailor-old-") as scratch:
        old = Path(scratch) if options.old is None else options.old.resolve()
        if options.old is None:
            take_out(options.old_commit, old)
        for checkout in (old, options.new.resolve()):
            if not (checkout / "src" / "bittailor" / "__init__.py").is_file():
                raise BittailorError(f"{checkout} is no checkout of bittailor: it has no src/bittailor")
        yield old, options.new.resolve()


def take_out(commit: str, folder: Path) -> None:
    """The sources and benchmarks of a commit."""
    archive = subprocess.run(["git", "-C", str(HERE), "archive", commit, "src", "benchmarks"],
                             capture_output=True, check=False)
    if archive.returncode:
        raise BittailorError(f"git does not give {commit}: {last_line(archive.stderr.decode())}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)


def environment(checkout: Path, caches: Path) -> dict[str, str]:
    """In which Python finds the sources of a checkout, with caches of its own.

    Raises  BittailorError where it finds others all the same.
    """
    made = {**os.environ, "PYTHONPATH": str(checkout / "src"), "XDG_CACHE_HOME": str(caches)}
    done = subprocess.run([sys.executable, "-c", "import bittailor; print(bittailor.__file__)"], env=made, cwd=checkout,
                          capture_output=True, text=True, check=False)
    if not Path(done.stdout.strip()).is_relative_to(checkout / "src"):
        raise BittailorError(f"with PYTHONPATH={checkout / 'src'} Python finds bittailor in "
                             f"{done.stdout.strip() or 'no place'} {last_line(done.stderr)}")
    return made


def last_line(text: str) -> str:
    """What an error says at its end."""
    return text.strip().splitlines()[-1] if text.strip() else ""
