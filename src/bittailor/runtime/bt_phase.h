/* Runs phases: instruction by instruction over blocks of BT_LANES features, each handed to its operator in bt_kernels.h
 * with its tiles, rows and constants. */
#ifndef BT_PHASE_H
#define BT_PHASE_H

#include "bt_block.h"

enum { BT_JOINT = BT_LANES == 16 ? 3 : 1 }; /* linear operators computed at once, as many as registers hold */

static const int32_t *bt_words(const bt_view *v, uint32_t at) { return (const int32_t *)(const void *)(v->bytes + at); }

static bt_gate bt_gate_at(const bt_view *v, const bt_block *block, const bt_instr *p, size_t j) {
    size_t lane = j * BT_LANES, wide = p->op == BT_LINEAR8 || p->op == BT_LINEAR16 ? 4 : 8;
    bt_gate gate = {v->bytes + p->data + lane * p->size * 4, (const int32_t *)(const void *)(v->bytes + p->mult) + lane,
                    v->bytes + p->cons + lane * wide, block->tiles + (size_t)p->out * BT_TILE, p};
    return gate;
}

/* Run linear operators from p on, together if they read the same buffer; returns how many. */
static uint32_t bt_run_linear(const bt_view *v, const bt_block *block, const bt_instr *p, uint32_t left, size_t j) {
    bt_gate gate[BT_JOINT];
    uint32_t gates = 1;
    gate[0] = bt_gate_at(v, block, p, j);
    while (gates < BT_JOINT && gates < left && p[gates].op == p->op && p[gates].a == p->a && p[gates].size == p->size) {
        gate[gates] = bt_gate_at(v, block, &p[gates], j);
        gates++;
    }
    const uint8_t *x = block->now[p->a];
    size_t row = (size_t)v->buffers[p->a].stride * v->buffers[p->a].size;
#define BT_LINEAR_CASE(count, bytes, wide)                                                                             \
    if (gates == (count)) {                                                                                            \
        bt_linear(gate, count, x, row, p->size, bytes, wide);                                                          \
        break;                                                                                                         \
    }
#if BT_LANES == 16
#define BT_LINEAR_CASES(bytes, wide)                                                                                   \
    BT_LINEAR_CASE(3, bytes, wide) BT_LINEAR_CASE(2, bytes, wide) BT_LINEAR_CASE(1, bytes, wide)
#else
#define BT_LINEAR_CASES(bytes, wide) BT_LINEAR_CASE(1, bytes, wide)
#endif
    switch (p->op) {
    case BT_LINEAR8: BT_LINEAR_CASES(1, 0) break;
    case BT_LINEAR8W: BT_LINEAR_CASES(1, 1) break;
    case BT_LINEAR16: BT_LINEAR_CASES(0, 0) break;
    case BT_LINEAR16W: BT_LINEAR_CASES(0, 1) break;
    default: bt_linear64(gate, x, row, p->size); return 1;
    }
    return gates;
}

/* The sums of n values and of their squares. */
static void bt_sums(const uint8_t *row, const bt_buffer *b, size_t n, uint64_t *sum, uint64_t *squares) {
    int64_t total = 0;
    uint64_t power = 0;
    if (b->size == 1)
        for (size_t f = 0; f < n; f++) {
            total += row[f];
            power += (uint32_t)(row[f] * row[f]);
        }
    else
        for (size_t f = 0; f < n; f++) {
            int32_t v = ((const int16_t *)(const void *)row)[f];
            total += v;
            power += (uint32_t)(v * v);
        }
    *sum = (uint64_t)total;
    *squares = power;
}

/* The norms of every item's row of buffer b, for the tile that is made; its values are u - za. */
static void bt_take_norms(const bt_view *v, const bt_block *block, const bt_instr *p) {
    const bt_buffer *in = &v->buffers[p->b];
    const uint64_t n = p->size, za = (uint64_t)(int64_t)p->za;
    for (size_t i = 0; i < BT_ITEMS; i++) {
        uint64_t sum, squares;
        bt_sums(block->now[p->b] + i * (bt_rows(in) / BT_ITEMS), in, p->size, &sum, &squares);
        squares += za * (2 * sum + n * za);
        sum += n * za;
        if (p->op == BT_LAYER_NORM)
            squares = squares * n - sum * sum;
        /* no value of a damaged program leaves the range that a root is taken of */
        block->norms[(size_t)p->out * BT_ITEMS + i] =
            bt_norm_of(p->op == BT_LAYER_NORM ? (int32_t)n : 1, p->op == BT_LAYER_NORM ? (int32_t)sum : 0,
                       (squares + (uint64_t)p->c) & (UINT64_MAX >> 2), p->m0, p->shift);
    }
}

