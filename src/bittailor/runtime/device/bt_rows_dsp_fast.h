/* The kernels of bt_rows_dsp.h with Arm's DSP instructions: two products in one, and nothing is cut out of a word but the
 * digits up to a row's, by one AND with an immediate. A row's sum is what its digit adds to the sum of those below.
 *
 * The multiplications are volatile and loads move their pointers, so that all stay in the order that is written: left
 * to itself, the compiler needs more registers than there are. */
#ifndef BT_ROWS_DSP_FAST_H
#define BT_ROWS_DSP_FAST_H

#include "bt_dsp.h"

#include <string.h> /* memcpy: loads from addresses of no alignment */

BT_INLINE uint32_t bt_next(const uint32_t **from) {
    uint32_t v;
    __asm__ volatile("ldr %0, [%1], #4" : "=r"(v), "+r"(*from) : : "memory");
    return v;
}

BT_INLINE void bt_smlad(uint32_t *sum, uint32_t a, uint32_t b) {
    __asm__ volatile("smlad %0, %1, %2, %0" : "+r"(*sum) : "r"(a), "r"(b));
}

BT_INLINE void bt_smlald(uint64_t *sum, uint32_t a, uint32_t b) {
    __asm__ volatile("smlald %Q0, %R0, %1, %2" : "+r"(*sum) : "r"(a), "r"(b));
}

/* Worked out once, and kept. */
#define BT_HELD(v) __asm__("" : "+r"(v))

/* --- preparation -------------------------------------------------------------------------------------------------- */

void bt_dsp_x8(const int8_t *x, size_t n, uint32_t *to) {
    uint32_t sum = 0;
    uint32_t *pair = to + 1;
    for (; n >= 4u; n -= 4u, x += 4) {
        uint32_t v, even, odd;
        memcpy(&v, x, sizeof v);
        even = bt_sxtb16(v);
        odd = bt_sxtb16_odd(v);
        bt_smlad(&sum, even, 0x10001u);
        bt_smlad(&sum, odd, 0x10001u);
        *pair++ = (even & 0xFFFFu) | odd << 16;
        *pair++ = (odd & 0xFFFF0000u) | even >> 16;
    }
    for (; n > 1u; n -= 2u, x += 2) {
        const int32_t low = x[0], high = x[1];
        sum += (uint32_t)low + (uint32_t)high;
        *pair++ = bt_both(low, high);
    }
    if (n != 0u) {
        const int32_t low = x[0];
        sum += (uint32_t)low;
        *pair = bt_both(low, 0);
    }
    *to = sum;
}

void bt_dsp_u8(const int8_t *x, size_t n, uint32_t *to) {
    const uint32_t *const end = to + (n + 31u) / 32u * 8u;
    for (; n >= 4u; n -= 4u, x += 4) {
        uint32_t v;
        memcpy(&v, x, sizeof v);
        *to++ = v ^ 0x80808080u;
    }
    if (n != 0u) {
        uint32_t v = 0;
        for (unsigned j = 0; j < (unsigned)n; j++)
            v |= (uint32_t)(x[j] + 128) << (8u * j);
        *to++ = v;
    }
    while (to != end)
        *to++ = 0;
}

/* --- 8-bit activations -------------------------------------------------------------------------------------------- */

/* The lowest digits alone, in the same register. */
BT_INLINE uint32_t bt_cut(uint32_t v, const unsigned digits, const unsigned b) {
    v = bt_low(v, digits, b);
    __asm__("" : "+r"(v));
    return v;
}

