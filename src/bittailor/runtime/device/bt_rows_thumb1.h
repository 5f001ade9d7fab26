/* The innermost loops of bt_rows_scalar.c for Cortex-M0. Sums live in the high registers, which only ADD and MOV reach;
 * compilers will not keep them there, hence whole functions of machine code. Arguments are in r0..r3. */
#ifndef BT_ROWS_THUMB1_H
#define BT_ROWS_THUMB1_H

#include "bt_ops.h"

/* r4..r11, lr and r3 are saved, the last for the end; then p or y, which r3 points to, is loaded. */
#define BT_SAVE                                                                                                        \
    ".syntax unified\n"                                                                                                \
    "push {r3, r4, r5, r6, r7, lr}\n"                                                                                  \
    "mov r4, r8\nmov r5, r9\nmov r6, r10\nmov r7, r11\n"                                                               \
    "push {r4, r5, r6, r7}\n"
#define BT_RESTORE                                                                                                     \
    "pop {r4, r5, r6, r7}\n"                                                                                           \
    "mov r8, r4\nmov r9, r5\nmov r10, r6\nmov r11, r7\n"                                                               \
    "pop {r3, r4, r5, r6, r7, pc}\n"

/* Digit of one pair of rows, at bit `at` of v. */
#define BT_DIGIT(v, at, p) "lsrs r0, " v ", #" #at "\nands r0, r3\nmuls r0, r2, r0\nadd " p ", r0\n"
#define BT_DIGIT0(v, p) "mov r0, " v "\nands r0, r3\nmuls r0, r2, r0\nadd " p ", r0\n"
#define BT_INPUT(k) "ldrb r2, [r1, #" #k "]\nsxtb r2, r2\n"
#define BT_DIGITS(k, at)                                                                                               \
    BT_INPUT(k) BT_DIGIT("r4", at, "r8") BT_DIGIT("r5", at, "r9") BT_DIGIT("r6", at, "r10") BT_DIGIT("r7", at, "r11")
#define BT_DIGITS0 BT_INPUT(0) BT_DIGIT0("r4", "r8") BT_DIGIT0("r5", "r9") BT_DIGIT0("r6", "r10") BT_DIGIT0("r7", "r11")

/* r0 scratch, r1 x, r2 an input, r3 mask, r4..r7 words, r8..r11 their sums, r12 w, lr end. A group; then `left` inputs
 * one by one, of words that hold two pairs of rows each if their digits fit; then both halves of the sums go to y. */
#define BT_LEFT(v, b, p) "mov r0, " v "\nands r0, r3\nmuls r0, r2, r0\nadd " p ", r0\nlsrs " v ", " v ", #" #b "\n"
#define BT_PUT(p)                                                                                                      \
    "mov r0, " p "\nsxth r2, r0\nsubs r0, r0, r2\nasrs r0, r0, #16\n"                                                  \
    "ldr r4, [r3]\nldr r5, [r3, #4]\nadds r4, r4, r2\nadds r5, r5, r0\nstmia r3!, {r4, r5}\n"
#define BT_PAIRS(b, size, again, digits)                                                                               \
    __attribute__((naked, noinline)) static const uint32_t *bt_pairs##b(                                               \
        const uint32_t *w, const int8_t *x, const int8_t *end, int32_t *y, uint32_t from, size_t left) {               \
        (void)w, (void)x, (void)end, (void)y, (void)from, (void)left;                                                  \
        __asm__(BT_SAVE "mov r12, r0\nmov lr, r2\n"                                                                    \
                        "ldr r0, [sp, #40]\nmov r8, r0\nmov r9, r0\nmov r10, r0\nmov r11, r0\n"                        \
                        "movs r3, #((1 << " #b ") - 1)\nlsls r0, r3, #16\norrs r3, r0\n"                               \
                        "cmp r1, lr\nbne 1f\nb 2f\n"                                                                   \
                        "1:\n"                                                                                         \
                        "mov r0, r12\nldmia r0!, {r4, r5, r6, r7}\nmov r12, r0\n" digits "adds r1, #" #size            \
                        "\ncmp r1, lr\n" again "2:\n"                                                                  \
                        "ldr r2, [sp, #44]\ncmp r2, #0\nbne 6f\nb 5f\n6:\n"                                            \
                        "add lr, r2\nmov r0, r12\ncmp r2, #8 / " #b "\nbhi 3f\n"                                       \
                        "ldmia r0!, {r4, r5}\nmovs r0, #" #b "\nmuls r2, r0, r2\n"                                     \
                        "mov r6, r4\nlsrs r6, r6, r2\nmov r7, r5\nlsrs r7, r7, r2\nb 4f\n"                             \
                        "3:\n"                                                                                         \
                        "ldmia r0!, {r4, r5, r6, r7}\n"                                                                \
                        "4:\n" BT_INPUT(0) "adds r1, #1\n" BT_LEFT("r4", b, "r8") BT_LEFT("r5", b, "r9")               \
                            BT_LEFT("r6", b, "r10")                                                                    \
                                BT_LEFT("r7", b, "r11") "cmp r1, lr\nbne 4b\n"                                         \
                                                        "5:\n"                                                         \
                                                        "ldr r3, [sp, #16]\n" BT_PUT("r8") BT_PUT("r9") BT_PUT("r10")  \
                                                            BT_PUT("r11") "mov r0, r12\n" BT_RESTORE);                 \
    }
