"""Speech from text, with the time of every phoneme: espeak-ng through the package `espeakng-loader`, offline."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bittailor.common.processors import workers_of
from bittailor.errors import BittailorError
from bittailor.tasks.base import need

T = TypeVar("T")
WORKER = Path(__file__).with_name("espeak_worker.py")


@dataclass(frozen=True)
class Request:
    """What to say and how.

    voice  as espeak-ng names it, e.g. "en-us+m3"
    speed  words a minute, 80..450
    pitch, range  0..100; 50 is the voice's own
    """

    voice: str
    text: str
    speed: int = 175
    pitch: int = 50
    range: int = 50


@dataclass(frozen=True, eq=False)
class Speech:
    """What was said.

    rate      Hz
    samples   int16
    events    (first sample, espeak-ng's name of the phoneme), in order of time; "_" and "_:" are pauses
    """

    rate: int
    samples: NDArray[np.int16]
    events: list[tuple[int, str]]


def version() -> str:
    """The version of the installed package, a part of what decides the samples; BittailorError where it is missing."""
    need("espeakng_loader", "speech")
    from importlib.metadata import version

    return version("espeakng-loader")


def speak(requests: Sequence[Request], use: Callable[[int, Speech], T], workers: int = 0) -> Iterator[T]:
    """`use(index, speech)` for every request, in order; equal requests give equal samples in every call.

    workers   processes that speak, each with a thread here that calls `use`; 0 takes every core
    Raises    BittailorError where the package is not installed or espeak-ng fails.
    """
    need("espeakng_loader", "speech")
    from espeakng_loader import get_data_path, get_library_path

    there = {file.name for file in (Path(get_data_path()) / "voices" / "!v").iterdir()}
    for name in dict.fromkeys(request.voice for request in requests):
        variant = name.partition("+")[2]
        if variant and variant not in there:  # espeak-ng would take its own voice in silence
            raise BittailorError(f"cannot make speech: espeak-ng has no voice '{name}'")
    command = [sys.executable, "-I", "-S", str(WORKER), str(get_library_path()), str(get_data_path())]
    workers = workers_of(workers)
    with _processes(command, workers) as free, ThreadPoolExecutor(workers) as pool:

        def one(index: int) -> T:
            process = free.get()
            try:
                return use(index, _ask(process, requests[index]))
            finally:
                free.put(process)

        jobs = [pool.submit(one, i) for i in range(len(requests))]
        try:
            for job in jobs:
                yield job.result()
        finally:
            for job in jobs:
                job.cancel()


@contextmanager
def _processes(command: list[str], count: int) -> Iterator[SimpleQueue[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    try:
        for _ in range(count):
            started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            free.put(started[-1])
        yield free
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _ask(process: subprocess.Popen[bytes], request: Request) -> Speech:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(asdict(request)).encode() + b"\n")
        process.stdin.flush()
        head = json.loads(process.stdout.readline() or '{"error": "its process ended"}')
    except BrokenPipeError:
        head = {"error": "its process ended"}
    if "error" in head:
        raise BittailorError(f"cannot make speech: {head['error']}; is the package espeakng-loader complete?")
    samples = np.frombuffer(process.stdout.read(2 * head["samples"]), "<i2")
    return Speech(head["rate"], samples, [(int(at), name) for at, name in head["events"]])