/* A word's digits by a pair of inputs; the highest digit needs no AND, the others are cut off one after the other. */
BT_INLINE void bt_apply(uint32_t v, uint32_t xx, const unsigned b, uint32_t *s0, uint32_t *s1, uint32_t *s2,
                        uint32_t *s3, uint32_t *s4) {
    uint32_t *const sums[5] = {s0, s1, s2, s3, s4};
    const unsigned top = bt_digits(b) - 1u;
    bt_smlad(sums[top], v, xx);
    if (top > 3u)
        bt_smlad(s3, v = bt_cut(v, 4u, b), xx);
    if (top > 2u)
        bt_smlad(s2, v = bt_cut(v, 3u, b), xx);
    if (top > 1u)
        bt_smlad(s1, v = bt_cut(v, 2u, b), xx);
    bt_smlad(s0, b == 8u ? bt_sxtb16(v) : bt_low(v, 1u, b), xx);
}

/* What the digit of a row added: `sum` of the digits up to it, `below` of those below. */
BT_INLINE int32_t bt_row(uint32_t sum, uint32_t below, const unsigned digit, const unsigned b) {
    return (int32_t)(sum - below) >> (digit * b);
}

/* The sums of a word's digits begin with what their offsets would add, so that nothing is left to correct: with the
 * one below and digit k's own share; nothing of the top digit's. */
BT_INLINE uint32_t bt_begin(uint32_t below, uint32_t total, const unsigned digit, const unsigned b) {
    return digit + 1u < bt_digits(b) ? below - ((bt_offset_of(b) * total) << (digit * b)) : below;
}

BT_INLINE void bt_next_two(const uint32_t **from, uint32_t *v0, uint32_t *v1) {
    __asm__ volatile("ldrd %0, %1, [%2], #8" : "=&r"(*v0), "=&r"(*v1), "+r"(*from) : : "memory");
}

/* A pair of inputs by the digits of eight rows. */
BT_INLINE void bt_apply_eight(const uint32_t **w, uint32_t xx, const unsigned b, uint32_t *s0, uint32_t *s1,
                              uint32_t *s2, uint32_t *s3, uint32_t *s4, uint32_t *s5, uint32_t *s6, uint32_t *s7) {
    bt_apply(bt_next(w), xx, b, s0, s1, s2, s3, s0);
    if (b == 8u) {
        bt_apply(bt_next(w), xx, b, s2, s3, s0, s0, s0);
        bt_apply(bt_next(w), xx, b, s4, s5, s0, s0, s0);
        bt_apply(bt_next(w), xx, b, s6, s7, s0, s0, s0);
    } else {
        bt_apply(bt_next(w), xx, b, s4, s5, s6, s7, s0);
    }
}

/* Two to a word (8 bit) or four (4 bit): eight rows, two pairs of inputs at a time. */
BT_INLINE void bt_rows_eight(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums, const unsigned b) {
    const uint32_t total = b == 8u ? 0u : *x;
    const uint32_t *end = ++x + (n + 1u) / 2u;
    uint32_t s0 = bt_begin(0, total, 0, b), s1 = bt_begin(s0, total, 1u, b);
    uint32_t s2 = b == 8u ? s0 : bt_begin(s1, total, 2u, b), s3 = b == 8u ? s1 : s2;
    uint32_t s4 = s0, s5 = s1, s6 = s2, s7 = s3, x0, x1;
    BT_HELD(end);
    if (((n + 1u) & 2u) != 0u) {
        x1 = bt_next(&x);
        goto odd; /* a single pair is the second half of a turn */
    }
    do {
        bt_next_two(&x, &x0, &x1);
        bt_apply_eight(&w, x0, b, &s0, &s1, &s2, &s3, &s4, &s5, &s6, &s7);
    odd:
        bt_apply_eight(&w, x1, b, &s0, &s1, &s2, &s3, &s4, &s5, &s6, &s7);
    } while (x != end);
    sums[0] = bt_row(s0, 0, 0, b);
    sums[1] = bt_row(s1, s0, 1u, b);
    sums[2] = bt_row(s2, b == 8u ? 0u : s1, b == 8u ? 0u : 2u, b);
    sums[3] = bt_row(s3, s2, b == 8u ? 1u : 3u, b);
    sums[4] = bt_row(s4, 0, 0, b);
    sums[5] = bt_row(s5, s4, 1u, b);
    sums[6] = bt_row(s6, b == 8u ? 0u : s5, b == 8u ? 0u : 2u, b);
    sums[7] = bt_row(s7, s6, b == 8u ? 1u : 3u, b);
}

