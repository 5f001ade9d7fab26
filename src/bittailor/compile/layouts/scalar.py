"""Blocks of eight rows for cores without SIMD instructions: Cortex-M0, M3, RISC-V.

2 to 5 bits: a word holds K = 16 // bits successive inputs of two rows, one row per half, as w + 2**(bits-1); digit k
stands k * bits up. Both digits of an input, cut out with one mask, are u_a + 2**16 u_b, so that one multiplication by x
serves two rows. Both halves can be taken apart as long as the true sums are below 2**15: after `chunk` groups of K
inputs, known from the real weights. A group is four words, rows 0 and 1, 2 and 3, ...; what is left of the inputs
stands behind the groups, in four words or, where two pairs of rows fit the halves, in two.

With 16-bit activations there is no room for two products in a word: every digit is cut out alone. The arrays are
the same.

8 bits (and 6 and 7, where dense digits would save little): bytes w + 128, the rows of an input together. Where the
weights of four successive inputs are small enough (all of 7 bits, most of 8), digits as above, of 8 bits: after four
inputs both sums are added up, in three instructions.

1 bit: a word per four inputs, bits 4 r .. 4 r + 3 are row r's, set for +1: the number of an entry in the table of the
sums +-x0 +-x1 +-x2 +-x3, which all rows share.
"""

from __future__ import annotations

import numpy as np

from bittailor.compile.layouts.base import Family, Layout, Preparation, Words
from bittailor.core.arith import Ints

