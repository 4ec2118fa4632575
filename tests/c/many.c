// Very many outstanding blocks: argv[1] of them, of sizes that are small primes, from 256 different stacks. Says `made N` at
// each million.

#include "target.h"

SITE_OF("malloc", at_many);

#define DEPTH 8

static const unsigned char sizes[] = {17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67};

SITE static void left(int depth, unsigned path, size_t size);
SITE static void right(int depth, unsigned path, size_t size);

SITE static void at_many(size_t size) {
    void *block = malloc(size);
    SINK(block);
    opened(&at_many_site, size);
}

static void descend(int depth, unsigned path, size_t size) {
    if (!depth)
        at_many(size);
    else if (path & 1)
        left(depth - 1, path >> 1, size);
    else
        right(depth - 1, path >> 1, size);
}

SITE static void left(int depth, unsigned path, size_t size) {
    descend(depth, path, size);
}

SITE static void right(int depth, unsigned path, size_t size) {
    descend(depth, path, size);
}

int main(int argc, char **argv) {
    long count = argc > 1 ? atol(argv[1]) : 1000;
    ready();
    for (long i = 1; i <= count; i++) {
        descend(DEPTH, (unsigned)i, sizes[i % (long)sizeof sizes]);
        if (i % 1000000 == 0)
            say("made %ld", i);
    }
    return done();
}
