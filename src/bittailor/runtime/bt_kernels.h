/* The operators on tiles, each written once over the primitives of bt_vector.h.
 *
 * A tile is int32_t[BT_ITEMS][BT_LANES]; y never overlaps an operand. Narrow sums are proved to fit 32 bits, so
 * arithmetic modulo 2**32 is exact; wide ones fit 64 bits.
 */
#ifndef BT_KERNELS_H
#define BT_KERNELS_H

#include "bt_vector.h"
#include "device/bt_norm.h"

enum { BT_TILE = BT_ITEMS * BT_LANES };

#define BT_EACH_VECTOR BT_UNROLL for (int i = 0; i < BT_TILE; i += BT_LANES)

/* --- rescaling --------------------------------------------------------------------------------------------------- */

static void bt_scale(int32_t *restrict y, const int32_t *restrict a, const bt_instr *p) {
    bt_i32 m = bt_all(p->m0), c = bt_all((int32_t)p->c);
    BT_EACH_VECTOR
        bt_store(y + i, bt_clamp_all(bt_add(bt_mul(bt_load(a + i), m), c) >> p->shift, p->lo, p->hi));
}

static void bt_scale_wide(int32_t *restrict y, const int32_t *restrict a, const bt_instr *p) {
    bt_i32 m = bt_all(p->m0);
    bt_wide c = bt_wide_all(p->c);
    BT_EACH_VECTOR
        bt_store(y + i, bt_wide_finish(bt_wide_add(bt_wide_mul(bt_load(a + i), m), c), p->shift, p->lo, p->hi));
}

static void bt_sum(int32_t *restrict y, const int32_t *restrict a, const int32_t *restrict b, const bt_instr *p) {
    bt_i32 m0 = bt_all(p->m0), m1 = bt_all(p->m1), c = bt_all((int32_t)p->c);
    BT_EACH_VECTOR {
        bt_i32 sum = bt_add(bt_add(bt_mul(bt_load(a + i), m0), bt_mul(bt_load(b + i), m1)), c);
        bt_store(y + i, bt_clamp_all(sum >> p->shift, p->lo, p->hi));
    }
}

static void bt_sum_wide(int32_t *restrict y, const int32_t *restrict a, const int32_t *restrict b, const bt_instr *p) {
    bt_i32 m0 = bt_all(p->m0), m1 = bt_all(p->m1);
    bt_wide c = bt_wide_all(p->c);
    BT_EACH_VECTOR {
        bt_wide sum = bt_wide_add(bt_wide_mul(bt_load(a + i), m0), bt_wide_mul(bt_load(b + i), m1));
        bt_store(y + i, bt_wide_finish(bt_wide_add(sum, c), p->shift, p->lo, p->hi));
    }
}

static void bt_times(int32_t *restrict y, const int32_t *restrict a, const int32_t *restrict b, const bt_instr *p) {
    bt_i32 m = bt_all(p->m0), c = bt_all((int32_t)p->c), za = bt_all(p->za), zb = bt_all(p->zb);
    BT_EACH_VECTOR {
        bt_i32 product = bt_mul(bt_sub(bt_load(a + i), za), bt_sub(bt_load(b + i), zb));
        bt_store(y + i, bt_clamp_all(bt_add(bt_mul(product, m), c) >> p->shift, p->lo, p->hi));
    }
}

static void bt_times_wide(int32_t *restrict y, const int32_t *restrict a, const int32_t *restrict b,
                          const bt_instr *p) {
    bt_i32 m = bt_all(p->m0), za = bt_all(p->za), zb = bt_all(p->zb);
    bt_wide c = bt_wide_all(p->c);
    BT_EACH_VECTOR {
        bt_i32 product = bt_mul(bt_sub(bt_load(a + i), za), bt_sub(bt_load(b + i), zb));
        bt_store(y + i, bt_wide_finish(bt_wide_add(bt_wide_mul(product, m), c), p->shift, p->lo, p->hi));
    }
}

/* a factor and a constant per lane, the same for every sequence */
static void bt_diagonal(int32_t *restrict y, const int32_t *restrict a, const int32_t *restrict factor,
                        const int32_t *restrict cons, const bt_instr *p) {
    bt_i32 m = bt_load(factor), c = bt_load(cons);
    BT_EACH_VECTOR
        bt_store(y + i, bt_clamp_all(bt_add(bt_mul(bt_load(a + i), m), c) >> p->shift, p->lo, p->hi));
}

static void bt_diagonal_wide(int32_t *restrict y, const int32_t *restrict a, const int32_t *restrict weight,
                             const int32_t *restrict mult, const int64_t *restrict cons, const bt_instr *p) {
    bt_i32 w = bt_load(weight), m = bt_load(mult);
    bt_wide c = bt_wide_load(cons);
    BT_EACH_VECTOR {
        bt_i32 product = bt_mul(bt_load(a + i), w);
        bt_store(y + i, bt_wide_finish(bt_wide_add(bt_wide_mul(product, m), c), p->shift, p->lo, p->hi));
    }
}

/* norms: one a sequence */
static void bt_normalise(int32_t *restrict y, const int32_t *restrict a, const bt_norm *restrict norms,
                         const bt_instr *p) {
    bt_i32 zero = bt_all(p->m1), out = bt_all(p->zb);
    for (int n = 0; n < BT_ITEMS; n++) {
        const bt_norm *norm = norms + n;
        bt_i32 u = bt_sub(bt_load(a + n * BT_LANES), zero);
        bt_i32 d = bt_sub(bt_mul(u, bt_all(norm->count)), bt_all(norm->sum));
        bt_wide sum = bt_wide_add(bt_wide_mul(d, bt_all(norm->multiplier)), bt_wide_all(norm->half));
        bt_store(y + n * BT_LANES, bt_add(bt_wide_finish(sum, (int)norm->shift, p->lo, p->hi), out));
    }
}

