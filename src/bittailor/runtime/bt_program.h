/* A program's parts, and whether it is one: bt_open_checked finds the tables and follows every index, size and shift in
 * them, so that what runs a checked program need not ask again. Constants are not looked at: where one, or a value made
 * of some, becomes an index, the place that uses it keeps it inside. */
#ifndef BT_PROGRAM_H
#define BT_PROGRAM_H

#include "bittailor.h"

enum {
    BT_MOST = 1 << 24,       /* features, groups and steps stay below; so no product of sizes leaves 64 bits */
    BT_MOST_TABLE = 1 << 16, /* rows of any of the four tables */
    BT_MOST_BUFFERS = 128,
    BT_MOST_TILES = 4096
};

/* A program's parts. */
typedef struct bt_view {
    const uint8_t *bytes;
    const bt_header *head;
    const bt_buffer *buffers;
    const bt_segment *segments;
    const bt_phase *phases;
    const bt_instr *instrs;
} bt_view;

static int bt_aligned(const void *p) { return p != NULL && (uintptr_t)p % 8 == 0; }

/* Whether `size` constants from byte `at` on lie inside the program. */
static int bt_inside(const bt_view *v, uint32_t at, uint64_t size) {
    return at % 8 == 0 && (uint64_t)at + size <= v->head->bytes;
}

/* Whether rows of buffer b hold `values` values of `size` bytes. */
static int bt_row(const bt_view *v, uint32_t b, uint16_t size, uint64_t values) {
    return b < v->head->buffers && v->buffers[b].size == size && values <= v->buffers[b].stride;
}

static int bt_tile_ok(const bt_view *v, uint32_t t) { return t < v->head->tiles; }

static int bt_linear_ok(const bt_view *v, const bt_instr *p, uint64_t blocks) {
    int bytes = p->op == BT_LINEAR8 || p->op == BT_LINEAR8W;
    uint64_t lanes = blocks * BT_LANES, wide = p->op == BT_LINEAR8 || p->op == BT_LINEAR16 ? 4 : 8;
    return p->size < BT_MOST && bt_tile_ok(v, p->out)
        && bt_row(v, p->a, bytes ? 1 : 2, (uint64_t)p->size * (bytes ? BT_GROUP8 : BT_GROUP16))
        && bt_inside(v, p->data, lanes * p->size * 4) && bt_inside(v, p->mult, lanes * 4)
        && bt_inside(v, p->cons, lanes * wide);
}

/* Whether an instruction stays inside tiles, rows and constants when it runs over `blocks` lane blocks. */
static int bt_instr_ok(const bt_view *v, const bt_instr *p, uint64_t blocks) {
    uint64_t lanes = blocks * BT_LANES;
    int pair = bt_tile_ok(v, p->a) && bt_tile_ok(v, p->b) && p->out != p->b;
    switch (p->op) {
    case BT_LOAD8: return bt_tile_ok(v, p->out) && bt_row(v, p->a, 1, lanes);
    case BT_LOAD16: return bt_tile_ok(v, p->out) && bt_row(v, p->a, 2, lanes);
    case BT_STORE8: return bt_tile_ok(v, p->a) && bt_row(v, p->out, 1, lanes + p->size);
    case BT_STORE16: return bt_tile_ok(v, p->a) && bt_row(v, p->out, 2, lanes + p->size);
    case BT_ROWS:
        return bt_tile_ok(v, p->out) && p->b < v->head->buffers && v->buffers[p->b].size == 2
            && v->buffers[p->b].stride > 0 && p->size > 0 && p->size < BT_MOST && p->m0 > 0 && (uint64_t)p->m0 >= lanes
            && p->m0 < BT_MOST && bt_inside(v, p->data, (uint64_t)p->size * (uint64_t)p->m0 * 2);
    case BT_LINEAR8:
    case BT_LINEAR16: return p->shift < 32 && bt_linear_ok(v, p, blocks);
    case BT_LINEAR8W:
    case BT_LINEAR16W: return p->shift < 64 && bt_linear_ok(v, p, blocks);
    case BT_LINEAR64W: return p->step > 0 && p->shift < 64 && bt_linear_ok(v, p, blocks);
    default: break;
    }
    if (!bt_tile_ok(v, p->out) || !bt_tile_ok(v, p->a) || p->out == p->a)
        return 0;
    switch (p->op) {
    case BT_ADD:
    case BT_MUL: return p->shift < 32 && pair;
    case BT_ADDW:
    case BT_MULW: return p->shift < 64 && pair;
    case BT_SCALE: return p->shift < 32;
    case BT_SCALEW: return p->shift < 64;
    case BT_LOOKUP8: return bt_inside(v, p->data, 256);
    case BT_LOOKUP16: return bt_inside(v, p->data, 256 * 2);
    case BT_DIAGONAL: return p->shift < 32 && bt_inside(v, p->data, lanes * 4) && bt_inside(v, p->cons, lanes * 4);
    case BT_DIAGONALW:
        return p->shift < 64 && bt_inside(v, p->data, lanes * 4) && bt_inside(v, p->mult, lanes * 4)
            && bt_inside(v, p->cons, lanes * 8);
    case BT_LAYER_NORM:
    case BT_RMS_NORM:
        return p->b < v->head->buffers && bt_row(v, p->b, v->buffers[p->b].size, p->size) && p->shift <= 32
            && p->m0 > 0;
    case BT_KNOTS: return p->step <= 8 && p->shift >= 1 && p->shift < 25 && bt_inside(v, p->data, 257 * 2);
    default: return 0;
    }
}

