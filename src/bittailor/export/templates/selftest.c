/* Self-test of @{prefix}, made by bittailor @{version}.
 *
 * Runs the items of @{prefix}_golden.h and compares every output, and every site of the first steps of the first item,
 * with what the reference engine computed. Has a main() for machines with printf; leave it out with
 * -DBT_SELFTEST_NO_MAIN and call @{prefix}_selftest() yourself.
 */
#include "@{prefix}_selftest.h"

#include <stddef.h>

#include "@{prefix}.h"
#include "@{prefix}_golden.h"

#if !defined(@{PREFIX}_GOLDEN_END) || @{PREFIX}_GOLDEN_END != 0x6274
#error "@{prefix}_golden.h is truncated: export the network again"
#endif

static @{prefix}_state state;
static @{prefix}_scratch scratch;
static @{prefix}_report found;
static unsigned long visits[@{PREFIX}_GOLDEN_SITES];
static int listening;

static void differs(const char *what, const char *site, unsigned long item, unsigned long step, unsigned long feature,
    long got, long expected) {
    if (found.what != NULL)
        return;
    found.what = what;
    found.site = site;
    found.item = item;
    found.step = step;
    found.feature = feature;
    found.got = got;
    found.expected = expected;
}

void @{prefix}_trace(unsigned site, unsigned feature, int32_t value) {
    const @{prefix}_golden_site *s;
    unsigned long row;
    long expected;
    if (!listening || site >= @{PREFIX}_GOLDEN_SITES)
        return;
    s = &@{prefix}_golden_sites[site];
    if (feature == 0)
        visits[site]++;
    if (visits[site] == 0 || visits[site] > s->rows || feature >= s->features) {
        differs("a site has more values than expected", s->name, 0, visits[site], feature, value, 0);
        return;
    }
    row = s->backwards ? s->rows - visits[site] : visits[site] - 1;
    expected = @{prefix}_golden_values[s->first + row * s->features + feature];
    found.values++;
    if (value != expected)
        differs("a site differs", s->name, 0, row, feature, value, expected);
}

/* CRC-32 (IEEE 802.3) of a value's four bytes, lowest first. */
static uint32_t crc(uint32_t sum, int32_t value) {
    uint32_t v = (uint32_t)value;
    for (int byte = 0; byte < 4; byte++, v >>= 8) {
        sum ^= v & 255u;
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1u ? UINT32_C(0xEDB88320) : 0u);
    }
    return sum;
}

static uint32_t checksum(void) {
    uint32_t sum = UINT32_C(0xFFFFFFFF);
    for (size_t i = 0; i < sizeof @{prefix}_golden_x / sizeof @{prefix}_golden_x[0]; i++)
        sum = crc(sum, @{prefix}_golden_x[i]);
    for (size_t i = 0; i < sizeof @{prefix}_golden_y / sizeof @{prefix}_golden_y[0]; i++)
        sum = crc(sum, @{prefix}_golden_y[i]);
    for (size_t i = 0; i < sizeof @{prefix}_golden_values / sizeof @{prefix}_golden_values[0]; i++)
        sum = crc(sum, @{prefix}_golden_values[i]);
    return ~sum;
}

static void sites(void) {
    static @{prefix}_out y[@{traced_outputs}];
    for (size_t i = 0; i < @{PREFIX}_GOLDEN_SITES; i++)
        visits[i] = 0;
    listening = 1;
@{trace}
    listening = 0;
    if (found.values != 0 && found.what == NULL && found.values != sizeof @{prefix}_golden_values / sizeof(int16_t))
        differs("sites have fewer values than expected", "", 0, 0, 0, (long)found.values,
            (long)(sizeof @{prefix}_golden_values / sizeof(int16_t)));
}

static void outputs(void) {
    static @{prefix}_out y[@{golden_outputs}];
    const @{prefix}_in *x = @{prefix}_golden_x;
    const @{prefix}_out *expected = @{prefix}_golden_y;
    for (unsigned long item = 0; item < @{PREFIX}_GOLDEN_ITEMS; item++) {
        const size_t steps = @{prefix}_golden_steps[item], rows = @{rows};
        if (@{prefix}_run(&state, &scratch, x, steps, y) != 0) {
            differs("a sequence is refused", "", item, 0, 0, -1, 0);
            return;
        }
        for (size_t i = 0; i < rows * @{PREFIX}_OUTPUTS; i++, found.outputs++)
            if (y[i] != expected[i])
                differs("an output differs", "@{output}", item, (unsigned long)(i / @{PREFIX}_OUTPUTS),
                    (unsigned long)(i % @{PREFIX}_OUTPUTS), y[i], expected[i]);
        x += steps * @{PREFIX}_FEATURES;
        expected += rows * @{PREFIX}_OUTPUTS;
    }
}

int @{prefix}_selftest(@{prefix}_report *report) {
    static const @{prefix}_report nothing = {NULL, "", 0, 0, 0, 0, 0, 0, 0};
    found = nothing;
    if (checksum() != @{PREFIX}_GOLDEN_CRC) {
        differs("@{prefix}_golden.h is damaged: export the network again", "", 0, 0, 0, 0, 0);
    } else {
        sites();
        outputs();
    }
    if (report != NULL)
        *report = found;
    return found.what == NULL ? 0 : -1;
}

#ifndef BT_SELFTEST_NO_MAIN
#include <stdio.h>

int main(void) {
    @{prefix}_report r;
    if (@{prefix}_selftest(&r) == 0) {
        printf("@{prefix}: ok, %lu outputs of @{items} items and %lu values of @{sites} sites are the expected ones\n", r.outputs,
            r.values);
        return 0;
    }
    printf("@{prefix}: FAILED, %s", r.what);
    if (r.site[0] != '\0')
        printf(": %s, item %lu, step %lu, feature %lu: got %ld, expected %ld", r.site, r.item, r.step, r.feature, r.got,
            r.expected);
    printf("\n");
    return 1;
}
#endif
