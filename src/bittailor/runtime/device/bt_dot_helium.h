/* Rows of weights with Helium (Cortex-M55): 16 weights by 8-bit activations, or 8 by 16-bit ones, at once.
 *
 * Each lane gathers the bytes that hold its weight, which is then shifted to the top of the lane and back, extending
 * its sign. Where a lane's weight begins is computed once per row, so that a row may begin at any bit; what is left at
 * its end is taken under a predicate, which also keeps the loads within the arrays. */
#ifndef BT_DOT_HELIUM_H
#define BT_DOT_HELIUM_H

#include <arm_mve.h> /* the intrinsics of Helium */

/* 1, 2, 4, 8 and 16 bits never cross the end of a byte (of a halfword). */
BT_INLINE int bt_crosses(const unsigned b) { return (b & (b - 1u)) != 0u; }

/* 16 weights of 1..8 bits: lane i's begins in byte[i] and ends in last[i], and is `up` below the top of its lane. */
BT_INLINE int8x16_t bt_weights8(const uint8_t *w, uint8x16_t byte, uint8x16_t last, int8x16_t up, mve_pred16_t in,
                                const int all, const unsigned b) {
    uint8x16_t v;
    if (b == 8u)
        return all ? vldrbq_s8((const int8_t *)w) : vldrbq_z_s8((const int8_t *)w, in);
    v = vshlq_u8(all ? vldrbq_gather_offset_u8(w, byte) : vldrbq_gather_offset_z_u8(w, byte, in), up);
    if (bt_crosses(b)) {
        const uint8x16_t rest = all ? vldrbq_gather_offset_u8(w, last) : vldrbq_gather_offset_z_u8(w, last, in);
        v = vorrq_u8(v, vshlq_u8(rest, vaddq_n_s8(up, 8)));
    }
    return vshlq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8((int8_t)((int)b - 8)));
}

/* 8-bit activations, b = 1..8; one bit reads as 0 and -1, hence the sum of the activations. */
BT_INLINE int32_t bt_helium8(const uint8_t *w, size_t first, const int8_t *x, size_t n, const unsigned b) {
    const unsigned skip = (unsigned)(first * b & 7u);
    const uint8x16_t bits = vaddq_n_u8(vmulq_n_u8(vidupq_n_u8(0u, 1), (uint8_t)b), (uint8_t)skip);
    const uint8x16_t byte = vshrq_n_u8(bits, 3), last = vshrq_n_u8(vaddq_n_u8(bits, (uint8_t)(b - 1u)), 3);
    const int8x16_t at = vreinterpretq_s8_u8(vandq_u8(bits, vdupq_n_u8(7)));
    const int8x16_t up = vsubq_s8(vdupq_n_s8((int8_t)(8 - (int)b)), at);
    int32_t sum = 0, all = 0;
    w += first * b / 8u;
    for (; n >= 16u; n -= 16u, w += 2u * b, x += 16) {
        const int8x16_t here = vldrbq_s8(x);
        sum = vmladavaq_s8(sum, bt_weights8(w, byte, last, up, 0, 1, b), here);
        if (b == 1u)
            all = vaddvaq_s8(all, here);
    }
    if (n != 0u) {
        const mve_pred16_t in = vctp8q((uint32_t)n);
        const int8x16_t here = vldrbq_z_s8(x, in);
        sum = vmladavaq_s8(sum, bt_weights8(w, byte, last, up, in, 0, b), here);
        if (b == 1u)
            all = vaddvaq_s8(all, here);
    }
    return b == 1u ? (int32_t)(0u - 2u * (uint32_t)sum - (uint32_t)all) : sum;
}

/* 8 weights of any width; beyond 9 bits, one may lie in three bytes. */
BT_INLINE int16x8_t bt_weights16(const uint8_t *w, uint16x8_t byte, uint16x8_t last, int16x8_t up, mve_pred16_t in,
                                 const int all, const unsigned b) {
    uint16x8_t v;
    if (b == 16u) /* a predicate has a bit per byte */
        return vreinterpretq_s16_u8(all ? vldrbq_u8(w) : vldrbq_z_u8(w, in));
    if (b == 8u)
        return all ? vldrbq_s16((const int8_t *)w) : vldrbq_z_s16((const int8_t *)w, in);
    v = vshlq_u16(all ? vldrbq_gather_offset_u16(w, byte) : vldrbq_gather_offset_z_u16(w, byte, in), up);
    if (b > 9u) {
        const uint16x8_t rest =
            all ? vldrbq_gather_offset_u16(w + 1, byte) : vldrbq_gather_offset_z_u16(w + 1, byte, in);
        v = vorrq_u16(v, vshlq_u16(rest, vaddq_n_s16(up, 8)));
    }
    if (bt_crosses(b)) {
        const uint16x8_t rest = all ? vldrbq_gather_offset_u16(w, last) : vldrbq_gather_offset_z_u16(w, last, in);
        v = vorrq_u16(v, vshlq_u16(rest, vaddq_n_s16(up, b > 9u ? 16 : 8)));
    }
    return vshlq_s16(vreinterpretq_s16_u16(v), vdupq_n_s16((int16_t)((int)b - 16)));
}

BT_INLINE int16x8_t bt_x16(const void *x, mve_pred16_t in, const int all, const unsigned xb) {
    if (xb == 8u)
        return all ? vldrbq_s16((const int8_t *)x) : vldrbq_z_s16((const int8_t *)x, in);
    return all ? vldrhq_s16((const int16_t *)x) : vldrhq_z_s16((const int16_t *)x, in);
}

/* Activations and weights of any width. */
BT_INLINE int32_t bt_helium16(const uint8_t *w, size_t first, const void *x, size_t n, const unsigned b,
                              const unsigned xb) {
    const unsigned skip = (unsigned)(first * b & 7u);
    const uint16x8_t bits = vaddq_n_u16(vmulq_n_u16(vidupq_n_u16(0u, 1), (uint16_t)b), (uint16_t)skip);
    const uint16x8_t byte = vshrq_n_u16(bits, 3), last = vshrq_n_u16(vaddq_n_u16(bits, (uint16_t)(b - 1u)), 3);
    const int16x8_t at = vreinterpretq_s16_u16(vandq_u16(bits, vdupq_n_u16(7)));
    const int16x8_t up = vsubq_s16(vdupq_n_s16((int16_t)(16 - (int)b)), at);
    int32_t sum = 0, all = 0;
    w += first * b / 8u;
    for (; n >= 8u; n -= 8u, w += b, x = bt_after(x, 8u, xb)) {
        const int16x8_t here = bt_x16(x, 0, 1, xb);
        sum = vmladavaq_s16(sum, bt_weights16(w, byte, last, up, 0, 1, b), here);
        if (b == 1u)
            all = vaddvaq_s16(all, here);
    }
    if (n != 0u) {
        const mve_pred16_t in = vctp16q((uint32_t)n);
        const int16x8_t here = bt_x16(x, in, 0, xb);
        sum = vmladavaq_s16(sum, bt_weights16(w, byte, last, up, in, 0, b), here);
        if (b == 1u)
            all = vaddvaq_s16(all, here);
    }
    return b == 1u ? (int32_t)(0u - 2u * (uint32_t)sum - (uint32_t)all) : sum;
}

#endif
