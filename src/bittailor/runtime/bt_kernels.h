/* The operators on tiles, each written once over the primitives of bt_vector.h.
 *
 * A tile is int32_t[BT_ITEMS][BT_LANES]; y never overlaps an operand. Narrow sums are proved to fit 32 bits, so
 * arithmetic modulo 2**32 is exact; wide ones fit 64 bits.
 */
#ifndef BT_KERNELS_H
#define BT_KERNELS_H

#include "bt_vector.h"

enum { BT_TILE = BT_ITEMS * BT_LANES };

#define BT_EACH_VECTOR BT_UNROLL for (int i = 0; i < BT_TILE; i += BT_LANES)

/* --- rescaling --------------------------------------------------------------------------------------------------- */

/* y = clamp(sum >> shift, lo, hi) of one 64-bit sum */
BT_INLINE int32_t bt_finish(uint64_t sum, int shift, int32_t lo, int32_t hi) {
    int64_t y = (int64_t)sum >> shift;
    y = y < lo ? lo : y;
    return (int32_t)(y > hi ? hi : y);
}

BT_INLINE uint64_t bt_product(int32_t a, int32_t b) { return (uint64_t)((int64_t)a * b); }

static void bt_scale(int32_t *restrict y, const int32_t *restrict a, const bt_instr *p) {
    bt_i32 m = bt_all(p->m0), c = bt_all((int32_t)p->c);
    BT_EACH_VECTOR
    bt_store(y + i, bt_clamp(bt_add(bt_mul(bt_load(a + i), m), c) >> p->shift, p->lo, p->hi));
}

static void bt_scale_wide(int32_t *restrict y, const int32_t *restrict a, const bt_instr *p) {
    for (int i = 0; i < BT_TILE; i++)
        y[i] = bt_finish(bt_product(a[i], p->m0) + (uint64_t)p->c, p->shift, p->lo, p->hi);
}

static void bt_sum(int32_t *restrict y, const int32_t *restrict a, const int32_t *restrict b, const bt_instr *p) {
    bt_i32 m0 = bt_all(p->m0), m1 = bt_all(p->m1), c = bt_all((int32_t)p->c);
    BT_EACH_VECTOR {
        bt_i32 sum = bt_add(bt_add(bt_mul(bt_load(a + i), m0), bt_mul(bt_load(b + i), m1)), c);
        bt_store(y + i, bt_clamp(sum >> p->shift, p->lo, p->hi));
    }
}

static void bt_sum_wide(int32_t *restrict y, const int32_t *restrict a, const int32_t *restrict b,
                        const bt_instr *p) {
    for (int i = 0; i < BT_TILE; i++)
        y[i] = bt_finish(bt_product(a[i], p->m0) + bt_product(b[i], p->m1) + (uint64_t)p->c, p->shift, p->lo, p->hi);
}

static void bt_times(int32_t *restrict y, const int32_t *restrict a, const int32_t *restrict b, const bt_instr *p) {
    bt_i32 m = bt_all(p->m0), c = bt_all((int32_t)p->c), za = bt_all(p->za), zb = bt_all(p->zb);
    BT_EACH_VECTOR {
        bt_i32 product = bt_mul(bt_sub(bt_load(a + i), za), bt_sub(bt_load(b + i), zb));
        bt_store(y + i, bt_clamp(bt_add(bt_mul(product, m), c) >> p->shift, p->lo, p->hi));
    }
}

static void bt_times_wide(int32_t *restrict y, const int32_t *restrict a, const int32_t *restrict b,
                          const bt_instr *p) {
    for (int i = 0; i < BT_TILE; i++) {
        uint32_t product = ((uint32_t)a[i] - (uint32_t)p->za) * ((uint32_t)b[i] - (uint32_t)p->zb);
        y[i] = bt_finish(bt_product((int32_t)product, p->m0) + (uint64_t)p->c, p->shift, p->lo, p->hi);
    }
}

/* --- functions of one variable ----------------------------------------------------------------------------------- */

/* table: 256 int8 entries, indexed by q as an unsigned byte */
static void bt_lookup8(int32_t *restrict y, const int32_t *restrict a, const void *table) {
    const int8_t *entries = table;
    for (int i = 0; i < BT_TILE; i++)
        y[i] = entries[(uint8_t)a[i]];
}

/* table: 256 int16 entries, likewise */
static void bt_lookup16(int32_t *restrict y, const int32_t *restrict a, const void *table) {
    const int16_t *entries = table;
    for (int i = 0; i < BT_TILE; i++)
        y[i] = entries[(uint8_t)a[i]];
}

/* table: 257 int16 knots; i = (q - qmin) >> step, k = (q - qmin) mod 2**step:
 * y = clamp((knots[i] * (2**step - k) + knots[i+1] * k + half) >> shift), half = 2**(shift-1) */
