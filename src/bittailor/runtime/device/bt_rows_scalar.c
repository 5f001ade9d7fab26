/* Eight rows at once without SIMD instructions. The innermost loops are machine code on M-class cores and RISC-V, C
 * elsewhere, and everywhere with -DBT_PLAIN; what is around them is this file. */
#include "bt_rows_scalar.h"

/* Machine code reads words of weights by bytes, too. */
#if defined(BT_PLAIN) || !defined(__GNUC__) || !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#include "bt_rows_plain.h"
#elif defined(__thumb2__)
#include "bt_rows_thumb2.h"
#elif defined(__thumb__)
#include "bt_rows_thumb1.h"
#elif defined(__riscv_mul) && __riscv_xlen == 32 && !defined(__riscv_32e)
#include "bt_rows_riscv.h"
#define BT_TWO_ROWS 1
#else
#include "bt_rows_plain.h"
#endif

#if !defined(BT_TWO_ROWS)
#define BT_TWO_ROWS 0 /* of 8-bit weights, by one multiplication */
#endif

/* The order that is written: compilers' own takes more registers, which are then spilled. */
#if defined(__GNUC__)
#define BT_KEEP(v) __asm__("" : "+r"(v))
#else
#define BT_KEEP(v) (void)0
#endif

/* --- preparation -------------------------------------------------------------------------------------------------- */

void bt_total_x8(const int8_t *x, size_t n, int32_t *to) {
    const int8_t *const end = x + n;
    int32_t sum = 0;
    for (; n >= 4u; n -= 4u, x += 4)
        sum += x[0] + x[1] + x[2] + x[3];
    while (x != end)
        sum += *x++;
    *to = sum;
}

void bt_total_x16(const int16_t *x, size_t n, int32_t *to) {
    const int16_t *const end = x + n;
    uint32_t sum = 0;
    while (x != end) {
        const int32_t here = *x++;
        sum += (uint32_t)here;
    }
    *to = (int32_t)sum;
}

/* The sum of all, then, where the kernel takes two rows at once, for each four inputs minus 128 times their sum in both
 * halves of a word, plus 2**15. */
void bt_fours_x8(const int8_t *x, size_t n, int32_t *to) {
    int32_t *const first = to++;
    int32_t sum = 0;
    for (; n >= 4u; n -= 4u, x += 4) {
        const int32_t four = x[0] + x[1] + x[2] + x[3];
        sum += four;
        if (BT_TWO_ROWS)
            *to++ = (int32_t)(0x8000u - (uint32_t)four * 0x800080u);
    }
    for (; n != 0u; n--)
        sum += *x++;
    *first = sum;
}

BT_INLINE void bt_sums(const int8_t *x, size_t n, int16_t *to, const size_t step) {
    const int8_t *const end = x + n;
    int32_t sum = 0;
    *to++ = 0;
    for (; n >= step; n -= step, x += step) {
        sum += x[0] + x[1] + x[2];
        if (step > 3u)
            sum += x[3];
        if (step > 4u)
            sum += x[4];
        *to++ = (int16_t)sum;
    }
    if (x != end) {
        while (x != end)
            sum += *x++;
        *to = (int16_t)sum;
    }
}

void bt_sums3_x8(const int8_t *x, size_t n, int16_t *to) { bt_sums(x, n, to, 3u); }
void bt_sums4_x8(const int8_t *x, size_t n, int16_t *to) { bt_sums(x, n, to, 4u); }
void bt_sums5_x8(const int8_t *x, size_t n, int16_t *to) { bt_sums(x, n, to, 5u); }

/* Entry i of a table: 512 + sum of +x[k] where bit k of i is set, of -x[k] elsewhere; two entries in a word, which
 * neither borrows nor carries. */
BT_INLINE void bt_table(int32_t x0, int32_t x1, int32_t x2, int32_t x3, uint32_t *to) {
    const uint32_t d1 = (uint32_t)x1 * 0x20002u, d2 = (uint32_t)x2 * 0x20002u, d3 = (uint32_t)x3 * 0x20002u;
    const uint32_t e0 = (uint32_t)(512 - x0 - x1 - x2 - x3) * 0x10001u + ((uint32_t)x0 << 17);
    const uint32_t e1 = e0 + d1, e2 = e0 + d2, e3 = e1 + d2;
    to[0] = e0;
    to[1] = e1;
    to[2] = e2;
    to[3] = e3;
    to[4] = e0 + d3;
    to[5] = e1 + d3;
    to[6] = e2 + d3;
    to[7] = e3 + d3;
}

void bt_tables_x8(const int8_t *x, size_t n, uint32_t *to) {
    for (; n >= 4u; n -= 4u, x += 4, to += 8)
        bt_table(x[0], x[1], x[2], x[3], to);
    if (n != 0u)
        bt_table(x[0], n > 1u ? x[1] : 0, n > 2u ? x[2] : 0, 0, to);
}

/* Entry i of a table: the sum of +x[k] where bit k of i is set, of -x[k] elsewhere. */
void bt_tables_x16(const int16_t *x, size_t n, uint32_t *to) {
    for (size_t first = 0; first < n; first += 4u) {
        uint32_t all = 0;
        for (size_t k = 0; k < 4u; k++) {
            const int32_t here = first + k < n ? x[first + k] : 0;
            all -= (uint32_t)here;
            to[(size_t)1 << k] = 2u * (uint32_t)here;
        }
        to[0] = all;
        for (unsigned k = 0; k < 4u; k++) {
            const uint32_t twice = to[1u << k];
            for (unsigned i = 0; i < 1u << k; i++)
                to[(1u << k) + i] = to[i] + twice;
        }
        to += 16;
    }
}

