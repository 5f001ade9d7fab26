/* The innermost loops of bt_rows_scalar.c for RISC-V with 32 registers of 32 bits, in the order that is wanted.
 * Arguments are in a0..a5. */
#ifndef BT_ROWS_RISCV_H
#define BT_ROWS_RISCV_H

#include "bt_ops.h"

#define BT_DIGIT(v, at, p) "srli a4, " v ", " #at "\nand a4, a4, s0\nmul a4, a4, t6\nadd " p ", " p ", a4\n"
#define BT_DIGIT0(v, p) "and a4, " v ", s0\nmul a4, a4, t6\nadd " p ", " p ", a4\n"
#define BT_DIGITS(k, at)                                                                                               \
    "lb t6, " #k "(a1)\n" BT_DIGIT("a6", at, "t0") BT_DIGIT("a7", at, "t1") BT_DIGIT("t4", at, "t2")                   \
        BT_DIGIT("t5", at, "t3")
#define BT_DIGITS0                                                                                                     \
    "lb t6, 0(a1)\n" BT_DIGIT0("a6", "t0") BT_DIGIT0("a7", "t1") BT_DIGIT0("t4", "t2") BT_DIGIT0("t5", "t3")
#define BT_WORDS "lw a6, 0(a0)\nlw a7, 4(a0)\nlw t4, 8(a0)\nlw t5, 12(a0)\n"

/* a0 w, a1 x, a2 end, a3 y, a4 scratch, a5 left, s0 mask, a6, a7, t4, t5 words, t0..t3 their sums, t6 an input. Groups;
 * then `left` inputs one by one, of words that hold two pairs of rows each if their digits fit; then both halves of the
 * sums go to y. */
#define BT_LEFT(v, b, p) BT_DIGIT0(v, p) "srli " v ", " v ", " #b "\n"
#define BT_PUT(p, at0, at1)                                                                                            \
    "slli a4, " p ", 16\nsrai a4, a4, 16\nlw a6, " #at0 "(a3)\nlw a7, " #at1 "(a3)\nadd a6, a6, a4\n"                  \
    "sub " p ", " p ", a4\nsrai " p ", " p ", 16\nadd a7, a7, " p "\nsw a6, " #at0 "(a3)\nsw a7, " #at1 "(a3)\n"
#define BT_PAIRS(b, size, digits)                                                                                      \
    __attribute__((naked, noinline)) static const uint32_t *bt_pairs##b(                                               \
        const uint32_t *w, const int8_t *x, const int8_t *end, int32_t *y, uint32_t from, size_t left) {               \
        (void)w, (void)x, (void)end, (void)y, (void)from, (void)left;                                                  \
        __asm__("addi sp, sp, -16\nsw s0, 0(sp)\n"                                                                     \
                "mv t0, a4\nmv t1, a4\nmv t2, a4\nmv t3, a4\n"                                                         \
                "li s0, ((1 << " #b ") - 1) * 0x10001\n"                                                               \
                "beq a1, a2, 2f\n"                                                                                     \
                "1:\n" BT_WORDS digits                                                                                 \
                "addi a0, a0, 16\naddi a1, a1, " #size "\nbne a1, a2, 1b\n"                                            \
                "2:\n"                                                                                                 \
                "beqz a5, 5f\nadd a2, a2, a5\nlw a6, 0(a0)\nlw a7, 4(a0)\nli a4, 8 / " #b "\nbgtu a5, a4, 3f\n"          \
                "li a4, " #b "\nmul a4, a4, a5\nsrl t4, a6, a4\nsrl t5, a7, a4\nj 4f\n"                                \
                "3:\n"                                                                                                 \
                "lw t4, 8(a0)\nlw t5, 12(a0)\n"                                                                       \
                "4:\n"                                                                                                 \
                "lb t6, 0(a1)\naddi a1, a1, 1\n"                                                                       \
                BT_LEFT("a6", b, "t0") BT_LEFT("a7", b, "t1") BT_LEFT("t4", b, "t2") BT_LEFT("t5", b, "t3")            \
                "bne a1, a2, 4b\n"                                                                                     \
                "5:\n"                                                                                                 \
                BT_PUT("t0", 0, 4) BT_PUT("t1", 8, 12) BT_PUT("t2", 16, 20) BT_PUT("t3", 24, 28)                       \
                "lw s0, 0(sp)\naddi sp, sp, 16\nret\n");                                                               \
    }
