/* The arithmetic of one value: rescaling, tables, means, packed integers. Integers only, C99 and C++. Exported networks
 * are made of it; the host's runtime takes its scalar parts from here.
 *
 * Right shifts of negative integers are arithmetic (checked below); sums and products are built in unsigned words:
 * nothing is undefined, and all is exact where the true result fits, which binding has proved. Indices are not checked:
 * q must be an integer of its format.
 */
#ifndef BT_OPS_H
#define BT_OPS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h> /* memcpy: loads from addresses of no alignment */

#if defined(__GNUC__)
#define BT_INLINE static inline __attribute__((always_inline, unused))
#define BT_NOINLINE __attribute__((noinline))
#else
#define BT_INLINE static inline
#define BT_NOINLINE
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Whether a word can be loaded from any address in one instruction. */
#if (defined(__ARM_FEATURE_UNALIGNED) || defined(__aarch64__) || defined(__x86_64__) || defined(__i386__))             \
    && !defined(__ARM_BIG_ENDIAN)
#define BT_UNALIGNED 1
#else
#define BT_UNALIGNED 0
#endif

/* Whether a signed integer is limited to so many bits in one instruction. It takes constants, which need an optimiser. */
#if !defined(BT_PLAIN) && defined(__GNUC__) && !defined(__clang__) && defined(__ARM_FEATURE_SAT)                       \
    && defined(__thumb2__) && defined(__OPTIMIZE__)
#define BT_SATURATES 1
#else
#define BT_SATURATES 0
#endif

typedef char bt_needs_arithmetic_shifts[((int32_t)-2 >> 1) == -1 ? 1 : -1];
typedef char bt_needs_32_bit_sizes[sizeof(size_t) >= 4 ? 1 : -1];

/* The signed integer number `index` of a string of `bits`-bit ones (1..32), lowest bit first; one bit: 0 for -1, 1 for
 * +1. bt_bits_wide: 1..64 bits. */
int32_t bt_bits(const uint8_t *packed, size_t index, unsigned bits);
int64_t bt_bits_wide(const uint8_t *packed, size_t index, unsigned bits);

/* bt_bits of an array of `bytes` bytes where bits (2..25) and bytes are constants: as many bytes as an integer may span
 * are read at once, none of them beyond the end. Arrays that have not so many are no case for it. */
BT_INLINE int32_t bt_element(const uint8_t *packed, const size_t bytes, size_t index, const unsigned bits) {
    /* they begin at multiples of the largest power of two in `bits` */
    const unsigned even = bits & (0u - bits), least = (bits + 15u - (even < 8u ? even : 8u)) / 8u;
    const unsigned span = BT_UNALIGNED && least > 2u && bytes >= 4u ? 4u : least;
    const size_t bit = index * bits, at = bit >> 3, last = bytes - span;
    /* those of 4 k, 8 k + 1 and 2 bits span as many bytes wherever they begin */
    const size_t from = ((bits + 7u) / 8u == least && span == least) || at < last ? at : last;
    /* an integer of 24 bits, read as 4 bytes, is their end where it is the array's last */
    const unsigned shift = bits % 8u == 0u && span == least ? 32u - bits : 32u - bits - (unsigned)(bit - 8u * from);
    uint32_t v;
#if BT_UNALIGNED
    if (span == 4u) {
        memcpy(&v, packed + from, sizeof v);
        return (int32_t)(v << shift) >> (32u - bits);
    }
    if (span == 2u) {
        uint16_t half;
        memcpy(&half, packed + from, sizeof half);
        return (int32_t)((uint32_t)half << shift) >> (32u - bits);
    }
#endif
    v = packed[from];
    if (span > 1u)
        v |= (uint32_t)packed[from + 1u] << 8;
    if (span > 2u)
        v |= (uint32_t)packed[from + 2u] << 16;
    if (span > 3u)
        v |= (uint32_t)packed[from + 3u] << 24;
    return (int32_t)(v << shift) >> (32u - bits);
}

BT_INLINE int32_t bt_clamp(int32_t v, int32_t lo, int32_t hi) { return v < lo ? lo : v > hi ? hi : v; }

/* clamp(v >> s, lo, hi), s 0..31. Where shift and limits are constants and the limits those of a signed integer, Arm's
 * larger cores do it in one instruction, which compilers find only where a limit is in no register yet. */
BT_INLINE int32_t bt_shift(int32_t v, const unsigned s, const int32_t lo, const int32_t hi) {
#if BT_SATURATES
    if (__builtin_constant_p(s) && __builtin_constant_p(lo) && __builtin_constant_p(hi) && s > 0u && hi > 0
        && lo == -1 - hi && ((uint32_t)hi & ((uint32_t)hi + 1u)) == 0u) {
        int32_t y;
        __asm__("ssat %0, %1, %2, asr %3" : "=r"(y) : "I"(32 - __builtin_clz((unsigned)hi) + 1), "r"(v), "I"(s));
        return y;
    }
#endif
    return bt_clamp(v >> s, lo, hi);
}