static int bt_phases_ok(const bt_view *v, const bt_segment *s) {
    if (s->first > v->head->phases || s->count > v->head->phases - s->first)
        return 0;
    for (uint32_t i = s->first; i < s->first + s->count; i++) {
        const bt_phase *phase = &v->phases[i];
        if (phase->first > v->head->instrs || phase->count > v->head->instrs - phase->first || phase->blocks >= BT_MOST)
            return 0;
        for (uint32_t j = phase->first; j < phase->first + phase->count; j++)
            if (!bt_instr_ok(v, &v->instrs[j], phase->blocks))
                return 0;
    }
    return 1;
}

static int bt_segment_ok(const bt_view *v, const bt_segment *s) {
    const bt_header *h = v->head;
    if (s->kind == BT_LOOP || s->kind == BT_ONCE) {
        if (s->first_state > h->buffers || s->states > h->buffers - s->first_state)
            return 0;
        for (uint32_t b = s->first_state; b < s->first_state + s->states; b++)
            if (v->buffers[b].kind != BT_STATE)
                return 0;
        return bt_phases_ok(v, s);
    }
    if (s->kind == BT_CROP)
        return s->count < BT_MOST;
    if (s->kind == BT_WINDOW)
        return s->in < h->buffers && s->out < h->buffers && s->in != s->out && v->buffers[s->in].kind == BT_SEQUENCE
            && v->buffers[s->out].kind == BT_SEQUENCE && v->buffers[s->in].size == v->buffers[s->out].size
            && s->first > 0 && s->first < BT_MOST && s->count < BT_MOST && s->first_state < BT_MOST
            && s->states < BT_MOST && s->states <= v->buffers[s->in].stride
            && (uint64_t)s->states * s->first <= v->buffers[s->out].stride;
    if (s->kind == BT_LAST || s->kind == BT_FIRST || s->kind == BT_MAX)
        return s->in < h->buffers && s->out < h->buffers && s->in != s->out && v->buffers[s->in].kind == BT_SEQUENCE
            && v->buffers[s->out].kind == BT_STEP && v->buffers[s->in].size == v->buffers[s->out].size;
    if ((s->kind != BT_MEAN && s->kind != BT_SUM) || s->first >= h->instrs)
        return 0;
    const bt_instr *p = &v->instrs[s->first];
    return p->a < h->buffers && p->out < h->buffers && p->a != p->out && v->buffers[p->a].kind == BT_SEQUENCE
        && v->buffers[p->out].kind == BT_STEP && bt_row(v, p->a, v->buffers[p->a].size, p->size)
        && bt_row(v, p->out, v->buffers[p->out].size, p->size) && p->shift <= 45 && p->lo <= p->hi
        && (int64_t)p->hi - p->lo < 65536;
}

/* The parts of a program; 0 if it cannot be one. */
static int bt_open(const void *program, size_t bytes, bt_view *v) {
    const bt_header *h = program;
    if (bytes < sizeof *h || h->magic != BT_MAGIC || h->version != BT_VERSION || h->lanes != BT_LANES
        || h->items != BT_ITEMS || h->bytes > bytes || h->buffers > BT_MOST_BUFFERS || h->segments > BT_MOST_TABLE
        || h->phases > BT_MOST_TABLE || h->instrs > BT_MOST_TABLE || h->tiles > BT_MOST_TILES)
        return 0;
    size_t buffers = sizeof *h, segments = buffers + h->buffers * sizeof(bt_buffer),
           phases = segments + h->segments * sizeof(bt_segment), instrs = phases + h->phases * sizeof(bt_phase);
    if (instrs + h->instrs * sizeof(bt_instr) > h->bytes)
        return 0;
    v->bytes = program;
    v->head = h;
    v->buffers = (const void *)(v->bytes + buffers);
    v->segments = (const void *)(v->bytes + segments);
    v->phases = (const void *)(v->bytes + phases);
    v->instrs = (const void *)(v->bytes + instrs);
    return 1;
}

static int bt_input_ok(const bt_view *v, uint32_t b, uint16_t size) {
    return b == BT_NONE || (bt_row(v, b, size, v->head->in_features) && v->buffers[b].kind == BT_SEQUENCE);
}

static int bt_view_ok(const bt_view *v) {
    const bt_header *h = v->head;
    if (h->in_features == 0 || h->in_features >= BT_MOST || h->in_qmin < INT16_MIN || h->in_qmax > INT16_MAX
        || !bt_input_ok(v, h->in8, 1) || !bt_input_ok(v, h->in16, 2) || h->out >= h->buffers
        || !bt_row(v, h->out, v->buffers[h->out].size, h->out_features))
        return 0;
    for (uint32_t b = 0; b < h->buffers; b++) {
        const bt_buffer *buffer = &v->buffers[b];
        if (buffer->kind > BT_STATE || (buffer->size != 1 && buffer->size != 2) || buffer->stride >= BT_MOST
            || buffer->stride % BT_LANES != 0
            || (buffer->start != 0
                && (buffer->kind != BT_STATE || !bt_inside(v, buffer->start, (uint64_t)buffer->stride * buffer->size))))
            return 0;
    }
    for (uint32_t s = 0; s < h->segments; s++)
        if (!bt_segment_ok(v, &v->segments[s]))
            return 0;
    return 1;
}

static int bt_open_checked(const void *program, size_t bytes, bt_view *v) {
    if (!bt_aligned(program))
        return BT_NULL;
    return bt_open(program, bytes, v) && bt_view_ok(v) ? BT_OK : BT_PROGRAM;
}

#endif
