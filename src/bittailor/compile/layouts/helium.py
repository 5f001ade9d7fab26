"""Blocks of eight rows for cores with Helium (Cortex-M55).

A byte holds weights of 8 // bits rows for one input; inputs come 16 at a time, vector after vector of a group, the last
vectors as long as there are inputs left: nothing is padded.

2 and 4 bits: digits in two's complement, their sum modulo 2**8. Shifted up until digit k is the topmost, a byte is the
number of the digits up to k; the kernel multiplies that, and a row is the difference of two sums.
1 bit: bit r of a byte is row r, set for +1.
Weights of other widths are stored in the next larger one of 4 or 8 bits.
"""

from __future__ import annotations

import numpy as np

from bittailor.compile.layouts.base import Family, Layout, Preparation, Words
from bittailor.core.arith import Ints

ROWS, LANES = 8, 16
TOTAL = Preparation("bt_helium_total_x8", "int32_t", lambda n: 1)


class Digits(Layout):
    """8 // bits rows to a byte."""

    header, ctype, wide, rows = "bt_rows_helium.h", "uint8_t", False, ROWS
    preparation: Preparation | None = None

    def __init__(self, bits: int, widths: frozenset[int], places: tuple[tuple[int, ...], ...]) -> None:
        """`places` are the rows of a block by vector and digit."""
        self.bits, self.widths, self.places = bits, widths, np.array(places)
        self.kernel = self.name = f"bt_helium{bits}_x8"

    def fits(self, W: Ints, reach: int) -> bool:
        """Sums of bytes fit 32 bits, and no weight is the lowest of its format: borrows of digits need the room."""
        return int(np.abs(W).max()) < 1 << (self.bits - 1) and W.shape[1] * 128 * reach < 1 << 31

    def pack(self, W: Ints) -> Words:
        """[block, group of inputs, vector, input]."""
        digits = W.reshape(-1, ROWS, W.shape[1])[:, self.places]  # block, vector, digit, input
        shifts = np.arange(self.places.shape[1]) * self.bits
        return _vectors((digits << shifts[:, None]).sum(axis=2))

    def unpack(self, words: Words, rows: int, n: int) -> Ints:
        """Digit by digit from below, as a reader does."""
        left = _bytes(words, rows // ROWS, len(self.places), n)
        W = np.zeros((rows // ROWS, ROWS, n), np.int64)
        half = 1 << (self.bits - 1)
        for digit in range(self.places.shape[1]):
            lowest = (left + half & 2 * half - 1) - half
            W[:, self.places[:, digit]] = lowest
            left = left - lowest >> self.bits
        return W.reshape(rows, n)


class Bits(Layout):
    """Weights of one bit."""

    name = kernel = "bt_helium1_x8"
    header, ctype, wide, rows, raw = "bt_rows_helium.h", "uint8_t", False, ROWS, True
    widths = frozenset({1})
    preparation = TOTAL

    def fits(self, W: Ints, reach: int) -> bool:
        """Sums of bytes, twice, fit 32 bits."""
        return bool((np.abs(W) == 1).all()) and W.shape[1] * 256 * reach < 1 << 31

    def pack(self, W: Ints) -> Words:
        """[block, input]: as one vector per group."""
        bits = (W > 0).astype(np.int64).reshape(-1, ROWS, W.shape[1])
        return _vectors((bits << np.arange(ROWS)[:, None]).sum(axis=1, keepdims=True))

    def unpack(self, words: Words, rows: int, n: int) -> Ints:
        """The inverse."""
        bits = _bytes(words, rows // ROWS, 1, n) >> np.arange(ROWS)[:, None] & 1
        W: Ints = (2 * bits - 1).reshape(rows, n)
        return W


def _vectors(values: Ints) -> Words:
    """[block, vector, input] as bytes, group by group of inputs."""
    parts = [values[..., i:i + LANES].reshape(len(values), -1) for i in range(0, values.shape[-1], LANES)]
    words: Words = (np.concatenate(parts, axis=1) & 0xFF).astype(np.uint8).ravel()
    return words


def _bytes(words: Words, blocks: int, vectors: int, n: int) -> Ints:
    """The inverse of `_vectors`, signed."""
    flat = words.view(np.int8).astype(np.int64).reshape(blocks, -1)
    parts = [flat[:, vectors * i:vectors * min(i + LANES, n)].reshape(blocks, vectors, -1) for i in range(0, n, LANES)]
    return np.concatenate(parts, axis=-1)


HELIUM = Family("helium", ("m55",), (
    Bits(),
    Digits(2, frozenset({2}), ((0, 1, 2, 3), (4, 5, 6, 7))),
    Digits(4, frozenset({3, 4}), ((0, 4), (1, 5), (2, 6), (3, 7))),
    Digits(8, frozenset({5, 6, 7, 8}), tuple((row,) for row in range(ROWS))),
))
