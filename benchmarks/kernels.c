/* Counts the instructions of every dot product, by the rows that cases.bin describes.
 *
 * cases.bin    u32 rows, weights, activations; rows x (u32 first, u32 n); per width 1..16 the packed weights;
 *              activations int8, then int16
 * results.bin  per width, per activation width (8, 16), per row: int64 the product, int64 the instructions of the call
 */
#include <stdio.h>

#include "bt_dot.h"
#include "firmware.h"

typedef int32_t dot8(const uint8_t *, size_t, const int8_t *, size_t);
typedef int32_t dot16(const uint8_t *, size_t, const int16_t *, size_t);
#define POINTER8(b) bt_dot##b##_x8,
#define POINTER16(b) bt_dot##b##_x16,
static dot8 *const dots8[] = {BT_EACH_WIDTH(POINTER8)};
static dot16 *const dots16[] = {BT_EACH_WIDTH(POINTER16)};

static uint32_t head[3], rows[64][2];
static uint8_t weights[2048];
static int8_t x8[512];
static int16_t x16[512];

static void put(int to, int64_t value) { (void)fw_write(to, &value, sizeof value); }

int main(void) {
    const int from = fw_open("cases.bin", 'r'), to = fw_open("results.bin", 'w');
    if (from < 0 || to < 0 || fw_read(from, head, sizeof head) != sizeof head)
        return 1;
    (void)fw_read(from, rows, head[0] * sizeof rows[0]);
    (void)fw_read(from, x8, head[2]);
    (void)fw_read(from, x16, head[2] * sizeof x16[0]);
    for (unsigned b = 0; b < 16; b++) {
        const size_t bytes = ((size_t)head[1] * (b + 1) + 7) / 8;
        if (fw_read(from, weights, bytes) != bytes)
            return 1;
        for (unsigned wide = 0; wide < 2; wide++)
            for (uint32_t i = 0; i < head[0]; i++) {
                int32_t got;
                uint64_t count;
                if (wide) {
                    dot16 *const dot = dots16[b];
                    count_start();
                    got = dot(weights, rows[i][0], x16, rows[i][1]);
                    count = count_stop();
                } else {
                    dot8 *const dot = dots8[b];
                    count_start();
                    got = dot(weights, rows[i][0], x8, rows[i][1]);
                    count = count_stop();
                }
                put(to, got);
                put(to, (int64_t)count);
            }
    }
    fw_close(to);
    return 0;
}
