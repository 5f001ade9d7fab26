/* A block of BT_ITEMS sequences while it runs, and how the caller's scratch memory is laid out for it: tiles, norms of
 * tiles, then the rows of every buffer. */
#ifndef BT_BLOCK_H
#define BT_BLOCK_H

#include "bt_kernels.h"
#include "bt_program.h"

enum { BT_ALIGN = 64 };

/* One block of sequences while it runs. `now[b]` is where buffer b is read, `next[b]` where it is written. */
typedef struct bt_block {
    uint8_t *base[BT_MOST_BUFFERS], *now[BT_MOST_BUFFERS], *next[BT_MOST_BUFFERS];
    int32_t *tiles;
    bt_norm *norms; /* [tiles][BT_ITEMS]: of the tile that is normalised */
    size_t lengths[BT_ITEMS];
    size_t longest, shortest, steps;
} bt_block;

static size_t bt_round(size_t n) { return (n + BT_ALIGN - 1) / BT_ALIGN * BT_ALIGN; }

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

/* Value i of some rows of buffer b. */
static int64_t bt_value(const uint8_t *rows, const bt_buffer *b, size_t i) {
    return b->size == 1 ? rows[i] : ((const int16_t *)(const void *)rows)[i];
}

#endif