BT_PAIRS(2, 8, BT_DIGITS0 BT_DIGITS(1, 2) BT_DIGITS(2, 4) BT_DIGITS(3, 6) BT_DIGITS(4, 8) BT_DIGITS(5, 10)
                   BT_DIGITS(6, 12) BT_DIGITS(7, 14))
BT_PAIRS(3, 5, BT_DIGITS0 BT_DIGITS(1, 3) BT_DIGITS(2, 6) BT_DIGITS(3, 9) BT_DIGITS(4, 12))
BT_PAIRS(4, 4, BT_DIGITS0 BT_DIGITS(1, 4) BT_DIGITS(2, 8) BT_DIGITS(3, 12))
BT_PAIRS(5, 3, BT_DIGITS0 BT_DIGITS(1, 5) BT_DIGITS(2, 10))

/* The sums of eight rows: y[0], y[1] … in a4..a7, t3..t6. */
#define BT_TAKE8                                                                                                       \
    "lw a4, 0(a3)\nlw a5, 4(a3)\nlw a6, 8(a3)\nlw a7, 12(a3)\n"                                                        \
    "lw t3, 16(a3)\nlw t4, 20(a3)\nlw t5, 24(a3)\nlw t6, 28(a3)\n"
#define BT_GIVE8                                                                                                       \
    "sw a4, 0(a3)\nsw a5, 4(a3)\nsw a6, 8(a3)\nsw a7, 12(a3)\n"                                                        \
    "sw t3, 16(a3)\nsw t4, 20(a3)\nsw t5, 24(a3)\nsw t6, 28(a3)\nret\n"

/* a0 w, a1 x, a2 end, a3 y, t0 an input, t1 scratch */
#define BT_BYTE(at, y) "lbu t1, " #at "(a0)\nmul t1, t1, t0\nadd " y ", " y ", t1\n"
#define BT_BYTES(k, a, b, c, d, e, f, g, h)                                                                            \
    "lb t0, " #k "(a1)\n" BT_BYTE(a, "a4") BT_BYTE(b, "a5") BT_BYTE(c, "a6") BT_BYTE(d, "a7") BT_BYTE(e, "t3")         \
        BT_BYTE(f, "t4") BT_BYTE(g, "t5") BT_BYTE(h, "t6")
__attribute__((naked, noinline)) static const uint8_t *bt_bytes_x8(const uint8_t *w, const int8_t *x,
                                                                   const int8_t *end, int32_t *y) {
    (void)w, (void)x, (void)end, (void)y;
    __asm__(BT_TAKE8
            "1:\n"
            BT_BYTES(0, 0, 1, 2, 3, 4, 5, 6, 7) BT_BYTES(1, 8, 9, 10, 11, 12, 13, 14, 15)
            BT_BYTES(2, 16, 17, 18, 19, 20, 21, 22, 23) BT_BYTES(3, 24, 25, 26, 27, 28, 29, 30, 31)
            "addi a0, a0, 32\naddi a1, a1, 4\nbne a1, a2, 1b\n"
            BT_GIVE8);
}

/* a0 w, a1 table, a2 end, a3 y, t0 a word, t1 scratch */
#define BT_NIBBLE(shift, y) shift "\nandi t1, t1, 30\nadd t1, t1, a1\nlhu t1, 0(t1)\nadd " y ", " y ", t1\n"
__attribute__((naked, noinline)) static void bt_nibbles(const uint32_t *w, const uint32_t *tables,
                                                        const uint32_t *end, int32_t *y) {
    (void)w, (void)tables, (void)end, (void)y;
    __asm__(BT_TAKE8
            "1:\n"
            "lw t0, 0(a0)\n"
            BT_NIBBLE("slli t1, t0, 1", "a4") BT_NIBBLE("srli t1, t0, 3", "a5") BT_NIBBLE("srli t1, t0, 7", "a6")
            BT_NIBBLE("srli t1, t0, 11", "a7") BT_NIBBLE("srli t1, t0, 15", "t3")
            BT_NIBBLE("srli t1, t0, 19", "t4") BT_NIBBLE("srli t1, t0, 23", "t5") BT_NIBBLE("srli t1, t0, 27", "t6")
            "addi a0, a0, 4\naddi a1, a1, 32\nbne a1, a2, 1b\n"
            BT_GIVE8);
}

#endif
