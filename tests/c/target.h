// What every C target shares: the handshake, prime sizes, and sites that count what they do.
//
// Nothing in here allocates: what is said is put together on the stack and goes through write(2). (dprintf(3) takes a
// buffer from malloc, as of glibc 2.36.)

#ifndef TARGET_H
#define TARGET_H

#include <stdarg.h>
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

__attribute__((unused, format(printf, 1, 2))) static void say(const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    line[length] = '\n';
    if (write(1, line, (size_t)length + 1) != length + 1)
        _exit(0);
}

static char *told_number(char *to, const char *name, long long value) {
    return to + sprintf(to, value == UNTOLD ? ",\"%s\":null" : ",\"%s\":%lld", name, value);
}

__attribute__((unused)) static void tell_truth(void) {
    for (struct site *site = sites; site; site = site->next) {
        char numbers[400], *end = numbers;
        end = told_number(end, "outstanding_bytes", site->outstanding_bytes);
        end = told_number(end, "outstanding_count", site->outstanding_count);
        end = told_number(end, "allocated_bytes", site->allocated_bytes);
        end = told_number(end, "allocated_count", site->allocated_count);
        end = told_number(end, "reserved_bytes", site->reserved_bytes);
        told_number(end, "blocks", site->blocks);
        say("{\"site\":\"%s\",\"kind\":\"%s\"%s}", site->name, site->kind, numbers);
    }
}

// One line without its end; the end of the input ends the target.
__attribute__((unused)) static void read_line(char *line, size_t room) {
    size_t length = 0;
    for (;;) {
        char byte;
        if (read(0, &byte, 1) != 1)
            _exit(0);
        if (byte == '\n')
            break;
        if (length + 1 < room)
            line[length++] = byte;
    }
    line[length] = 0;
}

// Waits for one line.
__attribute__((unused)) static void await_line(void) {
    char line[1];
    read_line(line, sizeof line);
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
