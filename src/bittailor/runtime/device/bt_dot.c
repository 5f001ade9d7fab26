/* Dot products of packed weights: one template, instantiated per width of the weights and of the activations.
 *
 * A group of 8 weights of b bits is b bytes whatever b is, so it is taken apart by shifts that are compile-time
 * constants. A row may begin anywhere: what stands before the first whole byte and behind the last group of 4 goes
 * through bt_few, which takes weights one by one and is shared by all widths. Compile with -ffunction-sections and link
 * with --gc-sections, and a program holds only those that it calls.
 *
 * Variants give the same integers: plain C; Arm's DSP instructions (bt_dot_dsp.h); Helium (bt_dot_helium.h).
 * -DBT_PLAIN chooses plain C everywhere, -DBT_NO_HELIUM the DSP instructions where Helium is there too.
 */
#include "bt_dot.h"

#include <string.h> /* memcpy: loads from addresses of no alignment */

#if !defined(BT_PLAIN) && !defined(BT_NO_HELIUM) && defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define BT_HELIUM 1
#else
#define BT_HELIUM 0
#endif

/* Needs loads from any address, and an optimiser that turns shift counts into constants. */
#if !defined(BT_PLAIN) && BT_UNALIGNED && defined(__ARM_FEATURE_DSP) && defined(__OPTIMIZE__) && defined(__thumb2__)
#define BT_DSP 1
#else
#define BT_DSP 0
#endif

BT_INLINE uint32_t bt_word(const void *from) {
    uint32_t v;
    memcpy(&v, from, sizeof v);
    return v;
}

#if BT_UNALIGNED
/* The first 1..4 bytes. */
BT_INLINE uint32_t bt_part(const uint8_t *from, const unsigned bytes) {
    uint16_t half = 0;
    if (bytes >= 4u)
        return bt_word(from);
    if (bytes == 1u)
        return from[0];
    memcpy(&half, from, sizeof half);
    return bytes == 2u ? half : half | (uint32_t)from[2] << 16;
}
#endif

/* --- integers one by one ------------------------------------------------------------------------------------------ */

int64_t bt_bits_wide(const uint8_t *packed, size_t index, unsigned bits) {
    const size_t bit = index * bits;
    const unsigned skip = (unsigned)(bit & 7u), shift = 64u - bits;
    uint64_t v;
    packed += bit >> 3;
    v = (uint64_t)*packed >> skip;
    for (unsigned have = 8u - skip; have < bits; have += 8u)
        v |= (uint64_t)*++packed << have;
    return bits == 1u ? (int64_t)(v & 1u) * 2 - 1 : (int64_t)(v << shift) >> shift;
}

int32_t bt_bits(const uint8_t *packed, size_t index, unsigned bits) {
    const size_t bit = index * bits;
    const unsigned skip = (unsigned)(bit & 7u), shift = 32u - bits;
    uint32_t v;
    packed += bit >> 3;
    v = (uint32_t)*packed >> skip;
    for (unsigned have = 8u - skip; have < bits; have += 8u)
        v |= (uint32_t)*++packed << have;
    return bits == 1u ? (int32_t)(v & 1u) * 2 - 1 : (int32_t)(v << shift) >> shift;
}

/* x[k]; xb is the width of x. */
BT_INLINE int32_t bt_x(const void *x, size_t k, const unsigned xb) {
    return xb == 8u ? ((const int8_t *)x)[k] : ((const int16_t *)x)[k];
}

BT_INLINE const void *bt_after(const void *x, size_t k, const unsigned xb) { return (const char *)x + k * (xb / 8u); }

#if BT_HELIUM
#include "bt_dot_helium.h"
#else

/* Weights between byte boundaries, less 1: 0, 1, 3 or 7. */
BT_INLINE unsigned bt_mask(unsigned b) { return (b & 1u) != 0u ? 7u : (b & 2u) != 0u ? 3u : (b & 4u) != 0u ? 1u : 0u; }

/* A dot product of any width, weight by weight: a window of the bit string, refilled byte by byte; n > 0. */
BT_INLINE uint32_t bt_few(const uint8_t *w, size_t first, const void *x, size_t n, unsigned b, const unsigned xb) {
    const size_t bit = first * b;
    const unsigned skip = (unsigned)(bit & 7u), shift = 32u - b;
    const int32_t sign = b == 1u;
    unsigned have = 8u - skip;
    uint32_t window, sum = 0;
    w += bit >> 3;
    window = (uint32_t)*w++ >> skip;
    for (; n != 0u; n--, x = bt_after(x, 1u, xb)) {
        for (; have < b; have += 8u)
            window |= (uint32_t)*w++ << have;
        sum += (uint32_t)(((int32_t)(window << shift) >> shift | sign) * bt_x(x, 0u, xb));
        window >>= b;
        have -= b;
    }
    return sign ? 0u - sum : sum; /* a single bit reads as 0 or -1: with its lowest bit set, 1 for -1 and -1 for 1 */
}

