"""QFormat: what a stored integer means. A real value r is r ~ scale * (q - zero_point), q of `bits` bits.

`docs/arithmetic.md`, section 1, derives the ranges; they are computed here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bittailor.common.records import make
from bittailor.errors import FormatError

MOST_INDICES = 1 << 15
"""Of a table: 16 bits hold them."""

Kind = Literal["weight", "bias", "activation"]

EXACT_BIAS_BITS = 32
"""A bias of this width is kept at the accumulator's own scale, without loss."""

_WIDTHS: dict[str, tuple[int, ...]] = {
    "weight": tuple(range(1, 17)),
    "activation": tuple(range(2, 17)),
    "bias": (*range(2, 17), EXACT_BIAS_BITS),
}


def allowed_widths(kind: Kind) -> tuple[int, ...]:
    """The widths in bits that a tensor of this kind can have."""
    return _WIDTHS[kind]


def check_width(kind: Kind, bits: int, site: str = "") -> None:
    """Raise FormatError unless a tensor of this kind can have `bits` bits."""
    if not isinstance(bits, int | np.integer) or bits not in _WIDTHS[kind]:
        widths = _WIDTHS[kind]
        exact = f" or {EXACT_BIAS_BITS} (exact)" if kind == "bias" else ""
        where = f"{site}: " if site else ""
        raise FormatError(f"{where}{bits} bits is no width for {_article(kind)}; "
                          f"choose {widths[0]}..16{exact}")


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


@dataclass(frozen=True)
class QFormat:
    """The format of one site.

    kind        weight: symmetric and narrow, +-(2**(bits-1) - 1), 1 bit is {-1, +1};
                activation: -2**(bits-1) .. 2**(bits-1) - 1; bias: the same, scaled by the accumulator
    bits        see `allowed_widths`
    scale       real value of one step: one number, or for weights one per output row;
                empty for a bias, whose scale follows from weight and input when it is bound
    zero_point  the integer that stands for 0.0; 0 for weights, biases and above 8 bits

    >>> f = QFormat("activation", 4, (0.5,), -3)
    >>> f.qmin, f.qmax, f.quantise([-100.0, 0.0, 0.75]).tolist()
    (-8, 7, [-8, -3, -1])
    """

    kind: Kind
    bits: int
    scale: tuple[float, ...]
    zero_point: int = 0

    def __post_init__(self) -> None:
        if self.kind not in _WIDTHS:
            raise FormatError(f"a format is of kind {', '.join(_WIDTHS)}; got {self.kind!r}")
        check_width(self.kind, self.bits)
        if self.zero_point != int(self.zero_point):
            raise FormatError(f"a zero-point is an integer; got {self.zero_point}")
        # NumPy scalars would compute in their own precision and cannot be written as JSON
        object.__setattr__(self, "bits", int(self.bits))
        object.__setattr__(self, "scale", tuple(float(s) for s in self.scale))
        object.__setattr__(self, "zero_point", int(self.zero_point))
        if self.kind == "bias":
            if self.scale:
                raise FormatError("a bias has no scale of its own: it follows the accumulator")
        elif not self.scale:
            raise FormatError(f"{_article(self.kind)} format needs a scale")
        if any(not (np.isfinite(s) and s > 0) for s in self.scale):
            raise FormatError(f"a scale must be positive and finite; got {min(self.scale)}")
        if len(self.scale) > 1 and self.kind != "weight":
            raise FormatError("only weights can have a scale per row")
        if not self.qmin <= self.zero_point <= self.qmax:
            raise FormatError(f"zero-point {self.zero_point} is outside {self.qmin}..{self.qmax}")
        if self.zero_point and (self.kind != "activation" or self.bits > 8):
            raise FormatError("only activations of up to 8 bits have a zero-point other than 0")

    @property
    def qmin(self) -> int:
        """The smallest integer of the format."""
        if self.kind == "weight":
            return -self.qmax
        return -(1 << (self.bits - 1))

    @property
    def qmax(self) -> int:
        """The largest integer of the format."""
        if self.kind == "weight" and self.bits == 1:
            return 1
        return (1 << (self.bits - 1)) - 1

    @property
    def reach(self) -> int:
        """The largest |q - zero_point|; bounds every product with a value of this format."""
        return max(self.qmax - self.zero_point, self.zero_point - self.qmin)

    @property
    def storage(self) -> str:
        """The C type (without `_t`) that holds one unpacked value."""
        return "int8" if self.bits <= 8 else "int16" if self.bits <= 16 else "int32"

    @property
    def low(self) -> float:
        """The smallest real value (first row of a per-row format)."""
        return self.scale[0] * (self.qmin - self.zero_point)

    @property
    def high(self) -> float:
        """The largest real value (first row of a per-row format)."""
        return self.scale[0] * (self.qmax - self.zero_point)

    def quantise(self, real: ArrayLike) -> NDArray[np.int64]:
        """clamp(floor(r / s + 1/2) + z): ties go up. Rows of a matrix use their own scale if there is one each.

        Computed in float64, whatever the type of `real`; int64 [of the same shape].
        """
        values = np.asarray(real, np.float64)
        if self.kind == "weight" and self.bits == 1:
            return np.where(values < 0, -1, 1).astype(np.int64)
        q = np.floor(values / self._scales(values.ndim) + 0.5) + self.zero_point
        return np.asarray(np.clip(q, self.qmin, self.qmax).astype(np.int64))

    def dequantise(self, q: ArrayLike) -> NDArray[np.float64]:
        """The real values that integers of this format stand for, float64 [of the same shape]."""
        # in one array: outputs per step are many, and no integer here is too large for a float64
        real = np.array(q, np.float64)
        real -= self.zero_point
        real *= self._scales(real.ndim)
        return real

    def _scales(self, ndim: int) -> Any:
        if len(self.scale) == 1:
            return self.scale[0]
        return np.asarray(self.scale).reshape((-1,) + (1,) * (ndim - 1))

    def to_json(self) -> dict[str, Any]:
        """A JSON object; Python's float text is exact, so nothing is lost."""
        return {"kind": self.kind, "bits": self.bits, "scale": list(self.scale), "zero_point": self.zero_point}

    @classmethod
    def from_json(cls, item: Any) -> QFormat:
        """The inverse of `to_json`."""
        return make(cls, item)


