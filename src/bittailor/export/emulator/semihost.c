/* firmware.h on emulated cores: files and exit by semihosting (Arm's "Semihosting for AArch32 and AArch64"; RISC-V uses
   the same calls), counts by SysTick (M-class cores) or minstret (RISC-V). The emulator must run with
   `-icount shift=FW_SHIFT`: an instruction then takes exactly 2**FW_SHIFT ns of the emulated clock. */
#include "firmware.h"

#include <string.h>

enum { SYS_OPEN = 1, SYS_CLOSE = 2, SYS_WRITE = 5, SYS_READ = 6, SYS_EXIT_EXTENDED = 0x20 };
enum { APPLICATION_EXIT = 0x20026 };

#if defined(__riscv)
static uintptr_t call(uintptr_t what, const void *block) {
    register uintptr_t a0 __asm__("a0") = what;
    register const void *a1 __asm__("a1") = block;
    __asm__ volatile(".balign 16\n.option push\n.option norvc\n"
                     "slli zero, zero, 0x1f\nebreak\nsrai zero, zero, 7\n.option pop" : "+r"(a0) : "r"(a1) : "memory");
    return a0;
}
#else
static uintptr_t call(uintptr_t what, const void *block) {
    register uintptr_t r0 __asm__("r0") = what;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory", "cc");
    return r0;
}
#endif

int fw_open(const char *name, char mode) {
    /* modes of fopen by number: 1 is "rb", 5 is "wb" */
    const uintptr_t block[3] = {(uintptr_t)name, mode == 'w' ? 5u : 1u, (uintptr_t)strlen(name)};
    return (int)call(SYS_OPEN, block);
}

size_t fw_read(int file, void *data, size_t bytes) {
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, bytes};
    const uintptr_t left = call(SYS_READ, block);
    return left > bytes ? 0 : bytes - left;
}

size_t fw_write(int file, const void *data, size_t bytes) {
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, bytes};
    const uintptr_t left = call(SYS_WRITE, block);
    return left > bytes ? 0 : bytes - left;
}

void fw_close(int file) {
    const uintptr_t block[1] = {(uintptr_t)file};
    (void)call(SYS_CLOSE, block);
}

void fw_exit(int status);

void fw_exit(int status) {
    const uintptr_t block[2] = {APPLICATION_EXIT, (uintptr_t)status};
    for (;;) {
        (void)call(SYS_EXIT_EXTENDED, block);
    }
}

#if defined(__riscv)

static uint64_t now(void) {
    uint32_t high, low, again;
    do {
        __asm__ volatile(".option push\n.option arch, +zicsr\n"
                         "csrr %0, minstreth\ncsrr %1, minstret\ncsrr %2, minstreth\n.option pop"
                         : "=r"(high), "=r"(low), "=r"(again) : : "memory");
    } while (high != again);
    return (uint64_t)high << 32 | low;
}

static uint64_t instructions(uint64_t ticks) { return ticks; }

static void prepare(void) {}

#else

#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)
#define LARGEST 0xFFFFFFu

static volatile uint32_t wraps;

/* One interrupt in 2**24 ticks: a handful of instructions among ten million. */
void SysTick_Handler(void);
void SysTick_Handler(void) { wraps++; }

static uint64_t now(void) {
    uint32_t before, left;
    do {
        before = wraps;
        left = SYST_CVR;
    } while (before != wraps);
    return (uint64_t)before * (LARGEST + 1u) + (LARGEST - left);
}

static uint64_t instructions(uint64_t ticks) {
    /* a tick takes 1e9 / FW_HZ ns, an instruction 2**FW_SHIFT ns */
    const uint64_t per = (uint64_t)FW_HZ << FW_SHIFT;
    return (ticks * 1000000000u + per / 2) / per;
}

static void prepare(void) {
    SYST_RVR = LARGEST;
    SYST_CVR = 0;
    SYST_CSR = 7; /* enabled, interrupt, the core's own clock */
}

#endif

static uint64_t began, own;
static int ready;

BT_NOIPA static uint64_t elapsed(void) { return now() - began; }

BT_NOIPA static void nothing(void) {}

BT_NOIPA void count_start(void) {
    if (!ready) {
        ready = 1;
        prepare();
        /* what counting a call of an empty function costs */
        count_start();
        nothing();
        own = elapsed();
    }
    began = now();
}

BT_NOIPA uint64_t count_stop(void) {
    const uint64_t ticks = elapsed();
    return instructions(ticks > own ? ticks - own : 0);
}
