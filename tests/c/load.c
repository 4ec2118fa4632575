// Allocates and frees without end, and says how far it is when asked: each line read gives `count N`.

#include <pthread.h>

#include "target.h"

#define THREADS 2
#define KEPT 64

static unsigned long count;

SITE static void *at_load(size_t size) {
    void *block = malloc(size);
    SINK(block);
    return block;
}

static void *loop(void *unused) {
    void *kept[KEPT] = {NULL};
    for (unsigned long i = 0;; i++) {
        free(kept[i % KEPT]);
        kept[i % KEPT] = at_load(101 + i % 1000);
        __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
    }
    return unused;
}

int main(void) {
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, loop, NULL);
    }
    ready();
    for (;;) {
        say("count %lu", __atomic_load_n(&count, __ATOMIC_RELAXED));
        await_line();
    }
}
