// Times pairs of malloc(64) and free in thread CPU time, on one CPU. Arguments: that CPU, and bytes of stack in use.
//
// Each line read, `BATCHES PAIRS PAUSE_US`, is answered with `ns N`: what the batches took together, without the pauses
// between them.

#include <alloca.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "target.h"

#define SIZE 64

static int cpu;
static size_t used;

static long long thread_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

SITE static long long pairs(long count) {
    long long begin = thread_ns();
    for (long i = 0; i < count; i++) {
        void *block = malloc(SIZE);
        SINK(block);
        free(block);
    }
    return thread_ns() - begin;
}

SITE static long long batches(long count, long size, long pause_us) {
    long long ns = 0;
    for (long i = 0; i < count; i++) {
        if (pause_us)
            usleep((useconds_t)pause_us);
        ns += pairs(size);
    }
    return ns;
}

static void answer(void) {
    char line[128];
    size_t length = 0;
    do {
        if (length == sizeof line - 1 || read(0, &line[length], 1) != 1)
            _exit(0);
    } while (line[length++] != '\n');
    line[length] = 0;
    long count, size, pause_us;
    if (sscanf(line, "%ld %ld %ld", &count, &size, &pause_us) != 3)
        _exit(2);
    say("ns %lld", batches(count, size, pause_us));
}

static void *loop(void *unused) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (pthread_setaffinity_np(pthread_self(), sizeof one, &one))
        _exit(2);
    volatile char *room = alloca(used + 1);
    for (size_t i = 0; i <= used; i += 1024)
        room[i] = 1;
    for (;;)
        answer();
    return unused;
}

// The thread's stack ends at its thread pointer, so that `used` is what there is to copy.
int main(int count, char **arguments) {
    if (count != 3)
        return 2;
    cpu = atoi(arguments[1]);
    used = (size_t)atol(arguments[2]);
    say("ready");
    pthread_t thread;
    pthread_create(&thread, NULL, loop, NULL);
    pthread_join(thread, NULL);
}
