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

void bt_helium_total_x16(const int16_t *x, size_t n, int32_t *to) {
    int32_t sum = 0;
    for (; n >= 8u; n -= 8u, x += 8)
        sum = vaddvaq_s16(sum, vldrhq_s16(x));
    if (n != 0u)
        sum = vaddvaq_s16(sum, vldrhq_z_s16(x, vctp16q((uint32_t)n)));
    *to = sum;
}

/* r1 x, r3 w, r5 groups of 2**log inputs, r7 inputs behind them, r9 y, r11 the sum of x; from r0 w, r1 x, r2 n, r3 y
 * or, with the sum, from r0 w, r1 x, r2 where it is, r3 n, and y on the stack. */
#define BT_SUMS "{r0, r2, r4, r6, r8, r10, r12, lr}"
#define BT_PUSH ".syntax unified\npush {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
#define BT_BEGIN(log)                                                                                                  \
    BT_PUSH "mov r9, r3\nmov r3, r0\nlsr r5, r2, #" #log "\nand r7, r2, #(1 << " #log ") - 1\nclrm " BT_SUMS "\n"
#define BT_BEGIN_TOTAL(log)                                                                                            \
    BT_PUSH "ldr r9, [sp, #36]\nldr r11, [r2]\nlsr r5, r3, #" #log "\nand r7, r3, #(1 << " #log ") - 1\nmov r3, r0\n"  \
            "clrm " BT_SUMS "\n"
#define BT_END "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n"
#define BT_STORE "stm r9, " BT_SUMS "\n"

/* Over the inputs: `vectors` is made of what loads a vector, and what takes it in q1, with inputs in q0. */
#define BT_OVER(vectors, load, load_left, x, x_left)                                                                   \
    "cmp r5, #0\nbeq 2f\n"                                                                                             \
    "1:\n" x                                                                                                           \
    vectors(load) "subs r5, #1\nbne 1b\n"                                                                              \
                  "2:\n"                                                                                               \
                  "cmp r7, #0\nbeq 3f\n" x_left vectors(load_left) "3:\n"
#define BT_OVER8(vectors)                                                                                              \
    BT_OVER(vectors, "vldrb.u8 q1, [r3], #16\n", "vpst\nvldrbt.u8 q1, [r3]\nadd r3, r7\n", "vldrb.u8 q0, [r1], #16\n", \
            "vctp.8 r7\nvpst\nvldrbt.u8 q0, [r1]\n")
#define BT_OVER16(vectors)                                                                                             \
    BT_OVER(vectors, "vldrb.s16 q1, [r3], #8\n", "vpst\nvldrbt.s16 q1, [r3]\nadd r3, r7\n",                            \
            "vldrh.u16 q0, [r1], #16\n", "vctp.16 r7\nvpst\nvldrht.u16 q0, [r1]\n")

#define BT_ADD(sum, q) "vmladava.s8 " sum ", " q ", q0\n"
#define BT_UP(by, sum) "vshl.i8 q2, q1, #" #by "\n" BT_ADD(sum, "q2")
#define BT_ADD16(sum, q) "vmladava.s16 " sum ", " q ", q0\n"
#define BT_LOW(mask, sum) "vand q2, q1, " mask "\n" BT_ADD16(sum, "q2")

/* --- 8 bits */

#define BT_ROWS8(load, add)                                                                                            \
    load add("r0", "q1") load add("r2", "q1") load add("r4", "q1") load add("r6", "q1") load add("r8", "q1")           \
        load add("r10", "q1") load add("r12", "q1") load add("lr", "q1")
#define BT_VECTORS8(load) BT_ROWS8(load, BT_ADD)
#define BT_VECTORS8_16(load) BT_ROWS8(load, BT_ADD16)
__attribute__((naked)) void bt_helium8_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y) {
    (void)w, (void)x, (void)n, (void)y;
    __asm__(BT_BEGIN(4) BT_OVER8(BT_VECTORS8) BT_STORE BT_END);
}

__attribute__((naked)) void bt_helium8_x16(const uint8_t *w, const int16_t *x, size_t n, int32_t *y) {
    (void)w, (void)x, (void)n, (void)y;
    __asm__(BT_BEGIN(3) BT_OVER16(BT_VECTORS8_16) BT_STORE BT_END);
}

