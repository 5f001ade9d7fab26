/* Machine code where Helium is, whole functions of it: eight sums take every even register, the link register too.
 * Plain C elsewhere, and with -DBT_PLAIN. */
#include "bt_rows_helium.h"

#if !defined(BT_PLAIN) && !defined(BT_NO_HELIUM) && defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

#include <arm_mve.h> /* the intrinsics of Helium */

void bt_helium_total_x8(const int8_t *x, size_t n, int32_t *to) {
    int32_t sum = 0;
    for (; n >= 16u; n -= 16u, x += 16)
        sum = vaddvaq_s8(sum, vldrbq_s8(x));
    if (n != 0u)
        sum = vaddvaq_s8(sum, vldrbq_z_s8(x, vctp8q((uint32_t)n)));
    *to = sum;
}

/* r1 x, r3 w, r5 groups of 16, r7 inputs behind them, r9 y; from r0 w, r1 x, r2 n, r3 y */
#define BT_SUMS "{r0, r2, r4, r6, r8, r10, r12, lr}"
#define BT_BEGIN                                                                                                       \
    ".syntax unified\n"                                                                                                \
    "push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"                                                                    \
    "mov r9, r3\nmov r3, r0\nlsr r5, r2, #4\nand r7, r2, #15\nclrm " BT_SUMS "\n"
#define BT_END "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n"
#define BT_STORE "stm r9, " BT_SUMS "\n"

/* Over the inputs; `vectors` is made of LOAD and what takes a vector in q1, with inputs in q0. */
#define BT_LOAD "vldrb.u8 q1, [r3], #16\n"
#define BT_LOAD_LEFT "vpst\nvldrbt.u8 q1, [r3]\nadd r3, r7\n"
#define BT_OVER(vectors)                                                                                               \
    "cmp r5, #0\nbeq 2f\n"                                                                                             \
    "1:\n"                                                                                                             \
    "vldrb.u8 q0, [r1], #16\n" vectors(BT_LOAD) "subs r5, #1\nbne 1b\n"                                                \
    "2:\n"                                                                                                             \
    "cmp r7, #0\nbeq 3f\n"                                                                                             \
    "vctp.8 r7\nvpst\nvldrbt.u8 q0, [r1]\n" vectors(BT_LOAD_LEFT)                                                      \
    "3:\n"

#define BT_ADD(sum, q) "vmladava.s8 " sum ", " q ", q0\n"
#define BT_UP(by, sum) "vshl.i8 q2, q1, #" #by "\n" BT_ADD(sum, "q2")

#define BT_VECTORS8(load)                                                                                              \
    load BT_ADD("r0", "q1") load BT_ADD("r2", "q1") load BT_ADD("r4", "q1") load BT_ADD("r6", "q1")                    \
        load BT_ADD("r8", "q1") load BT_ADD("r10", "q1") load BT_ADD("r12", "q1") load BT_ADD("lr", "q1")
__attribute__((naked)) void bt_helium8_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y) {
    (void)w, (void)x, (void)n, (void)y;
    __asm__(BT_BEGIN BT_OVER(BT_VECTORS8) BT_STORE BT_END);
}

/* Lower digits in r0..r6, 16 times too large; upper ones in r8..lr. */
#define BT_VECTORS4(load)                                                                                              \
    load BT_UP(4, "r0") BT_ADD("r8", "q1") load BT_UP(4, "r2") BT_ADD("r10", "q1")                                     \
        load BT_UP(4, "r4") BT_ADD("r12", "q1") load BT_UP(4, "r6") BT_ADD("lr", "q1")
__attribute__((naked)) void bt_helium4_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y) {
    (void)w, (void)x, (void)n, (void)y;
    __asm__(BT_BEGIN BT_OVER(BT_VECTORS4) BT_STORE
            "vldrw.u32 q0, [r9]\nvldrw.u32 q1, [r9, #16]\n"
            "vshr.s32 q0, q0, #4\nvsub.i32 q1, q1, q0\nvshr.s32 q1, q1, #4\n"
            "vstrw.32 q0, [r9]\nvstrw.32 q1, [r9, #16]\n" BT_END);
}

#define BT_LESS(high, low) "sub " high ", " high ", " low ", asr #2\n"
#define BT_VECTORS2(load)                                                                                              \
    load BT_UP(6, "r0") BT_UP(4, "r2") BT_UP(2, "r4") BT_ADD("r6", "q1")                                               \
        load BT_UP(6, "r8") BT_UP(4, "r10") BT_UP(2, "r12") BT_ADD("lr", "q1")
