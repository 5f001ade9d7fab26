/* The innermost loops of bt_rows_scalar.c for Cortex-M3: all fourteen registers are in use, which compilers do not manage
 * without spilling, hence whole functions of machine code. Arguments are in r0..r3. */
#ifndef BT_ROWS_THUMB2_H
#define BT_ROWS_THUMB2_H

#include "bt_ops.h"

#define BT_DIGIT(v, at, p) "and lr, r3, " v ", lsr #" #at "\nmla " p ", lr, r12, " p "\n"
#define BT_DIGIT0(v, p) "and lr, r3, " v "\nmla " p ", lr, r12, " p "\n"
#define BT_DIGITS(at)                                                                                                  \
    "ldrsb r12, [r1], #1\n" BT_DIGIT("r4", at, "r8") BT_DIGIT("r5", at, "r9") BT_DIGIT("r6", at, "r10")                \
        BT_DIGIT("r7", at, "r11")
#define BT_DIGITS0                                                                                                     \
    "ldrsb r12, [r1], #1\n" BT_DIGIT0("r4", "r8") BT_DIGIT0("r5", "r9") BT_DIGIT0("r6", "r10") BT_DIGIT0("r7", "r11")

/* r0 w, r1 x, r2 end, r3 mask, r4..r7 words, r8..r11 their sums, r12 an input, lr scratch. Groups; then `left` inputs
 * one by one, of words that hold two pairs of rows each if their digits fit; then both halves of the sums go to y. */
#define BT_LEFT(v, b, p) "and lr, r3, " v "\nmla " p ", lr, r12, " p "\nlsr " v ", " v ", #" #b "\n"
#define BT_PUT(p)                                                                                                      \
    "ldrd r4, r5, [r3]\nsxth r6, " p "\nadd r4, r4, r6\nsub " p ", " p ", r6\nadd r5, r5, " p ", asr #16\n"            \
    "strd r4, r5, [r3], #8\n"
#define BT_PAIRS(b, digits)                                                                                            \
    __attribute__((naked, noinline)) static const uint32_t *bt_pairs##b(                                               \
        const uint32_t *w, const int8_t *x, const int8_t *end, int32_t *y, uint32_t from, size_t left) {               \
        (void)w, (void)x, (void)end, (void)y, (void)from, (void)left;                                                  \
        __asm__("push {r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"                                                    \
                "ldr r8, [sp, #40]\nmov r9, r8\nmov r10, r8\nmov r11, r8\n"                                            \
                "mov r3, #((1 << " #b ") - 1) * 0x10001\n"                                                             \
                "cmp r1, r2\nbeq 2f\n"                                                                                 \
                "1:\n"                                                                                                 \
                "ldmia r0!, {r4, r5, r6, r7}\n" digits "cmp r1, r2\nbne 1b\n"                                          \
                "2:\n"                                                                                                 \
                "ldr r12, [sp, #44]\ncmp r12, #0\nbeq 5f\n"                                                            \
                "add r2, r2, r12\ncmp r12, #8 / " #b "\nbhi 3f\n"                                                      \
                "ldmia r0!, {r4, r5}\nmov r6, #" #b "\nmul r12, r6, r12\nlsr r6, r4, r12\nlsr r7, r5, r12\nb 4f\n"     \
                "3:\n"                                                                                                 \
                "ldmia r0!, {r4, r5, r6, r7}\n"                                                                        \
                "4:\n"                                                                                                 \
                "ldrsb r12, [r1], #1\n" BT_LEFT("r4", b, "r8") BT_LEFT("r5", b, "r9") BT_LEFT("r6", b, "r10")          \
                    BT_LEFT("r7", b, "r11") "cmp r1, r2\nbne 4b\n"                                                     \
                                            "5:\n"                                                                     \
                                            "ldr r3, [sp]\n" BT_PUT("r8") BT_PUT("r9") BT_PUT("r10")                   \
                                                BT_PUT("r11") "pop {r3, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n");     \
    }
BT_PAIRS(2, BT_DIGITS0 BT_DIGITS(2) BT_DIGITS(4) BT_DIGITS(6) BT_DIGITS(8) BT_DIGITS(10) BT_DIGITS(12) BT_DIGITS(14))
BT_PAIRS(3, BT_DIGITS0 BT_DIGITS(3) BT_DIGITS(6) BT_DIGITS(9) BT_DIGITS(12))
BT_PAIRS(4, BT_DIGITS0 BT_DIGITS(4) BT_DIGITS(8) BT_DIGITS(12))
BT_PAIRS(5, BT_DIGITS0 BT_DIGITS(5) BT_DIGITS(10))

#define BT_SUMS "{r4, r5, r6, r7, r8, r9, r10, r11}"
#define BT_FILL8 "mov r5, r4\nmov r6, r4\nmov r7, r4\nmov r8, r4\nmov r9, r4\nmov r10, r4\nmov r11, r4\n"

