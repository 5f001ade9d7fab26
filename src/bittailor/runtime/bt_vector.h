/* The primitives: vectors of BT_LANES int32, written once per instruction set. Nothing here knows an operator.
 *
 * bt_i32           BT_LANES values; >> as in C (GNU vector types, or a plain int32_t with one lane)
 * bt_add/sub/mul   per lane
 * bt_min/max       per lane
 * bt_dot4          acc[l] += sum of 4 products u8 x s8;  bt_dot2: of 2 products s16 x s16
 * bt_table_at      a table of 256 bytes, where the instruction set can keep one in registers (BT_SPLIT)
 * bt_wide_*        64-bit sums: all, load, add; mul = 32 x 32 bits; times = 64 x non-negative 32 bits;
 *                  finish = clamp(sum >> shift, lo, hi), back to bt_i32
 * All arithmetic is modulo 2**32; where a true sum fits 32 bits it is exact.
 */
#ifndef BT_VECTOR_H
#define BT_VECTOR_H

#include <string.h> /* memcpy */

#include "bittailor.h"
#include "device/bt_ops.h"

#if BT_LANES > 1 && (defined(__AVX2__) || defined(__SSE4_1__))
#include <immintrin.h> /* the intrinsics of x86 */
#endif

#if defined(__clang__)
#define BT_UNROLL _Pragma("clang loop unroll(full)")
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

#define BT_SPLIT 1 /* a table of bytes in registers, looked up by permutation */
typedef struct bt_table {
    __m512i part[4];
} bt_table;
BT_INLINE bt_table bt_table_of(const uint8_t *entries) {
    bt_table t;
    for (int i = 0; i < 4; i++)
        t.part[i] = _mm512_loadu_si512(entries + 64 * i);
    return t;
}
/* Bytes of the table at the bytes of `index`; with `half`, only its first 128 entries are used, at index mod 128. */
BT_INLINE bt_i32 bt_table_at(const bt_table *t, bt_i32 index, const int half) {
    __m512i i = (__m512i)index, low = _mm512_permutex2var_epi8(t->part[0], i, t->part[1]);
    if (half)
        return (bt_i32)low;
    __m512i high = _mm512_permutex2var_epi8(t->part[2], i, t->part[3]);
    return (bt_i32)_mm512_mask_blend_epi8(_mm512_movepi8_mask(i), low, high);
}
/* The even bytes of a and the odd ones of b. */
BT_INLINE bt_i32 bt_odd_bytes(bt_i32 a, bt_i32 b) {
    return (bt_i32)_mm512_mask_blend_epi8(0xAAAAAAAAAAAAAAAA, (__m512i)a, (__m512i)b);
}
/* Per lane a where `where` is true, else b. */
BT_INLINE bt_i32 bt_select(bt_i32 where, bt_i32 a, bt_i32 b) { return (a & where) | (b & ~where); }

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

#define BT_GATHER 1
/* The int16 at table + index and the one after it, as a pair. */
BT_INLINE bt_i32 bt_gather_pairs(const int16_t *table, bt_i32 index) {
    return (bt_i32)_mm256_i32gather_epi32((const int *)(const void *)table, (__m256i)index, 2);
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

#ifndef BT_SPLIT
#define BT_SPLIT 0
#endif
#ifndef BT_GATHER
#define BT_GATHER 0
#endif

/* --- 64-bit sums: bt_wide holds one per lane, in an order of its own; arithmetic modulo 2**64 --------------------- */

#if BT_LANES == 16 && defined(__AVX512VNNI__)

typedef struct bt_wide {
    __m512i even, odd; /* lanes 0, 2, .. and 1, 3, .. */
} bt_wide;

BT_INLINE bt_wide bt_wide_all(int64_t x) { return (bt_wide){_mm512_set1_epi64(x), _mm512_set1_epi64(x)}; }
BT_INLINE bt_wide bt_wide_load(const int64_t *p) {
    __m512i low = _mm512_loadu_si512(p), high = _mm512_loadu_si512(p + 8);
    const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14),
                  odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
    return (bt_wide){_mm512_permutex2var_epi64(low, even, high), _mm512_permutex2var_epi64(low, odd, high)};
}
BT_INLINE bt_wide bt_wide_add(bt_wide a, bt_wide b) {
    return (bt_wide){_mm512_add_epi64(a.even, b.even), _mm512_add_epi64(a.odd, b.odd)};
}
BT_INLINE bt_wide bt_wide_mul(bt_i32 a, bt_i32 b) {
    __m512i x = (__m512i)a, y = (__m512i)b;
    return (bt_wide){_mm512_mul_epi32(x, y), _mm512_mul_epi32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(y, 32))};
}
BT_INLINE bt_wide bt_wide_times(bt_wide a, bt_i32 b) {
    __m512i y = (__m512i)b, zero = _mm512_setzero_si512();
    return (bt_wide){_mm512_mullo_epi64(a.even, _mm512_mask_blend_epi32(0xAAAA, y, zero)),
                     _mm512_mullo_epi64(a.odd, _mm512_srli_epi64(y, 32))};
}
BT_INLINE bt_i32 bt_wide_finish(bt_wide sum, int shift, int32_t lo, int32_t hi) {
    __m128i count = _mm_cvtsi32_si128(shift);
    __m512i low = _mm512_set1_epi64(lo), high = _mm512_set1_epi64(hi);
    __m512i even = _mm512_min_epi64(_mm512_max_epi64(_mm512_sra_epi64(sum.even, count), low), high);
    __m512i odd = _mm512_min_epi64(_mm512_max_epi64(_mm512_sra_epi64(sum.odd, count), low), high);
    return (bt_i32)_mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
}