/* --- blocks of rows ----------------------------------------------------------------------------------------------- */

typedef const uint32_t *bt_pairs(const uint32_t *w, const int8_t *x, const int8_t *end, int32_t *y, uint32_t from,
                                 size_t left);

/* -(end - start) in both halves of a word; what is between two of the sums fits 16 bits, they are modulo 2**16. */
BT_INLINE uint32_t bt_less(int16_t end, int16_t start) {
    const int32_t sum = (int16_t)(start - end);
    return (uint32_t)sum * 0x10001u;
}

BT_INLINE void bt_chunks(const uint32_t *w, const int8_t *x, const int16_t *sums, size_t n, size_t chunk, size_t groups,
                         int32_t *y, bt_pairs *pairs, const unsigned b, const uint32_t off) {
    const size_t size = 16u / b, every = size == 8u ? 2u : 1u; /* a group of eight inputs is two of the sums */
    const size_t left = n - groups * size;
    y[0] = y[1] = y[2] = y[3] = y[4] = y[5] = y[6] = y[7] = 0; /* a loop would become a call of memset */
    for (; groups > chunk; groups -= chunk, sums += every * chunk) {
        w = pairs(w, x, x + size * chunk, y, off * bt_less(sums[every * chunk], sums[0]), 0);
        x += size * chunk;
    }
    /* and what is left: one more of the sums, or two */
    pairs(w, x, x + size * groups, y,
          off
              * bt_less(sums[every * groups
                             + (left == 0u                 ? 0u
                                : every == 2u && left > 4u ? 2u
                                                           : 1u)],
                        sums[0]),
          left);
}

/* Digit k, of groups of at least `least` inputs, of two words by x. Written out: compilers do not unroll the loop. */
#define BT_FOUR(k, least)                                                                                              \
    if (size >= least) {                                                                                               \
        const int32_t here = x[k];                                                                                     \
        y0 += (v0 >> k * b & mask) * (uint32_t)here;                                                                   \
        BT_KEEP(y0);                                                                                                   \
        y1 += (v0 >> (16u + k * b) & mask) * (uint32_t)here;                                                           \
        BT_KEEP(y1);                                                                                                   \
        y2 += (v1 >> k * b & mask) * (uint32_t)here;                                                                   \
        BT_KEEP(y2);                                                                                                   \
        y3 += (v1 >> (16u + k * b) & mask) * (uint32_t)here;                                                           \
        BT_KEEP(y3);                                                                                                   \
    }

/* Rows 2 j … 2 j + 3 with activations that leave no room for two products in a word: a multiplication per weight. */
BT_INLINE void bt_four(const uint32_t *w, const int16_t *x, uint32_t from, size_t n, size_t groups, int32_t *y,
                       unsigned j, const unsigned b) {
    const unsigned size = 16u / b;
    const uint32_t mask = (1u << b) - 1u;
    const size_t left = n - groups * size;
    uint32_t y0 = from, y1 = from, y2 = from, y3 = from, v0, v1;
    for (; groups != 0u; groups--, w += 4, x += size) {
        v0 = w[j];
        v1 = w[j + 1u];
        BT_FOUR(0u, 1u)
        BT_FOUR(1u, 2u)
        BT_FOUR(2u, 3u)
        BT_FOUR(3u, 4u)
        BT_FOUR(4u, 5u)
        BT_FOUR(5u, 8u)
        BT_FOUR(6u, 8u)
        BT_FOUR(7u, 8u)
    }
    if (left != 0u) {
        const int two = left <= 8u / b;
        v0 = two ? w[0] >> (j != 0u ? left * b : 0u) : w[j];
        v1 = two ? w[1] >> (j != 0u ? left * b : 0u) : w[j + 1u];
        for (size_t k = 0; k < left; k++, v0 >>= b, v1 >>= b) {
            const int32_t here = x[k];
            y0 += (v0 & mask) * (uint32_t)here;
            y1 += (v0 >> 16 & mask) * (uint32_t)here;
            y2 += (v1 & mask) * (uint32_t)here;
            y3 += (v1 >> 16 & mask) * (uint32_t)here;
        }
    }
    y[0] = (int32_t)y0;
    y[1] = (int32_t)y1;
    y[2] = (int32_t)y2;
    y[3] = (int32_t)y3;
}

#define BT_DEFINE(b)                                                                                                   \
    void bt_scalar##b##_x8(const uint32_t *w, const int8_t *x, const int16_t *sums, size_t n, size_t chunk,            \
                           size_t groups, int32_t *y) {                                                                \
        bt_chunks(w, x, sums, n, chunk, groups, y, bt_pairs##b, b, 1u << (b - 1));                                     \
    }                                                                                                                  \
    static BT_NOINLINE void bt_four##b(const uint32_t *w, const int16_t *x, uint32_t from, size_t n, size_t groups,    \
                                       int32_t *y, unsigned j) {                                                       \
        bt_four(w, x, from, n, groups, y, j, b);                                                                       \
    }                                                                                                                  \
    void bt_scalar##b##_x16(const uint32_t *w, const int16_t *x, const int32_t *total, size_t n, size_t groups,        \
                            int32_t *y) {                                                                              \
        const uint32_t from = 0u - (uint32_t)*total * (1u << (b - 1));                                                 \
        bt_four##b(w, x, from, n, groups, y, 0u);                                                                      \
        bt_four##b(w, x, from, n, groups, y + 4, 2u);                                                                  \
    }
BT_DEFINE(2)
BT_DEFINE(3)
BT_DEFINE(4)
BT_DEFINE(5)
