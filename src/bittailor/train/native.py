"""The compiled part of training (`runtime/bt_train.c`): its descriptors, and the library.

What describes a group to it is a `bt_op` there and an `Op` here, with the same fields in the same order.
"""

from __future__ import annotations

import ctypes
import logging
from functools import lru_cache

from torch import Tensor

from bittailor.engines import native_build
from bittailor.errors import BittailorError

OPERANDS = 4
"""An operator with more has no native form."""
(CLEAR, SUM, PRODUCT, DOT, DIAGONAL, TABLE, LINE,
 BACK_KEPT, BACK_SUM, BACK_PRODUCT, BACK_DIAGONAL, BACK_TABLE) = range(12)
"""`enum bt_kind`."""

log = logging.getLogger(__name__)


class View(ctypes.Structure):
    """`bt_view`: where an array lies."""

    _fields_ = (("at", ctypes.c_void_p), ("row", ctypes.c_int64), ("step", ctypes.c_int64))


_VIEWS = ("out", "real", "mask", "error", "grad", "kept", "gathered", "partial", "slope")
_INTEGERS = ("S", "c", "zero", "lo", "hi", "weight", "offset", "entries", "base", "shift", "step", "down", "half")
_FLOATS = ("unit", "middle", "factor", "slopes", "errors")


class Op(ctypes.Structure):
    """`bt_op`: a group, its arrays and constants."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("kind", "operands", "wide", "doubled")), ("width", ctypes.c_int64),
        *((name, View) for name in _VIEWS), ("operand", View * OPERANDS), ("value", View * 2),
        ("gain", ctypes.c_float * OPERANDS), ("writes", ctypes.c_int32 * OPERANDS),
        ("M", ctypes.c_void_p * OPERANDS), *((name, ctypes.c_void_p) for name in (*_INTEGERS, *_FLOATS)),
    )

    def constants(self, **tensors: Tensor | None) -> None:
        """Point at constants, which must stay where they are."""
        for name, value in tensors.items():
            setattr(self, name, None if value is None else value.data_ptr())


@lru_cache(1)
def library() -> ctypes.CDLL | None:
    """The compiled part; None where there is none, which only costs time."""
    try:
        found = native_build.training()
    except (BittailorError, OSError) as error:
        log.info("training runs without compiled kernels: %s", error)
        return None
    found.bt_train.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 2, *[ctypes.c_int64] * 3]
    found.bt_train.restype = None
    found.bt_train_size.restype = ctypes.c_size_t
    assert found.bt_train_size() == ctypes.sizeof(Op)
    return found


__all__ = ["OPERANDS", "Op", "View", "library"]
