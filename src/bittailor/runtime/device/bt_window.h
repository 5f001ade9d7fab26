/* Windows: the frames around a step side by side, feature by feature: y[c taps + k] is feature c of frame k. */
#ifndef BT_WINDOW_H
#define BT_WINDOW_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The frame x and those before it. ring: the last (taps - 1) dilation frames, the oldest at place *at; x takes its place. */
void bt_window8(int8_t *ring, uint16_t *at, const int8_t *x, size_t features, size_t taps, size_t dilation, int8_t *y);
void bt_window16(int16_t *ring, uint16_t *at, const int16_t *x, size_t features, size_t taps, size_t dilation,
                 int16_t *y);

/* The frames around step t of a sequence [steps][features], the last one `ahead` steps later; `zero` beyond its ends. */
void bt_window_at8(const int8_t *x, size_t steps, size_t t, size_t features, size_t taps, size_t dilation, size_t ahead,
                   int8_t zero, int8_t *y);
void bt_window_at16(const int16_t *x, size_t steps, size_t t, size_t features, size_t taps, size_t dilation,
                    size_t ahead, int16_t zero, int16_t *y);

#ifdef __cplusplus
}
#endif

#endif
