"""Blocks of eight rows for cores with Helium (Cortex-M55).

A byte holds weights of 8 // bits rows for one input; inputs come 16 at a time, vector after vector of a group, the last
vectors as long as there are inputs left: nothing is padded.

2 and 4 bits: digits in two's complement, their sum modulo 2**8. Shifted up until digit k is the topmost, a byte is the
number of the digits up to k; the kernel multiplies that, and a row is the difference of two sums. 16-bit activations
come 8 at a time and leave no room for shifts: digits below the top are stored as w + 2**(bits-1) and cut out with
masks.
1 bit: bit r of a byte is row r, set for +1.
Weights of other widths are stored in the next larger one of 4 or 8 bits.
"""

from __future__ import annotations

import numpy as np

from bittailor.compile.layouts.base import Family, Layout, Preparation, Words
from bittailor.core.arith import Ints

ROWS = 8
TOTAL8, TOTAL16 = (Preparation(f"bt_helium_total_x{storage}", "int32_t", lambda n: 1) for storage in (8, 16))


class Digits(Layout):
    """8 // bits rows to a byte."""

    header, ctype, rows = "bt_rows_helium.h", "uint8_t", ROWS

    def __init__(self, bits: int, widths: frozenset[int], places: tuple[tuple[int, ...], ...], wide: bool) -> None:
        """`places` are the rows of a block by vector and digit."""
        self.bits, self.widths, self.places, self.wide = bits, widths, np.array(places), wide
        self.kernel = self.name = f"bt_helium{bits}_x{16 if wide else 8}"
        self.raw = wide and bits < 8
        self.preparation = TOTAL16 if self.raw else None

    @property
    def offsets(self) -> Ints:
        """What is added to each digit."""
        offset = (1 << (self.bits - 1)) * self.wide
        return np.array([offset] * (self.places.shape[1] - 1) + [0])

    def fits(self, W: Ints, reach: int) -> bool:
        """Sums of bytes fit 32 bits, and no weight is the lowest of its format: borrows of digits need the room."""
        return int(np.abs(W).max()) < 1 << (self.bits - 1) and W.shape[1] * 128 * reach < 1 << 31

    def pack(self, W: Ints) -> Words:
        """[block, group of inputs, vector, input]."""
        digits = W.reshape(-1, ROWS, W.shape[1])[:, self.places]  # block, vector, digit, input
        shifts = np.arange(self.places.shape[1]) * self.bits
        return _vectors(((digits + self.offsets[:, None]) << shifts[:, None]).sum(axis=2), self.wide)

    def unpack(self, words: Words, rows: int, n: int) -> Ints:
        """Digit by digit from below, as a reader does."""
        left = _bytes(words, rows // ROWS, len(self.places), n, self.wide)
        W = np.zeros((rows // ROWS, ROWS, n), np.int64)
        half = 1 << (self.bits - 1)
        for digit, offset in enumerate(self.offsets):
            lowest = (left + half - offset & 2 * half - 1) - half + offset
            W[:, self.places[:, digit]] = lowest - offset
            left = left - lowest >> self.bits
        return W.reshape(rows, n)


class Bits(Layout):
    """Weights of one bit."""

    header, ctype, rows, raw, widths = "bt_rows_helium.h", "uint8_t", ROWS, True, frozenset({1})

    def __init__(self, wide: bool) -> None:
        self.wide, self.kernel = wide, f"bt_helium1_x{16 if wide else 8}"
        self.name, self.preparation = self.kernel, TOTAL16 if wide else TOTAL8

    def fits(self, W: Ints, reach: int) -> bool:
        """Sums of bytes, twice, fit 32 bits."""
        return bool((np.abs(W) == 1).all()) and W.shape[1] * 256 * reach < 1 << 31

    def pack(self, W: Ints) -> Words:
        """[block, input]: as one vector per group."""
        bits = (W > 0).astype(np.int64).reshape(-1, ROWS, W.shape[1])
        return _vectors((bits << np.arange(ROWS)[:, None]).sum(axis=1, keepdims=True), self.wide)

    def unpack(self, words: Words, rows: int, n: int) -> Ints:
        """The inverse."""
        bits = _bytes(words, rows // ROWS, 1, n, self.wide) >> np.arange(ROWS)[:, None] & 1
        W: Ints = (2 * bits - 1).reshape(rows, n)
        return W


def _group(wide: bool) -> int:
    """Inputs of a vector."""
    return 8 if wide else 16


def _vectors(values: Ints, wide: bool) -> Words:
    """[block, vector, input] as bytes, group by group of inputs."""
    size = _group(wide)
    parts = [values[..., i:i + size].reshape(len(values), -1) for i in range(0, values.shape[-1], size)]
    words: Words = (np.concatenate(parts, axis=1) & 0xFF).astype(np.uint8).ravel()
    return words


def _bytes(words: Words, blocks: int, vectors: int, n: int, wide: bool) -> Ints:
    """The inverse of `_vectors`, signed."""
    flat, size = words.view(np.int8).astype(np.int64).reshape(blocks, -1), _group(wide)
    parts = [flat[:, vectors * i:vectors * min(i + size, n)].reshape(blocks, vectors, -1) for i in range(0, n, size)]
    return np.concatenate(parts, axis=-1)


def _layouts(wide: bool) -> tuple[Layout, ...]:
    return (
        Bits(wide),
        Digits(2, frozenset({2}), ((0, 1, 2, 3), (4, 5, 6, 7)), wide),
        Digits(4, frozenset({3, 4}), ((0, 4), (1, 5), (2, 6), (3, 7)), wide),
        Digits(8, frozenset({5, 6, 7, 8}), tuple((row,) for row in range(ROWS)), wide),
    )


HELIUM = Family("helium", ("m55",), (*_layouts(False), *_layouts(True)))
