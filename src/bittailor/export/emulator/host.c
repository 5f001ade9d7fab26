/* firmware.h on the host: plain files, no counts. */
#include "firmware.h"

#include <stdio.h>

#define MOST 8
static FILE *files[MOST];

int fw_open(const char *name, char mode) {
    for (int i = 0; i < MOST; i++) {
        if (files[i] == NULL) {
            files[i] = fopen(name, mode == 'w' ? "wb" : "rb");
            return files[i] == NULL ? -1 : i;
        }
    }
    return -1;
}

size_t fw_read(int file, void *data, size_t bytes) { return fread(data, 1, bytes, files[file]); }

size_t fw_write(int file, const void *data, size_t bytes) { return fwrite(data, 1, bytes, files[file]); }

void fw_close(int file) {
    fclose(files[file]);
    files[file] = NULL;
}

void count_start(void) {}

uint64_t count_stop(void) { return 0; }
