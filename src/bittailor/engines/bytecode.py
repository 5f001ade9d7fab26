"""The format of a runtime program, in Python: what `runtime/bittailor.h` says of tables and instructions in C.

`enum` values and `struct` layouts stand there with their meaning; `tests/unit/test_native.py` compares the two.
"""

from __future__ import annotations

import struct

MAGIC, VERSION, NONE = 0x4C54, 2, 0xFFFFFFFF
ALIGN = 64
GROUP = {8: 4, 16: 2}
"""Inputs that stand together in a dot product: 4 bytes or 2 int16."""

HEADER = struct.Struct("<13I2i2I2i13I")
BUFFER = struct.Struct("<HHIiI")
SEGMENT = struct.Struct("<8I")
PHASE = struct.Struct("<4I")
INSTR = struct.Struct("<BBHIIIiiiiiiIIIIq")

SEQUENCE, STEP, STATE = range(3)
LOOP, ONCE, LAST, FIRST, MEAN, WINDOW, SUM, MAX, CROP = range(9)
(LOAD8, LOAD16, STORE8, STORE16, LINEAR8, LINEAR8W, LINEAR16, LINEAR16W, LINEAR64W, ADD, ADDW, SCALE, SCALEW, MUL,
 MULW, LOOKUP8, LOOKUP16, KNOTS, DIAGONAL, DIAGONALW,
 LAYER_NORM, RMS_NORM, ROWS) = range(23)

BOUND32 = 1 << 31
