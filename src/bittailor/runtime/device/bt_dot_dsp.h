/* Groups of 8 weights with Arm's DSP instructions (Cortex-M4, M7, M33): two multiplications in one instruction.
 *
 * Weights are multiplied in pairs, each in the top b bits of half a word and so 2**(16-b) times too large; SMLALD sums
 * the products in 64 bits, where that cannot overflow, and the scale is shifted out at the end of a row. 8-bit
 * activations come apart as (x0, x2) and (x1, x3) by SXTB16, 16-bit ones lie in memory as (x0, x1) and (x2, x3). A pair
 * of weights that is `apart` bits apart is brought 16 bits apart by one PKHBT or PKHTB, which usually serves several
 * pairs, and cut out by one AND with a shifted operand.
 */
#ifndef BT_DOT_DSP_H
#define BT_DOT_DSP_H

#include "bt_dsp.h"

/* The lower half of a, the upper half of b << shift (0..31). */
BT_INLINE uint32_t bt_pack_low(uint32_t a, uint32_t b, const unsigned shift) {
    uint32_t y;
    __asm__("pkhbt %0, %1, %2, lsl %3" : "=r"(y) : "r"(a), "r"(b), "I"(shift));
    return y;
}

/* The upper half of a, the lower half of b >> shift (1..32). */
BT_INLINE uint32_t bt_pack_high(uint32_t a, uint32_t b, const unsigned shift) {
    uint32_t y;
    __asm__("pkhtb %0, %1, %2, asr %3" : "=r"(y) : "r"(a), "r"(b), "I"(shift));
    return y;
}

/* sum + both products of signed halves */
BT_INLINE int64_t bt_smlald(int64_t sum, uint32_t a, uint32_t b) {
    __asm__("smlald %Q0, %R0, %1, %2" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

/* The pair of weights at bits `at` and `at + apart` of v, scaled. `late` chooses between two ways that both would do,
 * so that the pairs of a quad share one. The mask, the top b bits of both halves, is a variable: as a constant, the
 * compiler would not join its AND with the shift. */
BT_INLINE uint32_t bt_pair(uint32_t v, uint32_t mask, const unsigned at, const unsigned apart, const unsigned b,
                           const int late) {
    const int low = at + b <= 16u, high = at + apart >= 16u;
    const unsigned from = high && (late || !low) ? at + apart - 16u : at;
    const uint32_t halves = high && (late || !low) ? bt_pack_high(v, v, 16u - apart) : bt_pack_low(v, v, 16u - apart);
    const uint32_t pair = (apart == 16u ? v : halves) << (16u - b - (apart == 16u ? at : from)) & mask;
    return b == 1u ? pair | 0x40004000u : pair; /* one bit: 2**14 for -1, -2**14 for +1 */
}

/* Four weights, `at` bits up in v, by four activations in x0 (8-bit), or in x0 and x1. */
BT_INLINE int64_t bt_quad(int64_t sum, uint32_t v, uint32_t mask, const unsigned at, uint32_t x0, uint32_t x1,
                          const unsigned b, const unsigned xb, const int late) {
    if (xb == 8u) {
        sum = bt_smlald(sum, bt_pair(v, mask, at, 2u * b, b, late), bt_sxtb16(x0));
        return bt_smlald(sum, bt_pair(v, mask, at + b, 2u * b, b, late), bt_sxtb16_odd(x0));
    }
    sum = bt_smlald(sum, bt_pair(v, mask, at, b, b, late), x0);
    return bt_smlald(sum, bt_pair(v, mask, at + 2u * b, b, b, late), x1);
}

/* Four 16-bit weights. */
BT_INLINE int64_t bt_quad16(int64_t sum, uint32_t w0, uint32_t w1, uint32_t x0, uint32_t x1, const unsigned xb) {
    sum = bt_smlald(sum, xb == 8u ? bt_pack_low(w0, w1, 16u) : w0, xb == 8u ? bt_sxtb16(x0) : x0);
    return bt_smlald(sum, xb == 8u ? bt_pack_high(w1, w0, 16u) : w1, xb == 8u ? bt_sxtb16_odd(x0) : x1);
}

/* The k-th word of a group of 8 activations; 0 behind its end. */
BT_INLINE uint32_t bt_x_word(const void *x, const unsigned k, const unsigned xb) {
    return 32u / xb * (k + 1u) > 8u ? 0u : bt_word((const char *)x + 4u * k);
}

/* n a multiple of 4, w where a byte begins; b = 1..8 or 16. */
BT_INLINE int32_t bt_dsp(const uint8_t *w, const void *x, size_t n, const unsigned b, const unsigned xb) {
    const void *const end = bt_after(x, n & ~(size_t)7, xb);
    uint32_t mask = b == 16u ? 0u : 0x10001u * ((0xFFFFu << (16u - b)) & 0xFFFFu);
    int64_t sum = 0;
    BT_KEEP(mask);
    while (x != end) {
        /* the first words come last, so that their loads can move the pointers on */
        const uint32_t x3 = bt_x_word(x, 3u, xb), x2 = bt_x_word(x, 2u, xb), x1 = bt_x_word(x, 1u, xb);
        const uint32_t x0 = bt_x_word(x, 0u, xb), later = xb == 8u ? x1 : x2;
        x = bt_after(x, 8u, xb);
        if (b == 16u) {
            const uint32_t w3 = bt_word(w + 12), w2 = bt_word(w + 8), w1 = bt_word(w + 4), w0 = bt_word(w);
            sum = bt_quad16(sum, w0, w1, x0, x1, xb);
            sum = bt_quad16(sum, w2, w3, later, x3, xb);
        } else {
            const uint32_t high = b > 4u ? bt_word(w + (b - 4u)) : 0u, v = bt_part(w, b < 4u ? b : 4u);
            sum = bt_quad(sum, v, mask, 0u, x0, x1, b, xb, 0);
            sum = bt_quad(sum, b > 4u ? high : v, mask, b > 4u ? 32u - 4u * b : 4u * b, later, x3, b, xb, 1);
        }
        w += b;
        BT_KEEP(w);
        BT_KEEP(x);
    }
    if ((n & 4u) != 0u) {
        const uint32_t x0 = bt_x_word(x, 0u, xb), x1 = xb == 8u ? 0u : bt_x_word(x, 1u, xb);
        if (b == 16u)
            sum = bt_quad16(sum, bt_word(w), bt_word(w + 4), x0, x1, xb);
        else
            sum = bt_quad(sum, bt_part(w, (4u * b + 7u) / 8u), mask, 0u, x0, x1, b, xb, 0);
    }
    return (int32_t)(b == 1u ? -(sum >> 14) : sum >> (16u - b));
}

#endif
