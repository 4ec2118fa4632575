// What every C target shares: the handshake, prime sizes, and sites that count what they do.
//
// Nothing in here allocates: reading and writing go through read(2) and dprintf(3), whose buffer is on the stack.

#ifndef TARGET_H
#define TARGET_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A function that keeps its own frame and its own symbol.
#ifdef __clang__
#define SITE __attribute__((noinline, optnone))
#else
#define SITE __attribute__((noipa))
#endif

// The compiler has to believe that `p` is used.
#define SINK(p) __asm__ volatile("" : : "r"(p) : "memory")

#define UNTOLD (-1LL)

// One function that allocates, and the truth about it. A number that is UNTOLD is not asserted.
struct site {
    const char *name, *kind;
    long long outstanding_bytes, outstanding_count, allocated_bytes, allocated_count, reserved_bytes, blocks;
    int told;
    struct site *next;
};

static struct site *sites;

#define SITE_OF(kind, name) \
    static struct site name##_site = {#name, kind, 0, 0, 0, 0, UNTOLD, UNTOLD, 0, NULL}

__attribute__((unused)) static void known(struct site *site) {
    if (__atomic_exchange_n(&site->told, 1, __ATOMIC_RELAXED))
        return;
    site->next = __atomic_load_n(&sites, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&sites, &site->next, site, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

// The site holds `bytes` more.
__attribute__((unused)) static void opened(struct site *site, size_t bytes) {
    known(site);
    __atomic_fetch_add(&site->outstanding_bytes, (long long)bytes, __ATOMIC_RELAXED);
    __atomic_fetch_add(&site->outstanding_count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&site->allocated_bytes, (long long)bytes, __ATOMIC_RELAXED);
    __atomic_fetch_add(&site->allocated_count, 1, __ATOMIC_RELAXED);
}

// One block of the site, of `bytes`, was freed.
__attribute__((unused)) static void closed(struct site *site, size_t bytes) {
    known(site);
    __atomic_fetch_sub(&site->outstanding_bytes, (long long)bytes, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&site->outstanding_count, 1, __ATOMIC_RELAXED);
}

// The next prime number after those given out: every allocation gets a size of its own.
__attribute__((unused)) static size_t next_prime(void) {
    static size_t last = 100;
    for (;;) {
        size_t candidate = ++last, divisor = 2;
        while (divisor * divisor <= candidate && candidate % divisor)
            divisor++;
        if (divisor * divisor > candidate)
            return candidate;
    }
}

__attribute__((unused)) static void tell_number(const char *name, long long value) {
    if (value == UNTOLD)
        dprintf(1, ",\"%s\":null", name);
    else
        dprintf(1, ",\"%s\":%lld", name, value);
}

__attribute__((unused)) static void tell_truth(void) {
    for (struct site *site = sites; site; site = site->next) {
        dprintf(1, "{\"site\":\"%s\",\"kind\":\"%s\"", site->name, site->kind);
        tell_number("outstanding_bytes", site->outstanding_bytes);
        tell_number("outstanding_count", site->outstanding_count);
        tell_number("allocated_bytes", site->allocated_bytes);
        tell_number("allocated_count", site->allocated_count);
        tell_number("reserved_bytes", site->reserved_bytes);
        tell_number("blocks", site->blocks);
        dprintf(1, "}\n");
    }
}

__attribute__((unused)) static void say(const char *word) {
    dprintf(1, "%s\n", word);
}

// Waits for one line; the end of the input ends the target.
__attribute__((unused)) static void await_line(void) {
    char byte;
    do {
        if (read(0, &byte, 1) != 1)
            _exit(0);
    } while (byte != '\n');
}

__attribute__((unused)) static void ready(void) {
    say("ready");
    await_line();
}

__attribute__((unused)) static int done(void) {
    tell_truth();
    say("done");
    await_line();
    return 0;
}

#endif
