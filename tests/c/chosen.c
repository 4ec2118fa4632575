// A function whose code is chosen when it is first called: the dynamic linker then calls `choose`, which allocates.

#include "target.h"

SITE_OF("malloc", choose);

static int implementation(void) {
    return 1;
}

SITE static void *choose(void) {
    size_t size = next_prime();
    void *block = malloc(size);
    SINK(block);
    opened(&choose_site, size);
    return (void *)implementation;
}

int chosen(void) __attribute__((ifunc("choose")));

void tell_chosen(void) {
    tell_truth();
}