static void bt_knots(int32_t *restrict y, const int32_t *restrict a, const void *table, const bt_instr *p) {
    const int16_t *entries = table;
    const uint32_t unit = UINT32_C(1) << p->step;
    for (int i = 0; i < BT_TILE; i++) {
        uint32_t index = (uint32_t)a[i] - (uint32_t)p->za;
        const int16_t *knot = entries + ((index >> p->step) & 255);
        int32_t k = (int32_t)(index & (unit - 1));
        int32_t total = knot[0] * ((int32_t)unit - k) + knot[1] * k + (int32_t)((UINT32_C(1) << p->shift) >> 1);
        int32_t v = total >> p->shift;
        v = v < p->lo ? p->lo : v;
        y[i] = v > p->hi ? p->hi : v;
    }
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

BT_INLINE void bt_load8(int32_t *restrict y, const uint8_t *restrict row, size_t stride, int32_t c) {
    for (int n = 0; n < BT_ITEMS; n++)
        for (int l = 0; l < BT_LANES; l++)
            y[n * BT_LANES + l] = (int32_t)((uint32_t)row[(size_t)n * stride + (size_t)l] + (uint32_t)c);
}

BT_INLINE void bt_load16(int32_t *restrict y, const int16_t *restrict row, size_t stride, int32_t c) {
    for (int n = 0; n < BT_ITEMS; n++)
        for (int l = 0; l < BT_LANES; l++)
            y[n * BT_LANES + l] = (int32_t)((uint32_t)row[(size_t)n * stride + (size_t)l] + (uint32_t)c);
}

BT_INLINE void bt_store8(uint8_t *restrict row, size_t stride, const int32_t *restrict a, int32_t c) {
    for (int n = 0; n < BT_ITEMS; n++)
        for (int l = 0; l < BT_LANES; l++)
            row[(size_t)n * stride + (size_t)l] = (uint8_t)((uint32_t)a[n * BT_LANES + l] + (uint32_t)c);
}

BT_INLINE void bt_store16(int16_t *restrict row, size_t stride, const int32_t *restrict a, int32_t c) {
    for (int n = 0; n < BT_ITEMS; n++)
        for (int l = 0; l < BT_LANES; l++)
            row[(size_t)n * stride + (size_t)l] = (int16_t)((uint32_t)a[n * BT_LANES + l] + (uint32_t)c);
}

/* --- linear ------------------------------------------------------------------------------------------------------ */

/* One operator of a joint product: its weights, its rescaling and its output tile. */
typedef struct bt_gate {
    const uint8_t *weights; /* [groups][BT_LANES][4 bytes] */
    const int32_t *mult;    /* [BT_LANES] */
    const void *cons;       /* [BT_LANES] int32 (narrow) or int64 (wide) */
    int32_t *y;
    const bt_instr *p;
} bt_gate;

/* x [BT_ITEMS] rows times the weights of `gates` operators at once: a row's values are fetched once for all of them.
 * `gates`, `bytes` and `wide` are constants after inlining. */
BT_INLINE void bt_linear(const bt_gate *gate, const int gates, const uint8_t *x, size_t row, size_t groups,
                         const int bytes, const int wide) {
    bt_i32 acc[4][BT_ITEMS];
    BT_UNROLL for (int g = 0; g < gates; g++)
        BT_UNROLL for (int n = 0; n < BT_ITEMS; n++)
            acc[g][n] = bt_all(0);
    for (size_t k = 0; k < groups; k++) {
        bt_i32 w[4];
        BT_UNROLL for (int g = 0; g < gates; g++)
            memcpy(&w[g], gate[g].weights + k * 4 * BT_LANES, sizeof w[g]);
        BT_UNROLL for (int n = 0; n < BT_ITEMS; n++) {
            int32_t group;
            memcpy(&group, x + (size_t)n * row + 4 * k, sizeof group);
            bt_i32 v = bt_all(group);
            BT_UNROLL for (int g = 0; g < gates; g++)
                acc[g][n] = bytes ? bt_dot4(acc[g][n], v, w[g]) : bt_dot2(acc[g][n], v, w[g]);
        }
    }
    BT_UNROLL for (int g = 0; g < gates; g++) {
        const bt_instr *p = gate[g].p;
        int32_t *y = gate[g].y;
        if (wide) {
            int32_t sums[BT_TILE];
            int64_t cons[BT_LANES];
            memcpy(cons, gate[g].cons, sizeof cons);
            BT_UNROLL for (int n = 0; n < BT_ITEMS; n++)
                bt_store(sums + n * BT_LANES, acc[g][n]);
            for (int n = 0; n < BT_ITEMS; n++)
                for (int l = 0; l < BT_LANES; l++)
                    y[n * BT_LANES + l] = bt_finish(bt_product(sums[n * BT_LANES + l], gate[g].mult[l])
                                                    + (uint64_t)cons[l], p->shift, p->lo, p->hi);
        } else {
            bt_i32 m = bt_load(gate[g].mult), c = bt_load((const int32_t *)gate[g].cons);
            BT_UNROLL for (int n = 0; n < BT_ITEMS; n++)
                bt_store(y + n * BT_LANES, bt_clamp(bt_add(bt_mul(acc[g][n], m), c) >> p->shift, p->lo, p->hi));
        }
    }
}

/* 16-bit by 16-bit with 64-bit sums */
static void bt_linear64(const bt_gate *gate, const uint8_t *x, size_t row, size_t groups) {
    const bt_instr *p = gate->p;
    int64_t cons[BT_LANES];
    memcpy(cons, gate->cons, sizeof cons);
    for (size_t n = 0; n < BT_ITEMS; n++) {
        int64_t acc[BT_LANES] = {0};
        for (size_t k = 0; k < groups; k++) {
            int16_t v[2], w[2 * BT_LANES];
            memcpy(v, x + n * row + 4 * k, sizeof v);
            memcpy(w, gate->weights + k * 4 * BT_LANES, sizeof w);
            for (int l = 0; l < BT_LANES; l++)
                acc[l] += (int64_t)(v[0] * w[2 * l]) + v[1] * w[2 * l + 1];
        }
        for (int l = 0; l < BT_LANES; l++)
            gate->y[n * BT_LANES + (size_t)l] =
                bt_finish((uint64_t)acc[l] * (uint64_t)gate->mult[l] + (uint64_t)cons[l], p->shift, p->lo, p->hi);
    }
}

#endif
