"""Forks while threads use the native engine; every child must compute, and end. Run by test_native.py."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import networks
from bittailor.engines import Native

CHILDREN, SECONDS = 12, 60


def main() -> None:
    native, cases = Native(threads=1), [networks.random_case(seed) for seed in range(6)]
    # loading the library imports modules, and Python's import locks do not survive a fork
    native.run(cases[0].program, cases[0].q, cases[0].lengths)
    stop = threading.Event()

    def work(seed: int) -> None:
        while not stop.is_set():
            program = networks.random_case(seed).program
            native.run(program, cases[seed].q, cases[seed].lengths)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for i in range(CHILDREN):
        time.sleep(0.02 + 0.007 * i)
        child = os.fork()
        if child == 0:
            case = networks.random_case(i % 6)
            native.run(case.program, case.q, case.lengths)
            os._exit(0)
        children.append(child)
    stop.set()
    for thread in threads:
        thread.join()
    left, end = set(children), time.monotonic() + SECONDS
    while left and time.monotonic() < end:
        for child in list(left):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                assert status == 0, status
                left.discard(child)
        time.sleep(0.05)
    for child in left:
        os.kill(child, 9)
    print(f"{len(left)} of {CHILDREN} children hang")


if __name__ == "__main__":
    main()
