// The same addresses over and over: an address that is freed is handed out again at once, also to another function.

#include "target.h"

SITE_OF("malloc", at_pair);
SITE_OF("malloc", at_first);
SITE_OF("malloc", at_second);

static unsigned long reused;

SITE static void at_pair(size_t size) {
    static void *last;
    void *block = malloc(size);
    SINK(block);
    reused += block == last;
    last = block;
    free(block);
    opened(&at_pair_site, size);
    closed(&at_pair_site, size);
}

SITE static void *at_first(size_t size) {
    void *block = malloc(size);
    SINK(block);
    opened(&at_first_site, size);
    return block;
}

SITE static void *at_second(size_t size) {
    void *block = malloc(size);
    SINK(block);
    opened(&at_second_site, size);
    return block;
}

SITE static void work(void) {
    size_t size = next_prime();
    for (int i = 0; i < 2000; i++)
        at_pair(size);
    // at_second gets what at_first has given back, and keeps it.
    for (int i = 0; i < 10; i++) {
        size = next_prime();
        free(at_first(size));
        closed(&at_first_site, size);
        at_second(size);
    }
}

int main(void) {
    ready();
    work();
    say("reused %lu", reused);
    return done();
}
