"""Rows as digits of a halfword, for cores with Arm's DSP instructions; one bit: signs as byte masks.

A 32-bit word holds, for two neighbouring inputs (its halves, the lower one first), a weight of each of K rows: the
digits of a halfword to the base 2**step. Digits below the top are stored as w + 2**(b-1) - 1, so that a mask of all
digits up to k needs no sign; the top digit is in two's complement and makes the halfword a signed number. At 8 bits the
lower digit is signed as well, and the upper one is what is left of the halfword; with 16-bit activations both are bytes
in two's complement, and cut out. With S_k the sum over a row's inputs of
(digits up to k) x, the row of digit k is (S_k - S_(k-1)) >> k step, exact as long as it fits what that shift leaves of
the word. Sums of digits are 32-bit for 8-bit activations, 64-bit for 16-bit ones.

Two bits are three numbers, so small that two rows go into one product: a word is two inputs of eight rows, and turned
to the right by 4 p it has, in both halves, w + 1 of row 2 p in its lowest digit and row 2 p + 1, in two's complement,
in its highest. The sums of both come apart as long as that of row 2 p fits 14 bits. 16-bit activations have no room
for that: digits as above.

One bit: a word is 32 inputs of one row, bit k of its byte j input 4 k + j, set for -1. The kernel sums |u - mask|,
u = x + 128 and mask 0 or 255, less 128 n: x for a weight of +1, -x - 1 for one of -1, hence a constant of the row.
"""

from __future__ import annotations

import numpy as np

from bittailor.compile.layouts.base import Family, Layout, Preparation, Words
from bittailor.core.arith import Ints

