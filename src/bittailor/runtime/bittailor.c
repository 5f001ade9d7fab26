/* The functions of bittailor.h: checks what it is given, then runs a batch, a block of BT_ITEMS sequences at a time. */
#include "bittailor.h"

#include "bt_segment.h"

enum { BT_MEAN_STEPS = 65535 };

void bt_layout(uint32_t layout[4]) {
    layout[0] = BT_LANES;
    layout[1] = BT_ITEMS;
    layout[2] = BT_WIDTHS8;
    layout[3] = BT_SPLIT;
}

int bt_check(const void *program, size_t bytes) {
    bt_view v;
    return bt_open_checked(program, bytes, &v);
}

size_t bt_scratch(const void *program, size_t bytes, size_t steps) {
    bt_view v;
    return bt_open_checked(program, bytes, &v) == BT_OK ? bt_scratch_of(&v, steps) : 0;
}

/* --- integers in and out ----------------------------------------------------------------------------------------- */

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

/* --- a batch ----------------------------------------------------------------------------------------------------- */

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
