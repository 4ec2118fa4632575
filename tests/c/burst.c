// What enlarges the process and is no leak, or is one: a burst that malloc keeps, blocks that stay, pages that are
// never touched, and memory that no hook sees.

#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "target.h"

#define COUNT 4000
#define BLOCK 60013
#define KEPT 1009

static void *blocks[COUNT];

SITE_OF("malloc", at_burst);
SITE_OF("malloc", at_kept);
SITE_OF("malloc", at_untouched);

// Small blocks between the others stay, so that the heap can't be given back.
SITE static void at_burst(void) {
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = malloc(BLOCK);
        memset(blocks[i], 1, BLOCK);
        opened(&at_burst_site, BLOCK);
        void *small = malloc(41);
        memset(small, 1, 41);
        opened(&at_burst_site, 41);
    }
    for (int i = 0; i < COUNT; i++) {
        free(blocks[i]);
        closed(&at_burst_site, BLOCK);
    }
}

SITE static void at_kept(void) {
    for (int i = 0; i < 64000; i++) {
        void *block = malloc(KEPT);
        memset(block, 1, KEPT);
        SINK(block);
        opened(&at_kept_site, KEPT);
    }
}

SITE static void at_untouched(void) {
    void *block = malloc(128 << 20);
    SINK(block);
    opened(&at_untouched_site, 128 << 20);
}

// By the system call, which has no probe.
SITE static void at_hidden(void) {
    size_t length = 64 << 20;
    char *at = (char *)syscall(SYS_mmap, NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(at, 1, length);
    SINK(at);
}

int main(int count, char **words) {
    // One limit for all: blocks of the burst come from the heap.
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    ready();
    for (int i = 1; i < count; i++) {
        switch (words[i][0]) {
        case 'b': at_burst(); break;
        case 'k': at_kept(); break;
        case 'u': at_untouched(); break;
        case 'h': at_hidden(); break;
        default: return 2;
        }
    }
    return done();
}
