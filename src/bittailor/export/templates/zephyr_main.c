/* A Zephyr application: runs @{prefix} on frames of zeros. Beside it: prj.conf with CONFIG_@{PREFIX}=y, and the usual
 * CMakeLists.txt, whose ZEPHYR_EXTRA_MODULES names the exported folder. */
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

#include "@{prefix}.h"

static @{prefix}_state state;
static @{prefix}_scratch scratch;

int main(void) {
    static const int16_t frame[@{PREFIX}_FEATURES];
    @{prefix}_in x[@{PREFIX}_FEATURES];
    @{prefix}_out y[@{PREFIX}_OUTPUTS];
    @{prefix}_quantise(frame, x);
    @{prefix}_reset(&state);
    for (;;) {
        @{call}
        for (size_t i = 0; i < @{PREFIX}_OUTPUTS; i++)
            printk("%d%c", (int)y[i], i + 1 < @{PREFIX}_OUTPUTS ? ' ' : '\n');
        k_msleep(1000);
    }
    return 0;
}
