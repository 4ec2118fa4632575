// Functions whose memory has a shape over time, one step each tenth of a second: one grows, one stays, one is collected,
// one comes late, and one frees at once. `elapsed N` says in milliseconds how long the steps took from the first to the last.

#include <time.h>

#include "target.h"

#define STEPS 100
#define STEP_NS 100000000

#define GROWN 5003
#define GROWN_A_STEP 20
#define LEVEL 20011
#define LEVEL_BLOCKS 5
#define TOOTH 30011
#define TOOTH_STEPS 10
#define LATE 50021
#define LATE_FROM 90
#define BRIEF 7019
#define BRIEF_A_STEP 10

SITE_OF("malloc", at_grow);
SITE_OF("malloc", at_level);
SITE_OF("malloc", at_teeth);
SITE_OF("malloc", at_late);
SITE_OF("malloc", at_brief);

SITE static void *at_grow(void) {
    void *block = malloc(GROWN);
    SINK(block);
    opened(&at_grow_site, GROWN);
    return block;
}

SITE static void *at_level(void) {
    void *block = malloc(LEVEL);
    SINK(block);
    opened(&at_level_site, LEVEL);
    return block;
}

SITE static void *at_teeth(void) {
    void *block = malloc(TOOTH);
    SINK(block);
    opened(&at_teeth_site, TOOTH);
    return block;
}

SITE static void *at_late(void) {
    void *block = malloc(LATE);
    SINK(block);
    opened(&at_late_site, LATE);
    return block;
}

SITE static void at_brief(void) {
    void *block = malloc(BRIEF);
    SINK(block);
    opened(&at_brief_site, BRIEF);
    free(block);
    closed(&at_brief_site, BRIEF);
}

static void step(int at) {
    static void *level[LEVEL_BLOCKS], *teeth[TOOTH_STEPS];
    for (int i = 0; i < GROWN_A_STEP; i++)
        at_grow();
    void **oldest = &level[at % LEVEL_BLOCKS];
    if (*oldest) {
        free(*oldest);
        closed(&at_level_site, LEVEL);
    }
    *oldest = at_level();
    teeth[at % TOOTH_STEPS] = at_teeth();
    for (int i = 0; at % TOOTH_STEPS == TOOTH_STEPS - 1 && i < TOOTH_STEPS; i++) {
        free(teeth[i]);
        closed(&at_teeth_site, TOOTH);
    }
    for (int i = 0; i < BRIEF_A_STEP; i++)
        at_brief();
    if (at >= LATE_FROM)
        at_late();
}

// By the clock: a busy machine makes a step late, and the next ones not.
static void work(void) {
    struct timespec first, next, last;
    clock_gettime(CLOCK_MONOTONIC, &first);
    next = first;
    for (int at = 0; at < STEPS; at++) {
        step(at);
        clock_gettime(CLOCK_MONOTONIC, &last);
        next.tv_nsec += STEP_NS;
        if (next.tv_nsec >= 1000000000) {
            next.tv_nsec -= 1000000000;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    say("elapsed %lld", (long long)(last.tv_sec - first.tv_sec) * 1000 + (last.tv_nsec - first.tv_nsec) / 1000000);
}

int main(void) {
    ready();
    work();
    return done();
}
