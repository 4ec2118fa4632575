// Allocations in signal handlers that interrupt anything: the vDSO, another handler, a stack of another thread's size.

#include <signal.h>
#include <sys/time.h>
#include <time.h>

#include "target.h"

SITE_OF("malloc", on_alarm);
SITE_OF("malloc", on_inner);
SITE_OF("malloc", on_other_stack);

enum { ALARMS = 200, MICROSECONDS = 1000 };

static volatile sig_atomic_t alarms;

SITE static void on_alarm(int number) {
    (void)number;
    size_t size = next_prime();
    void *block = malloc(size);
    SINK(block);
    opened(&on_alarm_site, size);
    alarms++;
}

// Nearly all of its time is spent in the vDSO.
SITE static void ask_the_clock(void) {
    struct timespec now;
    while (alarms < ALARMS)
        for (int i = 0; i < 100; i++)
            clock_gettime(CLOCK_MONOTONIC, &now);
}

SITE static void on_inner(int number) {
    (void)number;
    size_t size = next_prime();
    void *block = malloc(size);
    SINK(block);
    opened(&on_inner_site, size);
}

SITE static void on_outer(int number) {
    (void)number;
    raise(SIGUSR2);
    SINK(number);
}

SITE static void on_other_stack(int number) {
    (void)number;
    size_t size = next_prime();
    void *block = malloc(size);
    SINK(block);
    opened(&on_other_stack_site, size);
}

SITE static void handle(int number, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(number, &action, NULL);
}

SITE static void with_timer(void) {
    struct itimerval often = {{0, MICROSECONDS}, {0, MICROSECONDS}}, never = {{0, 0}, {0, 0}};
    handle(SIGALRM, on_alarm, SA_RESTART);
    setitimer(ITIMER_REAL, &often, NULL);
    ask_the_clock();
    setitimer(ITIMER_REAL, &never, NULL);
}

SITE static void with_handler_in_handler(void) {
    handle(SIGUSR1, on_outer, 0);
    handle(SIGUSR2, on_inner, 0);
    raise(SIGUSR1);
}

SITE static void with_other_stack(void) {
    static char other[1 << 16];
    stack_t stack = {.ss_sp = other, .ss_size = sizeof other};
    sigaltstack(&stack, NULL);
    handle(SIGUSR1, on_other_stack, SA_ONSTACK);
    raise(SIGUSR1);
}

int main(void) {
    ready();
    with_timer();
    with_handler_in_handler();
    with_other_stack();
    return done();
}
