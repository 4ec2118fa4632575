// argv[1] threads that live at once, each with a name of its own: all allocate at the same moment, again and again, and free
// each second block.

#include <pthread.h>

#include "target.h"

#define ROUNDS 4
#define STACK 65536

SITE_OF("malloc", at_crowd);

static pthread_barrier_t born, begin, end;

SITE static void *at_crowd(size_t size) {
    void *block = malloc(size);
    SINK(block);
    opened(&at_crowd_site, size);
    return block;
}

static void *live(void *argument) {
    int self = (int)(intptr_t)argument;
    char name[16];
    snprintf(name, sizeof name, "crowd-%d", self);
    pthread_setname_np(pthread_self(), name);
    pthread_barrier_wait(&born);
    pthread_barrier_wait(&begin);
    for (int round = 0; round < ROUNDS; round++) {
        size_t size = 101 + 2 * (size_t)(self % 997);
        void *block = at_crowd(size);
        if (round % 2) {
            free(block);
            closed(&at_crowd_site, size);
        }
    }
    pthread_barrier_wait(&end);
    return NULL;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 100;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_barrier_init(&born, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&begin, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&end, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, live, (void *)(intptr_t)i))
            return 3;
    }
    pthread_barrier_wait(&born);
    ready();
    pthread_barrier_wait(&begin);
    pthread_barrier_wait(&end);
    return done();
}
