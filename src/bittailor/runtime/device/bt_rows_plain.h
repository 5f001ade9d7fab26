/* The innermost loops of bt_rows_scalar.c in C: any compiler, any core; what RISC-V runs. */
#ifndef BT_ROWS_PLAIN_H
#define BT_ROWS_PLAIN_H

#include "bt_ops.h"

/* y[2 j], y[2 j + 1] += the halves of: from + digits of word j of every group by x, and of the `left` inputs behind. */
BT_INLINE const uint32_t *bt_pairs_plain(const uint32_t *w, const int8_t *x, const int8_t *end, int32_t y[8],
                                         uint32_t from, size_t left, const unsigned b) {
    const unsigned size = 16u / b;
    const uint32_t mask = ((1u << b) - 1u) * 0x10001u;
    uint32_t p[4], v[4];
    for (unsigned j = 0; j < 4u; j++)
        p[j] = from;
    for (; x != end; x += size, w += 4)
        for (unsigned k = 0; k < size; k++) {
            const int32_t here = x[k];
            for (unsigned j = 0; j < 4u; j++)
                p[j] += (w[j] >> k * b & mask) * (uint32_t)here;
        }
    if (left != 0u) { /* words hold two pairs of rows each if their digits fit */
        const int two = left <= 8u / b;
        for (unsigned j = 0; j < 4u; j++)
            v[j] = two ? w[j & 1u] >> (j & 2u ? left * b : 0u) : w[j];
        for (end = x + left; x != end; x++) {
            const int32_t here = *x;
            for (unsigned j = 0; j < 4u; j++) {
                p[j] += (v[j] & mask) * (uint32_t)here;
                v[j] >>= b;
            }
        }
    }
    for (unsigned j = 0; j < 4u; j++) {
        const int32_t low = (int16_t)p[j];
        y[2u * j] += low;
        y[2u * j + 1u] += (int32_t)(p[j] - (uint32_t)low) >> 16;
    }
    return w;
}

#define BT_PAIRS(b)                                                                                                    \
    static const uint32_t *bt_pairs##b(const uint32_t *w, const int8_t *x, const int8_t *end, int32_t y[8],            \
                                       uint32_t from, size_t left) {                                                   \
        return bt_pairs_plain(w, x, end, y, from, left, b);                                                            \
    }
BT_PAIRS(2)
BT_PAIRS(3)
BT_PAIRS(4)
BT_PAIRS(5)

#define BT_EIGHT(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)

/* y[r] += bytes by x; a multiple of four inputs. */
static const uint8_t *bt_bytes_x8(const uint8_t *w, const int8_t *x, const int8_t *end, int32_t y[8]) {
#define BT_TAKE(r) uint32_t y##r = (uint32_t)y[r];
#define BT_MAC(r) y##r += w[8u * k + r] * (uint32_t)here;
#define BT_GIVE(r) y[r] = (int32_t)y##r;
    BT_EIGHT(BT_TAKE)
    for (; x != end; x += 4, w += 32)
        for (unsigned k = 0; k < 4u; k++) {
            const int32_t here = x[k];
            BT_EIGHT(BT_MAC)
        }
    BT_EIGHT(BT_GIVE)
#undef BT_MAC
    return w;
}

/* Entry i of a table; two lie in a word, the even one in its lower half. */
BT_INLINE uint32_t bt_entry(const uint32_t *table, uint32_t i) {
#if defined(__GNUC__) && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    typedef uint16_t __attribute__((may_alias)) half;
    return ((const half *)table)[i];
#else
    return table[i >> 1] >> 16u * (i & 1u) & 0xFFFFu;
#endif
}

/* y[r] += the entry that nibble r of a word chooses, a table of 16 per word. */
static void bt_nibbles(const uint32_t *w, const uint32_t *tables, const uint32_t *end, int32_t y[8]) {
#define BT_ADD(r) y##r += bt_entry(tables, v >> 4u * r & 15u);
    BT_EIGHT(BT_TAKE)
    for (; tables != end; tables += 8) {
        const uint32_t v = *w++;
        BT_EIGHT(BT_ADD)
    }
    BT_EIGHT(BT_GIVE)
#undef BT_ADD
}
#undef BT_TAKE
#undef BT_GIVE

#endif
