/* Runs a good program, then many damaged ones: the runtime must answer with a status and never leave its memory.
 *
 *     native_fuzz FILE COUNT SEED      built with -fsanitize=address,undefined
 *
 * FILE: 8 uint32 (program bytes, input value size, items, steps, features, output values, has lengths, 0), the
 * program, the lengths (int32) if any, the input. Every block is allocated at its exact size. The good program's
 * output goes to FILE.out as int64; a line says how many damaged ones were refused and how many ran.
 */
#include "bittailor.h"

#include <stdio.h>  /* files, messages */
#include <stdlib.h> /* exit, strtoul, aligned_alloc */
#include <string.h> /* memcpy, memset */

static uint64_t state;

static uint32_t draw(uint32_t below) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((state >> 33) % below);
}

static void *block(size_t size) {
    void *p = malloc(size ? size : 1);
    if (p == NULL)
        exit(3);
    return p;
}

static void read_into(FILE *file, void *p, size_t size) {
    if (fread(p, 1, size, file) != size)
        exit(4);
}

/* Damage `count` places of the program; header and tables (the first `tables` bytes) more often than constants. */
static void damage(uint8_t *p, uint32_t size, uint32_t tables) {
    static const uint32_t odd[] = {0,       1,        2,          3,          7,         8,      31,
                                   32,      63,       64,         255,        0x7FFF,    0x8000, 0xFFFF,
                                   0x10000, 0xFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
    for (uint32_t count = 1 + draw(3); count > 0; count--) {
        uint32_t at = draw(5) ? draw(tables) : draw(size);
        uint32_t value = odd[draw(sizeof odd / sizeof *odd)];
        switch (draw(4)) {
        case 0: p[at] ^= (uint8_t)(1u << draw(8)); break;
        case 1: p[at] = (uint8_t)draw(256); break;
        case 2: memcpy(p + at / 4 * 4, &value, 4); break;
        default:
            value = draw(64);
            memcpy(p + at / 4 * 4, &value, 4);
            break;
        }
    }
}

int main(int argc, char **argv) {
    uint32_t head[8];
    if (argc != 4)
        return 2;
    FILE *file = fopen(argv[1], "rb");
    if (file == NULL)
        return 2;
    read_into(file, head, sizeof head);
    uint32_t size = head[0], width = head[1], items = head[2], steps = head[3], features = head[4], outputs = head[5];
    size_t input_bytes = (size_t)items * steps * features * width, output_bytes = (size_t)outputs * 8;
    uint8_t *good = block(size), *bad = block(size), *input;
    int32_t *lengths = head[6] ? block(items * sizeof *lengths) : NULL;
    int64_t *output = block(output_bytes);
    read_into(file, good, size);
    if (lengths != NULL)
        read_into(file, lengths, items * sizeof *lengths);
    input = block(input_bytes);
    read_into(file, input, input_bytes);
    fclose(file);

    size_t need = bt_scratch(good, size, steps);
    void *scratch = block(need);
    memset(scratch, 0x5A, need);
    if (bt_check(good, size) != BT_OK
        || bt_run(good, size, input, input_bytes, width, lengths, items, steps, 0, items, output, output_bytes, scratch,
                  need)
               != BT_OK) {
        fprintf(stderr, "the good program was refused\n");
        return 1;
    }
    char name[4096];
    snprintf(name, sizeof name, "%s.out", argv[1]);
    FILE *result = fopen(name, "wb");
    if (result == NULL || fwrite(output, 1, output_bytes, result) != output_bytes || fclose(result) != 0)
        return 3;

    uint32_t tables = 128 + 16 * ((const bt_header *)(const void *)good)->buffers
                    + 32 * ((const bt_header *)(const void *)good)->segments
                    + 16 * ((const bt_header *)(const void *)good)->phases
                    + 64 * ((const bt_header *)(const void *)good)->instrs;
    unsigned long refused = 0, ran = 0;
    state = strtoul(argv[3], NULL, 10);
    for (unsigned long i = strtoul(argv[2], NULL, 10); i > 0; i--) {
        memcpy(bad, good, size);
        damage(bad, size, tables < size ? tables : size);
        uint32_t given = draw(8) ? size : draw(size + 1);
        uint32_t some_steps = draw(8) ? steps : draw(20), some_items = draw(8) ? items : draw(20);
        size_t some_input = draw(8) ? input_bytes : draw((uint32_t)input_bytes + 1);
        size_t room = bt_scratch(bad, given, some_steps);
        if (room > (size_t)1 << 24)
            continue;
        if (room > 0 && draw(8) == 0)
            room = draw((uint32_t)room);
        uint8_t *part = block(given), *x = block(some_input);
        void *own = block(room);
        memcpy(part, bad, given);
        memcpy(x, input, some_input);
        memset(own, 0x5A, room);
        int32_t *own_lengths = NULL;
        if (lengths != NULL && some_items <= items) {
            own_lengths = block(some_items * sizeof *lengths);
            memcpy(own_lengths, lengths, some_items * sizeof *lengths);
            if (some_items > 0 && draw(8) == 0)
                own_lengths[draw(some_items)] = (int32_t)draw(40) - 5;
        }
        size_t last = draw(8) ? some_items : draw(30);
        int status = bt_run(part, given, x, some_input, draw(16) ? width : draw(4), own_lengths, some_items, some_steps,
                            draw(8) ? 0 : draw(30), last, output, output_bytes, own, room);
        if (status < 0 || status > BT_RANGE)
            return 1;
        refused += status != BT_OK;
        ran += status == BT_OK;
        free(own_lengths);
        free(own);
        free(x);
        free(part);
    }
    printf("refused %lu ran %lu\n", refused, ran);
    free(scratch);
    free(input);
    free(output);
    free(lengths);
    free(bad);
    free(good);
    return 0;
}
