/* What a program that is measured or tested on a bare core may use: files of the folder it was started in, an exit
   status, and exact instruction counts. One implementation for emulated cores (semihost.c), one for the host (host.c).
   printf and the rest of the C library work too. */
#ifndef BT_FIRMWARE_H
#define BT_FIRMWARE_H

#include <stddef.h>
#include <stdint.h>

/* Opens a file of the run's folder; mode is 'r' or 'w'. Negative: it cannot be opened. */
int fw_open(const char *name, char mode);
/* Bytes really read or written; fewer than asked at the end of the file or when the disk is full. */
size_t fw_read(int file, void *data, size_t bytes);
size_t fw_write(int file, const void *data, size_t bytes);
void fw_close(int file);

/* Instructions between the two calls, less those of calling an empty function between them. Repeatable on emulated
   cores that were started with counting; 0 on the host. Timers of M-class cores tick 1 to 2 times per instruction, so a
   single count is good to an instruction or two. Declare what is measured BT_NOIPA, or the compiler moves it out of
   between. */
void count_start(void);
uint64_t count_stop(void);

#if defined(__clang__)
#define BT_NOIPA __attribute__((noinline, optnone))
#else
#define BT_NOIPA __attribute__((noipa))
#endif

#endif