/* A row that begins within a byte, or is no multiple of 4 weights long: `even` is the kernel for what lies between. */
#define BT_DEFINE_RAGGED(xb)                                                                                           \
    static BT_NOINLINE uint32_t bt_few_x##xb(const uint8_t *w, size_t first, const int##xb##_t *x, size_t n,           \
                                             unsigned b) {                                                             \
        return bt_few(w, first, x, n, b, xb##u);                                                                       \
    }                                                                                                                  \
    typedef int32_t bt_even_x##xb(const uint8_t *w, size_t first, const int##xb##_t *x, size_t n);                     \
    static BT_NOINLINE int32_t bt_ragged_x##xb(const uint8_t *w, size_t first, const int##xb##_t *x, size_t n,         \
                                               unsigned b, bt_even_x##xb *even) {                                      \
        uint32_t sum = 0;                                                                                              \
        size_t head = (0u - first) & bt_mask(b);                                                                       \
        head = head < n ? head : n;                                                                                    \
        if (head != 0u) {                                                                                              \
            sum = bt_few_x##xb(w, first, x, head, b);                                                                  \
            first += head;                                                                                             \
            x += head;                                                                                                 \
            n -= head;                                                                                                 \
        }                                                                                                              \
        if (n >= 4u) {                                                                                                 \
            sum += (uint32_t)even(w, first, x, n & ~(size_t)3);                                                        \
            first += n & ~(size_t)3;                                                                                   \
            x += n & ~(size_t)3;                                                                                       \
            n &= 3u;                                                                                                   \
        }                                                                                                              \
        return (int32_t)(n != 0u ? sum + bt_few_x##xb(w, first, x, n, b) : sum);                                       \
    }
BT_DEFINE_RAGGED(8)
BT_DEFINE_RAGGED(16)

/* --- groups of 8 in plain C --------------------------------------------------------------------------------------- */

/* Weight k of those at w, of which there are `bytes` bytes; one bit reads as 0 and -1. */
BT_INLINE int32_t bt_weight(const uint8_t *w, const unsigned k, const unsigned b, const unsigned bytes) {
    const unsigned bit = k * b, end = bit + b, byte = bit / 8u, at = bit % 8u, last = (end - 1u) / 8u;
#if BT_UNALIGNED
    if (b == 16u) {
        int16_t v;
        memcpy(&v, w + byte, sizeof v);
        return v;
    }
    if (b != 8u) {
        /* as few words as there can be, none of which goes beyond the end */
        const unsigned from = end <= 32u ? 0u : bit >= 8u * (bytes - 4u) ? bytes - 4u : byte;
        return (int32_t)(bt_part(w + from, bytes < 4u ? bytes : 4u) << (32u - end + 8u * from)) >> (32u - b);
    }
#endif
    (void)bytes;
    if (last == byte && end % 8u == 0u)
        return (int8_t)w[byte] >> at;
    if (last == byte && 8u % b == 0u) /* extended, so that one load serves the uppermost weight of the byte too */
        return (int32_t)((uint32_t)(int8_t)w[byte] << (32u - b - at)) >> (32u - b);
    if (last == byte)
        return (int32_t)((uint32_t)w[byte] << (32u - b - at)) >> (32u - b);
    if (last == byte + 1u && end % 8u == 0u)
        return (int32_t)((uint32_t)(int8_t)w[last] << (8u - at) | (uint32_t)w[byte] >> at);
    if (last == byte + 1u)
        return (int32_t)(((uint32_t)w[byte] | (uint32_t)w[last] << 8) << (32u - b - at)) >> (32u - b);
    return (int32_t)(((uint32_t)w[byte] | (uint32_t)w[byte + 1u] << 8 | (uint32_t)w[last] << 16) << (32u - b - at))
        >> (32u - b);
}

/* Sums stay in the order that is written and pointers are moved once per group: the compiler's own ideas take more
 * registers and more instructions. */
#if defined(__GNUC__)
#define BT_KEEP(v) __asm__("" : "+r"(v))
#else
#define BT_KEEP(v) (void)0
#endif

#define BT_MAC(k, bytes)                                                                                               \
    do {                                                                                                               \
        sum += (uint32_t)((bt_weight(w, k, b, bytes) | (b == 1u)) * bt_x(x, k, xb)); /* one bit: as in bt_few */       \
        BT_KEEP(sum);                                                                                                  \
    } while (0)

/* n a multiple of 4, w where a byte begins. */
BT_INLINE int32_t bt_plain(const uint8_t *w, const void *x, size_t n, const unsigned b, const unsigned xb) {
    const void *const end = bt_after(x, n & ~(size_t)7, xb);
    uint32_t sum = 0;
    for (; x != end; w += b, x = bt_after(x, 8u, xb)) {
        BT_MAC(0u, b);
        BT_MAC(1u, b);
        BT_MAC(2u, b);
        BT_MAC(3u, b);
        BT_MAC(4u, b);
        BT_MAC(5u, b);
        BT_MAC(6u, b);
        BT_MAC(7u, b);
        BT_KEEP(w);
        BT_KEEP(x);
    }
    if ((n & 4u) != 0u) {
        BT_MAC(0u, (4u * b + 7u) / 8u);
        BT_MAC(1u, (4u * b + 7u) / 8u);
        BT_MAC(2u, (4u * b + 7u) / 8u);
        BT_MAC(3u, (4u * b + 7u) / 8u);
    }
    return (int32_t)(b == 1u ? 0u - sum : sum);
}

#if BT_DSP
#include "bt_dot_dsp.h"
#endif
#endif /* !BT_HELIUM */

/* --- instances ---------------------------------------------------------------------------------------------------- */

#if BT_HELIUM
#define BT_DEFINE_ONE(b, xb)                                                                                           \
    int32_t bt_dot##b##_x##xb(const uint8_t *w, size_t first, const int##xb##_t *x, size_t n) {                        \
        return xb == 8 && b <= 8 ? bt_helium8(w, first, (const int8_t *)x, n, b)                                       \
                                 : bt_helium16(w, first, x, n, b, xb##u);                                              \
    }
#else
#if BT_DSP
#define BT_EVEN(w, x, n, b, xb) ((b) <= 8 || (b) == 16 ? bt_dsp(w, x, n, b, xb) : bt_plain(w, x, n, b, xb))
#else
#define BT_EVEN(w, x, n, b, xb) bt_plain(w, x, n, b, xb)
#endif
#define BT_DEFINE_ONE(b, xb)                                                                                           \
    int32_t bt_dot##b##_x##xb(const uint8_t *w, size_t first, const int##xb##_t *x, size_t n) {                        \
        if (((first & bt_mask(b)) | (n & 3u)) != 0u)                                                                   \
            return bt_ragged_x##xb(w, first, x, n, b, bt_dot##b##_x##xb);                                              \
        return BT_EVEN(w + first * b / 8u, x, n, b, xb##u);                                                            \
    }
#endif
#define BT_DEFINE(b)                                                                                                   \
    BT_DEFINE_ONE(b, 8)                                                                                                \
    BT_DEFINE_ONE(b, 16)
BT_EACH_WIDTH(BT_DEFINE)

/* 64-bit sums of 32-bit ones, each over as many weights as cannot overflow. */
#define BT_DEFINE_LONG(b)                                                                                              \
    int64_t bt_dotl##b##_x8(const uint8_t *w, size_t first, const int8_t *x, size_t n) {                               \
        const size_t most = (size_t)1 << (24 - (b));                                                                   \
        int64_t sum = 0;                                                                                               \
        for (; n > most; n -= most, first += most, x += most)                                                          \
            sum += bt_dot##b##_x8(w, first, x, most);                                                                  \
        return sum + bt_dot##b##_x8(w, first, x, n);                                                                   \
    }                                                                                                                  \
    int64_t bt_dotl##b##_x16(const uint8_t *w, size_t first, const int16_t *x, size_t n) {                             \
        const size_t most = (size_t)1 << (16 - (b));                                                                   \
        int64_t sum = 0;                                                                                               \
        for (; n > most; n -= most, first += most, x += most)                                                          \
            sum += bt_dot##b##_x16(w, first, x, most);                                                                 \
        return sum + bt_dot##b##_x16(w, first, x, n);                                                                  \
    }
BT_EACH_WIDTH(BT_DEFINE_LONG)
