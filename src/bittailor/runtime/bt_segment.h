/* Runs segments: phases once per step (with states, in both directions, ragged) or once, and what looks at whole
 * sequences: windows, the first and last step, maxima, sums and means, cropping. */
#ifndef BT_SEGMENT_H
#define BT_SEGMENT_H

#include <string.h> /* memcpy, memset */

#include "bt_phase.h"

/* --- phases over the steps --------------------------------------------------------------------------------------- */

/* Bit 0: the segment reads buffer b; bit 1: it writes it. */
static void bt_uses(const bt_view *v, const bt_segment *s, uint8_t uses[BT_MOST_BUFFERS]) {
    memset(uses, 0, BT_MOST_BUFFERS);
    for (uint32_t i = s->first; i < s->first + s->count; i++)
        for (uint32_t j = v->phases[i].first; j < v->phases[i].first + v->phases[i].count; j++) {
            const bt_instr *p = &v->instrs[j];
            if (p->op == BT_LOAD8 || p->op == BT_LOAD16 || (p->op >= BT_LINEAR8 && p->op <= BT_LINEAR64W))
                uses[p->a] |= 1;
            else if (p->op == BT_LAYER_NORM || p->op == BT_RMS_NORM || p->op == BT_ROWS)
                uses[p->b] |= 1;
            else if (p->op == BT_STORE8 || p->op == BT_STORE16)
                uses[p->out] |= 2;
        }
}

static void bt_start_state(const bt_view *v, const bt_buffer *b, uint8_t *rows) {
    if (b->start != 0) {
        const size_t row = (size_t)b->stride * b->size;
        for (size_t n = 0; n < BT_ITEMS; n++)
            memcpy(rows + n * row, v->bytes + b->start, row);
        return;
    }
    if (b->size == 1) {
        memset(rows, (uint8_t)b->fill, bt_rows(b));
        return;
    }
    int16_t *values = (int16_t *)(void *)rows;
    for (size_t i = 0; i < bt_rows(b) / 2; i++)
        values[i] = (int16_t)b->fill;
}

/* The new state becomes the old one; items that have ended keep theirs. */
static void bt_advance(const bt_view *v, bt_block *block, const bt_segment *s, size_t t) {
    for (uint32_t b = s->first_state; b < s->first_state + s->states; b++) {
        uint8_t *old = block->now[b];
        size_t row = (size_t)v->buffers[b].stride * v->buffers[b].size;
        if (t >= block->shortest)
            for (size_t n = 0; n < BT_ITEMS; n++)
                if (t >= block->lengths[n])
                    memcpy(block->next[b] + n * row, old + n * row, row);
        block->now[b] = block->next[b];
        block->next[b] = old;
    }
}

/* Copy each item's own row of step `lengths - 1 - t` between a sequence and the place where one step is gathered. */
static void bt_gather(const bt_view *v, bt_block *block, uint32_t b, size_t t, int write) {
    size_t rows = bt_rows(&v->buffers[b]), row = rows / BT_ITEMS;
    uint8_t *place = block->base[b] + rows * block->steps;
    for (size_t n = 0; n < BT_ITEMS; n++) {
        if (t >= block->lengths[n])
            continue;
        uint8_t *at = block->base[b] + rows * (block->lengths[n] - 1 - t) + n * row;
        if (write)
            memcpy(at, place + n * row, row);
        else
            memcpy(place + n * row, at, row);
    }
}

static void bt_run_loop(const bt_view *v, bt_block *block, const bt_segment *s) {
    uint8_t uses[BT_MOST_BUFFERS];
    int ragged = s->reverse && block->shortest < block->longest;
    bt_uses(v, s, uses);
    for (uint32_t b = s->first_state; b < s->first_state + s->states; b++) {
        block->now[b] = block->base[b];
        block->next[b] = block->base[b] + bt_rows(&v->buffers[b]);
        bt_start_state(v, &v->buffers[b], block->now[b]);
    }
    for (size_t t = 0; t < block->longest; t++) {
        size_t at = ragged ? block->steps : s->reverse ? block->longest - 1 - t : t;
        for (uint32_t b = 0; b < v->head->buffers; b++) {
            if (!uses[b] || v->buffers[b].kind != BT_SEQUENCE)
                continue;
            block->now[b] = block->next[b] = block->base[b] + bt_rows(&v->buffers[b]) * at;
            if (ragged && (uses[b] & 1))
                bt_gather(v, block, b, t, 0);
        }
        for (uint32_t i = 0; i < s->count; i++)
            bt_run_phase(v, block, &v->phases[s->first + i]);
        for (uint32_t b = 0; ragged && b < v->head->buffers; b++)
            if ((uses[b] & 2) && v->buffers[b].kind == BT_SEQUENCE)
                bt_gather(v, block, b, t, 1);
        bt_advance(v, block, s, t);
    }
}

static void bt_run_once(const bt_view *v, bt_block *block, const bt_segment *s) {
    for (uint32_t b = 0; b < v->head->buffers; b++)
        if (v->buffers[b].kind == BT_SEQUENCE)
            block->now[b] = block->next[b] = block->base[b];
    for (uint32_t i = 0; i < s->count; i++)
        bt_run_phase(v, block, &v->phases[s->first + i]);
}

/* --- whole sequences --------------------------------------------------------------------------------------------- */

