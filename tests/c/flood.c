// More outstanding blocks than small maps and rings hold: argv[1] blocks of a size that argv[2] names.

#include "target.h"

SITE_OF("malloc", at_flood);
SITE_OF("malloc", at_freed_later);

#define MOST 100000

static void *blocks[MOST];

SITE static void *at_flood(size_t size) {
    void *block = malloc(size);
    SINK(block);
    opened(&at_flood_site, size);
    return block;
}

SITE static void *at_freed_later(size_t size) {
    void *block = malloc(size);
    SINK(block);
    opened(&at_freed_later_site, size);
    return block;
}

SITE static void work(int count, size_t size) {
    for (int i = 0; i < count; i++) {
        at_flood(size);
        blocks[i] = at_freed_later(size + 2);
    }
    for (int i = 0; i < count; i++) {
        free(blocks[i]);
        closed(&at_freed_later_site, size + 2);
    }
}

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 1000;
    size_t size = argc > 2 ? (size_t)atol(argv[2]) : 101;
    if (count > MOST)
        return 3;
    ready();
    work(count, size);
    return done();
}
