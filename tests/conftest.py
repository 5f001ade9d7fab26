"""Shared by all tests: one seed for everything random, printed in the header, and strict NumPy.

    pytest --seed 12345        repeats a run
"""

from __future__ import annotations

import random
import signal
import zlib
from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest

hypothesis.settings.register_profile(
    "bittailor", deadline=None, max_examples=50, print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("bittailor")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="seed of everything random; a fresh one if not given")


def pytest_configure(config: pytest.Config) -> None:
    # a shell starts jobs in the background deaf to Ctrl-C, and what they start inherits that: commands under test would
    # rightly ignore the signals that tests send them
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    shared = getattr(config, "workerinput", {}).get("bittailor_seed")
    seed = config.getoption("--seed") if shared is None else shared
    config.stash[SEED] = random.SystemRandom().randrange(2**31) if seed is None else seed
    if config.getoption("hypothesis_seed", None) is None:
        hypothesis.core.global_force_seed = config.stash[SEED]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Workers of pytest-xdist draw from the same seed."""
    node.workerinput["bittailor_seed"] = node.config.stash[SEED]


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.stash[SEED]} (repeat with --seed {config.stash[SEED]})"


def pytest_terminal_summary(terminalreporter: object, config: pytest.Config) -> None:
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"repeat with: --seed {config.stash[SEED]}")


SEED = pytest.StashKey[int]()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers of this test, from the seed of the run."""
    return np.random.default_rng([request.config.stash[SEED], zlib.crc32(request.node.nodeid.encode())])


@pytest.fixture(autouse=True)
def _strict_numpy() -> Iterator[None]:
    """Overflow, division by zero and NaN raise instead of passing in silence."""
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        yield