/* r0 w, r1 x, r2 end, r3 inputs behind it, r4..r11 the sums, r12 an input, lr scratch; y is on the stack */
#define BT_BYTE(at, y) "ldrb lr, [r0, #" #at "]\nmla " y ", lr, r12, " y "\n"
#define BT_BYTES(load, size, a, b, c, d, e, f, g, h)                                                                   \
    load " r12, [r1], #" #size "\n" BT_BYTE(a, "r4") BT_BYTE(b, "r5") BT_BYTE(c, "r6") BT_BYTE(d, "r7")                \
        BT_BYTE(e, "r8") BT_BYTE(f, "r9") BT_BYTE(g, "r10") BT_BYTE(h, "r11")
#define BT_ROWS_OF(load, size) /* rows side by side */                                                                 \
    BT_BYTES(load, size, 0, 1, 2, 3, 4, 5, 6, 7)                                                                       \
    BT_BYTES(load, size, 8, 9, 10, 11, 12, 13, 14, 15)                                                                 \
    BT_BYTES(load, size, 16, 17, 18, 19, 20, 21, 22, 23) BT_BYTES(load, size, 24, 25, 26, 27, 28, 29, 30, 31)
#define BT_PAIRS_OF(load, size) /* pairs of inputs of a row side by side */                                            \
    BT_BYTES(load, size, 0, 2, 4, 6, 8, 10, 12, 14)                                                                    \
    BT_BYTES(load, size, 1, 3, 5, 7, 9, 11, 13, 15)                                                                    \
    BT_BYTES(load, size, 16, 18, 20, 22, 24, 26, 28, 30) BT_BYTES(load, size, 17, 19, 21, 23, 25, 27, 29, 31)
#define BT_SCALAR8(name, ctype, xb, size, load, four)                                                                  \
    __attribute__((naked)) void name(const ctype *w, const int##xb##_t *x, const int32_t *total, size_t n,             \
                                     int32_t *y) {                                                                     \
        (void)w, (void)x, (void)total, (void)n, (void)y;                                                               \
        __asm__("push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"                                                        \
                "ldr r4, [r2]\nlsls r4, r4, #7\nrsbs r4, r4, #0\n" BT_FILL8                                            \
                "bic r2, r3, #3\nadd r2, r1, r2, lsl #" #size " - 1\nand r3, r3, #3\ncmp r1, r2\nbeq 2f\n"             \
                "1:\n" four(load, size) "adds r0, #32\ncmp r1, r2\nbne 1b\n"                                           \
                                        "2:\n"                                                                         \
                                        "cmp r3, #0\nbeq 4f\nadd r2, r2, r3, lsl #" #size " - 1\n"                     \
                                        "3:\n" BT_BYTES(load, size, 0, 1, 2, 3, 4, 5, 6,                               \
                                                        7) "adds r0, #8\ncmp r1, r2\nbne 3b\n"                         \
                                                           "4:\n"                                                      \
                                                           "ldr r3, [sp, #36]\nstm r3, " BT_SUMS "\n"                  \
                                                           "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n");            \
    }
BT_SCALAR8(bt_scalar7_x8, uint32_t, 8, 1, "ldrsb", BT_PAIRS_OF)
BT_SCALAR8(bt_scalar8_x8, uint8_t, 8, 1, "ldrsb", BT_ROWS_OF)
BT_SCALAR8(bt_scalar8_x16, uint8_t, 16, 2, "ldrsh", BT_ROWS_OF)

/* Entries of 2**log bytes: r0 w, r1 table, r2 end, r3 a word, r12 scratch; from r0 w, r1 tables, r2 n, r3 y */
#define BT_NIBBLE(at, y, log, load)                                                                                    \
    "ubfx r12, r3, #" #at ", #4\n" load " r12, [r1, r12, lsl #" #log "]\nadd " y ", r12\n"
#define BT_SCALAR1(xb, log, load, from)                                                                                \
    __attribute__((naked)) void bt_scalar1_x##xb(const uint32_t *w, const uint32_t *tables, size_t n, int32_t *y) {    \
        (void)w, (void)tables, (void)n, (void)y;                                                                       \
        __asm__("push {r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"                                                    \
                "adds r2, #3\nlsrs r2, r2, #2\n" from BT_FILL8 "add r2, r1, r2, lsl #4 + " #log "\n"                   \
                "1:\n"                                                                                                 \
                "ldr r3, [r0], #4\n" BT_NIBBLE(0, "r4", log, load) BT_NIBBLE(4, "r5", log, load)                       \
                    BT_NIBBLE(8, "r6", log, load) BT_NIBBLE(12, "r7", log, load) BT_NIBBLE(16, "r8", log, load)        \
                        BT_NIBBLE(20, "r9", log, load) BT_NIBBLE(24, "r10", log, load)                                 \
                            BT_NIBBLE(28, "r11", log, load) "adds r1, #16 << " #log "\ncmp r1, r2\nbne 1b\n"           \
                                                            "ldr r3, [sp]\nstm r3, " BT_SUMS "\n"                      \
                                                            "pop {r3, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n");       \
    }
BT_SCALAR1(8, 1, "ldrh", "lsls r4, r2, #9\nrsbs r4, r4, #0\n") /* entries are 512 too large */
BT_SCALAR1(16, 2, "ldr", "movs r4, #0\n")

#endif
