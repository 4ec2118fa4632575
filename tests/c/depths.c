// Allocations at known depths of recursion, and one above a stack too large to copy.

#include "target.h"

SITE_OF("malloc", at_depth_1);
SITE_OF("malloc", at_depth_11);
SITE_OF("malloc", at_depth_101);
SITE_OF("malloc", at_huge_stack);

#define HUGE (1 << 20)

SITE static void *descend(int depth, size_t size) {
    void *block = depth > 1 ? descend(depth - 1, size) : malloc(size);
    SINK(block);
    return block;
}

#define AT_DEPTH(depth)                                      \
    SITE static void at_depth_##depth(void) {                \
        size_t size = next_prime();                          \
        descend(depth, size);                                \
        opened(&at_depth_##depth##_site, size);              \
    }

AT_DEPTH(1)
AT_DEPTH(11)
AT_DEPTH(101)

SITE static void *above(volatile char *room, size_t size) {
    void *block = malloc(size);
    SINK(block);
    room[0] = 1;
    return block;
}

SITE static void at_huge_stack(void) {
    volatile char room[HUGE];
    for (size_t i = 0; i < sizeof room; i += 4096)
        room[i] = 1;
    size_t size = next_prime();
    above(room, size);
    opened(&at_huge_stack_site, size);
}

SITE static void work(void) {
    at_depth_1();
    at_depth_11();
    at_depth_101();
    at_huge_stack();
}

int main(void) {
    ready();
    work();
    return done();
}
