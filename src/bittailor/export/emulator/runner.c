/* Runs an exported network over a file of items and counts its instructions.

   items.bin    u32 items, u32 counted; then per item u32 steps and steps x features input integers (little-endian)
   outputs.bin  per item the output integers: of the whole sequence, or of every step where the network's output is one
   counts.bin   u64 x 4: steps counted, their instructions without the read-out, read-outs counted, their instructions

   The first `counted` items are counted, and also go through _run, which has to give the same output as their steps.
   With FW_TRACE=f (the model compiled with -DBT_TRACE=f), instead of counting:

   trace.bin    every value of every site, in the order of computation: u16 site, u16 feature, i32 value

   Compiled with: FW_MODEL (the prefix), FW_HEADER (its header in quotes), FW_FEATURES, FW_OUTPUTS, FW_STEPS (the
   longest sequence), FW_STREAM (1: it has a step), FW_SEQUENCE (1: an output for every step). */
#include <stdio.h>
#include <string.h>

#include FW_HEADER
#include "firmware.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(suffix) JOIN(FW_MODEL, suffix)

typedef NAME(_in) in_t;
typedef NAME(_out) out_t;

/* Not static, so that their sizes stand in the symbol table. */
NAME(_state) fw_state;
NAME(_scratch) fw_scratch;

static in_t items[(size_t)FW_STEPS * FW_FEATURES];
static out_t outputs[(size_t)(FW_SEQUENCE ? FW_STEPS : 1) * FW_OUTPUTS];
#if FW_STREAM
static NAME(_state) kept;
static out_t streamed[FW_OUTPUTS];
#endif
static uint64_t counts[4];

#ifdef FW_TRACE
static struct {
    uint16_t site, feature;
    int32_t value;
} traced[64];
static size_t waiting;
static int trace = -1;

static void flush(void) {
    if (fw_write(trace, traced, waiting * sizeof *traced) == waiting * sizeof *traced) {
        waiting = 0;
    }
}

void FW_TRACE(unsigned site, unsigned feature, int32_t value);
void FW_TRACE(unsigned site, unsigned feature, int32_t value) {
    if (trace < 0) {
        trace = fw_open("trace.bin", 'w');
    }
    traced[waiting].site = (uint16_t)site;
    traced[waiting].feature = (uint16_t)feature;
    traced[waiting].value = value;
    if (++waiting == sizeof traced / sizeof *traced) {
        flush();
    }
}
#endif

static int failed(const char *what, uint32_t item) {
    printf("item %lu: %s\n", (unsigned long)item, what);
    return 4;
}

BT_NOIPA static int whole(size_t steps) {
    NAME(_reset)(&fw_state);
    return NAME(_run)(&fw_state, &fw_scratch, items, steps, outputs);
}

#if FW_STREAM
static uint64_t step(const in_t *frame, out_t *y) {
    count_start();
    NAME(_step)(&fw_state, &fw_scratch, frame, y);
    return count_stop();
}

/* Streams an item. The read-out is what a step with it takes beyond the same step without; where every step has an
   output, it is a part of the step. */
static int stream(uint32_t item, size_t steps, int counted) {
    NAME(_reset)(&fw_state);
    for (size_t t = 0; t < steps; t++) {
        const in_t *frame = items + t * FW_FEATURES;
        if (counted) {
            uint64_t with, without = 0;
            if (!FW_SEQUENCE) {
                kept = fw_state;
                without = step(frame, NULL);
                fw_state = kept;
            }
            with = step(frame, streamed);
            counts[0] += 1;
            counts[1] += FW_SEQUENCE ? with : without;
            counts[2] += 1;
            counts[3] += FW_SEQUENCE ? 0 : with - without;
        } else if (FW_SEQUENCE || t + 1 == steps) {
            NAME(_step)(&fw_state, &fw_scratch, frame, streamed);
        } else {
            NAME(_step)(&fw_state, &fw_scratch, frame, NULL);
        }
        if (FW_SEQUENCE && t + 1u > FW_LATE) {
            out_t *row = outputs + (t - FW_LATE) * FW_OUTPUTS;
            if (counted && memcmp(streamed, row, sizeof streamed) != 0) {
                return failed("a step gives another output than the run", item);
            }
            if (!counted) {
                memcpy(row, streamed, sizeof streamed);
            }
        }
    }
    if (!FW_SEQUENCE && counted && memcmp(streamed, outputs, sizeof streamed) != 0) {
        return failed("the steps give another output than the run", item);
    }
    if (!FW_SEQUENCE) {
        memcpy(outputs, streamed, sizeof streamed);
    }
    return 0;
}
#endif

int main(void) {
    uint32_t head[2], steps;
    const int from = fw_open("items.bin", 'r'), to = fw_open("outputs.bin", 'w');
    if (from < 0 || to < 0 || fw_read(from, head, sizeof head) != sizeof head) {
        return failed("cannot open items.bin and outputs.bin", 0);
    }
    for (uint32_t i = 0; i < head[0]; i++) {
        size_t bytes;
        const int counted = i < head[1];
        if (fw_read(from, &steps, sizeof steps) != sizeof steps || steps == 0 || steps > FW_STEPS) {
            return failed("items.bin is damaged", i);
        }
        bytes = steps * FW_FEATURES * sizeof *items;
        if (fw_read(from, items, bytes) != bytes) {
            return failed("items.bin is too short", i);
        }
#if FW_STREAM
        if (counted && whole(steps) != 0) {
            return failed("the run refused it", i);
        }
        const int status = stream(i, steps, counted);
        if (status != 0) {
            return status;
        }
#else
        count_start();
        if (whole(steps) != 0) {
            return failed("the run refused it", i);
        }
        if (counted) {
            counts[0] += steps;
            counts[1] += count_stop();
        }
#endif
        bytes = (FW_SEQUENCE ? steps - FW_LATE : 1u) * sizeof *outputs * FW_OUTPUTS;
        if (fw_write(to, outputs, bytes) != bytes) {
            return failed("cannot write outputs.bin", i);
        }
    }
    fw_close(from);
    fw_close(to);
    const int file = fw_open("counts.bin", 'w');
    if (file < 0 || fw_write(file, counts, sizeof counts) != sizeof counts) {
        return failed("cannot write counts.bin", 0);
    }
    fw_close(file);
#ifdef FW_TRACE
    flush();
    fw_close(trace);
#endif
    return 0;
}