#define BT_NEAR "bne 1b\n"
#define BT_FAR "beq 2f\nb 1b\n" /* a branch on a condition does not reach over the longest body */
BT_PAIRS(2, 8, BT_FAR,
         BT_DIGITS0 BT_DIGITS(1, 2) BT_DIGITS(2, 4) BT_DIGITS(3, 6) BT_DIGITS(4, 8) BT_DIGITS(5, 10) BT_DIGITS(6, 12)
             BT_DIGITS(7, 14))
BT_PAIRS(3, 5, BT_NEAR, BT_DIGITS0 BT_DIGITS(1, 3) BT_DIGITS(2, 6) BT_DIGITS(3, 9) BT_DIGITS(4, 12))
BT_PAIRS(4, 4, BT_NEAR, BT_DIGITS0 BT_DIGITS(1, 4) BT_DIGITS(2, 8) BT_DIGITS(3, 12))
BT_PAIRS(5, 3, BT_NEAR, BT_DIGITS0 BT_DIGITS(1, 5) BT_DIGITS(2, 10))

#define BT_GIVE8                                                                                                       \
    "mov r1, r8\nmov r2, r9\nmov r4, r10\nmov r5, r11\n"                                                               \
    "stmia r3!, {r1, r2, r4, r5}\n"                                                                                    \
    "mov r4, r12\nmov r5, lr\n"                                                                                        \
    "stmia r3!, {r4, r5, r6, r7}\n"
/* r4 to r8..r12, lr, r6, r7: the sums */
#define BT_FILL8 "mov r8, r4\nmov r9, r4\nmov r10, r4\nmov r11, r4\nmov r12, r4\nmov lr, r4\nmov r6, r4\nmov r7, r4\n"

/* r0 w, r1 x, r2 end, r3 and r4 scratch, r5 an input; n, which was in r3, is on the stack, y behind it. */
#define BT_BYTE(at, y) "ldrb r3, [r0, #" #at "]\nmuls r3, r5, r3\nadd " y ", r3\n"
#define BT_BYTES(input, a, b, c, d, e, f, g, h)                                                                        \
    input BT_BYTE(a, "r8") BT_BYTE(b, "r9") BT_BYTE(c, "r10") BT_BYTE(d, "r11") BT_BYTE(e, "r12") BT_BYTE(f, "lr")     \
        BT_BYTE(g, "r6") BT_BYTE(h, "r7")
#define BT_INPUT8(k) "ldrb r5, [r1, #" #k "]\nsxtb r5, r5\n"
#define BT_INPUT16(k) "ldrh r5, [r1, #2 * " #k "]\nsxth r5, r5\n"
#define BT_ROWS_OF(input) /* rows side by side */                                                                      \
    BT_BYTES(input(0), 0, 1, 2, 3, 4, 5, 6, 7)                                                                         \
    BT_BYTES(input(1), 8, 9, 10, 11, 12, 13, 14, 15)                                                                   \
    BT_BYTES(input(2), 16, 17, 18, 19, 20, 21, 22, 23) BT_BYTES(input(3), 24, 25, 26, 27, 28, 29, 30, 31)
#define BT_PAIRS_OF(input) /* pairs of inputs of a row side by side */                                                 \
    BT_BYTES(input(0), 0, 2, 4, 6, 8, 10, 12, 14)                                                                      \
    BT_BYTES(input(1), 1, 3, 5, 7, 9, 11, 13, 15)                                                                      \
    BT_BYTES(input(2), 16, 18, 20, 22, 24, 26, 28, 30) BT_BYTES(input(3), 17, 19, 21, 23, 25, 27, 29, 31)
