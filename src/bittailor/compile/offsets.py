"""Offsets of rows as a device stores them, where reading them is cheap and takes few bytes.

Biases of few bits and corrections for zero-points that are powers of two share factors of two: those stand in the code.
What is left is rounded up to a multiple of four bits, up to 16: such integers never begin where they would span a byte
more than others do, and of 8 and 16 bits they are arrays of C. Read at their least width, of 5 to 15 bits, they would
take four to ten instructions more each, beside which narrow products are cheap. Wider ones keep their width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from weakref import ref

import numpy as np

from bittailor.common.lru import LruCache
from bittailor.compile.device import Unpack, unpack_of
from bittailor.core.arith import Ints, signed_bits

STEP = 4
"""Widths are multiples of it …"""
MOST = 16
"""… up to this one."""
WORD = 32
"""Offsets beyond so many bits are stored as they are: C would multiply them in 32."""


@dataclass(frozen=True, eq=False)
class StoredOffsets:
    """The offsets are values · factor.

    values  [rows]
    bits    their width in flash
    factor  a power of two
    """

    values: Ints
    bits: int
    factor: int

    @property
    def packed(self) -> bool:
        """Whether they are packed in bytes; otherwise their array has a type of C's."""
        return self.bits not in (8, 16)

    @property
    def unpack(self) -> Unpack:
        """How a device reads one."""
        one = unpack_of(self.values, self.bits) if self.packed else Unpack("", self.bits)
        return replace(one, factor=self.factor)

    @property
    def ctype(self) -> str:
        """Of the array that holds them."""
        return "uint8_t" if self.packed else f"int{self.bits}_t"


def stored_offsets(values: Ints) -> StoredOffsets:
    """How offsets [rows], not all 0, lie in flash. Remembered: a search binds the same operators again and again."""
    known = _STORED.get(id(values))
    if known is None or known.anchor() is not values:
        known = _STORED.put(id(values), _Known(_stored(values), ref(values)))
    return known.offsets


def _stored(values: Ints) -> StoredOffsets:
    ones = int(np.bitwise_or.reduce(values))
    bits = signed_bits(values)
    if bits > WORD:
        return StoredOffsets(values, bits, 1)
    factor = ones & -ones
    least = values // factor
    bits = signed_bits(least)
    return StoredOffsets(least, min(-(-bits // STEP) * STEP, MOST) if bits <= MOST else bits, factor)


@dataclass(frozen=True, eq=False)
class _Known:
    """What was worked out, and of which array."""

    offsets: StoredOffsets
    anchor: Callable[[], object]


_STORED: LruCache[int, _Known] = LruCache(1 << 12)