__attribute__((naked)) void bt_helium2_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y) {
    (void)w, (void)x, (void)n, (void)y;
    __asm__(BT_BEGIN BT_OVER(BT_VECTORS2)
            BT_LESS("r6", "r4") BT_LESS("r4", "r2") BT_LESS("r2", "r0")
            BT_LESS("lr", "r12") BT_LESS("r12", "r10") BT_LESS("r10", "r8") BT_STORE
            "vldrw.u32 q0, [r9]\nvldrw.u32 q1, [r9, #16]\n"
            "vshr.s32 q0, q0, #6\nvshr.s32 q1, q1, #6\n"
            "vstrw.32 q0, [r9]\nvstrw.32 q1, [r9, #16]\n" BT_END);
}

/* With s_k = sum of (byte << (7 - k)) x: a bit's own sum is ((a >> 1) - s_k) >> 7, a = -(s_0 + … + s_(k-1)), as the
 * byte shifted is its lower bits less 2**7 times bit k. A row is twice that less the sum of x, r11. */
#define BT_BIT(sum) "rsb r1, " sum ", r3, asr #1\nsub r3, r3, " sum "\nrsb " sum ", r11, r1, asr #6\n"
#define BT_VECTORS1(load)                                                                                              \
    load BT_UP(7, "r0") BT_UP(6, "r2") BT_UP(5, "r4") BT_UP(4, "r6") BT_UP(3, "r8") BT_UP(2, "r10") BT_UP(1, "r12")    \
        BT_ADD("lr", "q1")
__attribute__((naked)) void bt_helium1_x8(const uint8_t *w, const int8_t *x, const int32_t *total, size_t n,
                                          int32_t *y) {
    (void)w, (void)x, (void)total, (void)n, (void)y;
    __asm__(".syntax unified\n"
            "push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
            "ldr r9, [sp, #36]\nldr r11, [r2]\nlsr r5, r3, #4\nand r7, r3, #15\nmov r3, r0\nclrm " BT_SUMS "\n"
            BT_OVER(BT_VECTORS1)
            "movs r3, #0\n" BT_BIT("r0") BT_BIT("r2") BT_BIT("r4") BT_BIT("r6") BT_BIT("r8") BT_BIT("r10")
            BT_BIT("r12") BT_BIT("lr") BT_STORE BT_END);
}

#else

void bt_helium_total_x8(const int8_t *x, size_t n, int32_t *to) {
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    *to = sum;
}

/* The bytes of `of` vectors for an input: where a block begins, inputs, which input, which vector. */
BT_INLINE int32_t bt_byte(const uint8_t *w, size_t n, size_t i, const unsigned of, unsigned vector) {
    const size_t group = i & ~(size_t)15, width = n - group < 16u ? n - group : 16u;
    return (int8_t)w[group * of + width * vector + (i - group)];
}

void bt_helium8_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y) {
    for (unsigned r = 0; r < 8u; r++) {
        y[r] = 0;
        for (size_t i = 0; i < n; i++)
            y[r] += bt_byte(w, n, i, 8u, r) * x[i];
    }
}

/* The lowest digit of b bits, in two's complement. */
BT_INLINE int32_t bt_digit(int32_t v, const unsigned b) {
    const int32_t half = (int32_t)1 << (b - 1u);
    return ((v + half) & (2 * half - 1)) - half;
}

/* Digits k of bytes `vector` are rows r, r + step, … */
BT_INLINE void bt_digits(const uint8_t *w, const int8_t *x, size_t n, int32_t *y, const unsigned b, const unsigned of,
                         unsigned vector, const unsigned step) {
    for (unsigned k = 0; k < 8u / b; k++)
        y[k * step] = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t v = bt_byte(w, n, i, of, vector);
        for (unsigned k = 0; k < 8u / b; k++) {
            const int32_t digit = bt_digit(v, b);
            y[k * step] += digit * x[i];
            v = (v - digit) >> b;
        }
    }
}

void bt_helium4_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y) {
    for (unsigned j = 0; j < 4u; j++)
        bt_digits(w, x, n, y + j, 4u, 4u, j, 4u);
}

void bt_helium2_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y) {
    for (unsigned j = 0; j < 2u; j++)
        bt_digits(w, x, n, y + 4u * j, 2u, 2u, j, 1u);
}

void bt_helium1_x8(const uint8_t *w, const int8_t *x, const int32_t *total, size_t n, int32_t *y) {
    for (unsigned r = 0; r < 8u; r++) {
        y[r] = -*total;
        for (size_t i = 0; i < n; i++)
            y[r] += 2 * (w[i] >> r & 1) * x[i];
    }
}

#endif
