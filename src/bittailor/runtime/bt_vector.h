/* The primitives: vectors of BT_LANES int32, written once per instruction set. Nothing here knows an operator.
 *
 * bt_i32       BT_LANES values; + - * & | >> as in C (GNU vector types, or a plain int32_t with one lane)
 * bt_dot4      acc[l] += sum of 4 products u8 x s8;  bt_dot2: of 2 products s16 x s16
 * bt_min/max   per lane
 * All arithmetic is modulo 2**32; where a true sum fits 32 bits it is exact.
 */
#ifndef BT_VECTOR_H
#define BT_VECTOR_H

#include <string.h> /* memcpy */

#include "bittailor.h"

#if BT_LANES > 1 && (defined(__AVX2__) || defined(__SSE4_1__))
#include <immintrin.h> /* the intrinsics of x86 */
#endif

#define BT_INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define BT_UNROLL _Pragma("unroll")
#else
#define BT_UNROLL _Pragma("GCC unroll 16")
#endif

#if BT_LANES == 1
typedef int32_t bt_i32;
typedef uint32_t bt_u32;
#else
typedef int32_t bt_i32 __attribute__((vector_size(4 * BT_LANES)));
typedef uint32_t bt_u32 __attribute__((vector_size(4 * BT_LANES)));
#endif

BT_INLINE bt_i32 bt_load(const int32_t *p) {
    bt_i32 v;
    memcpy(&v, p, sizeof v);
    return v;
}

BT_INLINE void bt_store(int32_t *p, bt_i32 v) { memcpy(p, &v, sizeof v); }

BT_INLINE bt_i32 bt_all(int32_t x) { return x - (bt_i32){0}; }

BT_INLINE bt_i32 bt_add(bt_i32 a, bt_i32 b) { return (bt_i32)((bt_u32)a + (bt_u32)b); }

BT_INLINE bt_i32 bt_sub(bt_i32 a, bt_i32 b) { return (bt_i32)((bt_u32)a - (bt_u32)b); }

BT_INLINE bt_i32 bt_mul(bt_i32 a, bt_i32 b) { return (bt_i32)((bt_u32)a * (bt_u32)b); }

#if BT_LANES == 16 && defined(__AVX512VNNI__)

#define BT_WIDTHS8 16 /* vpdpbusd does not saturate */

BT_INLINE bt_i32 bt_min(bt_i32 a, bt_i32 b) { return (bt_i32)_mm512_min_epi32((__m512i)a, (__m512i)b); }
BT_INLINE bt_i32 bt_max(bt_i32 a, bt_i32 b) { return (bt_i32)_mm512_max_epi32((__m512i)a, (__m512i)b); }
BT_INLINE bt_i32 bt_dot4(bt_i32 acc, bt_i32 x, bt_i32 w) {
    return (bt_i32)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)x, (__m512i)w);
}
BT_INLINE bt_i32 bt_dot2(bt_i32 acc, bt_i32 x, bt_i32 w) {
    return (bt_i32)_mm512_dpwssd_epi32((__m512i)acc, (__m512i)x, (__m512i)w);
}

#elif BT_LANES == 8 && defined(__AVX2__)

#define BT_WIDTHS8 15 /* vpmaddubsw saturates beyond */

BT_INLINE bt_i32 bt_min(bt_i32 a, bt_i32 b) { return (bt_i32)_mm256_min_epi32((__m256i)a, (__m256i)b); }
BT_INLINE bt_i32 bt_max(bt_i32 a, bt_i32 b) { return (bt_i32)_mm256_max_epi32((__m256i)a, (__m256i)b); }
BT_INLINE bt_i32 bt_dot2(bt_i32 acc, bt_i32 x, bt_i32 w) {
    return bt_add(acc, (bt_i32)_mm256_madd_epi16((__m256i)x, (__m256i)w));
}
BT_INLINE bt_i32 bt_dot4(bt_i32 acc, bt_i32 x, bt_i32 w) {
    return bt_dot2(acc, (bt_i32)_mm256_maddubs_epi16((__m256i)x, (__m256i)w), (bt_i32)_mm256_set1_epi16(1));
}

#elif BT_LANES == 4 && defined(__SSE4_1__)

#define BT_WIDTHS8 15 /* pmaddubsw saturates beyond */

BT_INLINE bt_i32 bt_min(bt_i32 a, bt_i32 b) { return (bt_i32)_mm_min_epi32((__m128i)a, (__m128i)b); }
BT_INLINE bt_i32 bt_max(bt_i32 a, bt_i32 b) { return (bt_i32)_mm_max_epi32((__m128i)a, (__m128i)b); }
BT_INLINE bt_i32 bt_dot2(bt_i32 acc, bt_i32 x, bt_i32 w) {
    return bt_add(acc, (bt_i32)_mm_madd_epi16((__m128i)x, (__m128i)w));
}
BT_INLINE bt_i32 bt_dot4(bt_i32 acc, bt_i32 x, bt_i32 w) {
    return bt_dot2(acc, (bt_i32)_mm_maddubs_epi16((__m128i)x, (__m128i)w), (bt_i32)_mm_set1_epi16(1));
}

#else /* plain C */

#define BT_WIDTHS8 16

BT_INLINE bt_i32 bt_dot4(bt_i32 acc, bt_i32 x, bt_i32 w) {
    uint8_t u[4 * BT_LANES];
    int8_t s[4 * BT_LANES];
    uint32_t y[BT_LANES];
    memcpy(u, &x, sizeof u);
    memcpy(s, &w, sizeof s);
    memcpy(y, &acc, sizeof y);
    for (int l = 0; l < BT_LANES; l++)
        y[l] += (uint32_t)(u[4 * l] * s[4 * l] + u[4 * l + 1] * s[4 * l + 1] + u[4 * l + 2] * s[4 * l + 2]
                           + u[4 * l + 3] * s[4 * l + 3]);
    memcpy(&acc, y, sizeof y);
    return acc;
}

BT_INLINE bt_i32 bt_dot2(bt_i32 acc, bt_i32 x, bt_i32 w) {
    int16_t u[2 * BT_LANES], s[2 * BT_LANES];
    uint32_t y[BT_LANES];
    memcpy(u, &x, sizeof u);
    memcpy(s, &w, sizeof s);
    memcpy(y, &acc, sizeof y);
    for (int l = 0; l < BT_LANES; l++)
        y[l] += (uint32_t)(u[2 * l] * s[2 * l]) + (uint32_t)(u[2 * l + 1] * s[2 * l + 1]);
    memcpy(&acc, y, sizeof y);
    return acc;
}

#if BT_LANES == 1
BT_INLINE bt_i32 bt_min(bt_i32 a, bt_i32 b) { return a < b ? a : b; }
BT_INLINE bt_i32 bt_max(bt_i32 a, bt_i32 b) { return a > b ? a : b; }
#else
BT_INLINE bt_i32 bt_min(bt_i32 a, bt_i32 b) {
    bt_i32 less = a < b;
    return (a & less) | (b & ~less);
}
BT_INLINE bt_i32 bt_max(bt_i32 a, bt_i32 b) {
    bt_i32 more = a > b;
    return (a & more) | (b & ~more);
}
#endif

#endif

BT_INLINE bt_i32 bt_clamp(bt_i32 v, int32_t lo, int32_t hi) { return bt_min(bt_max(v, bt_all(lo)), bt_all(hi)); }

#endif
