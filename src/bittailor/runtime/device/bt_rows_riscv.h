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
                "1:\n" BT_WORDS digits "addi a0, a0, 16\naddi a1, a1, " #size "\nbne a1, a2, 1b\n"                     \
                "2:\n"                                                                                                 \
                "beqz a5, 5f\nadd a2, a2, a5\nlw a6, 0(a0)\nlw a7, 4(a0)\nli a4, 8 / " #b "\nbgtu a5, a4, 3f\n"        \
                "li a4, " #b "\nmul a4, a4, a5\nsrl t4, a6, a4\nsrl t5, a7, a4\nj 4f\n"                                \
                "3:\n"                                                                                                 \
                "lw t4, 8(a0)\nlw t5, 12(a0)\n"                                                                        \
                "4:\n"                                                                                                 \
                "lb t6, 0(a1)\naddi a1, a1, 1\n" BT_LEFT("a6", b, "t0") BT_LEFT("a7", b, "t1") BT_LEFT("t4", b, "t2")  \
                    BT_LEFT("t5", b, "t3") "bne a1, a2, 4b\n"                                                          \
                                           "5:\n" BT_PUT("t0", 0, 4) BT_PUT("t1", 8, 12) BT_PUT("t2", 16, 20)          \
                                               BT_PUT("t3", 24, 28) "lw s0, 0(sp)\naddi sp, sp, 16\nret\n");           \
    }
BT_PAIRS(2, 8,
         BT_DIGITS0 BT_DIGITS(1, 2) BT_DIGITS(2, 4) BT_DIGITS(3, 6) BT_DIGITS(4, 8) BT_DIGITS(5, 10) BT_DIGITS(6, 12)
             BT_DIGITS(7, 14))
BT_PAIRS(3, 5, BT_DIGITS0 BT_DIGITS(1, 3) BT_DIGITS(2, 6) BT_DIGITS(3, 9) BT_DIGITS(4, 12))
BT_PAIRS(4, 4, BT_DIGITS0 BT_DIGITS(1, 4) BT_DIGITS(2, 8) BT_DIGITS(3, 12))
BT_PAIRS(5, 3, BT_DIGITS0 BT_DIGITS(1, 5) BT_DIGITS(2, 10))

/* The sums of eight rows: a5..a7, t2..t6; all of them from a5, and to y in a4. */
#define BT_FILL8 "mv a6, a5\nmv a7, a5\nmv t2, a5\nmv t3, a5\nmv t4, a5\nmv t5, a5\nmv t6, a5\n"
#define BT_GIVE8                                                                                                       \
    "sw a5, 0(a4)\nsw a6, 4(a4)\nsw a7, 8(a4)\nsw t2, 12(a4)\n"                                                        \
    "sw t3, 16(a4)\nsw t4, 20(a4)\nsw t5, 24(a4)\nsw t6, 28(a4)\nret\n"

/* a0 w, a1 x, a2 end, a3 inputs behind it, t0 an input, t1 scratch */
#define BT_BYTE(k, row, y) "lbu t1, 8 * " #k " + " #row "(a0)\nmul t1, t1, t0\nadd " y ", " y ", t1\n"
#define BT_BYTES(load, size, k)                                                                                        \
    load " t0, " #size " * " #k "(a1)\n" BT_BYTE(k, 0, "a5") BT_BYTE(k, 1, "a6") BT_BYTE(k, 2, "a7")                   \
        BT_BYTE(k, 3, "t2") BT_BYTE(k, 4, "t3") BT_BYTE(k, 5, "t4") BT_BYTE(k, 6, "t5") BT_BYTE(k, 7, "t6")
