// Blocks of all sizes that an allocator treats in ways of their own, each written to, and none given back; of several threads.

#include <pthread.h>

#include "target.h"

#define THREADS 3
#define BYTES (8UL << 20)

static const size_t sizes[] = {47, 5003, 300007};

// What all blocks of one thread have.
static size_t held(void) {
    size_t sum = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        sum += BYTES / sizes[i] * sizes[i];
    return sum;
}

static void *hold(void *unused) {
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t at = 0; at < BYTES / sizes[i]; at++) {
            char *block = malloc(sizes[i]);
            if (!block)
                _exit(3);
            memset(block, 0xa5, sizes[i]);
            SINK(block);
        }
    }
    return unused;
}

int main(void) {
    pthread_t threads[THREADS - 1];
    for (int i = 0; i < THREADS - 1; i++)
        pthread_create(&threads[i], NULL, hold, NULL);
    hold(NULL);
    for (int i = 0; i < THREADS - 1; i++)
        pthread_join(threads[i], NULL);
    ready();
    printf("held %zu\n", THREADS * held());
    fflush(stdout);
    await_line();
    return 0;
}
