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
    "ldrd r4, r5, [r3]\nsxth r6, " p "\nadd r4, r4, r6\nsub " p ", " p ", r6\nadd r5, r5, " p ", asr #16\n"             \
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
                "ldmia r0!, {r4, r5, r6, r7}\n"                                                                        \
                digits                                                                                                 \
                "cmp r1, r2\nbne 1b\n"                                                                                 \
                "2:\n"                                                                                                 \
                "ldr r12, [sp, #44]\ncmp r12, #0\nbeq 5f\n"                                                            \
                "add r2, r2, r12\ncmp r12, #8 / " #b "\nbhi 3f\n"                                                      \
                "ldmia r0!, {r4, r5}\nmov r6, #" #b "\nmul r12, r6, r12\nlsr r6, r4, r12\nlsr r7, r5, r12\nb 4f\n"     \
                "3:\n"                                                                                                 \
                "ldmia r0!, {r4, r5, r6, r7}\n"                                                                        \
                "4:\n"                                                                                                 \
                "ldrsb r12, [r1], #1\n"                                                                                \
                BT_LEFT("r4", b, "r8") BT_LEFT("r5", b, "r9") BT_LEFT("r6", b, "r10") BT_LEFT("r7", b, "r11")          \
                "cmp r1, r2\nbne 4b\n"                                                                                 \
                "5:\n"                                                                                                 \
                "ldr r3, [sp]\n" BT_PUT("r8") BT_PUT("r9") BT_PUT("r10") BT_PUT("r11")                                 \
                "pop {r3, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n");                                                   \
    }
BT_PAIRS(2, BT_DIGITS0 BT_DIGITS(2) BT_DIGITS(4) BT_DIGITS(6) BT_DIGITS(8) BT_DIGITS(10) BT_DIGITS(12) BT_DIGITS(14))
BT_PAIRS(3, BT_DIGITS0 BT_DIGITS(3) BT_DIGITS(6) BT_DIGITS(9) BT_DIGITS(12))
BT_PAIRS(4, BT_DIGITS0 BT_DIGITS(4) BT_DIGITS(8) BT_DIGITS(12))
BT_PAIRS(5, BT_DIGITS0 BT_DIGITS(5) BT_DIGITS(10))

#define BT_EIGHT(F) F("r4") F("r5") F("r6") F("r7") F("r8") F("r9") F("r10") F("r11")

/* r0 w, r1 x, r2 end, r3 y, r4..r11 the sums, r12 an input, lr scratch */
#define BT_BYTE(y) "ldrb lr, [r0], #1\nmla " y ", lr, r12, " y "\n"
#define BT_BYTES "ldrsb r12, [r1], #1\n" BT_EIGHT(BT_BYTE)
__attribute__((naked, noinline)) static const uint8_t *bt_bytes_x8(const uint8_t *w, const int8_t *x,
                                                                   const int8_t *end, int32_t *y) {
    (void)w, (void)x, (void)end, (void)y;
    __asm__("push {r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
            "ldm r3, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
            "1:\n"
            BT_BYTES BT_BYTES BT_BYTES BT_BYTES
            "cmp r1, r2\nbne 1b\n"
            "ldr r3, [sp]\n"
            "stm r3, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
            "pop {r3, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n");
}

/* r0 w, r1 table, r2 end, r3 a word, r12 scratch */
#define BT_NIBBLE(at, y) "ubfx r12, r3, #" #at ", #4\nldrh r12, [r1, r12, lsl #1]\nadd " y ", r12\n"
__attribute__((naked, noinline)) static void bt_nibbles(const uint32_t *w, const uint32_t *tables,
                                                        const uint32_t *end, int32_t *y) {
    (void)w, (void)tables, (void)end, (void)y;
    __asm__("push {r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
            "ldm r3, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
            "1:\n"
            "ldr r3, [r0], #4\n"
            BT_NIBBLE(0, "r4") BT_NIBBLE(4, "r5") BT_NIBBLE(8, "r6") BT_NIBBLE(12, "r7") BT_NIBBLE(16, "r8")
            BT_NIBBLE(20, "r9") BT_NIBBLE(24, "r10") BT_NIBBLE(28, "r11")
            "adds r1, #32\ncmp r1, r2\nbne 1b\n"
            "ldr r3, [sp]\n"
            "stm r3, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
            "pop {r3, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n");
}

#endif
