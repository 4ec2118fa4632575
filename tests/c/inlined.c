// A library whose site is three levels of inlining away from the allocation. AT is the name of the site: two builds of
// this file differ in nothing else, as two versions of a library do.

#include "target.h"

#define SITE_NAMED(name) SITE_OF("malloc", name)
#define TRUTH_OF(name) name##_site
#define TRUTH(name) TRUTH_OF(name)

SITE_NAMED(AT);

#define INLINED static inline __attribute__((always_inline)) void *

INLINED innermost(size_t size) {
    void *block = malloc(size); // line of innermost
    SINK(block);
    return block;
}

INLINED middle(size_t size) {
    void *block = innermost(size + 1); // line of middle
    SINK(block);
    return block;
}

INLINED outermost(size_t size) {
    void *block = middle(size + 1); // line of outermost
    SINK(block);
    return block;
}

// Not exported: only full symbol tables and debug information know it.
SITE static void AT(void) {
    size_t size = next_prime();
    outermost(size); // line of the site
    opened(&TRUTH(AT), size + 2);
}

SITE void plugin_work(void) {
    AT(); // line of plugin_work
    tell_truth();
}