/* --- 4 bits: lower digits in r0..r6, with 8-bit activations 16 times too large; upper ones in r8..lr */

#define BT_VECTORS4(load)                                                                                              \
    load BT_UP(4, "r0") BT_ADD("r8", "q1") load BT_UP(4, "r2") BT_ADD("r10", "q1") load BT_UP(4, "r4")                 \
        BT_ADD("r12", "q1") load BT_UP(4, "r6") BT_ADD("lr", "q1")
__attribute__((naked)) void bt_helium4_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y) {
    (void)w, (void)x, (void)n, (void)y;
    __asm__(BT_BEGIN(4) BT_OVER8(BT_VECTORS4) BT_STORE "vldrw.u32 q0, [r9]\nvldrw.u32 q1, [r9, #16]\n"
                                                       "vshr.s32 q0, q0, #4\nvsub.i32 q1, q1, q0\nvshr.s32 q1, q1, #4\n"
                                                       "vstrw.32 q0, [r9]\nvstrw.32 q1, [r9, #16]\n" BT_END);
}

#define BT_VECTORS4_16(load)                                                                                           \
    load BT_LOW("q3", "r0") BT_ADD16("r8", "q1") load BT_LOW("q3", "r2") BT_ADD16("r10", "q1") load BT_LOW("q3", "r4") \
        BT_ADD16("r12", "q1") load BT_LOW("q3", "r6") BT_ADD16("lr", "q1")
__attribute__((naked)) void bt_helium4_x16(const uint8_t *w, const int16_t *x, const int32_t *total, size_t n,
                                           int32_t *y) {
    (void)w, (void)x, (void)total, (void)n, (void)y;
    __asm__(BT_BEGIN_TOTAL(3) "vmov.i16 q3, #15\n" BT_OVER16(BT_VECTORS4_16) BT_STORE
            "vldrw.u32 q0, [r9]\nvldrw.u32 q1, [r9, #16]\n"
            "vsub.i32 q1, q1, q0\nvshr.s32 q1, q1, #4\nlsl r11, r11, #3\nvdup.32 q2, r11\nvsub.i32 q0, q0, q2\n"
            "vstrw.32 q0, [r9]\nvstrw.32 q1, [r9, #16]\n" BT_END);
}

/* --- 2 bits: two bytes of four digits, in r0..r6 and r8..lr */

#define BT_LESS(high, low) "sub " high ", " high ", " low ", asr #2\n"
#define BT_VECTORS2(load)                                                                                              \
    load BT_UP(6, "r0") BT_UP(4, "r2") BT_UP(2, "r4") BT_ADD("r6", "q1") load BT_UP(6, "r8") BT_UP(4, "r10")           \
        BT_UP(2, "r12") BT_ADD("lr", "q1")
__attribute__((naked)) void bt_helium2_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y) {
    (void)w, (void)x, (void)n, (void)y;
    __asm__(BT_BEGIN(4) BT_OVER8(BT_VECTORS2) BT_LESS("r6", "r4") BT_LESS("r4", "r2") BT_LESS("r2", "r0")
                BT_LESS("lr", "r12") BT_LESS("r12", "r10") BT_LESS("r10", "r8") BT_STORE
            "vldrw.u32 q0, [r9]\nvldrw.u32 q1, [r9, #16]\n"
            "vshr.s32 q0, q0, #6\nvshr.s32 q1, q1, #6\n"
            "vstrw.32 q0, [r9]\nvstrw.32 q1, [r9, #16]\n" BT_END);
}

/* r11 is twice the sum of x: the offset of digits, all but the top one */
#define BT_DIGIT(high, low, k) "sub " high ", " high ", " low "\nrsb " high ", r11, " high ", asr #2 * " #k "\n"
#define BT_TOP(high, low) "sub " high ", " high ", " low "\nasr " high ", " high ", #6\n"
#define BT_VECTORS2_16(load)                                                                                           \
    load BT_LOW("q3", "r0") BT_LOW("q4", "r2") BT_LOW("q5", "r4") BT_ADD16("r6", "q1") load BT_LOW("q3", "r8")         \
        BT_LOW("q4", "r10") BT_LOW("q5", "r12") BT_ADD16("lr", "q1")
