/* Blocks of eight rows for cores without SIMD instructions: Cortex-M0, M3, RISC-V.
 *
 * bt_scalar<b>_x8(w, x, sums, n, …, y)   y[r] = sum over i < n of W[r][i] x[i], r < 8; exact, |y[r]| < 2**31 proved outside
 * bt_scalar<b>_x16                       the same for 16-bit activations
 *
 * 2 to 5 bits: a word holds K = 16/b successive inputs of two rows, one row per half, as w + 2**(b-1); digit k stands
 * k b bits up. (v >> k b) & mask is then u_a + 2**16 u_b, and one multiplication by x adds the products of both rows. A
 * group of K inputs is four words: rows 0 and 1, 2 and 3, 4 and 5, 6 and 7. What is left of the inputs, r < K, stands
 * behind the groups: in four such words or, where the halves have room for two pairs of rows (r b <= 8), in two: pair
 * j + 2 above pair j.
 * 8 bits: bytes w + 128, row by row of an input, input by input. Where |w| of four inputs (0..3, 4..7 …) of a row sum to
 * at most 255, as with all weights of 7 bits: digits of 8 bits as above, what is left of four inputs as bytes.
 * 1 bit: a word per four inputs, of which row r has bits 4r..4r+3: 0 for -1, 1 for +1. It chooses among the 16 sums
 * +-x0 +-x1 +-x2 +-x3 of a table, which all rows share.
 *
 * The sums of a chunk of groups are below 2**15, so that both halves of a word can be taken apart; `chunk` is known when a
 * network is exported. Preparations: bt_sums<K>_x8 leaves sums of the first 0, K, 2K … inputs and of all n, modulo
 * 2**16; bt_total leaves the sum of all; bt_fours_x8 that and, per four inputs, what their products are added to;
 * bt_tables leaves a table per four inputs.
 */
#ifndef BT_ROWS_SCALAR_H
#define BT_ROWS_SCALAR_H

#include "bt_ops.h"

#ifdef __cplusplus
extern "C" {
#endif

void bt_total_x8(const int8_t *x, size_t n, int32_t *to);
void bt_total_x16(const int16_t *x, size_t n, int32_t *to);
void bt_fours_x8(const int8_t *x, size_t n, int32_t *to);
void bt_sums3_x8(const int8_t *x, size_t n, int16_t *to);
void bt_sums4_x8(const int8_t *x, size_t n, int16_t *to);
void bt_sums5_x8(const int8_t *x, size_t n, int16_t *to);
void bt_tables_x8(const int8_t *x, size_t n, uint32_t *to);
void bt_tables_x16(const int16_t *x, size_t n, uint32_t *to);

void bt_scalar1_x8(const uint32_t *w, const uint32_t *tables, size_t n, int32_t *y);
/* chunk: groups that may be summed in 16 bits; groups: n / K */
void bt_scalar2_x8(const uint32_t *w, const int8_t *x, const int16_t *sums, size_t n, size_t chunk, size_t groups,
                   int32_t *y);
void bt_scalar3_x8(const uint32_t *w, const int8_t *x, const int16_t *sums, size_t n, size_t chunk, size_t groups,
                   int32_t *y);
void bt_scalar4_x8(const uint32_t *w, const int8_t *x, const int16_t *sums, size_t n, size_t chunk, size_t groups,
                   int32_t *y);
void bt_scalar5_x8(const uint32_t *w, const int8_t *x, const int16_t *sums, size_t n, size_t chunk, size_t groups,
                   int32_t *y);
void bt_scalar7_x8(const uint32_t *w, const int8_t *x, const int32_t *ready, size_t n, int32_t *y);
void bt_scalar8_x8(const uint8_t *w, const int8_t *x, const int32_t *total, size_t n, int32_t *y);

void bt_scalar1_x16(const uint32_t *w, const uint32_t *tables, size_t n, int32_t *y);
void bt_scalar2_x16(const uint32_t *w, const int16_t *x, const int32_t *total, size_t n, size_t groups, int32_t *y);
void bt_scalar3_x16(const uint32_t *w, const int16_t *x, const int32_t *total, size_t n, size_t groups, int32_t *y);
void bt_scalar4_x16(const uint32_t *w, const int16_t *x, const int32_t *total, size_t n, size_t groups, int32_t *y);
void bt_scalar5_x16(const uint32_t *w, const int16_t *x, const int32_t *total, size_t n, size_t groups, int32_t *y);
void bt_scalar8_x16(const uint8_t *w, const int16_t *x, const int32_t *total, size_t n, int32_t *y);

#ifdef __cplusplus
}
#endif

#endif
