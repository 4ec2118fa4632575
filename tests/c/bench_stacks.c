// Allocates at a steady rate from 1024 different stacks, each 64 frames deep above some 16 KiB. Arguments: allocations per
// second.
//
// Each line read, a number of seconds, is answered with `made N` when they are over.

#include <pthread.h>
#include <time.h>

#include "target.h"

#define DEPTH 64
#define FRAME 216
#define KEPT 256

static long rate;

SITE static void *left(int depth, unsigned long path);
SITE static void *right(int depth, unsigned long path);

static void *descend(int depth, unsigned long path) {
    if (!depth)
        return malloc(101);
    return path & 1 ? left(depth - 1, path >> 1) : right(depth - 1, path >> 1);
}

#define BRANCH(name)                                            \
    SITE static void *name(int depth, unsigned long path) {     \
        volatile char room[FRAME];                              \
        room[0] = 1;                                            \
        SINK(room);                                             \
        void *block = descend(depth, path);                     \
        SINK(block);                                            \
        room[FRAME - 1] = 1;                                    \
        return block;                                           \
    }

BRANCH(left)
BRANCH(right)

static void advance(struct timespec *time, long ns) {
    time->tv_nsec += ns;
    while (time->tv_nsec >= 1000000000) {
        time->tv_nsec -= 1000000000;
        time->tv_sec++;
    }
}

static unsigned long work(long seconds) {
    static void *kept[KEPT];
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    unsigned long count = (unsigned long)(seconds * rate);
    for (unsigned long i = 0; i < count; i++) {
        advance(&next, 1000000000 / rate);
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL)) {
        }
        free(kept[i % KEPT]);
        kept[i % KEPT] = descend(DEPTH, i % 1024);
    }
    return count;
}

static void *loop(void *unused) {
    for (;;) {
        char digits[16] = {0};
        for (size_t i = 0; i < sizeof digits - 1; i++) {
            if (read(0, &digits[i], 1) != 1)
                _exit(0);
            if (digits[i] == '\n')
                break;
        }
        say("made %lu", work(atol(digits)));
    }
    return unused;
}

int main(int count, char **arguments) {
    if (count != 2 || (rate = atol(arguments[1])) <= 0)
        return 2;
    say("ready");
    pthread_t thread;
    pthread_create(&thread, NULL, loop, NULL);
    pthread_join(thread, NULL);
}