ROWS, HALF = 8, 16
TOTAL8, TOTAL16 = (Preparation(f"bt_total_x{storage}", "int32_t", lambda n: 1) for storage in (8, 16))
"""The sum of a vector."""
FOURS = Preparation("bt_fours_x8", "int32_t", lambda n: 1 + n // 4)
"""That, and what the products of every four activations are added to."""
TABLES8 = Preparation("bt_tables_x8", "uint32_t", lambda n: 8 * -(-n // 4))
TABLES16 = Preparation("bt_tables_x16", "uint32_t", lambda n: 16 * -(-n // 4))
"""A table of 16 entries, of 16 or 32 bits, per four activations."""


def _sums(step: int) -> Preparation:
    return Preparation(f"bt_sums{step}_x8", "int16_t", lambda n: 1 + -(-n // step))


SUMS = {3: _sums(3), 4: _sums(4), 5: _sums(5)}
"""Inputs between two sums -> sums of the first 0, step, 2 step … inputs and of all, modulo 2**16."""


class Pairs(Layout):
    """Two rows per word, and per multiplication."""

    header, ctype, rows, raw = "bt_rows_scalar.h", "uint32_t", ROWS, True

    def __init__(self, bits: int, wide: bool) -> None:
        self.bits, self.widths, self.wide = bits, frozenset({bits}), wide
        self.kernel = self.name = f"bt_scalar{bits}_x{16 if wide else 8}"
        self.size = HALF // bits
        """Inputs of a group."""
        self.preparation = TOTAL16 if wide else SUMS[4 if self.size == 8 else self.size]

    @property
    def offset(self) -> int:
        """What is added to weights."""
        return 1 << (self.bits - 1)

    def fits(self, W: Ints, reach: int) -> bool:
        """Sums of a group and of what is left behind it fit 16 bits whatever the weights; a row fits 32 bits."""
        most = 0 if self.wide else (2 * self.size - 1) * self.offset * reach
        return int(np.abs(W).max()) <= self.offset and most < 1 << (HALF - 1) and _exact(W, reach)

    def literals(self, W: Ints, reach: int) -> tuple[int, ...]:
        """The largest chunk, in groups, that any row allows (fewer if as many chunks do), and the number of groups."""
        rows, n = W.shape
        groups = n // self.size
        if self.wide:
            return (groups,)
        sums = np.concatenate([np.zeros((rows, 1), np.int64), np.abs(W).cumsum(axis=1) * reach], axis=1)
        for count in range(1, groups):
            chunk = -(-groups // count)
            ends = [*range(0, groups, chunk)]
            at = [self.size * end for end in ends] + [n]
            if int(np.diff(sums[:, at], axis=1).max()) < 1 << (HALF - 1):
                return chunk, groups
        return 1, groups

    def rounds(self, literals: tuple[int, ...]) -> int:
        """Chunks; 16-bit activations have none."""
        return 1 if self.wide else max(1, -(-literals[1] // literals[0]))

    def pack(self, W: Ints) -> Words:
        """[block, group, pair of rows], then what is left."""
        groups, left = divmod(W.shape[1], self.size)
        digits = (W + self.offset).reshape(-1, ROWS // 2, 2, W.shape[1])  # block, pair, half, input
        whole = digits[..., :groups * self.size].reshape(*digits.shape[:3], groups, self.size)
        words = self._words(whole).transpose(0, 2, 1).reshape(len(digits), -1)
        if left:
            last = self._words(digits[..., groups * self.size:])
            if self._folded(left):
                last = last[:, :2] | last[:, 2:] << left * self.bits
            words = np.concatenate([words, last], axis=1)
        flat: Words = words.ravel().astype(np.uint32)
        return flat

    def _folded(self, left: int) -> bool:
        """Whether two pairs of rows of what is left share a word."""
        return left <= HALF // 2 // self.bits

    def _words(self, digits: Ints) -> Ints:
        """[…, half, …, digit] -> […, …]: both halves, digit by digit."""
        places = np.arange(digits.shape[-1]) * self.bits
        halves = (digits << places).sum(axis=-1)
        words: Ints = halves[:, :, 0] | halves[:, :, 1] << HALF
        return words

    def unpack(self, words: Words, rows: int, n: int) -> Ints:
        """The inverse."""
        groups, left = divmod(n, self.size)
        blocks = words.astype(np.int64).reshape(rows // ROWS, -1)
        whole = blocks[:, :4 * groups].reshape(len(blocks), groups, 4).transpose(0, 2, 1)
        found = [self._digits(whole, self.size).reshape(len(blocks), 4, 2, -1)]
        if left:
            last = blocks[:, 4 * groups:]
            if self._folded(left):
                last = np.concatenate([last, last >> left * self.bits], axis=1)
            found.append(self._digits(last, left))
        return np.concatenate(found, axis=-1).reshape(rows, n) - self.offset

    def _digits(self, words: Ints, count: int) -> Ints:
        """[block, pair, …] -> [block, pair, half, …, digit]."""
        halves = np.stack([words, words >> HALF], axis=2)
        digits: Ints = halves[..., None] >> np.arange(count) * self.bits & (1 << self.bits) - 1
        return digits


class Bytes(Layout):
    """Rows side by side, a byte each."""

    header, ctype, rows, raw, widths = "bt_rows_scalar.h", "uint8_t", ROWS, True, frozenset({6, 7, 8})

    def __init__(self, wide: bool) -> None:
        self.wide, self.kernel = wide, f"bt_scalar8_x{16 if wide else 8}"
        self.name, self.preparation = self.kernel, TOTAL16 if wide else TOTAL8

    def fits(self, W: Ints, reach: int) -> bool:
        """Sums are modulo 2**32: only the true one has to fit."""
        return int(np.abs(W).max()) <= 128 and _exact(W, reach)

    def pack(self, W: Ints) -> Words:
        """[block, input, row]."""
        words: Words = (W + 128).reshape(-1, ROWS, W.shape[1]).transpose(0, 2, 1).ravel().astype(np.uint8)
        return words

    def unpack(self, words: Words, rows: int, n: int) -> Ints:
        """The inverse."""
        W: Ints = words.astype(np.int64).reshape(-1, n, ROWS).transpose(0, 2, 1).reshape(rows, n) - 128
        return W


class Quads(Layout):
    """Bytes of which two rows go into a multiplication, four inputs at a time; then what is left, row by row."""

    name = kernel = "bt_scalar7_x8"
    header, ctype, rows, raw, wide, widths = "bt_rows_scalar.h", "uint32_t", ROWS, True, False, frozenset({6, 7, 8})
    preparation, splits = FOURS, False

    def fits(self, W: Ints, reach: int) -> bool:
        """The sums of four inputs fit 16 bits: true of 7 bits, and of 8 where few weights are large."""
        n = W.shape[1]
        fours = np.abs(W)[:, :n // 4 * 4].reshape(len(W), -1, 4).sum(axis=2) * reach
        small = int(np.abs(W).max()) <= 128 and _exact(W, reach)
        return small and n >= 4 and int(fours.max()) < 1 << (HALF - 1)

    def pack(self, W: Ints) -> Words:
        """[block, two inputs, pair of rows], then [block, input, half of the rows]."""
        u, whole = (W + 128).reshape(-1, ROWS, W.shape[1]), W.shape[1] // 4 * 4
        digits = u[..., :whole].reshape(len(u), 4, 2, whole // 2, 2)  # block, pair, row, two inputs, input
        places = HALF * np.arange(2)[:, None, None] + 8 * np.arange(2)
        words = (digits << places).sum(axis=(2, 4)).transpose(0, 2, 1).reshape(len(u), -1)
        last = (u[..., whole:].reshape(len(u), 2, 4, -1) << 8 * np.arange(4)[:, None]).sum(axis=2)
        flat = np.concatenate([words, last.transpose(0, 2, 1).reshape(len(u), -1)], axis=1)
        found: Words = flat.ravel().astype(np.uint32)
        return found

    def unpack(self, words: Words, rows: int, n: int) -> Ints:
        """The inverse."""
        blocks, whole = words.astype(np.int64).reshape(rows // ROWS, -1), n // 4 * 4
        pairs = blocks[:, :2 * whole].reshape(len(blocks), whole // 2, 4).transpose(0, 2, 1)[:, :, None, :, None]
        digits = pairs >> (HALF * np.arange(2)[:, None, None] + 8 * np.arange(2)) & 0xFF
        last = blocks[:, 2 * whole:].reshape(len(blocks), n - whole, 2).transpose(0, 2, 1)[:, :, None]
        bytes_ = (last >> 8 * np.arange(4)[:, None] & 0xFF).reshape(len(blocks), ROWS, -1)
        W: Ints = np.concatenate([digits.reshape(len(blocks), ROWS, whole), bytes_], axis=2).reshape(rows, n) - 128
        return W


class Nibbles(Layout):
    """Weights of one bit: numbers of table entries."""

    header, ctype, rows, widths = "bt_rows_scalar.h", "uint32_t", ROWS, frozenset({1})

    def __init__(self, wide: bool) -> None:
        self.wide, self.kernel = wide, f"bt_scalar1_x{16 if wide else 8}"
        self.name, self.preparation = self.kernel, TABLES16 if wide else TABLES8

    def fits(self, W: Ints, reach: int) -> bool:
        """An entry is 512 plus a sum of four 8-bit activations, in 16 bits; 512 per group fit 32 bits, too."""
        narrow = reach <= 128 and W.shape[1] < 1 << 22
        return bool((np.abs(W) == 1).all()) and _exact(W, reach) and (self.wide or narrow)

    def pack(self, W: Ints) -> Words:
        """[block, four inputs]; inputs beyond the last meet a zero."""
        bits = np.pad(W > 0, ((0, 0), (0, -W.shape[1] % 4))).astype(np.int64)
        nibbles = (bits.reshape(-1, ROWS, bits.shape[1] // 4, 4) << np.arange(4)).sum(axis=-1)
        words: Words = (nibbles << 4 * np.arange(ROWS)[:, None]).sum(axis=1).ravel().astype(np.uint32)
        return words

    def unpack(self, words: Words, rows: int, n: int) -> Ints:
        """The inverse."""
        groups = words.astype(np.int64).reshape(rows // ROWS, 1, -1, 1)
        bits = groups >> (4 * np.arange(ROWS)[:, None, None] + np.arange(4)) & 1
        W: Ints = 2 * bits.reshape(rows, -1)[:, :n] - 1
        return W


def _exact(W: Ints, reach: int) -> bool:
    """Whether every row's sum fits 32 bits."""
    return int(np.abs(W).sum(axis=1).max()) * reach < 1 << 31


NARROW = (Nibbles(False), *(Pairs(bits, False) for bits in (2, 3, 4, 5)), Quads(), Bytes(False))
WIDE = (Nibbles(True), *(Pairs(bits, True) for bits in (2, 3, 4, 5)), Bytes(True))
SCALAR = Family("scalar", ("m0", "m3", "rv32"), (*NARROW, *WIDE))
