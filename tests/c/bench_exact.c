// Allocates at the rates that it is told, on several threads. Arguments: threads, frames, bytes of each frame, different
// stacks (0: each allocation has one of its own). Each line read, `RATE MILLISECONDS`, is answered with `made N in NANOSECONDS` when that is done; `end` with
// the truth.
//
// A thread frees what it made 256 allocations before, but for each 64th, which it keeps for good. Each millisecond it makes
// what is due by the clock, so that a thread that was held up is late and makes no less.

#include <pthread.h>
#include <time.h>

#include "target.h"

SITE_OF("malloc", at_exact);

#define KEPT 256
#define FOR_GOOD 64
#define MOST_THREADS 64
#define MS 1000000L

struct parcel {
    void *block;
    size_t size;
};

static int threads, depth;
static size_t frame;
static long rate, milliseconds;
static unsigned long stacks;
static pthread_barrier_t begin, end;

SITE static void *left(int depth, unsigned long path, size_t size);
SITE static void *right(int depth, unsigned long path, size_t size);

SITE static void *at_exact(size_t size) {
    void *block = malloc(size);
    SINK(block);
    opened(&at_exact_site, size);
    return block;
}

static void *descend(int depth, unsigned long path, size_t size) {
    if (!depth)
        return at_exact(size);
    return path & 1 ? left(depth - 1, path >> 1, size) : right(depth - 1, path >> 1, size);
}

#define BRANCH(name)                                                     \
    SITE static void *name(int depth, unsigned long path, size_t size) { \
        volatile char room[frame];                                       \
        room[0] = 1;                                                     \
        SINK(room);                                                      \
        void *block = descend(depth, path, size);                        \
        SINK(block);                                                     \
        room[frame - 1] = 1;                                             \
        return block;                                                    \
    }

BRANCH(left)
BRANCH(right)

static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 * MS + time.tv_nsec;
}

static void sleep_until(long ns) {
    struct timespec time = {ns / (1000 * MS), ns % (1000 * MS)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL)) {
    }
}

static void release(struct parcel *parcel) {
    if (!parcel->block)
        return;
    free(parcel->block);
    closed(&at_exact_site, parcel->size);
}

// Which way the stack takes at each of its frames; a multiplication by an odd number gives no two numbers the same.
static unsigned long path(unsigned long made, int self) {
    unsigned long number = made * MOST_THREADS + (unsigned long)self;
    return stacks ? number % stacks : number * 0x9e3779b97f4a7c15u;
}

static void work(struct parcel *kept, unsigned long *made, int self) {
    long count = rate * milliseconds / 1000 / threads, start = now();
    for (long done = 0, tick = 1; done < count; tick++) {
        long due = rate * tick / 1000 / threads;
        for (; done < due && done < count; done++, ++*made) {
            struct parcel parcel = {NULL, 97 + 2 * (*made % 1009)};
            parcel.block = descend(depth, path(*made, self), parcel.size);
            if (*made % FOR_GOOD == 0)
                continue;
            struct parcel *slot = &kept[*made % KEPT];
            release(slot);
            *slot = parcel;
        }
        sleep_until(start + tick * MS);
    }
}

static void *loop(void *argument) {
    int self = (int)(intptr_t)argument;
    struct parcel kept[KEPT] = {{NULL, 0}};
    unsigned long made = 0;
    for (;;) {
        pthread_barrier_wait(&begin);
        work(kept, &made, self);
        pthread_barrier_wait(&end);
    }
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 5)
        return 2;
    threads = atoi(arguments[1]);
    depth = atoi(arguments[2]);
    frame = (size_t)atol(arguments[3]);
    stacks = strtoul(arguments[4], NULL, 10);
    if (threads < 1 || threads > MOST_THREADS || frame < 1)
        return 2;
    pthread_barrier_init(&begin, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&end, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, loop, (void *)(intptr_t)i);
    }
    say("ready");
    for (;;) {
        char line[64];
        read_line(line, sizeof line);
        if (!strcmp(line, "end"))
            break;
        if (sscanf(line, "%ld %ld", &rate, &milliseconds) != 2 || rate < threads)
            return 2;
        long start = now();
        pthread_barrier_wait(&begin);
        pthread_barrier_wait(&end);
        say("made %ld in %ld", rate * milliseconds / 1000 / threads * threads, now() - start);
    }
    return done();
}