__attribute__((naked)) void bt_helium2_x16(const uint8_t *w, const int16_t *x, const int32_t *total, size_t n,
                                           int32_t *y) {
    (void)w, (void)x, (void)total, (void)n, (void)y;
    __asm__(BT_BEGIN_TOTAL(3) "vpush {d8, d9, d10, d11}\nvmov.i16 q3, #3\nvmov.i16 q4, #15\nvmov.i16 q5, #63\nlsl r11, "
                              "r11, #1\n" BT_OVER16(BT_VECTORS2_16) BT_TOP("r6", "r4") BT_DIGIT("r4", "r2", 2)
                                  BT_DIGIT("r2", "r0", 1) "sub r0, r0, r11\n" BT_TOP("lr", "r12")
                                      BT_DIGIT("r12", "r10", 2)
                                          BT_DIGIT("r10", "r8", 1) "sub r8, r8, r11\n"
                                                                   "vpop {d8, d9, d10, d11}\n" BT_STORE BT_END);
}

/* --- 1 bit: eight rows to a byte */

/* With s_k = sum of (byte << (7 - k)) x: a bit's own sum is ((a >> 1) - s_k) >> 7, a = -(s_0 + … + s_(k-1)), as the
 * byte shifted is its lower bits less 2**7 times bit k. A row is twice that less the sum of x, r11. */
#define BT_BIT(sum) "rsb r1, " sum ", r3, asr #1\nsub r3, r3, " sum "\nrsb " sum ", r11, r1, asr #6\n"
#define BT_VECTORS1(load)                                                                                              \
    load BT_UP(7, "r0") BT_UP(6, "r2") BT_UP(5, "r4") BT_UP(4, "r6") BT_UP(3, "r8") BT_UP(2, "r10") BT_UP(1, "r12")    \
        BT_ADD("lr", "q1")
__attribute__((naked)) void bt_helium1_x8(const uint8_t *w, const int8_t *x, const int32_t *total, size_t n,
                                          int32_t *y) {
    (void)w, (void)x, (void)total, (void)n, (void)y;
    __asm__(BT_BEGIN_TOTAL(4) BT_OVER8(BT_VECTORS1) "movs r3, #0\n" BT_BIT("r0") BT_BIT("r2") BT_BIT("r4") BT_BIT("r6")
                BT_BIT("r8") BT_BIT("r10") BT_BIT("r12") BT_BIT("lr") BT_STORE BT_END);
}

/* Four bits at a time, cut out with masks from below: a row is twice the difference of two sums, less the sum of x. */
#define BT_ROW(high, low, k) "sub " high ", " high ", " low "\nrsb " high ", r11, " high ", asr #" #k " - 1\n"
#define BT_VECTORS1_16(load)                                                                                           \
    load BT_LOW("q3", "r0") BT_LOW("q4", "r2") BT_LOW("q5", "r4")                                                      \
        BT_LOW("q6", "r6") "vshr.u16 q1, q1, #4\nvand q1, q1, q6\n" BT_LOW("q3", "r8") BT_LOW("q4", "r10")             \
            BT_LOW("q5", "r12") BT_ADD16("lr", "q1")
__attribute__((naked)) void bt_helium1_x16(const uint8_t *w, const int16_t *x, const int32_t *total, size_t n,
                                           int32_t *y) {
    (void)w, (void)x, (void)total, (void)n, (void)y;
    __asm__(BT_BEGIN_TOTAL(
        3) "vpush {d8, d9, d10, d11, d12, d13}\n"
           "vmov.i16 q3, #1\nvmov.i16 q4, #3\nvmov.i16 q5, #7\nvmov.i16 q6, #15\n" BT_OVER16(BT_VECTORS1_16)
                BT_ROW("r6", "r4", 3) BT_ROW(
                    "r4", "r2", 2) "sub r2, r2, r0\nsub r2, r2, r11\nrsb r0, r11, r0, lsl #1\n" BT_ROW("lr", "r12", 3)
                    BT_ROW("r12", "r10", 2) "sub r10, r10, r8\nsub r10, r10, r11\nrsb r8, r11, r8, lsl #1\n"
                                            "vpop {d8, d9, d10, d11, d12, d13}\n" BT_STORE BT_END);
}