#define BT_SCALAR8(name, ctype, xb, input, four)                                                                       \
    __attribute__((naked)) void name(const ctype *w, const int##xb##_t *x, const int32_t *total, size_t n,             \
                                     int32_t *y) {                                                                     \
        (void)w, (void)x, (void)total, (void)n, (void)y;                                                               \
        __asm__(BT_SAVE "ldr r4, [r2]\nlsls r4, r4, #7\nrsbs r4, r4, #0\n" BT_FILL8                                    \
                        "lsrs r2, r3, #2\nlsls r2, r2, #2 + " #xb " / 16\nadds r2, r2, r1\ncmp r1, r2\nbeq 2f\n"       \
                        "1:\n" four(input) "adds r0, #32\nadds r1, #" #xb " / 2\ncmp r1, r2\nbne 1b\n"                 \
                                           "2:\n"                                                                      \
                                           "ldr r3, [sp, #16]\nlsls r3, r3, #30\nbeq 4f\n"                             \
                                           "lsrs r3, r3, #30 - " #xb " / 16\nadds r2, r2, r3\n"                        \
                                           "3:\n" BT_BYTES(input(0), 0, 1, 2, 3, 4, 5, 6,                              \
                                                           7) "adds r0, #8\nadds r1, #" #xb                            \
                                                              " / 8\ncmp r1, r2\nbne 3b\n"                             \
                                                              "4:\n"                                                   \
                                                              "ldr r3, [sp, #40]\n" BT_GIVE8 BT_RESTORE);              \
    }
BT_SCALAR8(bt_scalar7_x8, uint32_t, 8, BT_INPUT8, BT_PAIRS_OF)
BT_SCALAR8(bt_scalar8_x8, uint8_t, 8, BT_INPUT8, BT_ROWS_OF)
BT_SCALAR8(bt_scalar8_x16, uint8_t, 16, BT_INPUT16, BT_ROWS_OF)

/* Entries of 2**log bytes: r0 w, r1 table, r2 end, r3 mask of a nibble, shifted, r4 a word, r5 scratch; from r0 w,
 * r1 tables, r2 n, r3 y. */
#define BT_NIBBLE(shift, load, y) shift "\nands r5, r3\n" load " r5, [r1, r5]\nadd " y ", r5\n"
#define BT_NIBBLES(log, load)                                                                                          \
    BT_NIBBLE("lsls r5, r4, #" #log, load, "r8")                                                                       \
    BT_NIBBLE("lsrs r5, r4, #4 - " #log, load, "r9")                                                                   \
    BT_NIBBLE("lsrs r5, r4, #8 - " #log, load, "r10")                                                                  \
    BT_NIBBLE("lsrs r5, r4, #12 - " #log, load, "r11")                                                                 \
    BT_NIBBLE("lsrs r5, r4, #16 - " #log, load, "r12")                                                                 \
    BT_NIBBLE("lsrs r5, r4, #20 - " #log, load, "lr")                                                                  \
    BT_NIBBLE("lsrs r5, r4, #24 - " #log, load, "r6") BT_NIBBLE("lsrs r5, r4, #28 - " #log, load, "r7")
#define BT_SCALAR1(xb, log, load, from)                                                                                \
    __attribute__((naked)) void bt_scalar1_x##xb(const uint32_t *w, const uint32_t *tables, size_t n, int32_t *y) {    \
        (void)w, (void)tables, (void)n, (void)y;                                                                       \
        __asm__(BT_SAVE "adds r2, #3\nlsrs r2, r2, #2\n" from BT_FILL8 "lsls r2, r2, #4 + " #log                       \
                        "\nadds r2, r2, r1\nmovs r3, #15 << " #log "\n"                                                \
                        "1:\n"                                                                                         \
                        "ldmia r0!, {r4}\n" BT_NIBBLES(log, load) "adds r1, #16 << " #log "\ncmp r1, r2\nbne 1b\n"     \
                                                                  "ldr r3, [sp, #16]\n" BT_GIVE8 BT_RESTORE);          \
    }
BT_SCALAR1(8, 1, "ldrh", "lsls r4, r2, #9\nrsbs r4, r4, #0\n") /* entries are 512 too large */
BT_SCALAR1(16, 2, "ldr", "movs r4, #0\n")

#endif