static void bt_pick(const bt_view *v, bt_block *block, const bt_segment *s) {
    size_t from = bt_rows(&v->buffers[s->in]) / BT_ITEMS, to = bt_rows(&v->buffers[s->out]) / BT_ITEMS;
    for (size_t n = 0; n < BT_ITEMS; n++) {
        size_t at = s->kind == BT_LAST ? block->lengths[n] - 1 : 0;
        memcpy(block->base[s->out] + n * to, block->base[s->in] + (at * BT_ITEMS + n) * from, from < to ? from : to);
    }
}

/* The frames around every step of every item, side by side. */
static void bt_run_window(const bt_view *v, bt_block *block, const bt_segment *s) {
    const bt_buffer *in = &v->buffers[s->in], *out = &v->buffers[s->out];
    const size_t taps = s->first, from = bt_rows(in), to = bt_rows(out);
    for (size_t n = 0; n < BT_ITEMS; n++)
        for (size_t t = 0; t < block->lengths[n]; t++) {
            uint8_t *y = block->base[s->out] + t * to + n * (to / BT_ITEMS);
            for (size_t k = 0; k < taps; k++) {
                const size_t later = t + s->first_state, back = (taps - 1 - k) * s->count;
                const int inside = later >= back && later - back < block->lengths[n];
                const uint8_t *x = block->base[s->in] + (inside ? later - back : 0) * from + n * (from / BT_ITEMS);
                if (in->size == 1)
                    for (size_t f = 0; f < s->states; f++)
                        y[f * taps + k] = inside ? x[f] : (uint8_t)in->fill;
                else
                    for (size_t f = 0; f < s->states; f++)
                        ((int16_t *)(void *)y)[f * taps + k] =
                            inside ? ((const int16_t *)(const void *)x)[f] : (int16_t)in->fill;
            }
        }
}

/* The largest of an item's steps, value by value. */
static void bt_run_max(const bt_view *v, bt_block *block, const bt_segment *s) {
    const bt_buffer *in = &v->buffers[s->in], *out = &v->buffers[s->out];
    size_t rows = (size_t)in->stride * BT_ITEMS, width = in->stride < out->stride ? in->stride : out->stride;
    for (size_t n = 0; n < BT_ITEMS; n++)
        for (size_t f = 0; f < width; f++) {
            int64_t most = bt_value(block->base[s->in], in, n * in->stride + f);
            for (size_t t = 1; t < block->lengths[n]; t++) {
                int64_t q = bt_value(block->base[s->in], in, rows * t + n * in->stride + f);
                most = q > most ? q : most;
            }
            if (out->size == 1)
                block->base[s->out][n * out->stride + f] = (uint8_t)most;
            else
                ((int16_t *)(void *)block->base[s->out])[n * out->stride + f] = (int16_t)most;
        }
}

/* a: values of u = a + za; y = clamp(floor((A * m0 + T * c) / (T * 2**shift)), lo, hi) + zb, A the sum of u over the
 * item's steps, which may leave 32 bits: hence not bt_mean. T is their number for a mean, 1 for a sum. */
static void bt_run_sum(const bt_view *v, bt_block *block, const bt_segment *s) {
    const bt_instr *p = &v->instrs[s->first];
    const bt_buffer *in = &v->buffers[p->a], *out = &v->buffers[p->out];
    size_t rows = (size_t)in->stride * BT_ITEMS;
    for (size_t n = 0; n < BT_ITEMS; n++)
        for (size_t f = 0; f < p->size; f++) {
            int64_t steps = (int64_t)block->lengths[n], sum = steps * p->za;
            for (size_t t = 0; t < block->lengths[n]; t++)
                sum += bt_value(block->base[p->a], in, rows * t + n * in->stride + f);
            uint32_t shares = s->kind == BT_MEAN ? (uint32_t)steps : 1;
            sum = (int64_t)((uint64_t)sum * (uint64_t)p->m0 + (uint64_t)shares * (uint64_t)p->c);
            uint32_t y = (uint32_t)bt_divide(sum, shares, p->shift, p->lo, p->hi) + (uint32_t)p->zb;
            if (out->size == 1)
                block->base[p->out][n * out->stride + f] = (uint8_t)y;
            else
                ((int16_t *)(void *)block->base[p->out])[n * out->stride + f] = (int16_t)y;
        }
}

/* From here on sequences begin `count` steps later. */
static void bt_crop(const bt_view *v, bt_block *block, const bt_segment *s) {
    for (uint32_t b = 0; b < v->head->buffers; b++)
        if (v->buffers[b].kind == BT_SEQUENCE)
            block->base[b] += bt_rows(&v->buffers[b]) * s->count;
    for (size_t n = 0; n < BT_ITEMS; n++)
        block->lengths[n] -= s->count;
    block->longest -= s->count;
    block->shortest -= s->count;
    block->steps -= s->count;
}

/* --- all of them ------------------------------------------------------------------------------------------------- */

static void bt_run_segments(const bt_view *v, bt_block *block) {
    for (uint32_t i = 0; i < v->head->segments; i++) {
        const bt_segment *s = &v->segments[i];
        switch (s->kind) {
        case BT_LOOP: bt_run_loop(v, block, s); break;
        case BT_ONCE: bt_run_once(v, block, s); break;
        case BT_MEAN:
        case BT_SUM: bt_run_sum(v, block, s); break;
        case BT_MAX: bt_run_max(v, block, s); break;
        case BT_WINDOW: bt_run_window(v, block, s); break;
        case BT_CROP: bt_crop(v, block, s); break;
        default: bt_pick(v, block, s); break;
        }
    }
}

#endif
