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

/* Bytes by activations. */
#define BT_SCALAR8(xb)                                                                                                 \
    void bt_scalar8_x##xb(const uint8_t *w, const int##xb##_t *x, const int32_t *total, size_t n, int32_t *y) {        \
        const uint32_t from = 0u - 128u * (uint32_t)*total;                                                            \
        for (unsigned r = 0; r < 8u; r++) {                                                                            \
            uint32_t sum = from;                                                                                       \
            for (size_t k = 0; k < n; k++) {                                                                           \
                const int32_t here = x[k];                                                                             \
                sum += w[8u * k + r] * (uint32_t)here;                                                                 \
            }                                                                                                          \
            y[r] = (int32_t)sum;                                                                                       \
        }                                                                                                              \
    }
BT_SCALAR8(8)
BT_SCALAR8(16)

/* Row r of input k: pairs of inputs of two rows in a word, and behind the last four inputs eight rows in two words. */
BT_INLINE uint32_t bt_quad_byte(const uint32_t *w, size_t n, size_t k, unsigned r) {
    const size_t left = k - (n & ~(size_t)3);
    return k < (n & ~(size_t)3) ? w[k / 2u * 4u + r / 2u] >> (16u * (r & 1u) + 8u * (k & 1u)) & 255u
                                : w[2u * n - 2u * (n & 3u) + 2u * left + r / 4u] >> 8u * (r & 3u) & 255u;
}

void bt_scalar7_x8(const uint32_t *w, const int8_t *x, const int32_t *ready, size_t n, int32_t *y) {
    for (unsigned r = 0; r < 8u; r++) {
        uint32_t sum = 0u - 128u * (uint32_t)*ready;
        for (size_t k = 0; k < n; k++) {
            const int32_t here = x[k];
            sum += bt_quad_byte(w, n, k, r) * (uint32_t)here;
        }
        y[r] = (int32_t)sum;
    }
}

/* Entries of tables; of 16 bits, two lie in a word, the even one in its lower half. */
void bt_scalar1_x8(const uint32_t *w, const uint32_t *tables, size_t n, int32_t *y) {
    for (unsigned r = 0; r < 8u; r++) {
        y[r] = 0;
        for (size_t k = 0; k < (n + 3u) / 4u; k++) {
            const uint32_t entry = w[k] >> 4u * r & 15u;
            y[r] += (int32_t)(tables[8u * k + (entry >> 1)] >> 16u * (entry & 1u) & 0xFFFFu) - 512;
        }
    }
}

void bt_scalar1_x16(const uint32_t *w, const uint32_t *tables, size_t n, int32_t *y) {
    for (unsigned r = 0; r < 8u; r++) {
        uint32_t sum = 0;
        for (size_t k = 0; k < (n + 3u) / 4u; k++)
            sum += tables[16u * k + (w[k] >> 4u * r & 15u)];
        y[r] = (int32_t)sum;
    }
}

#endif
