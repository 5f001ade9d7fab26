"""What every benchmark shares: its arguments, its rows in a CSV file, and how it ends."""

from __future__ import annotations

import argparse
import csv
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bittailor.cli.show import comparison_csv
from bittailor.common.files import write_whole
from bittailor.errors import BittailorError

SIZE = ("error", "size")
"""Objectives of the tables that are compared with papers: weights and biases times their widths. A search that is asked
for nothing else takes `flash`."""


def arguments(about: str | None, data: bool = False) -> argparse.ArgumentParser:
    """A parser whose help is the benchmark's page; with `data` it takes where data sets and trained networks are."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data:
        parser.add_argument("--data", default="", help="folder with the data sets")
        parser.add_argument("--cache", type=Path, help="folder for trained float networks")
    return parser


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows that are there already; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows, all or nothing."""
    write_whole(path, comparison_csv(list(rows)).encode())


AGAIN = 15.0
"""Seconds after which what was interrupted and has not ended is interrupted again."""


def stop_after(seconds: float) -> None:
    """Have this process interrupted after so long, as if by Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what was started in the background may be deaf to it
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)


def as_command(main: Callable[[], int | None]) -> NoReturn:
    """Exit with what `main` returns (None: 0); one line for what a user can cause, 130 after Ctrl-C."""
    try:
        sys.exit(main())
    except BittailorError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt:
        print("stopped; what was written stays, the same command goes on or begins again", file=sys.stderr)
        sys.exit(130)
