/* Runs a library of the native engine that was compiled for another processor: PROGRAM LIBRARY [JOB].
 *
 * Without a job it prints the library's layout. A job is 8 numbers (uint64: bytes of the program, of the input and of its
 * integers, items, steps, outputs, 1 if lengths follow, 0), the program, the input, the lengths (int32) and the outputs
 * (int64) that are expected; it prints how many differ. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*layout_fn)(uint32_t *);
typedef size_t (*scratch_fn)(const void *, size_t, size_t);
typedef int (*run_fn)(const void *, size_t, const void *, size_t, unsigned, const int32_t *, size_t, size_t, size_t,
                      size_t, int64_t *, size_t, void *, size_t);

static void *read_part(FILE *file, size_t bytes) {
    void *part = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (!part || fread(part, 1, bytes, file) != bytes)
        exit(3);
    return part;
}

int main(int argc, char **argv) {
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (!library) {
        fprintf(stderr, "%s\n", argc > 1 ? dlerror() : "which library?");
        return 2;
    }
    layout_fn layout;
    scratch_fn room;
    run_fn run;
    void *found[3] = {dlsym(library, "bt_layout"), dlsym(library, "bt_scratch"), dlsym(library, "bt_run")};
    memcpy(&layout, &found[0], sizeof layout);
    memcpy(&room, &found[1], sizeof room);
    memcpy(&run, &found[2], sizeof run);
    if (argc == 2) {
        uint32_t l[4];
        layout(l);
        printf("%u %u %u %u\n", l[0], l[1], l[2], l[3]);
        return 0;
    }
    FILE *file = fopen(argv[2], "rb");
    uint64_t n[8];
    if (!file || fread(n, sizeof n, 1, file) != 1)
        return 3;
    void *program = read_part(file, n[0]), *input = read_part(file, n[1]);
    int32_t *lengths = n[6] ? read_part(file, 4 * n[3]) : NULL;
    int64_t *want = read_part(file, 8 * n[5]), *got = calloc(n[5], 8);
    size_t bytes = room(program, n[0], n[4]);
    void *scratch = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (!got || !scratch)
        return 3;
    int status =
        run(program, n[0], input, n[1], (unsigned)n[2], lengths, n[3], n[4], 0, n[3], got, 8 * n[5], scratch, bytes);
    size_t wrong = 0;
    for (size_t i = 0; i < n[5]; i++)
        wrong += got[i] != want[i];
    printf("status %d, %zu of %zu differ\n", status, wrong, (size_t)n[5]);
    return status || wrong;
}