#elif BT_LANES == 8 && defined(__AVX2__)

typedef struct bt_wide {
    __m256i even, odd; /* lanes 0, 2, .. and 1, 3, .. */
} bt_wide;

BT_INLINE bt_wide bt_wide_all(int64_t x) { return (bt_wide){_mm256_set1_epi64x(x), _mm256_set1_epi64x(x)}; }
BT_INLINE bt_wide bt_wide_load(const int64_t *p) {
    return (bt_wide){_mm256_setr_epi64x(p[0], p[2], p[4], p[6]), _mm256_setr_epi64x(p[1], p[3], p[5], p[7])};
}
BT_INLINE bt_wide bt_wide_add(bt_wide a, bt_wide b) {
    return (bt_wide){_mm256_add_epi64(a.even, b.even), _mm256_add_epi64(a.odd, b.odd)};
}
BT_INLINE bt_wide bt_wide_mul(bt_i32 a, bt_i32 b) {
    __m256i x = (__m256i)a, y = (__m256i)b;
    return (bt_wide){_mm256_mul_epi32(x, y), _mm256_mul_epi32(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(y, 32))};
}
BT_INLINE __m256i bt_mul_64_by_32(__m256i a, __m256i b) {
    __m256i high = _mm256_slli_epi64(_mm256_mul_epu32(_mm256_srli_epi64(a, 32), b), 32);
    return _mm256_add_epi64(_mm256_mul_epu32(a, b), high);
}
BT_INLINE bt_wide bt_wide_times(bt_wide a, bt_i32 b) {
    __m256i y = (__m256i)b;
    return (bt_wide){bt_mul_64_by_32(a.even, y), bt_mul_64_by_32(a.odd, _mm256_srli_epi64(y, 32))};
}
BT_INLINE __m256i bt_finish_half(__m256i sum, __m128i count, __m256i low, __m256i high) {
    const __m256i top = _mm256_set1_epi64x(INT64_MIN); /* an arithmetic shift, from a logical one of sum + 2**63 */
    __m256i y = _mm256_sub_epi64(_mm256_srl_epi64(_mm256_xor_si256(sum, top), count), _mm256_srl_epi64(top, count));
    y = _mm256_blendv_epi8(y, low, _mm256_cmpgt_epi64(low, y));
    return _mm256_blendv_epi8(y, high, _mm256_cmpgt_epi64(y, high));
}
BT_INLINE bt_i32 bt_wide_finish(bt_wide sum, int shift, int32_t lo, int32_t hi) {
    __m128i count = _mm_cvtsi32_si128(shift);
    __m256i low = _mm256_set1_epi64x(lo), high = _mm256_set1_epi64x(hi);
    __m256i even = bt_finish_half(sum.even, count, low, high), odd = bt_finish_half(sum.odd, count, low, high);
    return (bt_i32)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}

#else /* plain C */

typedef struct bt_wide {
    uint64_t v[BT_LANES];
} bt_wide;

#define BT_EACH_LANE for (int l = 0; l < BT_LANES; l++)

BT_INLINE bt_wide bt_wide_all(int64_t x) {
    bt_wide y;
    BT_EACH_LANE
        y.v[l] = (uint64_t)x;
    return y;
}
BT_INLINE bt_wide bt_wide_load(const int64_t *p) {
    bt_wide y;
    memcpy(y.v, p, sizeof y.v);
    return y;
}
BT_INLINE bt_wide bt_wide_add(bt_wide a, bt_wide b) {
    BT_EACH_LANE
        a.v[l] += b.v[l];
    return a;
}
BT_INLINE bt_wide bt_wide_mul(bt_i32 a, bt_i32 b) {
    int32_t p[BT_LANES], q[BT_LANES];
    bt_wide y;
    memcpy(p, &a, sizeof p);
    memcpy(q, &b, sizeof q);
    BT_EACH_LANE
        y.v[l] = (uint64_t)((int64_t)p[l] * q[l]);
    return y;
}
BT_INLINE bt_wide bt_wide_times(bt_wide a, bt_i32 b) {
    int32_t q[BT_LANES];
    memcpy(q, &b, sizeof q);
    BT_EACH_LANE
        a.v[l] *= (uint64_t)q[l];
    return a;
}
BT_INLINE bt_i32 bt_wide_finish(bt_wide sum, int shift, int32_t lo, int32_t hi) {
    int32_t y[BT_LANES];
    bt_i32 result;
    BT_EACH_LANE {
        y[l] = bt_clamp_wide((int64_t)sum.v[l] >> shift, lo, hi);
    }
    memcpy(&result, y, sizeof y);
    return result;
}

#endif

/* The lowest byte of every value, as a signed number. */
BT_INLINE bt_i32 bt_low_byte(bt_i32 v) { return (bt_i32)((bt_u32)v << 24) >> 24; }

BT_INLINE bt_i32 bt_clamp_all(bt_i32 v, int32_t lo, int32_t hi) { return bt_min(bt_max(v, bt_all(lo)), bt_all(hi)); }

#endif