/* Five to a word (3 bit): room for two words at a time. */
BT_INLINE void bt_rows_five(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums, const unsigned b) {
    const uint32_t total = *x, *end = ++x + (n + 1u) / 2u;
    uint32_t s0 = bt_begin(0, total, 0, b), s1 = bt_begin(s0, total, 1u, b), s2 = bt_begin(s1, total, 2u, b);
    uint32_t s3 = bt_begin(s2, total, 3u, b), s4 = s3, v0, v1, x0, x1;
    BT_HELD(end);
    if (((n + 1u) & 2u) != 0u) {
        x1 = bt_next(&x);
        v1 = bt_next(&w);
        goto odd;
    }
    do {
        bt_next_two(&x, &x0, &x1);
        bt_next_two(&w, &v0, &v1);
        bt_apply(v0, x0, b, &s0, &s1, &s2, &s3, &s4);
    odd:
        bt_apply(v1, x1, b, &s0, &s1, &s2, &s3, &s4);
    } while (x != end);
    sums[0] = bt_row(s0, 0, 0, b);
    sums[1] = bt_row(s1, s0, 1u, b);
    sums[2] = bt_row(s2, s1, 2u, b);
    sums[3] = bt_row(s3, s2, 3u, b);
    sums[4] = bt_row(s4, s3, 4u, b);
}

/* Three to a word (5 bit): six rows, and room for two pairs of inputs at a time. */
BT_INLINE void bt_rows_six(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums, const unsigned b) {
    const uint32_t total = *x, *end = ++x + (n + 1u) / 2u;
    uint32_t s0 = bt_begin(0, total, 0, b), s1 = bt_begin(s0, total, 1u, b), s2 = s1;
    uint32_t s3 = s0, s4 = s1, s5 = s2, v0, v1, x0, x1;
    BT_HELD(end);
    if (((n + 1u) & 2u) != 0u) {
        x1 = bt_next(&x);
        goto odd;
    }
    do {
        bt_next_two(&x, &x0, &x1);
        bt_next_two(&w, &v0, &v1);
        bt_apply(v0, x0, b, &s0, &s1, &s2, &s0, &s0);
        bt_apply(v1, x0, b, &s3, &s4, &s5, &s0, &s0);
    odd:
        bt_next_two(&w, &v0, &v1);
        bt_apply(v0, x1, b, &s0, &s1, &s2, &s0, &s0);
        bt_apply(v1, x1, b, &s3, &s4, &s5, &s0, &s0);
    } while (x != end);
    sums[0] = bt_row(s0, 0, 0, b);
    sums[1] = bt_row(s1, s0, 1u, b);
    sums[2] = bt_row(s2, s1, 2u, b);
    sums[3] = bt_row(s3, 0, 0, b);
    sums[4] = bt_row(s4, s3, 1u, b);
    sums[5] = bt_row(s5, s4, 2u, b);
}

/* --- two bits: two rows in one product ----------------------------------------------------------------------------- */

#define BT_TWO_ROWS(v, xx)                                                                                             \
    do {                                                                                                               \
        bt_smlad(&s0, (v) & mask, xx);                                                                                 \
        bt_smlad(&s1, ((v) >> 4 | (v) << 28) & mask, xx);                                                              \
        bt_smlad(&s2, ((v) >> 8 | (v) << 24) & mask, xx);                                                              \
        bt_smlad(&s3, ((v) >> 12 | (v) << 20) & mask, xx);                                                             \
    } while (0)

/* The lower 14 bits are the first row, what is left of it the second. */
BT_INLINE void bt_two_rows(int32_t *sums, uint32_t sum) {
    const int32_t low = (int32_t)(sum << 18) >> 18;
    sums[0] = low;
    sums[1] = (int32_t)(sum - (uint32_t)low) >> 14;
}

