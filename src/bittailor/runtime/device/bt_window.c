/* Windows of bytes and of 16-bit integers; each function once. */
#include "bt_window.h"

#define BT_WINDOW(name, type)                                                                                          \
    void name(type *ring, uint16_t *at, const type *x, size_t features, size_t taps, size_t dilation, type *y) {       \
        const size_t span = (taps - 1u) * dilation, oldest = *at;                                                      \
        size_t place = oldest;                                                                                         \
        for (size_t k = 0; k + 1u < taps; k++) {                                                                       \
            const type *frame = ring + place * features;                                                               \
            for (size_t c = 0; c < features; c++)                                                                      \
                y[c * taps + k] = frame[c];                                                                            \
            place += dilation;                                                                                         \
            place = place >= span ? place - span : place;                                                              \
        }                                                                                                              \
        type *last = ring + oldest * features;                                                                         \
        for (size_t c = 0; c < features; c++) {                                                                        \
            y[c * taps + taps - 1u] = x[c];                                                                            \
            last[c] = x[c];                                                                                            \
        }                                                                                                              \
        *at = (uint16_t)(oldest + 1u == span ? 0u : oldest + 1u);                                                      \
    }

#define BT_WINDOW_AT(name, type)                                                                                       \
    void name(const type *x, size_t steps, size_t t, size_t features, size_t taps, size_t dilation, size_t ahead,      \
              type zero, type *y) {                                                                                    \
        for (size_t k = 0; k < taps; k++) {                                                                            \
            const size_t later = t + ahead, back = (taps - 1u - k) * dilation;                                         \
            const int inside = later >= back && later - back < steps;                                                  \
            const type *frame = x + (inside ? later - back : 0u) * features;                                           \
            for (size_t c = 0; c < features; c++)                                                                      \
                y[c * taps + k] = inside ? frame[c] : zero;                                                            \
        }                                                                                                              \
    }

BT_WINDOW(bt_window8, int8_t)
BT_WINDOW(bt_window16, int16_t)
BT_WINDOW_AT(bt_window_at8, int8_t)
BT_WINDOW_AT(bt_window_at16, int16_t)
