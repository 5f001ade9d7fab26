/* Checks programs and runs them: segments over blocks of BT_ITEMS sequences, phases over blocks of BT_LANES features. */
#include "bittailor.h"

#include <string.h> /* memcpy, memset */

#include "bt_kernels.h"

enum {
    BT_ALIGN = 64,
    BT_MOST = 1 << 24,       /* features, groups and steps stay below; so no product of sizes leaves 64 bits */
    BT_MOST_TABLE = 1 << 16, /* rows of any of the four tables */
    BT_MOST_BUFFERS = 128,
    BT_MOST_TILES = 4096,
    BT_MEAN_STEPS = 65535,
    BT_JOINT = BT_LANES == 16 ? 3 : 1 /* linear operators computed at once, as many as registers hold */
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

/* One block of sequences while it runs. `now[b]` is where buffer b is read, `next[b]` where it is written. */
typedef struct bt_block {
    uint8_t *base[BT_MOST_BUFFERS], *now[BT_MOST_BUFFERS], *next[BT_MOST_BUFFERS];
    int32_t *tiles;
    bt_norm *norms; /* [tiles][BT_ITEMS]: of the tile that is normalised */
    size_t lengths[BT_ITEMS];
    size_t longest, shortest, steps;
} bt_block;

void bt_layout(uint32_t layout[4]) {
    layout[0] = BT_LANES;
    layout[1] = BT_ITEMS;
    layout[2] = BT_WIDTHS8;
    layout[3] = BT_SPLIT;
}

/* --- checks ------------------------------------------------------------------------------------------------------ */

static int bt_aligned(const void *p) { return p != NULL && (uintptr_t)p % 8 == 0; }

static size_t bt_round(size_t n) { return (n + BT_ALIGN - 1) / BT_ALIGN * BT_ALIGN; }

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

int bt_check(const void *program, size_t bytes) {
    bt_view v;
    return bt_open_checked(program, bytes, &v);
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

/* Bytes of the rows of one step. */
static size_t bt_rows(const bt_buffer *b) { return (size_t)b->stride * b->size * BT_ITEMS; }

/* A sequence has room for every step and a place to gather one step of a ragged block; a state for old and new. */
static size_t bt_room(const bt_buffer *b, size_t steps) {
    size_t copies = b->kind == BT_SEQUENCE ? steps + 1 : b->kind == BT_STATE ? 2 : 1;
    return bt_round(bt_rows(b) * copies);
}

/* Bytes of tiles, and of the norms of tiles. */
static size_t bt_tile_room(const bt_view *v) { return bt_round((size_t)v->head->tiles * BT_TILE * sizeof(int32_t)); }
static size_t bt_norm_room(const bt_view *v) { return bt_round((size_t)v->head->tiles * BT_ITEMS * sizeof(bt_norm)); }

static size_t bt_scratch_of(const bt_view *v, size_t steps) {
    uint64_t total = BT_ALIGN + bt_tile_room(v) + bt_norm_room(v);
    if (steps == 0 || steps >= BT_MOST)
        return 0;
    for (uint32_t b = 0; b < v->head->buffers; b++) {
        uint64_t rows = (uint64_t)v->buffers[b].stride * v->buffers[b].size * BT_ITEMS;
        total += rows * (steps + 1) + 2 * BT_ALIGN; /* below 2**56 */
        if (total > SIZE_MAX / 2)
            return 0;
        total -= rows * (steps + 1) + 2 * BT_ALIGN;
        total += bt_room(&v->buffers[b], steps);
    }
    return total > SIZE_MAX / 2 ? 0 : (size_t)total;
}

size_t bt_scratch(const void *program, size_t bytes, size_t steps) {
    bt_view v;
    return bt_open_checked(program, bytes, &v) == BT_OK ? bt_scratch_of(&v, steps) : 0;
}

static void bt_place(const bt_view *v, bt_block *block, uint8_t *scratch) {
    scratch += (BT_ALIGN - (uintptr_t)scratch % BT_ALIGN) % BT_ALIGN;
    block->tiles = (int32_t *)(void *)scratch;
    scratch += bt_tile_room(v);
    block->norms = (bt_norm *)(void *)scratch;
    scratch += bt_norm_room(v);
    for (uint32_t b = 0; b < v->head->buffers; b++) {
        block->base[b] = block->now[b] = block->next[b] = scratch;
        scratch += bt_room(&v->buffers[b], block->steps);
    }
}

/* --- phases ------------------------------------------------------------------------------------------------------ */

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

static int64_t bt_value(const uint8_t *rows, const bt_buffer *b, size_t i) {
    return b->size == 1 ? rows[i] : ((const int16_t *)(const void *)rows)[i];
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

/* --- segments ---------------------------------------------------------------------------------------------------- */

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

/* --- a batch ----------------------------------------------------------------------------------------------------- */

/* Whether all integers are in the program's input range. */
static int bt_in_range(const bt_header *h, const uint8_t *input, unsigned size, size_t count) {
    int32_t low = h->in_qmin, high = h->in_qmax;
    if (size == 1) {
        const int8_t *q = (const int8_t *)input;
        int8_t least = 0, most = 0;
        for (size_t i = 0; i < count; i++) {
            least = q[i] < least ? q[i] : least;
            most = q[i] > most ? q[i] : most;
        }
        return least >= low && most <= high;
    }
    const int16_t *q = (const int16_t *)(const void *)input;
    int16_t least = 0, most = 0;
    for (size_t i = 0; i < count; i++) {
        least = q[i] < least ? q[i] : least;
        most = q[i] > most ? q[i] : most;
    }
    return least >= low && most <= high;
}

/* y[i] = x[i] + add for types of any size; pieces of 16, the last one overlapping the one before */
#define BT_COPY(name, from, to)                                                                                        \
    static void name(to *restrict y, const from *restrict x, size_t count, int32_t add) {                              \
        enum { PIECE = 16 };                                                                                           \
        if (count < PIECE) {                                                                                           \
            for (size_t i = 0; i < count; i++)                                                                         \
                y[i] = (to)((uint32_t)x[i] + (uint32_t)add);                                                           \
            return;                                                                                                    \
        }                                                                                                              \
        for (size_t i = 0; i < count; i += PIECE) {                                                                    \
            i = i + PIECE > count ? count - PIECE : i;                                                                 \
            for (size_t j = i; j < i + PIECE; j++)                                                                     \
                y[j] = (to)((uint32_t)x[j] + (uint32_t)add);                                                           \
        }                                                                                                              \
    }
BT_COPY(bt_copy_8_8, int8_t, uint8_t)
BT_COPY(bt_copy_8_16, int8_t, int16_t)
BT_COPY(bt_copy_16_8, int16_t, uint8_t)
BT_COPY(bt_copy_16_16, int16_t, int16_t)

/* One row of input integers into the input's buffers. */
static void bt_input_row(const bt_view *v, bt_block *block, const uint8_t *row, unsigned size, size_t t, size_t n) {
    const bt_header *h = v->head;
    const int8_t *q8 = (const int8_t *)row;
    const int16_t *q16 = (const int16_t *)(const void *)row;
    if (h->in8 != BT_NONE) {
        uint8_t *y = block->base[h->in8] + (t * BT_ITEMS + n) * v->buffers[h->in8].stride;
        if (size == 1)
            bt_copy_8_8(y, q8, h->in_features, -h->in_qmin);
        else
            bt_copy_16_8(y, q16, h->in_features, -h->in_qmin);
    }
    if (h->in16 != BT_NONE) {
        int16_t *y = (int16_t *)(void *)block->base[h->in16] + (t * BT_ITEMS + n) * v->buffers[h->in16].stride;
        if (size == 1)
            bt_copy_8_16(y, q8, h->in_features, 0);
        else
            bt_copy_16_16(y, q16, h->in_features, 0);
    }
}

static void bt_output_row(const bt_view *v, const uint8_t *rows, size_t first, int64_t *y) {
    const bt_header *h = v->head;
    for (size_t f = 0; f < h->out_features; f++)
        y[f] = bt_value(rows, &v->buffers[h->out], first + f) + h->out_add;
}

static void bt_output(const bt_view *v, const bt_block *block, size_t item, size_t count, int64_t *output) {
    const bt_header *h = v->head;
    const bt_buffer *b = &v->buffers[h->out];
    for (size_t n = 0; n < count; n++) {
        if (b->kind != BT_SEQUENCE) {
            bt_output_row(v, block->now[h->out], n * b->stride, output + (item + n) * h->out_features);
            continue;
        }
        for (size_t t = 0; t < block->steps; t++) {
            int64_t *y = output + ((item + n) * block->steps + t) * h->out_features;
            if (t < block->lengths[n])
                bt_output_row(v, block->base[h->out], (t * BT_ITEMS + n) * b->stride, y);
            else
                for (size_t f = 0; f < h->out_features; f++)
                    y[f] = h->out_pad;
        }
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

static int bt_has_sum(const bt_view *v) {
    for (uint32_t i = 0; i < v->head->segments; i++)
        if (v->segments[i].kind == BT_MEAN || v->segments[i].kind == BT_SUM)
            return 1;
    return 0;
}

/* How many of the first steps are left away in all. */
static uint64_t bt_dropped(const bt_view *v) {
    uint64_t steps = 0;
    for (uint32_t i = 0; i < v->head->segments; i++)
        if (v->segments[i].kind == BT_CROP)
            steps += v->segments[i].count;
    return steps;
}

int bt_run(const void *program, size_t bytes, const void *input, size_t input_bytes, unsigned input_size,
           const int32_t *lengths, size_t items, size_t steps, size_t first, size_t last, int64_t *output,
           size_t output_bytes, void *scratch, size_t scratch_bytes) {
    bt_view v;
    bt_block block;
    int status = bt_open_checked(program, bytes, &v);
    if (status != BT_OK)
        return status;
    if (input == NULL || !bt_aligned(output) || !bt_aligned(scratch) || (uintptr_t)input % (input_size == 2 ? 2 : 1))
        return BT_NULL;
    if (steps != 0 && steps <= bt_dropped(&v))
        return BT_LENGTH;
    const size_t dropped = (size_t)bt_dropped(&v);
    size_t need = bt_scratch_of(&v, steps), axis = v.buffers[v.head->out].kind == BT_SEQUENCE ? steps - dropped : 1;
    if (need == 0 || scratch_bytes < need || (input_size != 1 && input_size != 2) || first > last || last > items
        || items > (SIZE_MAX >> 4) / steps / v.head->in_features
        || input_bytes < items * steps * v.head->in_features * input_size
        || (v.head->out_features != 0 && items > (SIZE_MAX >> 4) / axis / v.head->out_features)
        || output_bytes < items * axis * v.head->out_features * sizeof(int64_t))
        return BT_SHORT;
    for (size_t i = first; lengths != NULL && i < last; i++)
        if (lengths[i] < 1 || (size_t)lengths[i] <= dropped || (size_t)lengths[i] > steps)
            return BT_LENGTH;
    if (bt_has_sum(&v) && steps > BT_MEAN_STEPS)
        for (size_t i = first; i < last; i++)
            if (lengths == NULL || lengths[i] > BT_MEAN_STEPS)
                return BT_LENGTH;
    size_t row = (size_t)v.head->in_features * input_size;
    for (size_t item = first; item < last; item += BT_ITEMS) {
        size_t count = last - item < BT_ITEMS ? last - item : BT_ITEMS;
        block.steps = steps;
        bt_place(&v, &block, scratch);
        block.longest = 0;
        block.shortest = steps;
        for (size_t n = 0; n < BT_ITEMS; n++) {
            /* places without an item repeat the last one */
            size_t from = item + (n < count ? n : count - 1);
            size_t length = lengths != NULL ? (size_t)lengths[from] : steps;
            block.lengths[n] = length;
            block.longest = length > block.longest ? length : block.longest;
            block.shortest = length < block.shortest ? length : block.shortest;
            const uint8_t *x = (const uint8_t *)input + from * steps * row;
            if (!bt_in_range(v.head, x, input_size, length * v.head->in_features))
                return BT_RANGE;
            for (size_t t = 0; t < length; t++)
                bt_input_row(&v, &block, x + t * row, input_size, t, n);
        }
        bt_run_segments(&v, &block);
        bt_output(&v, &block, item, count, output);
    }
    return BT_OK;
}
