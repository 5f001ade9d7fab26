/* bittailor runtime: runs integer recurrent networks on hosts, any program without a new compilation. (What goes into
 * microcontrollers is generated for one network, over device/; the arithmetic of single values, device/bt_ops.h, is the
 * same source.) C99 with the vector types of GCC and Clang, no heap, no float, no library beyond <stdint.h>, <stddef.h>
 * and <string.h>; the caller owns all memory. For little-endian machines.
 *
 * A program is one block of bytes: a header, four tables and a pool of constants.
 *
 *     segment   a part of the network: a recurrence or a chain of operators over all steps, operators on one value
 *               per item, the last or first step of a sequence, the mean over its steps, the frames around each step
 *     phase     instructions that run together over the same lanes (output features), lane block by lane block
 *     instr     one operator on a tile: y = clamp((sum_i v_i * M_i + c) >> S, lo, hi), a table, a load or a store
 *     buffer    rows of values that outlive a phase: a sequence, a state, a value of the current step
 *
 * A tile is BT_ITEMS sequences x BT_LANES features of int32 integers q. Buffers hold the same integers in one of two
 * forms: unsigned bytes q - qmin (sites of up to 8 bits) or int16 q. Zero-points and biases are folded into the
 * constants, so they cost nothing here. Bit widths are data: they stand in lo, hi, multipliers and tables only.
 *
 * Files: bittailor.h (this contract), bt_vector.h (the primitives of an instruction set), bt_kernels.h (the operators,
 * written once over the primitives), bt_program.h (checks a program), bt_block.h (memory of sequences while they run),
 * bt_phase.h and bt_segment.h (run them), bittailor.c (the functions of the contract: a batch goes in and out); all of
 * these are compiled as one, so that operators are inlined into the loops. bt_cpu.c says what this processor can do.
 */
#ifndef BITTAILOR_H
#define BITTAILOR_H

#include <stddef.h> /* size_t */
#include <stdint.h> /* int8_t .. uint64_t */

