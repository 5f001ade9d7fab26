/* Bytes of a word as pairs of signed halves, one of Arm's DSP instructions each: bytes 0 and 2, bytes 1 and 3. */
#ifndef BT_DSP_H
#define BT_DSP_H

#include "bt_ops.h"

BT_INLINE uint32_t bt_sxtb16(uint32_t v) {
    uint32_t y;
    __asm__("sxtb16 %0, %1" : "=r"(y) : "r"(v));
    return y;
}

BT_INLINE uint32_t bt_sxtb16_odd(uint32_t v) {
    uint32_t y;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(y) : "r"(v));
    return y;
}

#endif
