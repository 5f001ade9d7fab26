"""What a device runs for one value of an instruction, by the names of `runtime/device/`."""

from __future__ import annotations

from dataclasses import dataclass

from bittailor.core.arith import Ints

UNPACKED_BITS = 32
"""Packed integers up to this width are read as 32 bits, wider ones as 64."""
ELEMENT_BITS = 25
"""Packed integers up to this width span four bytes at most, wherever they begin."""


@dataclass(frozen=True)
class Unpack:
    """How a device reads an integer of a packed array.

    function  bt_element where it is inline, bt_bits or bt_bits_wide; empty: the array is of integers of this width
    bits      of the integer
    bytes     of the array, for bt_element
    span      bytes that the integer may lie in, for bt_element
    factor    by which it is multiplied, a power of two
    """

    function: str
    bits: int
    bytes: int = 0
    span: int = 0
    factor: int = 1

    @property
    def linked(self) -> bool:
        """Whether it is read by a function that is not inline."""
        return self.function != "" and not self.span

    @property
    def called(self) -> str:
        """The function, with the span of what is inline, and whether that is the same wherever an integer begins:
        bt_element3, bt_element2 even. Of an array of integers: array16."""
        even = " even" * (self.span > 0 and (self.bits + 7) // 8 == self.span)
        return f"{self.function}{self.span or ''}{even}" if self.function else f"array{self.bits}"

    def text(self, array: str, index: str) -> str:
        """As a C expression."""
        size = f", {self.bytes}u" if self.function == "bt_element" else ""
        found = f"{self.function}({array}{size}, {index}, {self.bits}u)" if self.function else f"{array}[{index}]"
        if self.factor == 1:
            return found
        return f"{found if self.function else f'(int32_t){found}'} * {self.factor}"


@dataclass(frozen=True)
class DeviceCall:
    """What a device runs for one value of an instruction, by the names of `runtime/device/`.

    The C exporter writes these calls, the cost model counts them.

    function  gives the result
    literals  the integers that stand in the code
    products  multiplications (the address of a matrix row is one) beside those of the functions called
    dot       (function, columns) of a dot product
    unpacks   the packed integers that are read
    per_row   whether every row has a multiplier of its own, from an array
    before    the function that looks at the whole vector before the loop, "" for none
    zeros     zero-points that are taken off values, other than 0
    odd       whether its limits are other than those of a signed integer, which some cores have an instruction for
    """

    function: str
    literals: tuple[int, ...]
    products: int = 0
    dot: tuple[str, int] | None = None
    unpacks: tuple[Unpack, ...] = ()
    per_row: bool = False
    before: str = ""
    zeros: int = 0
    odd: bool = False


def unpack_of(values: Ints, bits: int) -> Unpack:
    """How one of some integers is read that are packed at `bits`."""
    count = (values.size * bits + 7) // 8
    # they begin at multiples of a power of two, of a whole byte at most
    span = (bits + 15 - min(bits & -bits, 8)) // 8
    if 1 < bits <= ELEMENT_BITS and count >= span:
        return Unpack("bt_element", bits, count, span)
    return Unpack("bt_bits" if bits <= UNPACKED_BITS else "bt_bits_wide", bits)