/* clamp((v m + c) >> s, lo, hi); |v m + c| < 2**31, s 0..31 */
BT_INLINE int32_t bt_rescale(int32_t v, int32_t m, int32_t c, unsigned s, int32_t lo, int32_t hi) {
    return bt_shift((int32_t)((uint32_t)v * (uint32_t)m + (uint32_t)c), s, lo, hi);
}

/* clamp((a m + b k + c) >> s, lo, hi); every sum below 2**31, s 0..31 */
BT_INLINE int32_t bt_rescale2(int32_t a, int32_t m, int32_t b, int32_t k, int32_t c, unsigned s, int32_t lo,
                              int32_t hi) {
    return bt_shift((int32_t)((uint32_t)a * (uint32_t)m + (uint32_t)b * (uint32_t)k + (uint32_t)c), s, lo, hi);
}

BT_INLINE int32_t bt_clamp_wide(int64_t v, int32_t lo, int32_t hi) { return v < lo ? lo : v > hi ? hi : (int32_t)v; }

/* The same with sums below 2**63, s 0..62. */
BT_INLINE int32_t bt_rescale_wide(int64_t v, int32_t m, int64_t c, unsigned s, int32_t lo, int32_t hi) {
    return bt_clamp_wide((int64_t)((uint64_t)v * (uint64_t)m + (uint64_t)c) >> s, lo, hi);
}

BT_INLINE int32_t bt_rescale2_wide(int32_t a, int32_t m, int32_t b, int32_t k, int64_t c, unsigned s, int32_t lo,
                                   int32_t hi) {
    uint64_t sum = (uint64_t)((int64_t)a * m) + (uint64_t)((int64_t)b * k) + (uint64_t)c;
    return bt_clamp_wide((int64_t)sum >> s, lo, hi);
}

/* A table's entry for q; one entry per integer from qmin up. */
BT_INLINE int32_t bt_lookup8(const int8_t *entries, int32_t q, int32_t qmin) { return entries[q - qmin]; }
BT_INLINE int32_t bt_lookup16(const int16_t *entries, int32_t q, int32_t qmin) { return entries[q - qmin]; }

/* Linear interpolation at `index` between 16-bit knots 2**step (step 0..8) apart, the first for index 0:
 * clamp((knot (2**step - k) + next k + half) >> shift, lo, hi), half = 2**(shift-1), shift 1..24. */
BT_INLINE int32_t bt_between(const int16_t *knots, uint32_t index, unsigned step, unsigned shift, int32_t lo,
                             int32_t hi) {
    const int16_t *knot = knots + (index >> step);
    const int32_t span = (int32_t)1 << step, k = (int32_t)(index & ((uint32_t)span - 1u));
    return bt_clamp((knot[0] * (span - k) + knot[1] * k + ((int32_t)1 << (shift - 1u))) >> shift, lo, hi);
}

/* The same for q, with knots from qmin on that are `guard` bits finer than the output. */
BT_INLINE int32_t bt_knots(const int16_t *knots, int32_t q, int32_t qmin, unsigned step, unsigned guard, int32_t lo,
                           int32_t hi) {
    return bt_between(knots, (uint32_t)(q - qmin), step, step + guard, lo, hi);
}

/* clamp(floor(sum / (steps 2**s)), lo, hi); steps 1..65535, hi - lo below 2**16.
 * The division is the 32-bit one: by 2**s first, which floors alike, then clamped to where the result is. */
BT_INLINE int32_t bt_divide(int64_t sum, uint32_t steps, unsigned s, int32_t lo, int32_t hi) {
    const int64_t scaled = sum >> s;
    const int64_t least = (int64_t)lo * (int64_t)steps;
    const int64_t most = ((int64_t)hi + 1) * (int64_t)steps - 1;
    if (scaled < least)
        return lo;
    if (scaled > most)
        return hi;
    return lo + (int32_t)((uint32_t)(scaled - least) / steps);
}

/* The mean of `steps` values whose sum, less their zero-points, is `total`:
 * clamp(floor((total m + steps c) / (steps 2**s)), lo, hi), sums below 2**62. */
BT_INLINE int32_t bt_mean(int32_t total, uint32_t steps, int32_t m, int64_t c, unsigned s, int32_t lo, int32_t hi) {
    return bt_divide((int64_t)total * m + (int64_t)steps * c, steps, s, lo, hi);
}

#ifdef __cplusplus
}
#endif

#endif
