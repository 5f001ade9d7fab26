/* Blocks of rows as digits of halfwords, for Arm's DSP instructions (Cortex-M4, M7, M33); plain C reads them anywhere.
 *
 * A word of b-bit weights belongs to two neighbouring inputs, one to each half, and to K rows: the digits of a halfword
 * to the base 2**b, the first row lowest. Digits below the top are w + 2**(b-1) - 1, the top one is in two's complement
 * and makes the halfword a signed number; of two 8-bit weights the lower one is signed too, and the upper one is less
 * its borrow, but for 16-bit activations both are in two's complement. Words lie pair of inputs after pair of inputs, block after block.
 *
 * Of 2-bit weights that is so for 16-bit activations. For 8-bit ones a word, turned to the right by 4 p, has in the lowest
 * two bits of both halves w + 1 of row 2 p of the block, and in their highest two row 2 p + 1 in two's complement.
 *
 *     b   K   rows of a block   words per pair of inputs
 *     2   8          8                 1
 *     3   5          5                 1
 *     4   4          8                 2
 *     5   3          6                 2
 *     8   2          8                 4
 *
 * A word of 1-bit weights is 32 inputs of one of 8 rows, bit k of byte j input 4 k + j: 1 for -1. Row after row.
 *
 * bt_dsp_x8(x, n, to), bt_dsp_x16   make a vector ready: its sum, then pairs of 16 bits; 1 + (n + 1) / 2 words
 * bt_dsp_u8(x, n, to)               x + 128 as bytes, for 1-bit weights; 8 words for every 32 inputs begun
 * bt_dsp<b>_x8(w, x, n, sums)       sums[r] = sum over k < n of W[r][k] * x[k], of the rows r of the block at w, where
 * bt_dsp<b>_x16                     x was made ready. Exact where |sums[r]| < 2**(31 - b (r mod K)) for 8-bit
 *                                   activations (whoever laid out the weights has proved it), below 2**31 for 16-bit ones
 * bt_dsp2_x8                        exact where |sums[r]| < 2**13 for even r, 2**16 for odd r
 * bt_dsp1_x8                        the same less the number of weights of -1 in the row
 */
#ifndef BT_ROWS_DSP_H
#define BT_ROWS_DSP_H

#include "bt_ops.h"

#ifdef __cplusplus
extern "C" {
#endif

void bt_dsp_x8(const int8_t *x, size_t n, uint32_t *to);
void bt_dsp_x16(const int16_t *x, size_t n, uint32_t *to);
void bt_dsp_u8(const int8_t *x, size_t n, uint32_t *to);

void bt_dsp1_x8(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums);
void bt_dsp2_x8(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums);
void bt_dsp3_x8(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums);
void bt_dsp4_x8(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums);
void bt_dsp5_x8(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums);
void bt_dsp8_x8(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums);
void bt_dsp2_x16(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums);
void bt_dsp3_x16(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums);
void bt_dsp4_x16(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums);
void bt_dsp5_x16(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums);
void bt_dsp8_x16(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums);

#ifdef __cplusplus
}
#endif

#endif