#ifdef __cplusplus
extern "C" {
#endif

/* Features per tile; with 1, every kernel is plain scalar C. */
#ifndef BT_LANES
#define BT_LANES 1
#endif
/* Sequences per tile. */
#ifndef BT_ITEMS
#define BT_ITEMS 1
#endif

enum { BT_MAGIC = 0x4C54, BT_VERSION = 2 };

/* Inputs of a dot product that stand together in memory, per weight form. */
enum { BT_GROUP8 = 4, BT_GROUP16 = 2 };

/* What a call returns. */
enum bt_status {
    BT_OK = 0,
    BT_NULL = 1,    /* a pointer is null or not aligned to 8 bytes */
    BT_PROGRAM = 2, /* the program is not one, is damaged, or was made for other lanes or items */
    BT_SHORT = 3,   /* a buffer is shorter than its shape says */
    BT_LENGTH =
        4,       /* a length is outside 1..steps, or below 1 + the steps that BT_CROP leaves away, or a mean or sum runs
                     * over more than 65,535 steps */
    BT_RANGE = 5 /* an input integer is outside the program's input format */
};

/* No buffer. */
#define BT_NONE UINT32_C(0xFFFFFFFF)

enum bt_buffer_kind {
    BT_SEQUENCE = 0, /* rows for every step */
    BT_STEP = 1,     /* rows for one step, or one value per item */
    BT_STATE = 2     /* read: the value before this step; written: the value after it */
};

enum bt_segment_kind {
    BT_LOOP = 0,  /* phases, once per step; states start at their row and freeze beyond an item's length */
    BT_ONCE = 1,  /* phases, once */
    BT_LAST = 2,  /* buffer out = buffer in at the item's last step */
    BT_FIRST = 3, /* buffer out = buffer in at step 0 */
    BT_MEAN = 4,  /* instruction `first`: buffer out = mean over the item's steps of buffer a */
    /* buffer out = the frames of buffer in around every step, feature by feature: `first` taps, `count` steps apart, the
     * last one `first_state` steps later than the step at hand, of `states` features; fill values beyond an item's ends */
    BT_WINDOW = 5,
    BT_SUM = 6, /* like BT_MEAN, the sum over the steps */
    BT_MAX = 7, /* buffer out = the largest value of the item's steps of buffer in */
    BT_CROP = 8 /* what follows sees sequences without the first `count` steps */
};

/* v: tile operands; acc: integer dot product with a buffer; W: 64-bit sums, the others are 32-bit. */
enum bt_op {
    BT_LOAD8 = 0,   /* tile out = buffer a (bytes) + c */
    BT_LOAD16 = 1,  /* tile out = buffer a (int16) + c */
    BT_STORE8 = 2,  /* buffer out (bytes), from column `size` on = tile a + c */
    BT_STORE16 = 3, /* buffer out (int16), from column `size` on = tile a + c */
    BT_LINEAR8 = 4, /* tile out = rescaled acc of buffer a (bytes) with int8 weights */
    BT_LINEAR8W = 5,
    BT_LINEAR16 = 6, /* buffer a (int16) with int16 weights, int32 sums proved */
    BT_LINEAR16W = 7,
    BT_LINEAR64W = 8, /* the same with 64-bit sums; those of `step` groups fit 32 bits */
    BT_ADD = 9,       /* (a * m0 + b * m1 + c) >> shift */
    BT_ADDW = 10,
    BT_SCALE = 11, /* (a * m0 + c) >> shift */
    BT_SCALEW = 12,
    BT_MUL = 13, /* ((a - za) * (b - zb) * m0 + c) >> shift */
    BT_MULW = 14,
    BT_LOOKUP8 = 15,   /* table[a as an unsigned byte], 256 int8 entries; with step < 8 they repeat after 2**step */
    BT_LOOKUP16 = 16,  /* the same with int16 entries */
    BT_KNOTS = 17,     /* 257 int16 knots at distance 2**step from za on, linear interpolation, >> shift */
    BT_DIAGONAL = 18,  /* (a * data[lane] + cons[lane]) >> shift: an int32 factor and constant per feature */
    BT_DIAGONALW = 19, /* (a * data[lane] * mult[lane] + cons[lane]) >> shift, int64 constants; a * data fits 32 bits */
    /* tile a of buffer b, whose rows have `size` values of u = v + za: over the root of the variance (the mean square) of
     * u; gain m0, shift t, epsilon c; a holds u + m1; zb is added behind the clamp */
    BT_LAYER_NORM = 20,
    BT_RMS_NORM = 21,
    BT_ROWS = 22 /* tile out = row x of the int16 table data[size][m0], x the first value of buffer b */
};

typedef struct bt_header {
    uint32_t magic, version, lanes, items;
    uint32_t bytes; /* of the whole program */
    uint32_t buffers, segments, phases, instrs, tiles;
    uint32_t in_features, in8, in16; /* the buffers that receive the input; BT_NONE if not needed */
    int32_t in_qmin, in_qmax;
    uint32_t out_features, out; /* the buffer that holds the output; a sequence or one value per item */
    int32_t out_add, out_pad;   /* q = value + out_add; q beyond an item's length */
    uint32_t reserved[13];
} bt_header; /* 128 bytes */

typedef struct bt_buffer {
    uint16_t kind;   /* bt_buffer_kind */
    uint16_t size;   /* bytes per value, 1 or 2 */
    uint32_t stride; /* values per row */
    int32_t fill;    /* the value that stands for 0.0 */
    uint32_t start;  /* states: the row before the first step, bytes from the program's start; 0: all are `fill` */
} bt_buffer;         /* 16 bytes */

typedef struct bt_segment {
    uint32_t kind, reverse;
    uint32_t first, count;        /* phases; BT_MEAN, BT_SUM: instruction; BT_CROP: steps */
    uint32_t in, out;             /* buffers of BT_LAST, BT_FIRST, BT_MAX, BT_WINDOW */
    uint32_t first_state, states; /* the buffers of kind BT_STATE that this loop advances */
} bt_segment;                     /* 32 bytes */

typedef struct bt_phase {
    uint32_t first, count; /* instructions */
    uint32_t blocks;       /* blocks of BT_LANES features */
    uint32_t reserved;
} bt_phase; /* 16 bytes */

typedef struct bt_instr {
    uint8_t op, shift;
    uint16_t step;
    uint32_t out, a, b;
    int32_t m0, m1, lo, hi, za, zb;
    uint32_t size;       /* linear: groups of inputs; store: first column; mean, sum: features */
    uint32_t data;       /* weights or table: bytes from the program's start */
    uint32_t mult, cons; /* linear, diagonal: multiplier and constant per output feature, likewise */
    int64_t c;
} bt_instr; /* 64 bytes */

/* Instruction sets, each with all before it. */
enum bt_cpu_level {
    BT_CPU_ANY = 0,
    BT_CPU_V2 = 2, /* x86-64-v2, as compilers define it: SSE4.2 */
    BT_CPU_V3 = 3, /* x86-64-v3: AVX2 */
    BT_CPU_V4 = 4  /* x86-64-v4 (AVX-512) with its byte permutations (VBMI) and 8-bit dot products (VNNI) */
};

#if defined(_WIN32)
#define BT_API __declspec(dllexport)
#else
#define BT_API
#endif

/* The highest level whose code this processor, its operating system and this compiler can all run. In bt_cpu.c, built
 * before a variant of the others is chosen. */
BT_API int bt_cpu(void);

/* Constants of this build: lanes, items, the largest sum of the two widths for which BT_LINEAR8 is exact, and whether
 * the knots of BT_KNOTS stand split into low and high bytes. */
BT_API void bt_layout(uint32_t layout[4]);

/* BT_OK if the program can be run by this build without leaving its memory, whatever its constants are. */
BT_API int bt_check(const void *program, size_t bytes);

/* Bytes of scratch memory that bt_run needs for sequences of `steps`; 0 for a bad program or too many steps. */
BT_API size_t bt_scratch(const void *program, size_t bytes, size_t steps);

/* Run items first .. last-1 of a batch.
 *
 * input    [items, steps, in_features] integers of the input format, int8 or int16 (input_size 1 or 2 bytes)
 * lengths  [items], 1..steps, or NULL if all items have `steps`
 * output   [items, steps less those that BT_CROP leaves away, out_features] or, without a step axis, [items, out_features]; only the given items are written
 * scratch  bt_scratch(...) bytes, aligned to 8 (64 is faster); nothing in it is kept between calls
 * The *_bytes are what the caller really holds; a value that is too small is an error, not an overrun.
 */
BT_API int bt_run(const void *program, size_t bytes, const void *input, size_t input_bytes, unsigned input_size,
                  const int32_t *lengths, size_t items, size_t steps, size_t first, size_t last, int64_t *output,
                  size_t output_bytes, void *scratch, size_t scratch_bytes);

#ifdef __cplusplus
}
#endif
#endif
