// More blocks than the tool's map is given room for, all resized: each realloc ends a block that may be tracked by the
// kernel or kept elsewhere, and makes one that may be either.

#include "target.h"

enum { BLOCKS = 3000 };

static void *blocks[BLOCKS];

SITE_OF("malloc", at_first);
SITE_OF("malloc", at_resized);

SITE static void at_first(size_t size) {
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(size);
        opened(&at_first_site, size);
    }
}

SITE static void at_resized(size_t from, size_t to) {
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = realloc(blocks[i], to);
        closed(&at_first_site, from);
        opened(&at_resized_site, to);
    }
}

SITE static void work(void) {
    size_t first = next_prime(), resized = next_prime();
    at_first(first);
    at_resized(first, resized);
    // Every third is given up by a realloc to nothing, which frees it.
    for (int i = 0; i < BLOCKS; i += 3) {
        SINK(realloc(blocks[i], 0));
        closed(&at_resized_site, resized);
    }
}

int main(void) {
    ready();
    work();
    return done();
}
