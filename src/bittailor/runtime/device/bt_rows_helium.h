/* Blocks of eight rows for cores with Helium (Cortex-M55).
 *
 * bt_helium<b>_x8(w, x, n, y)   y[r] = sum over i < n of W[r][i] x[i], r < 8; exact, |y[r]| < 2**31 proved outside
 *
 * A byte holds weights of 8/b rows for one input; inputs come 16 at a time, the bytes of a group vector by vector, and
 * what is left of them, m < 16, in vectors of m bytes: nothing is padded.
 * 8 bits: a vector per row.
 * 4 and 2 bits: digits in two's complement, d_0 + d_1 2**b + …, the sum modulo 2**8. Shifted up by 8 - (k + 1) b, a byte
 * is the number of the digits up to k, 2**(8 - (k + 1) b) times too large, so that a row is the difference of two sums:
 * a shift per digit, no masks, no offsets. That number fits as no weight is the lowest of its format.
 * 4 bits: byte j of four has rows j and j + 4; 2 bits: byte j of two has rows 4 j … 4 j + 3.
 * 1 bit: bit r of a byte is row r, 0 for -1 and 1 for +1; takes the sum of x from bt_helium_total_x8.
 *
 * bt_helium<b>_x16: 16-bit activations, 8 at a time. Shifted up, the sums would not fit: digits below the top are
 * w + 2**(b-1), cut out with masks, and the sum of x, from bt_helium_total_x16, takes out what was added.
 */
#ifndef BT_ROWS_HELIUM_H
#define BT_ROWS_HELIUM_H

#include "bt_ops.h"

#ifdef __cplusplus
extern "C" {
#endif

void bt_helium_total_x8(const int8_t *x, size_t n, int32_t *to);

void bt_helium1_x8(const uint8_t *w, const int8_t *x, const int32_t *total, size_t n, int32_t *y);
void bt_helium2_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y);
void bt_helium4_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y);
void bt_helium8_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y);

void bt_helium_total_x16(const int16_t *x, size_t n, int32_t *to);

void bt_helium1_x16(const uint8_t *w, const int16_t *x, const int32_t *total, size_t n, int32_t *y);
void bt_helium2_x16(const uint8_t *w, const int16_t *x, const int32_t *total, size_t n, int32_t *y);
void bt_helium4_x16(const uint8_t *w, const int16_t *x, const int32_t *total, size_t n, int32_t *y);
void bt_helium8_x16(const uint8_t *w, const int16_t *x, size_t n, int32_t *y);

#ifdef __cplusplus
}
#endif

#endif
