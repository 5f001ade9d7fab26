#include "bt_rows_scalar.h"

/* The innermost loops: machine code on M-class cores, C elsewhere. -DBT_PLAIN chooses C everywhere. */
#if !defined(BT_PLAIN) && defined(__GNUC__) && defined(__thumb2__)
#include "bt_rows_thumb2.h"
#elif !defined(BT_PLAIN) && defined(__GNUC__) && defined(__thumb__)
#include "bt_rows_thumb1.h"
#elif !defined(BT_PLAIN) && defined(__GNUC__) && defined(__riscv_mul) && __riscv_xlen == 32 && !defined(__riscv_32e)
#include "bt_rows_riscv.h"
#else
#include "bt_rows_plain.h"
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

/* --- blocks of rows ----------------------------------------------------------------------------------------------- */

/* Written out: compilers make a call of memset of a loop. */
BT_INLINE void bt_fill(int32_t y[8], int32_t v) {
    y[0] = v;
    y[1] = v;
    y[2] = v;
    y[3] = v;
    y[4] = v;
    y[5] = v;
    y[6] = v;
    y[7] = v;
}

void bt_scalar1_x8(const uint32_t *w, const uint32_t *tables, size_t n, int32_t *y) {
    const size_t groups = (n + 3u) / 4u;
    bt_fill(y, -512 * (int32_t)groups);
    bt_nibbles(w, tables, tables + 8u * groups, y);
}

void bt_scalar8_x8(const uint8_t *w, const int8_t *x, const int32_t *total, size_t n, int32_t *y) {
    const size_t left = n & 3u;
    const int8_t *const end = x + (n - left);
    const int32_t from = (int32_t)((uint32_t)*total * (0u - 128u));
    bt_fill(y, from);
    if (x != end) {
        w = bt_bytes_x8(w, x, end, y);
        x = end;
    }
    for (size_t k = 0; k < left; k++, w += 8)
        for (unsigned r = 0; r < 8u; r++)
            y[r] += w[r] * x[k];
}

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
    bt_fill(y, 0);
    for (; groups > chunk; groups -= chunk, sums += every * chunk) {
        w = pairs(w, x, x + size * chunk, y, off * bt_less(sums[every * chunk], sums[0]), 0);
        x += size * chunk;
    }
    /* and what is left: one more of the sums, or two */
    pairs(w, x, x + size * groups, y,
          off * bt_less(sums[every * groups + (left == 0u ? 0u : every == 2u && left > 4u ? 2u : 1u)], sums[0]), left);
}

#define BT_DEFINE(b)                                                                                                   \
    void bt_scalar##b##_x8(const uint32_t *w, const int8_t *x, const int16_t *sums, size_t n, size_t chunk,            \
                           size_t groups, int32_t *y) {                                                                \
        bt_chunks(w, x, sums, n, chunk, groups, y, bt_pairs##b, b, 1u << (b - 1));                                       \
    }
BT_DEFINE(2)
BT_DEFINE(3)
BT_DEFINE(4)
BT_DEFINE(5)