void bt_dsp2_x8(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums) {
    const uint32_t *end = x + 1 + (n + 1u) / 2u;
    uint32_t mask = 0xC003C003u, s0 = 0u - *x++, s1 = s0, s2 = s0, s3 = s0, v0, v1, x0, x1;
    BT_HELD(mask); /* a variable, so that the AND turns the word */
    BT_HELD(end);
    if (((n + 1u) & 2u) != 0u) {
        x1 = bt_next(&x);
        v1 = bt_next(&w);
        goto odd;
    }
    do {
        bt_next_two(&x, &x0, &x1);
        bt_next_two(&w, &v0, &v1);
        BT_TWO_ROWS(v0, x0);
    odd:
        BT_TWO_ROWS(v1, x1);
    } while (x != end);
    bt_two_rows(sums, s0);
    bt_two_rows(sums + 2, s1);
    bt_two_rows(sums + 4, s2);
    bt_two_rows(sums + 6, s3);
}

/* --- one bit: four signs as a mask of bytes, four absolute differences in one instruction -------------------------- */

BT_INLINE void bt_usada8(uint32_t *sum, uint32_t u, uint32_t signs) {
    __asm__ volatile("usada8 %0, %1, %2, %0" : "+r"(*sum) : "r"(u), "r"((signs << 8) - signs));
}

#define BT_FOUR_ROWS(k)                                                                                                \
    do {                                                                                                               \
        const uint32_t u = bt_next(&x);                                                                                \
        bt_usada8(&s0, u, v0 >> (k) & ones);                                                                           \
        bt_usada8(&s1, u, v1 >> (k) & ones);                                                                           \
        bt_usada8(&s2, u, v2 >> (k) & ones);                                                                           \
        bt_usada8(&s3, u, v3 >> (k) & ones);                                                                           \
    } while (0)

void bt_dsp1_x8(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums) {
    const size_t groups = (n + 31u) / 32u;
    const uint32_t *const first = x, *const end = x + 8u * groups;
    uint32_t ones = 0x01010101u;
    __asm__("" : "+r"(ones)); /* a variable, so that the AND takes the shift with it */
    for (unsigned half = 0; half < 2u; half++, w += 3u * groups, sums += 4, x = first) {
        uint32_t s0 = 0u - 128u * (uint32_t)n, s1 = s0, s2 = s0, s3 = s0;
        do {
            const uint32_t v1 = w[groups], v2 = w[2u * groups], v3 = w[3u * groups], v0 = bt_next(&w);
            BT_FOUR_ROWS(0);
            BT_FOUR_ROWS(1);
            BT_FOUR_ROWS(2);
            BT_FOUR_ROWS(3);
            BT_FOUR_ROWS(4);
            BT_FOUR_ROWS(5);
            BT_FOUR_ROWS(6);
            BT_FOUR_ROWS(7);
        } while (x != end);
        sums[0] = (int32_t)s0;
        sums[1] = (int32_t)s1;
        sums[2] = (int32_t)s2;
        sums[3] = (int32_t)s3;
    }
}

/* --- 16-bit activations: 32 bits do for the sums of bytes; digits need 64, for up to four rows at a time ----------- */

/* The bytes of both halves, two's complement each. */
BT_INLINE void bt_apply_bytes(uint32_t v, uint32_t xx, uint32_t *s0, uint32_t *s1) {
    bt_smlad(s0, bt_sxtb16(v), xx);
    bt_smlad(s1, bt_sxtb16_odd(v), xx);
}

void bt_dsp8_x16(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums) {
    const uint32_t *const end = ++x + (n + 1u) / 2u;
    uint32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
    do {
        const uint32_t xx = bt_next(&x);
        bt_apply_bytes(bt_next(&w), xx, &s0, &s1);
        bt_apply_bytes(bt_next(&w), xx, &s2, &s3);
        bt_apply_bytes(bt_next(&w), xx, &s4, &s5);
        bt_apply_bytes(bt_next(&w), xx, &s6, &s7);
    } while (x != end);
    sums[0] = (int32_t)s0;
    sums[1] = (int32_t)s1;
    sums[2] = (int32_t)s2;
    sums[3] = (int32_t)s3;
    sums[4] = (int32_t)s4;
    sums[5] = (int32_t)s5;
    sums[6] = (int32_t)s6;
    sums[7] = (int32_t)s7;
}

