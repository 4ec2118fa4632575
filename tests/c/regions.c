// mmap, munmap and mremap with all that they can do to regions. Sizes are prime numbers of pages.

#include <pthread.h>
#include <sys/mman.h>

#include "target.h"

#define PAGE 4096ul

SITE_OF("mmap", at_anonymous);
SITE_OF("mmap", at_file);
SITE_OF("mmap", at_odd_length);
SITE_OF("mmap", at_cut);
SITE_OF("mmap", at_span);
SITE_OF("mmap", at_older);
SITE_OF("mmap", at_newer);
SITE_OF("mmap", at_reserve);
SITE_OF("mmap", at_commit);
SITE_OF("mmap", at_grown);
SITE_OF("mmap", at_shrunk);
SITE_OF("mmap", at_moved);
SITE_OF("mmap", at_moved_onto);
SITE_OF("mmap", at_failing);
SITE_OF("malloc", at_big_malloc);
SITE_OF("malloc", at_big_realloc);

static char *map(char *at, size_t pages, int access, int flags) {
    char *region = mmap(at, pages * PAGE, access, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    SINK(region);
    if (region == MAP_FAILED)
        _exit(3);
    return region;
}

// Without inlining, `map` would be a frame of its own; the sites' names are in the stack either way.
#define MAP(name, at, pages, access, flags)                    \
    SITE static char *name(char *where, size_t count) {        \
        char *region = map(at, pages, access, flags);          \
        SINK(region);                                          \
        return region;                                         \
    }

MAP(at_anonymous, where, count, PROT_READ | PROT_WRITE, 0)
MAP(at_cut, where, count, PROT_READ | PROT_WRITE, 0)
MAP(at_span, where, count, PROT_READ | PROT_WRITE, MAP_FIXED)
MAP(at_older, where, count, PROT_READ | PROT_WRITE, 0)
MAP(at_newer, where, count, PROT_READ, MAP_FIXED)
MAP(at_reserve, where, count, PROT_NONE, MAP_NORESERVE)
MAP(at_commit, where, count, PROT_READ | PROT_WRITE, MAP_FIXED)
MAP(at_moved_onto, where, count, PROT_READ | PROT_WRITE, 0)

// Only the pages are told: whether a region in two halves is one or two is not this target's to say.
static void holds(struct site *site, long long pages) {
    known(site);
    site->outstanding_bytes += pages * (long long)PAGE;
    site->outstanding_count = site->allocated_bytes = site->allocated_count = UNTOLD;
}

static void unmap(char *at, size_t pages) {
    if (munmap(at, pages * PAGE))
        _exit(3);
}

SITE static void at_file(size_t pages) {
    char *region = mmap(NULL, pages * PAGE, PROT_READ, MAP_PRIVATE, 3, 0);
    SINK(region);
    if (region == MAP_FAILED)
        _exit(3);
    opened(&at_file_site, pages * PAGE);
}

SITE static void at_odd_length(size_t bytes) {
    char *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SINK(region);
    opened(&at_odd_length_site, (bytes + PAGE - 1) / PAGE * PAGE);
}

SITE static void at_failing(void) {
    known(&at_failing_site);
    void *nothing = mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *too_much = mmap(NULL, 1ul << 60, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SINK(nothing);
    SINK(too_much);
    if (nothing != MAP_FAILED || too_much != MAP_FAILED)
        _exit(3);
}

SITE static void whole(void) {
    at_anonymous(NULL, 3);
    opened(&at_anonymous_site, 3 * PAGE);
    char *gone = at_anonymous(NULL, 5);
    opened(&at_anonymous_site, 5 * PAGE);
    unmap(gone, 5);
    closed(&at_anonymous_site, 5 * PAGE);
    char *kept = at_anonymous(NULL, 7);
    opened(&at_anonymous_site, 7 * PAGE);
    if (!munmap(kept + 1, PAGE))    // not on a page: fails, and the region stays
        _exit(3);
    at_file(11);
    at_odd_length(13 * PAGE - 123);
    at_failing();
}

SITE static void cut(void) {
    char *region = at_cut(NULL, 17);
    unmap(region, 2);
    holds(&at_cut_site, 15);
    region = at_cut(NULL, 19);
    unmap(region + 16 * PAGE, 3);
    holds(&at_cut_site, 16);
    region = at_cut(NULL, 23);
    unmap(region + 5 * PAGE, 7);
    holds(&at_cut_site, 16);
}

// Three neighbours, and one munmap from the middle of the first to the middle of the last.
SITE static void spanning(void) {
    char *base = at_reserve(NULL, 31);
    at_span(base, 5);
    at_span(base + 5 * PAGE, 7);
    at_span(base + 12 * PAGE, 11);
    unmap(base + 3 * PAGE, 5 - 3 + 7 + 4);
    holds(&at_span_site, 3 + 7);
    holds(&at_reserve_site, 0);
    at_reserve_site.reserved_bytes = (31 - 23) * (long long)PAGE;
}

SITE static void over(void) {
    char *older = at_older(NULL, 29);
    at_newer(older + 4 * PAGE, 13);
    holds(&at_older_site, 29 - 13);
    holds(&at_newer_site, 13);

    // As HotSpot does: commits over its reservation, and uncommits by reserving again.
    char *base = at_reserve(NULL, 37);
    at_commit(base + 2 * PAGE, 23);
    char *back = mmap(base + 10 * PAGE, 5 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    SINK(back);
    holds(&at_commit_site, 23 - 5);
    at_reserve_site.reserved_bytes += (37 - 23) * (long long)PAGE;
}

// Each of these holds the region from its mmap to its mremap, so that it does not matter which of both is named.
SITE static void at_grown(void) {
    char *region = map(NULL, 5, PROT_READ | PROT_WRITE, 0);
    map(region + 5 * PAGE, 0 + 1, PROT_NONE, 0);
    region = mremap(region, 5 * PAGE, 41 * PAGE, MREMAP_MAYMOVE);
    SINK(region);
    holds(&at_grown_site, 41);
}

SITE static void at_shrunk(void) {
    char *region = map(NULL, 43, PROT_READ | PROT_WRITE, 0);
    region = mremap(region, 43 * PAGE, 17 * PAGE, 0);
    SINK(region);
    holds(&at_shrunk_site, 17);
    // Without MAYMOVE, and with no room: fails, and the region stays.
    if (mremap(region, 17 * PAGE, 1ul << 46, 0) != MAP_FAILED)
        _exit(3);
}

SITE static void at_moved(char *onto) {
    char *region = map(NULL, 11, PROT_READ | PROT_WRITE, 0);
    if (mremap(region, 11 * PAGE, 11 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, onto) != onto)
        _exit(3);
    holds(&at_moved_site, 11);
}

SITE static void moved(void) {
    at_grown();
    at_shrunk();
    char *onto = at_moved_onto(NULL, 47);
    at_moved(onto + 20 * PAGE);
    holds(&at_moved_onto_site, 47 - 11);
}

// glibc maps such a block; it is one malloc, and no region besides.
SITE static void *at_big_malloc(size_t size) {
    void *block = malloc(size);
    SINK(block);
    opened(&at_big_malloc_site, size);
    return block;
}

// glibc moves such a block with mremap.
SITE static void at_big_realloc(size_t old_size, size_t size) {
    void *block = malloc(old_size);
    SINK(block);
    opened(&at_big_realloc_site, old_size);
    block = realloc(block, size);
    SINK(block);
    closed(&at_big_realloc_site, old_size);
    opened(&at_big_realloc_site, size);
}

// And gives it back with munmap.
SITE static void big_blocks(void) {
    at_big_malloc(1000003);
    at_big_malloc(33554467);
    free(at_big_malloc(2000003));
    closed(&at_big_malloc_site, 2000003);
    at_big_realloc(1000033, 3000017);
}

static void *idle(void *unused) {
    for (;;)
        pause();
    return unused;
}

SITE static void at_thread_stack(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 53 * 16 * PAGE);
    pthread_create(&thread, &attributes, idle, NULL);
}

SITE static void work(void) {
    whole();
    cut();
    spanning();
    over();
    moved();
    big_blocks();
    at_thread_stack();
}

int main(void) {
    // Descriptor 3 is what at_file maps.
    FILE *file = fopen("/proc/self/exe", "r");
    if (!file || (fileno(file) != 3 && dup2(fileno(file), 3) != 3))
        return 3;
    ready();
    work();
    return done();
}