#define BT_SCALAR8(xb, size, load)                                                                                     \
    __attribute__((naked)) void bt_scalar8_x##xb(const uint8_t *w, const int##xb##_t *x, const int32_t *total,         \
                                                 size_t n, int32_t *y) {                                               \
        (void)w, (void)x, (void)total, (void)n, (void)y;                                                               \
        __asm__("lw a5, 0(a2)\nslli a5, a5, 7\nneg a5, a5\n" BT_FILL8 "andi a2, a3, -8\nslli a2, a2, " #size           \
                " - 1\nadd a2, a2, a1\nandi a3, a3, 7\n"                                                               \
                "beq a1, a2, 2f\n"                                                                                     \
                "1:\n" BT_BYTES(load, size, 0) BT_BYTES(load, size, 1) BT_BYTES(load, size, 2) BT_BYTES(load, size, 3) \
                    BT_BYTES(load, size, 4) BT_BYTES(load, size, 5) BT_BYTES(load, size, 6)                            \
                        BT_BYTES(load, size, 7) "addi a0, a0, 64\naddi a1, a1, 8 * " #size "\nbne a1, a2, 1b\n"        \
                                                "2:\n"                                                                 \
                                                "beqz a3, 4f\nslli a3, a3, " #size " - 1\nadd a2, a2, a3\n"            \
                                                "3:\n" BT_BYTES(load, size, 0) "addi a0, a0, 8\naddi a1, a1, " #size   \
                                                                               "\nbne a1, a2, 3b\n"                    \
                                                                               "4:\n" BT_GIVE8);                       \
    }
BT_SCALAR8(8, 1, "lb")
BT_SCALAR8(16, 2, "lh")

/* Four inputs of two rows: p, a7, begins at s6, minus 128 times their sum in both halves plus 2**15, so that its upper
 * half is the sum of the odd row. Sums of p and of upper halves in `all` and `odd`. */
#define BT_TWO(from, x0, x1)                                                                                           \
    "and a6, a5, t4\nmul a6, a6, " x0 "\nadd a7, a6, " from "\n"                                                       \
    "srli a5, a5, 8\nand a5, a5, t4\nmul a5, a5, " x1 "\nadd a7, a7, a5\n"
#define BT_QUAD(j, all, odd)                                                                                           \
    "lw a5, 4 * " #j "(a0)\n" BT_TWO("s6", "t0", "t1") "lw a5, 16 + 4 * " #j "(a0)\n" BT_TWO(                          \
        "a7", "t2", "t3") "add " all ", " all ", a7\nsrai a7, a7, 16\nadd " odd ", " odd ", a7\n"
/* In the end the upper halves are taken out of the sums of p; then `left` inputs, their bytes one by one. */
#define BT_EVEN(all, odd) "slli a6, " odd ", 16\nsub " all ", " all ", a6\n"
#define BT_ONE(row, y) "lbu a5, " #row "(a0)\naddi a5, a5, -128\nmul a5, a5, t0\nadd " y ", " y ", a5\n"

/* a0 w, a1 x, a2 what s6 is loaded from, a3 end, a4 y, a5..a7 scratch, t0..t3 inputs, t4 mask, t5, t6, s0, s1 and
 * s2..s5 the sums, s7 inputs left */
