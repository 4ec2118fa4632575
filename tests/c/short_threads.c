// A thousand threads that live for one allocation each, as badly made pools have them.

#include <pthread.h>

#include "target.h"

#define THREADS 1000

SITE_OF("malloc", at_short_thread);

SITE static void *at_short_thread(void *argument) {
    char name[16];
    snprintf(name, sizeof name, "worker-%d", (int)(intptr_t)argument);
    pthread_setname_np(pthread_self(), name);
    SINK(malloc(101));
    opened(&at_short_thread_site, 101);
    return NULL;
}

int main(void) {
    ready();
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, at_short_thread, (void *)(intptr_t)i) == 0)
            pthread_join(thread, NULL);
    }
    return done();
}
