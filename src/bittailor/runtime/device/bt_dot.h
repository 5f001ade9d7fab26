/* Dot products of packed weights and a vector of activations.
 *
 * bt_dot<b>_x8(w, first, x, n)  = sum over i < n of w[first + i] * x[i]      b = 1..16, the width of the weights
 * bt_dot<b>_x16                   the same for 16-bit activations
 * bt_dotl<b>_x8, bt_dotl<b>_x16   the same, summed in 64 bits
 *
 * w is a string of b-bit integers, lowest bit first: two's complement; one bit: 0 for -1, 1 for +1. A row of a matrix
 * begins anywhere, also within a byte. Only the bytes that hold the n weights are read, and none if n is 0.
 * x needs no alignment beyond its type's. The sums of the 32-bit functions are exact modulo 2**32.
 */
#ifndef BT_DOT_H
#define BT_DOT_H

#include "bt_ops.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BT_EACH_WIDTH(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14) F(15) F(16)

#define BT_DECLARE(b)                                                                                                  \
    int32_t bt_dot##b##_x8(const uint8_t *w, size_t first, const int8_t *x, size_t n);                                 \
    int32_t bt_dot##b##_x16(const uint8_t *w, size_t first, const int16_t *x, size_t n);                               \
    int64_t bt_dotl##b##_x8(const uint8_t *w, size_t first, const int8_t *x, size_t n);                                \
    int64_t bt_dotl##b##_x16(const uint8_t *w, size_t first, const int16_t *x, size_t n);
BT_EACH_WIDTH(BT_DECLARE)
#undef BT_DECLARE

#ifdef __cplusplus
}
#endif

#endif