/* --- functions of one variable ----------------------------------------------------------------------------------- */

/* table: 256 int8 entries, indexed by q as an unsigned byte; with p->step < 8 they repeat after 2**step */
static void bt_tile_lookup8(int32_t *restrict y, const int32_t *restrict a, const void *table, const bt_instr *p) {
#if BT_SPLIT
    bt_table t = bt_table_of(table);
    if (p->step < 8)
        BT_EACH_VECTOR
            bt_store(y + i, bt_low_byte(bt_table_at(&t, bt_load(a + i), 1)));
    else
        BT_EACH_VECTOR
            bt_store(y + i, bt_low_byte(bt_table_at(&t, bt_load(a + i), 0)));
#else
    const int8_t *entries = table;
    (void)p;
    for (int i = 0; i < BT_TILE; i++)
        y[i] = entries[(uint8_t)a[i]];
#endif
}

/* table: 256 int16 entries, likewise */
static void bt_tile_lookup16(int32_t *restrict y, const int32_t *restrict a, const void *table) {
    const int16_t *entries = table;
    for (int i = 0; i < BT_TILE; i++)
        y[i] = entries[(uint8_t)a[i]];
}

/* table: 257 int16 knots; i = (q - qmin) >> step, k = (q - qmin) mod 2**step:
 * y = clamp((knots[i] * (2**step - k) + knots[i+1] * k + half) >> shift), half = 2**(shift-1).
 * With BT_SPLIT the low bytes of knots 0..255 stand first, then the high ones, then knot 256. */
static void bt_tile_knots(int32_t *restrict y, const int32_t *restrict a, const void *table, const bt_instr *p) {
#if BT_SPLIT || BT_GATHER
    const int32_t unit = (int32_t)(UINT32_C(1) << p->step), half = (int32_t)((UINT32_C(1) << p->shift) >> 1);
#if BT_SPLIT
    const uint8_t *bytes = table;
    bt_table lows = bt_table_of(bytes), highs = bt_table_of(bytes + 256);
    uint16_t end;
    memcpy(&end, bytes + 512, sizeof end);
#endif
    for (int i = 0; i < BT_TILE; i += BT_LANES) {
        bt_i32 at = bt_sub(bt_load(a + i), bt_all(p->za)), k = at & bt_all(unit - 1);
        bt_i32 index = (at >> p->step) & bt_all(255);
#if BT_SPLIT
        /* bytes i, i, i+1, i+1 give both knots as a pair of int16; i + 1 = 256 is put right afterwards */
        bt_i32 four = bt_add(bt_mul(index, bt_all(0x01010101)), bt_all(0x01010000));
        bt_i32 pair = bt_odd_bytes(bt_table_at(&lows, four, 0), bt_table_at(&highs, four, 0));
        pair = bt_select(index == bt_all(255), (pair & bt_all(0xFFFF)) | bt_all((int32_t)((uint32_t)end << 16)), pair);
#else
        bt_i32 pair = bt_gather_pairs(table, index);
#endif
        bt_i32 parts = bt_sub(bt_all(unit), k) | (bt_i32)((bt_u32)k << 16);
        bt_store(y + i, bt_clamp_all(bt_dot2(bt_all(half), pair, parts) >> p->shift, p->lo, p->hi));
    }
#else
    const uint32_t last = (UINT32_C(256) << p->step) - 1u; /* no value of a damaged program leads out of the table */
    for (int i = 0; i < BT_TILE; i++)
        y[i] = bt_between(table, ((uint32_t)a[i] - (uint32_t)p->za) & last, p->step, p->shift, p->lo, p->hi);
#endif
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
        bt_i32 m = bt_load(gate[g].mult);
        if (wide) {
            bt_wide c = bt_wide_load(gate[g].cons);
            BT_UNROLL for (int n = 0; n < BT_ITEMS; n++)
                bt_store(y + n * BT_LANES,
                         bt_wide_finish(bt_wide_add(bt_wide_mul(acc[g][n], m), c), p->shift, p->lo, p->hi));
        } else {
            bt_i32 c = bt_load(gate[g].cons);
            BT_UNROLL for (int n = 0; n < BT_ITEMS; n++)
                bt_store(y + n * BT_LANES, bt_clamp_all(bt_add(bt_mul(acc[g][n], m), c) >> p->shift, p->lo, p->hi));
        }
    }
}

/* 16-bit by 16-bit with 64-bit sums; those of p->step groups fit 32 bits */
static void bt_linear64(const bt_gate *gate, const uint8_t *x, size_t row, size_t groups) {
    const bt_instr *p = gate->p;
    const bt_i32 one = bt_all(1), m = bt_load(gate->mult);
    const bt_wide c = bt_wide_load(gate->cons);
    for (size_t n = 0; n < BT_ITEMS; n++) {
        bt_wide sum = bt_wide_all(0);
        for (size_t first = 0; first < groups; first += p->step) {
            size_t last = groups - first < p->step ? groups : first + p->step;
            bt_i32 acc = bt_all(0);
            for (size_t k = first; k < last; k++) {
                int32_t group;
                bt_i32 w;
                memcpy(&group, x + n * row + 4 * k, sizeof group);
                memcpy(&w, gate->weights + k * 4 * BT_LANES, sizeof w);
                acc = bt_dot2(acc, bt_all(group), w);
            }
            sum = bt_wide_add(sum, bt_wide_mul(acc, one));
        }
        bt_store(gate->y + n * BT_LANES,
                 bt_wide_finish(bt_wide_add(bt_wide_times(sum, m), c), p->shift, p->lo, p->hi));
    }
}

#endif
