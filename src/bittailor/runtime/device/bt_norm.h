/* Normalisations: a vector over the root of its variance, or of its mean square. One root and one division a vector,
 * both by shifts and differences; integers only. See docs/arithmetic.md, section 3.
 */
#ifndef BT_NORM_H
#define BT_NORM_H

#include "bt_ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What all features of a vector share: y = clamp(((count u - sum) multiplier + half) >> shift) + zero. */
typedef struct bt_norm {
    int64_t half;
    int32_t count, sum, multiplier;
    unsigned shift;
} bt_norm;

/* floor(sqrt(v)), v < 2**62 */
BT_INLINE uint32_t bt_root(uint64_t v) {
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 60; bit != 0; bit >>= 2) {
        const uint64_t trial = root + bit;
        root >>= 1;
        if (v >= trial) {
            v -= trial;
            root += bit;
        }
    }
    return (uint32_t)root;
}

/* floor(2**60 / w), w 2**30 .. 2**31 - 1 */
BT_INLINE uint32_t bt_inverse(uint32_t w) {
    uint32_t rest = UINT32_C(1) << 30, quotient = 0;
    for (int i = 0; i < 31; i++) {
        quotient <<= 1;
        if (rest >= w) {
            rest -= w;
            quotient++;
        }
        rest <<= 1;
    }
    return quotient;
}

/* From a power of at most 2**62 - 1, a gain below 2**31 and t <= 32: P = G r >> 30, T = t + 30 - h. */
BT_INLINE bt_norm bt_norm_of(int32_t count, int32_t sum, uint64_t power, int32_t gain, unsigned t) {
    bt_norm norm;
    unsigned h = 0;
    power = power == 0 ? 1 : power;
    for (unsigned digits = 16; digits != 0; digits >>= 1)
        if (power >> (62 - 2 * digits) == 0) {
            power <<= 2 * digits;
            h += digits;
        }
    norm.count = count;
    norm.sum = sum;
    norm.multiplier = (int32_t)(((uint64_t)(uint32_t)gain * bt_inverse(bt_root(power))) >> 30);
    norm.shift = t + 30u - h;
    norm.half = (int64_t)((UINT64_C(1) << norm.shift) >> 1);
    return norm;
}

/* One feature, u = q less the input's zero-point. */
BT_INLINE int32_t bt_normalised(int32_t u, const bt_norm *norm, int32_t lo, int32_t hi, int32_t zero) {
    const int64_t d = norm->count * u - norm->sum;
    return bt_clamp_wide(((d * norm->multiplier + norm->half) >> norm->shift) + zero, lo, hi);
}

/* The norms of n integers with a zero-point. */
bt_norm bt_layer_norm8(const int8_t *q, size_t n, int32_t zero, int32_t gain, unsigned t, int64_t epsilon);
bt_norm bt_layer_norm16(const int16_t *q, size_t n, int32_t zero, int32_t gain, unsigned t, int64_t epsilon);
bt_norm bt_rms_norm8(const int8_t *q, size_t n, int32_t zero, int32_t gain, unsigned t, int64_t epsilon);
bt_norm bt_rms_norm16(const int16_t *q, size_t n, int32_t zero, int32_t gain, unsigned t, int64_t epsilon);

#ifdef __cplusplus
}
#endif

#endif