#else

void bt_helium_total_x8(const int8_t *x, size_t n, int32_t *to) {
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    *to = sum;
}

void bt_helium_total_x16(const int16_t *x, size_t n, int32_t *to) {
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    *to = sum;
}

/* The byte of an input: where a block begins, inputs, which input, inputs and vectors of a group, which vector. */
BT_INLINE int32_t bt_byte(const uint8_t *w, size_t n, size_t i, const unsigned size, const unsigned of,
                          unsigned vector) {
    const size_t group = i / size * size, width = n - group < size ? n - group : size;
    return (int8_t)w[group * of + width * vector + (i - group)];
}

/* The lowest digit of b bits, in two's complement. */
BT_INLINE int32_t bt_digit(int32_t v, const unsigned b) {
    const int32_t half = (int32_t)1 << (b - 1u);
    return ((v + half) & (2 * half - 1)) - half;
}

/* Digits k of bytes `vector` are rows 0, step, … of y; all in two's complement, or those below the top with an offset. */
#define BT_DIGITS(xb)                                                                                                  \
    BT_INLINE void bt_digits_x##xb(const uint8_t *w, const int##xb##_t *x, size_t n, int32_t *y, const unsigned b,     \
                                   const unsigned of, unsigned vector, const unsigned step) {                          \
        const int32_t half = (int32_t)1 << (b - 1u);                                                                   \
        for (unsigned k = 0; k < 8u / b; k++)                                                                          \
            y[k * step] = 0;                                                                                           \
        for (size_t i = 0; i < n; i++) {                                                                               \
            int32_t v = bt_byte(w, n, i, 128u / xb, of, vector);                                                       \
            for (unsigned k = 0; k < 8u / b; k++) {                                                                    \
                const int32_t low = xb == 8 || k + 1u == 8u / b ? bt_digit(v, b) : (v & (2 * half - 1));               \
                y[k * step] += (xb == 8 || k + 1u == 8u / b ? low : low - half) * x[i];                                \
                v = (v - low) >> b;                                                                                    \
            }                                                                                                          \
        }                                                                                                              \
    }
BT_DIGITS(8)
BT_DIGITS(16)

void bt_helium8_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y) {
    for (unsigned r = 0; r < 8u; r++)
        bt_digits_x8(w, x, n, y + r, 8u, 8u, r, 1u);
}

void bt_helium8_x16(const uint8_t *w, const int16_t *x, size_t n, int32_t *y) {
    for (unsigned r = 0; r < 8u; r++)
        bt_digits_x16(w, x, n, y + r, 8u, 8u, r, 1u);
}

void bt_helium4_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y) {
    for (unsigned j = 0; j < 4u; j++)
        bt_digits_x8(w, x, n, y + j, 4u, 4u, j, 4u);
}

void bt_helium4_x16(const uint8_t *w, const int16_t *x, const int32_t *total, size_t n, int32_t *y) {
    (void)total;
    for (unsigned j = 0; j < 4u; j++)
        bt_digits_x16(w, x, n, y + j, 4u, 4u, j, 4u);
}

void bt_helium2_x8(const uint8_t *w, const int8_t *x, size_t n, int32_t *y) {
    for (unsigned j = 0; j < 2u; j++)
        bt_digits_x8(w, x, n, y + 4u * j, 2u, 2u, j, 1u);
}

void bt_helium2_x16(const uint8_t *w, const int16_t *x, const int32_t *total, size_t n, int32_t *y) {
    (void)total;
    for (unsigned j = 0; j < 2u; j++)
        bt_digits_x16(w, x, n, y + 4u * j, 2u, 2u, j, 1u);
}

#define BT_HELIUM1(xb)                                                                                                 \
    void bt_helium1_x##xb(const uint8_t *w, const int##xb##_t *x, const int32_t *total, size_t n, int32_t *y) {        \
        for (unsigned r = 0; r < 8u; r++) {                                                                            \
            y[r] = -*total;                                                                                            \
            for (size_t i = 0; i < n; i++)                                                                             \
                y[r] += 2 * (w[i] >> r & 1) * x[i];                                                                    \
        }                                                                                                              \
    }
BT_HELIUM1(8)
BT_HELIUM1(16)

#endif