PAIRS8 = Preparation("bt_dsp_x8", "uint32_t", lambda n: 1 + (n + 1) // 2)
PAIRS16 = Preparation("bt_dsp_x16", "uint32_t", lambda n: 1 + (n + 1) // 2)
BYTES = Preparation("bt_dsp_u8", "uint32_t", lambda n: 8 * -(-n // 32))
"""The sum, then pairs of 16 bits; x + 128 as bytes, in whole groups of 32 inputs."""
HALF, WORD = 16, 32


class Digits(Layout):
    """K rows to a halfword."""

    header, ctype = "bt_rows_dsp.h", "uint32_t"

    def __init__(self, bits: int, widths: frozenset[int], digits: int, words: int, wide: bool) -> None:
        """`digits` rows to a halfword, `words` halfwords to a block."""
        self.bits, self.digits, self.wide, self.widths = bits, digits, wide, widths
        self.kernel = self.name = f"bt_dsp{bits}_x{16 if wide else 8}"
        self.rows = digits * words
        self.preparation = PAIRS16 if wide else PAIRS8

    @property
    def offset(self) -> int:
        """What is added to digits below the top."""
        return 0 if self.bits == 8 else (1 << (self.bits - 1)) - 1

    @property
    def split(self) -> bool:
        """Whether digits are numbers of their own, without borrows."""
        return self.bits == 8 and self.wide

    def fits(self, W: Ints, reach: int) -> bool:
        """Every row fits what the shift of its digit leaves of its sum. 64-bit sums leave more than there is."""
        if int(np.abs(W).max()) > (1 << (self.bits - 1)) - 1:
            return False
        if self.wide:
            return True
        digit = np.arange(len(W)) % self.digits
        return bool((np.abs(W).sum(axis=1) * reach < 1 << (WORD - 1 - digit * self.bits)).all())

    def pack(self, W: Ints) -> Words:
        """See the module: [block, pair of inputs, word], the halves of a word together."""
        k, even = self.digits, np.pad(W, ((0, 0), (0, W.shape[1] % 2)))
        digits = even.reshape(-1, self.rows // k, k, even.shape[1])  # block, word, digit, input
        digits = digits + self.offset * (np.arange(k) < k - 1)[:, None]
        if self.split:
            digits = digits & 0xFF
        halves = (digits << (np.arange(k) * self.bits)[:, None]).sum(axis=2) & 0xFFFF  # block, word, input
        pairs = halves[..., 0::2] | halves[..., 1::2] << HALF
        words: Words = pairs.transpose(0, 2, 1).ravel().astype(np.uint32)
        return words

    def unpack(self, words: Words, rows: int, n: int) -> Ints:
        """Digit by digit from below, as a reader does."""
        k = self.digits
        pairs = words.astype(np.int64).reshape(rows // self.rows, -1, self.rows // k).transpose(0, 2, 1)
        halves = np.stack([pairs & 0xFFFF, pairs >> HALF], axis=-1).reshape(*pairs.shape[:2], -1)
        halves = (halves ^ 0x8000) - 0x8000
        found = []
        for digit in range(k):
            low = halves if digit == k - 1 else halves & ((1 << self.bits) - 1)
            if self.bits == 8 and digit < k - 1:
                low = (low ^ 0x80) - 0x80
            found.append(low - (self.offset if digit < k - 1 else 0))
            halves = (halves if self.split else halves - low) >> self.bits
        W: Ints = np.stack(found, axis=2).reshape(rows, -1)[:, :n]
        return W


class Ternary(Layout):
    """Weights of two bits: -1, 0 and 1, two rows to a multiplication."""

    name = kernel = "bt_dsp2_x8"
    header, ctype, widths, wide, rows = "bt_rows_dsp.h", "uint32_t", frozenset({2}), False, 8
    preparation = PAIRS8
    apart = 14
    """Places between the sums of the two rows."""
    places = (16 * np.arange(2) + 4 * (np.arange(8) // 2)[:, None] + 14 * (np.arange(8) % 2)[:, None]) % WORD
    """[row, half]"""
    offsets = 1 - np.arange(8) % 2

    def fits(self, W: Ints, reach: int) -> bool:
        """The first of two rows fits the places below the second, the second those above."""
        most = np.where(np.arange(len(W)) % 2, 1 << (WORD - 2 - self.apart), 1 << (self.apart - 1))
        return int(np.abs(W).max()) <= 1 and bool((np.abs(W).sum(axis=1) * reach < most).all())

    def pack(self, W: Ints) -> Words:
        """[block, pair of inputs]."""
        even = np.pad(W, ((0, 0), (0, W.shape[1] % 2))).reshape(-1, 8, (W.shape[1] + 1) // 2, 2)
        digits = even + self.offsets[:, None, None] & 3
        words: Words = (digits << self.places[:, None]).sum(axis=(1, 3)).ravel().astype(np.uint32)
        return words

    def unpack(self, words: Words, rows: int, n: int) -> Ints:
        """The inverse."""
        digits = words.astype(np.int64).reshape(rows // 8, 1, -1, 1) >> self.places[:, None] & 3
        signed = np.where(self.offsets[:, None, None], digits - 1, (digits ^ 2) - 2)
        W: Ints = signed.reshape(rows, -1)[:, :n]
        return W


class Signs(Layout):
    """Weights of one bit."""

    name = kernel = "bt_dsp1_x8"
    header, ctype, widths, wide, rows = "bt_rows_dsp.h", "uint32_t", frozenset({1}), False, 8
    preparation = BYTES

    def fits(self, W: Ints, reach: int) -> bool:
        """Sums of 255 fit 32 bits up to 2**23 columns."""
        return W.shape[1] < 1 << 23 and bool((np.abs(W) == 1).all())

    def pack(self, W: Ints) -> Words:
        """[row, group of 32 inputs]; inputs beyond the last are +1, times nothing."""
        n = W.shape[1]
        signs = np.pad(W < 0, ((0, 0), (0, -n % WORD))).astype(np.int64).reshape(len(W), -1, 8, 4)
        places = 8 * np.arange(4)[None, :] + np.arange(8)[:, None]
        words: Words = (signs << places).sum(axis=(2, 3)).ravel().astype(np.uint32)
        return words

    def unpack(self, words: Words, rows: int, n: int) -> Ints:
        """The inverse."""
        places = 8 * np.arange(4)[None, :] + np.arange(8)[:, None]
        W: Ints = 1 - 2 * ((words.astype(np.int64).reshape(rows, -1, 1, 1) >> places) & 1).reshape(rows, -1)[:, :n]
        return W

    def row_constants(self, W: Ints) -> Ints:
        """How many are -1."""
        return np.asarray((W < 0).sum(axis=1))


def _digits(bits: int, widths: set[int], digits: int, words: int) -> tuple[Digits, Digits]:
    narrow, wide = (Digits(bits, frozenset(widths), digits, words, wide) for wide in (False, True))
    return narrow, wide


DSP = Family("dsp", ("m4", "m7", "m33"), (
    Signs(),
    Ternary(),
    Digits(2, frozenset({2}), 8, 1, True),
    *_digits(3, {3}, 5, 1),
    *_digits(4, {4}, 4, 2),
    *_digits(5, {5}, 3, 2),
    *_digits(8, {6, 7, 8}, 2, 4),
))
