/* Blocks of rows as digits of halfwords: see bt_rows_dsp.h. -DBT_PLAIN chooses plain C everywhere. */
#include "bt_rows_dsp.h"

#if !defined(BT_PLAIN) && defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__)                   \
    && !defined(__ARM_BIG_ENDIAN)
#define BT_ROWS_DSP 1
#else
#define BT_ROWS_DSP 0
#endif

/* Digits of a halfword. */
BT_INLINE unsigned bt_digits(const unsigned b) { return 16u / b; }

/* The lowest `digits` digits of both halves. */
BT_INLINE uint32_t bt_low(uint32_t v, const unsigned digits, const unsigned b) {
    return v & 0x10001u * (((uint32_t)1 << (digits * b)) - 1u);
}

/* What is added to the digits below the top. */
BT_INLINE uint32_t bt_offset_of(const unsigned b) { return b == 8u ? 0u : ((uint32_t)1 << (b - 1u)) - 1u; }

BT_INLINE int32_t bt_half(uint32_t v, const unsigned upper) { return (int16_t)(uint16_t)(upper ? v >> 16 : v); }

BT_INLINE uint32_t bt_both(int32_t low, int32_t high) { return ((uint32_t)low & 0xFFFFu) | (uint32_t)high << 16; }

void bt_dsp_x16(const int16_t *x, size_t n, uint32_t *to) {
    uint32_t sum = 0;
    uint32_t *pair = to + 1;
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

#if BT_ROWS_DSP
#include "bt_rows_dsp_fast.h"
#else

void bt_dsp_x8(const int8_t *x, size_t n, uint32_t *to) {
    uint32_t sum = 0;
    for (size_t k = 0; k < n; k += 2u) {
        const int32_t low = x[k], high = k + 1u < n ? x[k + 1u] : 0;
        sum += (uint32_t)low + (uint32_t)high;
        to[1u + k / 2u] = bt_both(low, high);
    }
    *to = sum;
}

void bt_dsp_u8(const int8_t *x, size_t n, uint32_t *to) {
    for (size_t word = 0; word < (n + 31u) / 32u * 8u; word++) {
        uint32_t v = 0;
        for (unsigned j = 0; j < 4u; j++)
            v |= (4u * word + j < n ? (uint32_t)(x[4u * word + j] + 128) : 0u) << (8u * j);
        to[word] = v;
    }
}

/* The weight that is a digit of a halfword. */
BT_INLINE int32_t bt_digit(int32_t half, const unsigned digit, const unsigned b, const unsigned xb) {
    const unsigned top = bt_digits(b) - 1u;
    const int32_t last = half >> (digit * b);
    const int32_t lower = (int8_t)(uint8_t)((uint32_t)half & 0xFFu);
    if (b == 8u) /* the upper weight is what is left of the halfword, or of itself: see the header */
        return digit != top ? lower : xb == 8u ? (half - lower) >> 8 : half >> 8;
    return digit == top ? last : (int32_t)((uint32_t)last & (((uint32_t)1 << b) - 1u)) - (int32_t)bt_offset_of(b);
}

BT_INLINE void bt_dsp_plain(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums, const unsigned b,
                            const unsigned words, const unsigned xb) {
    const unsigned digits = bt_digits(b);
    const size_t pairs = (n + 1u) / 2u;
    for (unsigned row = 0; row < digits * words; row++) {
        uint32_t sum = 0;
        for (size_t p = 0; p < pairs; p++) {
            const uint32_t v = w[p * words + row / digits], xx = x[1u + p];
            for (unsigned upper = 0; upper < 2u; upper++)
                sum += (uint32_t)bt_digit(bt_half(v, upper), row % digits, b, xb) * (uint32_t)bt_half(xx, upper);
        }
        sums[row] = (int32_t)sum;
    }
}

void bt_dsp1_x8(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums) {
    const size_t groups = (n + 31u) / 32u;
    for (unsigned row = 0; row < 8u; row++) {
        uint32_t sum = 0u - 128u * (uint32_t)n;
        for (size_t group = 0; group < groups; group++) {
            const uint32_t v = *w++;
            for (unsigned k = 0; k < 32u; k++) {
                const uint32_t u = x[8u * group + k / 4u] >> (8u * (k % 4u)) & 0xFFu;
                sum += (v >> (8u * (k % 4u) + k / 4u) & 1u) != 0u ? 255u - u : u;
            }
        }
        sums[row] = (int32_t)sum;
    }
}

/* 2 bits: the lowest two of a word that was turned are of the first of two rows, 14 up are those of the second. */
void bt_dsp2_x8(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums) {
    const size_t pairs = (n + 1u) / 2u;
    for (unsigned row = 0; row < 8u; row++) {
        const unsigned at = 4u * (row / 2u) + 14u * (row % 2u);
        uint32_t sum = 0;
        for (size_t p = 0; p < pairs; p++) {
            for (unsigned upper = 0; upper < 2u; upper++) {
                const int32_t digit = (int32_t)(w[p] >> ((at + 16u * upper) % 32u) & 3u);
                const int32_t weight = row % 2u != 0u ? (digit ^ 2) - 2 : digit - 1;
                sum += (uint32_t)weight * (uint32_t)bt_half(x[1u + p], upper);
            }
        }
        sums[row] = (int32_t)sum;
    }
}

#define BT_DEFINE(b, words, xb)                                                                                        \
    void bt_dsp##b##_x##xb(const uint32_t *w, const uint32_t *x, size_t n, int32_t *sums) {                            \
        bt_dsp_plain(w, x, n, sums, b, words, xb##u);                                                                  \
    }
BT_DEFINE(3, 1u, 8)
BT_DEFINE(4, 2u, 8)
BT_DEFINE(5, 2u, 8)
BT_DEFINE(8, 4u, 8)
BT_DEFINE(2, 1u, 16)
BT_DEFINE(3, 1u, 16)
BT_DEFINE(4, 2u, 16)
BT_DEFINE(5, 2u, 16)
BT_DEFINE(8, 4u, 16)
#endif
