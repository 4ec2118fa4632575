// A program whose own code has no call frame information: compiled so.

#include "target.h"

SITE_OF("malloc", outermost);

SITE static void outermost(void) {
    size_t size = next_prime();
    SINK(malloc(size));
    opened(&outermost_site, size);
}

int main(void) {
    ready();
    outermost();
    return done();
}
