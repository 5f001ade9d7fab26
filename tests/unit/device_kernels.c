/* Runs the device kernels over the cases of cases.bin and leaves what they return in results.bin.
 *
 * A case begins with 8 int32: kind, bits, width of x, bytes, count, then three of the kind's own; then its data.
 *   DOT  count activations (int16); `bytes` bytes of weights; first 0..a, n b..c: for each the 32- and the 64-bit sum
 *   OPS  `bytes` bytes of tables and packed integers; count records of 9 int64: what, and its operands: a result each
 * Little-endian like every core here; results are int64. Built with -DEXACT (the host), every call is given arrays of
 * exactly the bytes that it may read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bt_dot.h"
#include "firmware.h"

enum { DOT, OPS };
enum { RESCALE, RESCALE2, RESCALE_WIDE, RESCALE2_WIDE, LOOKUP8, LOOKUP16, KNOTS, MEAN, BITS, BITS_WIDE, ELEMENT };

typedef int32_t dot8(const uint8_t *, size_t, const int8_t *, size_t);
typedef int32_t dot16(const uint8_t *, size_t, const int16_t *, size_t);
typedef int64_t dotl8(const uint8_t *, size_t, const int8_t *, size_t);
typedef int64_t dotl16(const uint8_t *, size_t, const int16_t *, size_t);
#define POINTER8(b) bt_dot##b##_x8,
#define POINTER16(b) bt_dot##b##_x16,
#define POINTERL8(b) bt_dotl##b##_x8,
#define POINTERL16(b) bt_dotl##b##_x16,
static dot8 *const dots8[] = {BT_EACH_WIDTH(POINTER8)};
static dot16 *const dots16[] = {BT_EACH_WIDTH(POINTER16)};
static dotl8 *const dotsl8[] = {BT_EACH_WIDTH(POINTERL8)};
static dotl16 *const dotsl16[] = {BT_EACH_WIDTH(POINTERL16)};

static uint8_t data[2048] __attribute__((aligned(8)));
static int16_t wide[1024];
static int8_t narrow[1024];
static int32_t head[8];
static int from, to;

static void get(void *where, size_t bytes) {
    if (fw_read(from, where, bytes) != bytes) {
        printf("cases.bin is too short\n");
        exit(1);
    }
}

static void put(int64_t value) {
    if (fw_write(to, &value, sizeof value) != sizeof value)
        exit(1);
}

static void one(const uint8_t *w, size_t first, const int8_t *x8, const int16_t *x16, size_t n) {
    const unsigned b = (unsigned)head[1] - 1u;
    put(head[2] == 8 ? dots8[b](w, first, x8, n) : dots16[b](w, first, x16, n));
    put(head[2] == 8 ? dotsl8[b](w, first, x8, n) : dotsl16[b](w, first, x16, n));
}

#ifdef EXACT
static void *copy(const void *what, size_t bytes) {
    void *const made = malloc(bytes);
    if (bytes != 0)
        memcpy(made, what, bytes);
    return made;
}
#endif

static void dots(void) {
    get(wide, (size_t)head[4] * sizeof *wide);
    get(data, (size_t)head[3]);
    for (int32_t i = 0; i < head[4]; i++)
        narrow[i] = (int8_t)wide[i];
    for (int32_t first = 0; first <= head[5]; first++)
        for (int32_t n = head[6]; n <= head[7]; n++) {
#ifdef EXACT
            uint8_t *const w = copy(data, ((size_t)(first + n) * (size_t)head[1] + 7) / 8);
            int8_t *const x8 = copy(narrow, (size_t)n);
            int16_t *const x16 = copy(wide, (size_t)n * sizeof *x16);
            one(w, (size_t)first, x8, x16, (size_t)n);
            free(w);
            free(x8);
            free(x16);
#else
            one(data, (size_t)first, narrow, wide, (size_t)n);
#endif
        }
}

static int32_t element(size_t bytes, size_t index, unsigned bits) {
#ifdef EXACT
    uint8_t *const array = copy(data, bytes);
    const int32_t value = bt_element(array, bytes, index, bits);
    free(array);
    return value;
#else
    return bt_element(data, bytes, index, bits);
#endif
}

static int64_t operation(const int64_t v[9]) {
    int32_t a[9];
    const int16_t *const table = (const int16_t *)(const void *)data;
    for (int i = 0; i < 9; i++)
        a[i] = (int32_t)v[i];
    switch (a[0]) {
    case RESCALE: return bt_rescale(a[1], a[2], a[3], (unsigned)a[4], a[5], a[6]);
    case RESCALE2: return bt_rescale2(a[1], a[2], a[3], a[4], a[5], (unsigned)a[6], a[7], a[8]);
    case RESCALE_WIDE: return bt_rescale_wide(v[1], a[2], v[3], (unsigned)a[4], a[5], a[6]);
    case RESCALE2_WIDE: return bt_rescale2_wide(a[1], a[2], a[3], a[4], v[5], (unsigned)a[6], a[7], a[8]);
    case LOOKUP8: return bt_lookup8((const int8_t *)data, a[1], a[2]);
    case LOOKUP16: return bt_lookup16(table, a[1], a[2]);
    case KNOTS: return bt_knots(table, a[1], a[2], (unsigned)a[3], (unsigned)a[4], a[5], a[6]);
    case MEAN: return bt_mean(a[1], (uint32_t)a[2], a[3], v[4], (unsigned)a[5], a[6], a[7]);
    case BITS: return bt_bits(data, (size_t)a[1], (unsigned)a[2]);
    case BITS_WIDE: return bt_bits_wide(data, (size_t)a[1], (unsigned)a[2]);
    case ELEMENT: return element((size_t)a[3], (size_t)a[1], (unsigned)a[2]);
    default: printf("no operation %ld\n", (long)a[0]); exit(1);
    }
}

static void operations(void) {
    int64_t record[9];
    get(data, (size_t)head[3]);
    for (int32_t i = 0; i < head[4]; i++) {
        get(record, sizeof record);
        put(operation(record));
    }
}

int main(void) {
    from = fw_open("cases.bin", 'r');
    to = fw_open("results.bin", 'w');
    if (from < 0 || to < 0)
        return 1;
    while (fw_read(from, head, sizeof head) == sizeof head) {
        if (head[0] == DOT)
            dots();
        else
            operations();
    }
    fw_close(to);
    return 0;
}