def activation_format(low: float, high: float, bits: int) -> QFormat:
    """The activation format that covers the real range [low, high] and represents 0.0 exactly.

    Up to 8 bits the range may lie anywhere around zero; above, it is symmetric with zero-point 0.
    A range without extent (a site that was always zero) is taken as [-1, 1].
    """
    check_width("activation", bits)
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise FormatError(f"a range must be finite; got {low} .. {high}")
    if high - low < 1e-30:
        low, high = -1.0, 1.0
    half = 1 << (bits - 1)
    if bits > 8:
        return QFormat("activation", bits, (max(-low / half, high / (half - 1)),))
    scale = (high - low) / (2 * half - 1)
    zero = int(np.clip(np.floor(-half - low / scale + 0.5), -half, half - 1))
    return QFormat("activation", bits, (scale,), zero)


def unit_format(bits: int) -> QFormat:
    """The format of a sigmoid's output: [0, 1 - 2**-bits]. Its zero-point is not 0, so above 8 bits it is
    halved to the non-negative part of a symmetric format, s = 2**-(bits-1)."""
    if bits > 8:
        return QFormat("activation", bits, (2.0 ** -(bits - 1),))
    return QFormat("activation", bits, (2.0**-bits,), -(1 << (bits - 1)))


def symmetric_unit_format(bits: int) -> QFormat:
    """The format of a tanh's output and of a GRU's state: [-1, 1 - 2**-(bits-1)], zero-point 0."""
    return QFormat("activation", bits, (2.0 ** -(bits - 1),))


INDEX_FORMAT = QFormat("activation", 16, (1.0,))
"""Of an input that is an index: the integer is the number."""
