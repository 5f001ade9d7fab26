"""What the tests of runs share: a small network that answers at once, and data on which its error is 0."""

from __future__ import annotations

import pytest

import bittailor as bt
from small import small_data, small_network


@pytest.fixture(scope="module")
def network() -> bt.Network:
    return small_network()


@pytest.fixture(scope="module")
def data(network: bt.Network) -> bt.Splits:
    return small_data(network)