/* Digits first .. first + count - 1 of a word by a pair of inputs. */
BT_INLINE void bt_apply_long(uint32_t v, uint32_t xx, const unsigned b, const unsigned first, const unsigned count,
                             uint64_t *s0, uint64_t *s1, uint64_t *s2, uint64_t *s3) {
    const unsigned digits = bt_digits(b);
    const uint32_t upper = first == 0u ? v : v & ~(0x10001u * (((uint32_t)1 << (first * b)) - 1u));
    bt_smlald(s0, bt_low(upper, first + 1u, b), xx);
    bt_smlald(s1, first + 2u == digits ? upper : bt_low(upper, first + 2u, b), xx);
    if (count > 2u)
        bt_smlald(s2, first + 3u == digits ? upper : bt_low(upper, first + 3u, b), xx);
    if (count > 3u)
        bt_smlald(s3, first + 4u == digits ? upper : bt_low(upper, first + 4u, b), xx);
}

BT_INLINE int32_t bt_row_long(uint64_t sum, uint64_t below, const unsigned digit, const unsigned b,
                              uint32_t correction) {
    const uint32_t y = (uint32_t)((sum - below) >> (digit * b)); /* what the shift lets in is cut off */
    return (int32_t)(y - (digit == bt_digits(b) - 1u ? 0u : correction));
}

/* `count` rows of the word at w of every pair of inputs, `words` apart. */
BT_INLINE void bt_pass_long(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums, const unsigned b,
                            const unsigned words, const unsigned first, const unsigned count) {
    const uint32_t correction = bt_offset_of(b) * bt_next(&x);
    const uint32_t *const end = x + (n + 1u) / 2u;
    uint64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    do {
        const uint32_t xx = bt_next(&x);
        bt_apply_long(bt_next(&w), xx, b, first, count, &s0, &s1, &s2, &s3);
        w += words - 1u;
    } while (x != end);
    sums[0] = bt_row_long(s0, 0, first, b, correction);
    sums[1] = bt_row_long(s1, s0, first + 1u, b, correction);
    if (count > 2u)
        sums[2] = bt_row_long(s2, s1, first + 2u, b, correction);
    if (count > 3u)
        sums[3] = bt_row_long(s3, s2, first + 3u, b, correction);
}

void bt_dsp2_x16(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums) {
    bt_pass_long(w, x, n, sums, 2u, 1u, 0u, 4u);
    bt_pass_long(w, x, n, sums + 4, 2u, 1u, 4u, 4u);
}

void bt_dsp3_x16(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums) {
    bt_pass_long(w, x, n, sums, 3u, 1u, 0u, 3u);
    bt_pass_long(w, x, n, sums + 3, 3u, 1u, 3u, 2u);
}

void bt_dsp4_x16(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums) {
    for (unsigned pass = 0; pass < 2u; pass++, w++, sums += 4)
        bt_pass_long(w, x, n, sums, 4u, 2u, 0u, 4u);
}

void bt_dsp5_x16(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums) {
    for (unsigned pass = 0; pass < 2u; pass++, w++, sums += 3)
        bt_pass_long(w, x, n, sums, 5u, 2u, 0u, 3u);
}

#define BT_DEFINE(b, rows)                                                                                             \
    void bt_dsp##b##_x8(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums) {                               \
        bt_rows_##rows(w, x, n, sums, b);                                                                              \
    }
BT_DEFINE(3, five)
BT_DEFINE(4, eight)
BT_DEFINE(5, six)
BT_DEFINE(8, eight)

#endif
