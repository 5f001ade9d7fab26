/* Forward passes that end in a rescaling, for sums of one width: `bt_train.c` includes this once for each, with BT_INT,
 * its unsigned BT_UNSIGNED and the names BT_OF gives. */

static BT_INT BT_OF(plus)(BT_INT a, BT_INT b) { return (BT_INT)((BT_UNSIGNED)a + (BT_UNSIGNED)b); }
static BT_INT BT_OF(times)(BT_INT a, BT_INT b) { return (BT_INT)((BT_UNSIGNED)a * (BT_UNSIGNED)b); }
static const BT_INT *BT_OF(constants)(const void *all, const bt_row *r) {
    return all ? (const BT_INT *)all + r->first : NULL;
}

/* Shift and clamp; where the clamp did not bind, and what the output answers to its scale (LSQ). */
static void BT_OF(settle)(const bt_row *r, const BT_INT *restrict raw) {
    const bt_op *op = r->op;
    const size_t n = r->count;
    const BT_INT *restrict S = BT_OF(constants)(op->S, r), *restrict zero = BT_OF(constants)(op->zero, r);
    const BT_INT *restrict lo = BT_OF(constants)(op->lo, r), *restrict hi = BT_OF(constants)(op->hi, r);
    int32_t *restrict out = bt_at(&op->out, r);
    float *restrict real = bt_at(&op->real, r), *restrict mask = bt_at(&op->mask, r);
    float *restrict error = bt_at(&op->error, r);
    BT_INT moved[BT_COLUMNS];
    for (size_t j = 0; j < n; j++)
        moved[j] = raw[j] >> S[j];
    if (zero)
        for (size_t j = 0; j < n; j++)
            moved[j] = BT_OF(plus)(moved[j], -zero[j]);
    for (size_t j = 0; j < n; j++) {
        BT_INT kept = moved[j] < lo[j] ? lo[j] : moved[j];
        kept = kept > hi[j] ? hi[j] : kept;
        out[j] = (int32_t)kept;
        mask[j] = kept == moved[j] ? 1.0f : 0.0f;
    }
    if (real)
        for (size_t j = 0; j < n; j++)
            real[j] = (float)out[j];
    if (error) {
        const float *restrict unit = op->unit + r->first, *restrict middle = op->middle + r->first;
        for (size_t j = 0; j < n; j++)
            error[j] = (float)out[j] - mask[j] * (middle[j] + (float)raw[j] * unit[j]);
    }
}

static void BT_OF(sum)(const bt_row *r) {
    const bt_op *op = r->op;
    BT_INT raw[BT_COLUMNS];
    const BT_INT *restrict from = bt_at_of(&op->partial, r, sizeof(BT_INT));
    memcpy(raw, from ? from : BT_OF(constants)(op->c, r), sizeof(BT_INT) * r->count);
    for (int32_t i = 0; i < op->operands; i++) {
        const int32_t *restrict u = bt_at(&op->operand[i], r);
        const BT_INT *restrict M = BT_OF(constants)(op->M[i], r);
        if (!u)
            continue; /* in `partial` already */
        for (size_t j = 0; j < r->count; j++)
            raw[j] = BT_OF(plus)(raw[j], BT_OF(times)(u[j], M[j]));
    }
    BT_OF(settle)(r, raw);
}

/* The forms with one multiplier. */
static void BT_OF(scaled)(const bt_row *r) {
    const bt_op *op = r->op;
    BT_INT raw[BT_COLUMNS];
    const BT_INT *restrict M = BT_OF(constants)(op->M[0], r), *restrict c = BT_OF(constants)(op->c, r);
    if (op->kind == BT_DOT && op->doubled) {
        const double *restrict product = bt_at_of(&op->partial, r, sizeof(double));
        for (size_t j = 0; j < r->count; j++)
            raw[j] = (BT_INT)product[j];
    } else if (op->kind == BT_DOT) {
        const float *restrict product = bt_at(&op->partial, r);
        for (size_t j = 0; j < r->count; j++)
            raw[j] = (BT_INT)product[j];
    } else if (op->kind == BT_PRODUCT) {
        const int32_t *a = bt_at(&op->operand[0], r), *b = bt_at(&op->operand[1], r);
        for (size_t j = 0; j < r->count; j++)
            raw[j] = BT_OF(times)(a[j], b[j]);
    } else {
        const int32_t *restrict u = bt_at(&op->operand[0], r);
        const BT_INT *restrict weight = BT_OF(constants)(op->weight, r);
        const BT_INT *restrict offset = BT_OF(constants)(op->offset, r);
        for (size_t j = 0; j < r->count; j++)
            raw[j] = BT_OF(plus)(offset[j], BT_OF(times)(u[j], weight[j]));
    }
    for (size_t j = 0; j < r->count; j++)
        raw[j] = BT_OF(plus)(c[j], BT_OF(times)(raw[j], M[j]));
    BT_OF(settle)(r, raw);
}
