/* What a training step computes element by element: integers forward, gradients back, several operators in one call.
 *
 * An operator is a `bt_op`: where its arrays lie and the constants of every feature. Arrays are float32 or int32,
 * [rows, features] of one step; operators of a call see each row before the next ones do, so that what one hands to
 * another is still in the processor's nearest cache. Integers are those of the other engines, to the bit: |sum| < 2**31,
 * or 2**63 of a wide operator, was proved when it was bound. Matrix products are done elsewhere. */
#include <stddef.h> /* size_t */
#include <stdint.h> /* int32_t, int64_t */
#include <string.h> /* memcpy, memset */

enum bt_kind {
    BT_CLEAR,         /* grad = 0 */
    BT_SUM,           /* out = settle(partial or c, + M[i] operand[i]) */
    BT_PRODUCT,       /* out = settle(c + M operand[0] operand[1]) */
    BT_DOT,           /* out = settle(c + M product), the product of matrices being float integers */
    BT_DIAGONAL,      /* out = settle(c + M (offset + weight operand[0])) */
    BT_TABLE,         /* out = entries[base + operand[0]], and the slope there */
    BT_LINE,          /* the same between two entries */
    BT_BACK_KEPT,     /* kept = grad mask */
    BT_BACK_SUM,      /* operand[i] (+)= gain[i] grad mask, gradients as all operands of the way back */
    BT_BACK_PRODUCT,  /* operand[i] (+)= gain[1-i] value[1-i] grad mask */
    BT_BACK_DIAGONAL, /* kept = grad mask; operand[0] (+)= factor kept */
    BT_BACK_TABLE     /* operand[0] (+)= slope grad */
};

#define BT_OPERANDS 4
#define BT_COLUMNS 256 /* of a row, that are computed together */
#define BT_ROWS 32     /* that go through all operators of a call together */

/* Where an array lies: its first element at step 0, bytes from row to row and from step to step. NULL: there is none.
 */
typedef struct bt_view {
    char *at;
    int64_t row, step;
} bt_view;

/* Of a wide operator M, S, c, zero, lo, hi, weight, offset and a partial sum are int64, otherwise int32. A `doubled`
 * product of matrices is float64, otherwise float32. */
typedef struct bt_op {
    int32_t kind, operands, wide, doubled;
    int64_t width;
    bt_view out, real, mask, error, grad, kept, gathered, partial, slope;
    bt_view operand[BT_OPERANDS], value[2];
    float gain[BT_OPERANDS];
    int32_t writes[BT_OPERANDS];
    const void *M[BT_OPERANDS], *S, *c, *zero, *lo, *hi, *weight, *offset;
    const int32_t *entries, *base, *shift, *step, *down, *half;
    const float *unit, *middle, *factor, *slopes, *errors;
} bt_op;

typedef struct bt_row {
    const bt_op *op;
    size_t row, first, count; /* columns first .. first + count */
    int64_t step;
} bt_row;

/* The present columns of an array whose elements take `size` bytes; of others 4. */
static void *bt_at_of(const bt_view *v, const bt_row *r, int64_t size) {
    return v->at ? v->at + (int64_t)r->row * v->row + r->step * v->step + size * (int64_t)r->first : NULL;
}
static void *bt_at(const bt_view *v, const bt_row *r) { return bt_at_of(v, r, 4); }

/* Sums fit 32 bits, or those of wide operators 64. */
#define BT_INT int32_t
#define BT_UNSIGNED uint32_t
#define BT_OF(name) bt_##name
#include "bt_train_sums.h"
#undef BT_INT
#undef BT_UNSIGNED
#undef BT_OF
#define BT_INT int64_t
#define BT_UNSIGNED uint64_t
#define BT_OF(name) bt_##name##_wide
#include "bt_train_sums.h"

/* From the entries that were found: what else is read there. */
static void bt_found(const bt_row *r, const int32_t *restrict index) {
    const bt_op *op = r->op;
    const int32_t *out = bt_at(&op->out, r);
    float *restrict slope = bt_at(&op->slope, r), *restrict real = bt_at(&op->real, r);
    float *restrict error = bt_at(&op->error, r);
    for (size_t j = 0; j < r->count; j++)
        slope[j] = op->slopes[index[j]];
    if (real)
        for (size_t j = 0; j < r->count; j++)
            real[j] = (float)out[j];
    if (error)
        for (size_t j = 0; j < r->count; j++)
            error[j] = op->errors[index[j]];
}

static void bt_table(const bt_row *r) {
    const bt_op *op = r->op;
    int32_t index[BT_COLUMNS];
    const int32_t *restrict u = bt_at(&op->operand[0], r), *restrict base = op->base + r->first;
    int32_t *restrict out = bt_at(&op->out, r);
    for (size_t j = 0; j < r->count; j++)
        index[j] = u[j] + base[j];
    for (size_t j = 0; j < r->count; j++)
        out[j] = op->entries[index[j]];
    bt_found(r, index);
}

