// Every function of the malloc family, with every outcome that it has. Each block has a prime size of its own.

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>

#include "target.h"

SITE_OF("malloc", at_malloc);
SITE_OF("malloc", at_malloc_zero);
SITE_OF("malloc", at_calloc);
SITE_OF("malloc", at_realloc);
SITE_OF("malloc", at_realloc_of_null);
SITE_OF("malloc", at_realloc_to_zero);
SITE_OF("malloc", at_reallocarray);
SITE_OF("malloc", at_posix_memalign);
SITE_OF("malloc", at_aligned_alloc);
SITE_OF("malloc", at_memalign);
SITE_OF("malloc", at_valloc);
SITE_OF("malloc", at_pvalloc);
SITE_OF("malloc", at_cfree);

// More than any address space has, and unknown to the compiler.
static volatile size_t impossible = SIZE_MAX / 2 - 4096;

SITE static void *at_malloc(size_t size) {
    void *block = malloc(size);
    SINK(block);
    known(&at_malloc_site);
    if (block)
        opened(&at_malloc_site, size);
    return block;
}

SITE static void at_malloc_zero(void) {
    void *block = malloc(0);
    SINK(block);
    opened(&at_malloc_zero_site, 0);
}

SITE static void *at_calloc(size_t count, size_t size) {
    void *block = calloc(count, size);
    SINK(block);
    known(&at_calloc_site);
    if (block)
        opened(&at_calloc_site, count * size);
    return block;
}

// The old block is gone only when the call succeeds.
SITE static void *at_realloc(void *old, struct site *from, size_t old_size, size_t size) {
    void *block = realloc(old, size);
    SINK(block);
    known(&at_realloc_site);
    if (!block)
        return old;
    closed(from, old_size);
    opened(&at_realloc_site, size);
    return block;
}

SITE static void at_realloc_of_null(size_t size) {
    void *block = realloc(NULL, size);
    SINK(block);
    opened(&at_realloc_of_null_site, size);
}

// glibc frees and gives NULL; other allocators give an empty block: the target looks.
SITE static void at_realloc_to_zero(void *old, struct site *from, size_t old_size) {
    void *block = realloc(old, 0);
    SINK(block);
    closed(from, old_size);
    known(&at_realloc_to_zero_site);
    if (block)
        opened(&at_realloc_to_zero_site, 0);
}

SITE static void *at_reallocarray(void *old, struct site *from, size_t old_size, size_t count, size_t size) {
    void *block = reallocarray(old, count, size);
    SINK(block);
    known(&at_reallocarray_site);
    if (!block)
        return old;
    if (old)
        closed(from, old_size);
    opened(&at_reallocarray_site, count * size);
    return block;
}

SITE static int at_posix_memalign(size_t alignment, size_t size) {
    void *block = NULL;
    int error = posix_memalign(&block, alignment, size);
    SINK(block);
    known(&at_posix_memalign_site);
    if (!error)
        opened(&at_posix_memalign_site, size);
    return error;
}

#define ALIGNED(name, call)                   \
    SITE static void *name(size_t size) {     \
        void *block = call;                   \
        SINK(block);                          \
        known(&name##_site);                  \
        if (block)                            \
            opened(&name##_site, size);       \
        return block;                         \
    }
ALIGNED(at_aligned_alloc, aligned_alloc(64, size))
ALIGNED(at_memalign, memalign(256, size))
ALIGNED(at_valloc, valloc(size))
ALIGNED(at_pvalloc, pvalloc(size))

SITE static void at_cfree(void (*cfree)(void *), size_t size) {
    void *block = malloc(size);
    SINK(block);
    opened(&at_cfree_site, size);
    if (cfree) {
        cfree(block);
        closed(&at_cfree_site, size);
    }
}

SITE static void plain(void) {
    for (int i = 0; i < 3; i++)
        at_malloc(next_prime());
    size_t size = next_prime();
    free(at_malloc(size));
    closed(&at_malloc_site, size);
    for (int i = 0; i < 5; i++)
        at_malloc_zero();
    for (int i = 0; i < 5; i++)
        free(NULL);
    at_malloc(impossible);

    size_t count = next_prime();
    at_calloc(count, next_prime());
    at_calloc(impossible, 3);
    at_calloc(impossible / 2, 2);
    size = next_prime();
    free(at_calloc(1, size));
    closed(&at_calloc_site, size);
}

SITE static void reallocations(void) {
    size_t first = next_prime(), second = next_prime(), third = next_prime() * 1024, fourth = next_prime();
    void *block = at_malloc(first);
    block = at_realloc(block, &at_malloc_site, first, second);     // a little larger
    at_malloc(next_prime());                                       // in the way
    block = at_realloc(block, &at_realloc_site, second, third);    // has to move
    block = at_realloc(block, &at_realloc_site, third, fourth);    // shrinks
    at_realloc(block, &at_realloc_site, fourth, impossible);       // fails: the block stays
    at_realloc_of_null(next_prime());

    size_t size = next_prime();
    block = at_malloc(size);
    at_realloc_to_zero(block, &at_malloc_site, size);

    size = next_prime();
    size_t count = next_prime();
    block = at_reallocarray(NULL, NULL, 0, 7, size);
    block = at_reallocarray(block, &at_reallocarray_site, 7 * size, 11, count);
    at_reallocarray(block, &at_reallocarray_site, 11 * count, impossible, 5);    // overflows: the block stays
}

SITE static void aligned(void) {
    at_posix_memalign(64, next_prime());
    at_posix_memalign(4096, next_prime());
    if (at_posix_memalign(3, next_prime()) != EINVAL)
        _exit(3);
    at_posix_memalign(64, impossible);
    at_aligned_alloc(next_prime());
    at_memalign(next_prime());
    at_valloc(next_prime());
    at_pvalloc(next_prime());
    size_t size = next_prime();
    void *block = at_memalign(size);
    if (block) {
        free(block);
        closed(&at_memalign_site, size);
    }
}

SITE static void work(void (*cfree)(void *)) {
    plain();
    reallocations();
    aligned();
    at_cfree(cfree, next_prime());
}

int main(void) {
    void (*cfree)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "cfree");
    ready();
    work(cfree);
    return done();
}