__attribute__((naked)) void bt_scalar7_x8(const uint32_t *w, const int8_t *x, const int32_t *ready, size_t n,
                                          int32_t *y) {
    (void)w, (void)x, (void)ready, (void)n, (void)y;
    __asm__(
        "addi sp, sp, -32\nsw s0, 0(sp)\nsw s1, 4(sp)\nsw s2, 8(sp)\nsw s3, 12(sp)\n"
        "sw s4, 16(sp)\nsw s5, 20(sp)\nsw s6, 24(sp)\nsw s7, 28(sp)\n"
        "andi s7, a3, 3\nsub a3, a3, s7\nslli t5, a3, 13\nneg t5, t5\nadd a3, a3, a1\n" /* 2**15 per four inputs */
        "mv t6, t5\nmv s0, t5\nmv s1, t5\nli s2, 0\nli s3, 0\nli s4, 0\nli s5, 0\nli t4, 0xFF00FF\n"
        "beq a1, a3, 2f\n"
        "1:\n"
        "addi a2, a2, 4\nlw s6, 0(a2)\nlb t0, 0(a1)\nlb t1, 1(a1)\nlb t2, 2(a1)\nlb t3, 3(a1)\n" BT_QUAD(0, "t5", "s2")
            BT_QUAD(1, "t6", "s3") BT_QUAD(2, "s0", "s4") BT_QUAD(
                3, "s1",
                "s5") "addi a0, a0, 32\naddi a1, a1, 4\nbne a1, a3, 1b\n"
                      "2:\n" BT_EVEN("t5", "s2") BT_EVEN("t6", "s3") BT_EVEN("s0", "s4") BT_EVEN(
                          "s1", "s5") "beqz s7, 4f\nadd a3, a3, s7\n"
                                      "3:\n"
                                      "lb t0, 0(a1)\n" BT_ONE(0, "t5") BT_ONE(1, "s2") BT_ONE(2, "t6") BT_ONE(3, "s3")
                                          BT_ONE(4, "s0") BT_ONE(5, "s4") BT_ONE(6, "s1") BT_ONE(
                                              7, "s5") "addi a0, a0, 8\naddi a1, a1, 1\nbne a1, a3, 3b\n"
                                                       "4:\n"
                                                       "sw t5, 0(a4)\nsw s2, 4(a4)\nsw t6, 8(a4)\nsw s3, 12(a4)\n"
                                                       "sw s0, 16(a4)\nsw s4, 20(a4)\nsw s1, 24(a4)\nsw s5, 28(a4)\n"
                                                       "lw s0, 0(sp)\nlw s1, 4(sp)\nlw s2, 8(sp)\nlw s3, 12(sp)\n"
                                                       "lw s4, 16(sp)\nlw s5, 20(sp)\nlw s6, 24(sp)\nlw s7, "
                                                       "28(sp)\naddi sp, sp, 32\nret\n");
}

/* Entries of 2**log bytes: a0 w, a1 table, a2 end, t0 a word, t1 scratch; from a0 w, a1 tables, a2 n, a3 y */
#define BT_NIBBLE(shift, log, load, y)                                                                                 \
    shift "\nandi t1, t1, 15 << " #log "\nadd t1, t1, a1\n" load " t1, 0(t1)\nadd " y ", " y ", t1\n"
#define BT_NIBBLES(log, load)                                                                                          \
    BT_NIBBLE("slli t1, t0, " #log, log, load, "a5")                                                                   \
    BT_NIBBLE("srli t1, t0, 4 - " #log, log, load, "a6")                                                               \
    BT_NIBBLE("srli t1, t0, 8 - " #log, log, load, "a7")                                                               \
    BT_NIBBLE("srli t1, t0, 12 - " #log, log, load, "t2")                                                              \
    BT_NIBBLE("srli t1, t0, 16 - " #log, log, load, "t3")                                                              \
    BT_NIBBLE("srli t1, t0, 20 - " #log, log, load, "t4")                                                              \
    BT_NIBBLE("srli t1, t0, 24 - " #log, log, load, "t5") BT_NIBBLE("srli t1, t0, 28 - " #log, log, load, "t6")
#define BT_SCALAR1(xb, log, load, from)                                                                                \
    __attribute__((naked)) void bt_scalar1_x##xb(const uint32_t *w, const uint32_t *tables, size_t n, int32_t *y) {    \
        (void)w, (void)tables, (void)n, (void)y;                                                                       \
        __asm__("addi a2, a2, 3\nsrli a2, a2, 2\nmv a4, a3\n" from BT_FILL8 "slli a2, a2, 4 + " #log                   \
                "\nadd a2, a2, a1\n"                                                                                   \
                "1:\n"                                                                                                 \
                "lw t0, 0(a0)\n" BT_NIBBLES(log, load) "addi a0, a0, 4\naddi a1, a1, 16 << " #log                      \
                                                       "\nbne a1, a2, 1b\n" BT_GIVE8);                                 \
    }
BT_SCALAR1(8, 1, "lhu", "slli a5, a2, 9\nneg a5, a5\n") /* entries are 512 too large */
BT_SCALAR1(16, 2, "lw", "li a5, 0\n")

#endif
