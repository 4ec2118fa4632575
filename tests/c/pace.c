// Allocates at a pace that is told line by line: `calm` does nothing, `storm` allocates without a pause, `big` allocates
// some big blocks from a deep stack every millisecond, `keep` keeps as many of these as the line says, `touch` also writes
// to them, `files` opens and closes file streams without a pause. Each line is answered by `count N`, the allocations of the storm so far.

#include <pthread.h>
#include <time.h>

#include "target.h"

SITE_OF("malloc", at_kept);

#define SMALL 97
#define BIG 1048583
#define BIG_PER_MILLISECOND 8
#define DEEP 57344

enum pace { CALM, STORM, BIGS, FILES };

static volatile int pace;
static unsigned long count;

SITE static void at_storm(size_t size) {
    void *block = malloc(size);
    SINK(block);
    free(block);
}

SITE static void at_kept(void) {
    void *block = malloc(BIG);
    SINK(block);
    opened(&at_kept_site, BIG);
}

// As at_kept, with every page written.
SITE static void at_touched(void) {
    char *block = malloc(BIG);
    memset(block, 1, BIG);
    SINK(block);
}

// Copying its stack costs several times what the traps do.
SITE static void at_deep(void) {
    char stack[DEEP];
    SINK(stack);
    at_storm(BIG);
    SINK(stack);
}

SITE static void at_files(void) {
    char bytes[16] = {0};
    fclose(fmemopen(bytes, sizeof bytes, "r"));
}

// By the clock, so that a busy machine delays the calls and does not make them fewer.
static void *work(void *unused) {
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        if (pace == STORM) {
            at_storm(SMALL);
            __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
            continue;
        }
        if (pace == FILES) {
            at_files();
            __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
            continue;
        }
        for (int i = 0; pace == BIGS && i < BIG_PER_MILLISECOND; i++)
            at_deep();
        next.tv_nsec += 1000000;
        if (next.tv_nsec >= 1000000000) {
            next.tv_nsec -= 1000000000;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    return unused;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, work, NULL);
    say("ready");
    for (;;) {
        char line[64];
        read_line(line, sizeof line);
        if (!strcmp(line, "end"))
            break;
        if (!strncmp(line, "keep ", 5))
            for (int blocks = atoi(line + 5); blocks > 0; blocks--)
                at_kept();
        else if (!strncmp(line, "touch ", 6))
            for (int blocks = atoi(line + 6); blocks > 0; blocks--)
                at_touched();
        else if (!strcmp(line, "calm"))
            pace = CALM;
        else if (!strcmp(line, "storm"))
            pace = STORM;
        else if (!strcmp(line, "big"))
            pace = BIGS;
        else if (!strcmp(line, "files"))
            pace = FILES;
        say("count %lu", __atomic_load_n(&count, __ATOMIC_RELAXED));
    }
    return done();
}
