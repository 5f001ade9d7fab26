/* Start-up of an M-class core: vectors, memory, and what the C library asks of a system (newlib). */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "firmware.h"

extern uint32_t __stack_top[], __data_from[], __data_start[], __data_end[], __bss_start[], __bss_end[];
extern char __heap_start[], __heap_end[];

int main(void);
void fw_exit(int status);
void SysTick_Handler(void);
void Reset_Handler(void);
static void fault(void);

/* clang-format off */
__attribute__((used, section(".vectors"))) static const void *const vectors[16] = {
    __stack_top, (const void *)Reset_Handler, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault,
    0, 0, 0, (const void *)fault, (const void *)fault, 0, (const void *)fault, (const void *)SysTick_Handler,
};
/* clang-format on */

static int console = -1;

static void fault(void) {
    static const char text[] = "fault: the core took an exception\n";
    if (console >= 0) {
        fw_write(console, text, sizeof text - 1);
    }
    fw_exit(70);
}

void Reset_Handler(void) {
#if defined(__ARM_FEATURE_MVE) || defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: vector registers may be used */
    __asm__ volatile("dsb\nisb" ::: "memory");
#endif
    memcpy(__data_start, __data_from, (size_t)((char *)__data_end - (char *)__data_start));
    memset(__bss_start, 0, (size_t)((char *)__bss_end - (char *)__bss_start));
    console = fw_open(":tt", 'w');
    extern void exit(int);
    exit(main());
}

int _write(int file, const char *data, int bytes);
int _write(int file, const char *data, int bytes) {
    (void)file;
    return (int)fw_write(console, data, (size_t)bytes);
}

void *_sbrk(ptrdiff_t bytes);
void *_sbrk(ptrdiff_t bytes) {
    static char *top = __heap_start;
    if (bytes > __heap_end - top) {
        return (void *)-1;
    }
    char *const old = top;
    top += bytes;
    return old;
}

void _exit(int status);
void _exit(int status) {
    fw_exit(status);
    for (;;) {
    }
}

int _fstat(int file, struct stat *found);
int _fstat(int file, struct stat *found) {
    (void)file;
    found->st_mode = S_IFCHR; /* a terminal: written line by line */
    return 0;
}

int _isatty(int file);
int _isatty(int file) { return file <= 2; }

int _read(int file, char *data, int bytes);
int _read(int file, char *data, int bytes) {
    (void)file, (void)data, (void)bytes;
    return 0;
}

int _close(int file);
int _close(int file) {
    (void)file;
    return -1;
}

int _lseek(int file, int offset, int whence);
int _lseek(int file, int offset, int whence) {
    (void)file, (void)offset, (void)whence;
    return 0;
}

int _kill(int process, int signal);
int _kill(int process, int signal) {
    (void)process;
    _exit(128 + signal);
    return -1;
}

int _getpid(void);
int _getpid(void) { return 1; }

void _init(void);
void _init(void) {}

void _fini(void);
void _fini(void) {}