/* Lanes of every item's row of a table; no index of a damaged program leads out of it. */
static void bt_take_rows(const bt_view *v, const bt_block *block, const bt_instr *p, int32_t *y, size_t lane) {
    const bt_buffer *in = &v->buffers[p->b];
    const int16_t *table = (const int16_t *)(const void *)(v->bytes + p->data);
    for (size_t n = 0; n < BT_ITEMS; n++) {
        int64_t x = bt_value(block->now[p->b], in, n * in->stride);
        const int16_t *row = table + (size_t)(x < 0 ? 0 : x >= p->size ? p->size - 1 : x) * (size_t)p->m0 + lane;
        for (size_t l = 0; l < BT_LANES; l++)
            y[n * BT_LANES + l] = row[l];
    }
}

static void bt_run_phase(const bt_view *v, const bt_block *block, const bt_phase *phase) {
    const bt_instr *instrs = v->instrs + phase->first;
    for (size_t j = 0; j < phase->blocks; j++) {
        uint32_t i = 0;
        while (i < phase->count) {
            const bt_instr *p = &instrs[i++];
            if (p->op >= BT_LINEAR8 && p->op <= BT_LINEAR64W) {
                i += bt_run_linear(v, block, p, phase->count - i + 1, j) - 1;
                continue;
            }
            if (p->op == BT_STORE8 || p->op == BT_STORE16) {
                const int32_t *a = block->tiles + (size_t)p->a * BT_TILE;
                size_t stride = v->buffers[p->out].stride, column = j * BT_LANES + p->size;
                if (p->op == BT_STORE8)
                    bt_store8(block->next[p->out] + column, stride, a, (int32_t)p->c);
                else
                    bt_store16((int16_t *)(void *)block->next[p->out] + column, stride, a, (int32_t)p->c);
                continue;
            }
            int32_t *y = block->tiles + (size_t)p->out * BT_TILE;
            if (p->op == BT_LOAD8) {
                bt_load8(y, block->now[p->a] + j * BT_LANES, v->buffers[p->a].stride, (int32_t)p->c);
                continue;
            }
            if (p->op == BT_LOAD16) {
                bt_load16(y, (const int16_t *)(const void *)block->now[p->a] + j * BT_LANES, v->buffers[p->a].stride,
                          (int32_t)p->c);
                continue;
            }
            if (p->op == BT_ROWS) {
                bt_take_rows(v, block, p, y, j * BT_LANES);
                continue;
            }
            const int32_t *a = block->tiles + (size_t)p->a * BT_TILE;
            const int32_t *b = bt_tile_ok(v, p->b) ? block->tiles + (size_t)p->b * BT_TILE : NULL;
            switch (p->op) {
            case BT_ADD: bt_sum(y, a, b, p); break;
            case BT_ADDW: bt_sum_wide(y, a, b, p); break;
            case BT_SCALE: bt_scale(y, a, p); break;
            case BT_SCALEW: bt_scale_wide(y, a, p); break;
            case BT_MUL: bt_times(y, a, b, p); break;
            case BT_MULW: bt_times_wide(y, a, b, p); break;
            case BT_LOOKUP8: bt_tile_lookup8(y, a, v->bytes + p->data, p); break;
            case BT_LOOKUP16: bt_tile_lookup16(y, a, v->bytes + p->data); break;
            case BT_DIAGONAL:
                bt_diagonal(y, a, bt_words(v, p->data) + j * BT_LANES, bt_words(v, p->cons) + j * BT_LANES, p);
                break;
            case BT_DIAGONALW:
                bt_diagonal_wide(y, a, bt_words(v, p->data) + j * BT_LANES, bt_words(v, p->mult) + j * BT_LANES,
                                 (const int64_t *)(const void *)(v->bytes + p->cons) + j * BT_LANES, p);
                break;
            case BT_LAYER_NORM:
            case BT_RMS_NORM:
                if (j == 0)
                    bt_take_norms(v, block, p);
                bt_normalise(y, a, block->norms + (size_t)p->out * BT_ITEMS, p);
                break;
            default: bt_tile_knots(y, a, v->bytes + p->data, p); break;
            }
        }
    }
}

#endif
