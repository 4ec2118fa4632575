// Threads whose stacks have pages that are not in memory, between frames or with frames in them.

#include <pthread.h>
#include <sys/mman.h>

#include "target.h"

#define PAGE 4096
#define STACK (64 * PAGE)

SITE_OF("malloc", above_3);
SITE_OF("malloc", above_7);
SITE_OF("malloc", above_9);
SITE_OF("malloc", above_locked);

static char *stack;

// Pages of `room` that are not in memory.
static int holes(char *room, size_t size) {
    unsigned char resident[64];
    char *first = (char *)(((uintptr_t)room + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
    size_t pages = (size_t)(room + size - first) / PAGE;
    if (mincore(first, pages * PAGE, resident))
        return -1;
    int missing = 0;
    for (size_t page = 0; page < pages; page++)
        missing += !(resident[page] & 1);
    return missing;
}

SITE static void take(struct site *site) {
    size_t size = next_prime();
    void *block = malloc(size);
    SINK(block);
    opened(site, size);
}

// The room is there and never touched.
#define ABOVE(pages)                                                      \
    SITE static void *above_##pages(void *unused) {                       \
        char room[pages * PAGE];                                          \
        SINK(room);                                                       \
        take(&above_##pages##_site);                                      \
        say("holes %d", holes(room, sizeof room));                        \
        return unused;                                                    \
    }

ABOVE(3)
ABOVE(7)
ABOVE(9)

// All but the last of these lie below the page that `locked` takes away.
SITE static void below(int depth, char *locked) {
    char room[PAGE / 2];
    SINK(room);
    if (depth > 0) {
        below(depth - 1, locked);
    } else {
        mprotect(locked, PAGE, PROT_NONE);
        take(&above_locked_site);
        mprotect(locked, PAGE, PROT_READ | PROT_WRITE);
    }
    SINK(room);
}

SITE static void *above_locked(void *unused) {
    char here;
    below(12, (char *)((uintptr_t)&here & ~(uintptr_t)(PAGE - 1)) - 3 * PAGE);
    SINK(&here);
    return unused;
}

// On a stack that was never used before, in small pages.
static void run(void *(*function)(void *)) {
    pthread_attr_t attributes;
    pthread_t thread;
    madvise(stack, STACK, MADV_DONTNEED);
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, STACK);
    if (pthread_create(&thread, &attributes, function, NULL))
        _exit(1);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
}

int main(void) {
    stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED)
        _exit(1);
    madvise(stack, STACK, MADV_NOHUGEPAGE);
    ready();
    run(above_3);
    run(above_7);
    run(above_9);
    run(above_locked);
    return done();
}
