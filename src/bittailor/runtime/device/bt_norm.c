/* Sums over a vector, and what follows from them for each of its features. */
#include "bt_norm.h"

/* sum u and sum u**2; binding has proved that the first fits 32 bits */
#define BT_SUMS(q, n, zero)                                                                                            \
    int32_t sum = 0;                                                                                                   \
    uint64_t squares = 0;                                                                                              \
    for (size_t i = 0; i < (n); i++) {                                                                                 \
        const int32_t u = (q)[i] - (zero);                                                                             \
        sum += u;                                                                                                      \
        squares += (uint32_t)(u * u);                                                                                  \
    }

static bt_norm bt_layer_norm(int32_t sum, uint64_t squares, size_t n, int32_t gain, unsigned t, int64_t epsilon) {
    const uint64_t power = squares * n - (uint64_t)((int64_t)sum * sum);
    return bt_norm_of((int32_t)n, sum, power + (uint64_t)epsilon, gain, t);
}

bt_norm bt_layer_norm8(const int8_t *q, size_t n, int32_t zero, int32_t gain, unsigned t, int64_t epsilon) {
    BT_SUMS(q, n, zero)
    return bt_layer_norm(sum, squares, n, gain, t, epsilon);
}

bt_norm bt_layer_norm16(const int16_t *q, size_t n, int32_t zero, int32_t gain, unsigned t, int64_t epsilon) {
    BT_SUMS(q, n, zero)
    return bt_layer_norm(sum, squares, n, gain, t, epsilon);
}

bt_norm bt_rms_norm8(const int8_t *q, size_t n, int32_t zero, int32_t gain, unsigned t, int64_t epsilon) {
    BT_SUMS(q, n, zero)
    (void)sum;
    return bt_norm_of(1, 0, squares + (uint64_t)epsilon, gain, t);
}

bt_norm bt_rms_norm16(const int16_t *q, size_t n, int32_t zero, int32_t gain, unsigned t, int64_t epsilon) {
    BT_SUMS(q, n, zero)
    (void)sum;
    return bt_norm_of(1, 0, squares + (uint64_t)epsilon, gain, t);
}