static void bt_line(const bt_row *r) {
    const bt_op *op = r->op;
    const int32_t *lo = op->lo, *hi = op->hi, *zero = op->zero;
    int32_t index[BT_COLUMNS];
    const int32_t *restrict u = bt_at(&op->operand[0], r);
    int32_t *restrict out = bt_at(&op->out, r);
    for (size_t j = 0; j < r->count; j++) {
        const size_t k = r->first + j;
        const int32_t place = u[j] + op->shift[k], scale = (int32_t)1 << op->step[k], part = place & (scale - 1);
        const int32_t below = (place >> op->step[k]) + op->base[k];
        const int32_t total = op->entries[below] * (scale - part) + op->entries[below + 1] * part + op->half[k];
        int32_t kept = total >> op->down[k];
        kept = kept < lo[k] ? lo[k] : kept;
        out[j] = (kept > hi[k] ? hi[k] : kept) - zero[k];
        index[j] = below;
    }
    bt_found(r, index);
}

/* The gradient of the output's scale. */
static void bt_gather(const bt_row *r) {
    float *restrict gathered = bt_at(&r->op->gathered, r);
    if (!gathered)
        return;
    const float *restrict grad = bt_at(&r->op->grad, r), *restrict error = bt_at(&r->op->error, r);
    for (size_t j = 0; j < r->count; j++)
        gathered[j] += grad[j] * error[j];
}

/* target (+)= gain a b, b being 1 where there is none. */
static void bt_hand(const bt_row *r, int i, float gain, const float *restrict a, const float *restrict b) {
    float *restrict target = bt_at(&r->op->operand[i], r);
    if (!target)
        return;
    float found[BT_COLUMNS];
    if (b)
        for (size_t j = 0; j < r->count; j++)
            found[j] = a[j] * b[j] * gain;
    else
        for (size_t j = 0; j < r->count; j++)
            found[j] = a[j] * gain;
    if (r->op->writes[i])
        memcpy(target, found, 4 * r->count);
    else
        for (size_t j = 0; j < r->count; j++)
            target[j] += found[j];
}

static void bt_back(const bt_row *r) {
    const bt_op *op = r->op;
    bt_gather(r);
    const float *restrict grad = bt_at(&op->grad, r);
    if (op->kind == BT_BACK_TABLE) {
        bt_hand(r, 0, 1.0f, grad, bt_at(&op->slope, r));
        return;
    }
    float masked[BT_COLUMNS];
    const float *restrict mask = bt_at(&op->mask, r);
    for (size_t j = 0; j < r->count; j++)
        masked[j] = grad[j] * mask[j];
    float *kept = bt_at(&op->kept, r);
    if (kept)
        memcpy(kept, masked, 4 * r->count);
    if (op->kind == BT_BACK_DIAGONAL)
        bt_hand(r, 0, 1.0f, masked, op->factor + r->first);
    if (op->kind == BT_BACK_SUM)
        for (int32_t i = 0; i < op->operands; i++)
            bt_hand(r, i, op->gain[i], masked, NULL);
    if (op->kind == BT_BACK_PRODUCT)
        for (int32_t i = 0; i < 2; i++)
            bt_hand(r, i, op->gain[1 - i], masked, bt_at(&op->value[1 - i], r));
}

static void bt_compute(const bt_row *r) {
    switch (r->op->kind) {
    case BT_CLEAR: memset(bt_at(&r->op->grad, r), 0, 4 * r->count); break;
    case BT_SUM: r->op->wide ? bt_sum_wide(r) : bt_sum(r); break;
    case BT_TABLE: bt_table(r); break;
    case BT_LINE: bt_line(r); break;
    case BT_PRODUCT:
    case BT_DOT:
    case BT_DIAGONAL: r->op->wide ? bt_scaled_wide(r) : bt_scaled(r); break;
    default: bt_back(r);
    }
}

/* One operator on some rows of a step. */
static void bt_rows(const bt_op *op, size_t begin, size_t end, int64_t step) {
    const size_t width = (size_t)op->width;
    for (size_t row = begin; row < end; row++)
        for (size_t first = 0; first < width; first += BT_COLUMNS) {
            const size_t left = width - first;
            const bt_row r = {op, row, first, left < BT_COLUMNS ? left : BT_COLUMNS, step};
            bt_compute(&r);
        }
}

/* Run operators, in order, on so many rows of the steps first, first + by, ... */
void bt_train(const bt_op *ops, size_t count, size_t rows, int64_t first, int64_t steps, int64_t by) {
    for (size_t begin = 0; begin < rows; begin += BT_ROWS) {
        const size_t end = rows - begin < BT_ROWS ? rows : begin + BT_ROWS;
        for (int64_t s = 0; s < steps; s++)
            for (size_t i = 0; i < count; i++)
                bt_rows(ops + i, begin, end, first + s * by);
    }
}

/* What a `bt_op` takes, in bytes. */
size_t bt_train_size(void) { return sizeof(bt_op); }
