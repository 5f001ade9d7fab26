/* Asks the processor what it can do. */
#include "bittailor.h"

#if !defined(__x86_64__)

int bt_cpu(void) { return BT_CPU_ANY; }

#else

#include <cpuid.h> /* the instruction that tells the features, of GCC and Clang */

#define BIT(n) (1u << (n))

/* The registers of one leaf; zero where the processor has none so high. */
typedef struct leaf {
    unsigned a, b, c, d;
} leaf;

static leaf bt_leaf(unsigned number) {
    leaf l = {0, 0, 0, 0};
    return __get_cpuid_count(number, 0, &l.a, &l.b, &l.c, &l.d) ? l : (leaf){0, 0, 0, 0};
}

/* Which registers the operating system keeps for a process: bit 1 SSE, 2 AVX, 5 to 7 AVX-512. */
static unsigned bt_kept(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static int bt_all_of(unsigned have, unsigned wanted) { return (have & wanted) == wanted; }

int bt_cpu(void) {
    const unsigned ssse3 = BIT(9), fma = BIT(12), cx16 = BIT(13), sse41 = BIT(19), sse42 = BIT(20), movbe = BIT(22),
                   popcnt = BIT(23), osxsave = BIT(27), avx = BIT(28), f16c = BIT(29); /* leaf 1, c */
    const unsigned bmi1 = BIT(3), avx2 = BIT(5), bmi2 = BIT(8), avx512f = BIT(16), avx512dq = BIT(17),
                   avx512cd = BIT(28), avx512bw = BIT(30), avx512vl = BIT(31); /* leaf 7, b */
    const unsigned avx512vbmi = BIT(1), avx512vnni = BIT(11);                  /* leaf 7, c */
    const unsigned lahf = BIT(0), lzcnt = BIT(5);                              /* leaf 0x80000001, c */
    const leaf one = bt_leaf(1), seven = bt_leaf(7), more = bt_leaf(0x80000001u);
    if (!bt_all_of(one.c, ssse3 | cx16 | sse41 | sse42 | popcnt) || !bt_all_of(more.c, lahf))
        return BT_CPU_ANY;
#if defined(_WIN32) && !defined(__clang__)
    return BT_CPU_V2; /* GCC does not align wider vectors on the stack of 64-bit Windows (its bug 54412) */
#endif
    if (!bt_all_of(one.c, fma | movbe | osxsave | avx | f16c) || !bt_all_of(seven.b, bmi1 | avx2 | bmi2)
        || !bt_all_of(more.c, lzcnt) || !bt_all_of(bt_kept(), BIT(1) | BIT(2)))
        return BT_CPU_V2;
    if (!bt_all_of(seven.b, avx512f | avx512dq | avx512cd | avx512bw | avx512vl)
        || !bt_all_of(seven.c, avx512vbmi | avx512vnni) || !bt_all_of(bt_kept(), BIT(5) | BIT(6) | BIT(7)))
        return BT_CPU_V3;
    return BT_CPU_V4;
}

#endif
