// Touches memory that no malloc gave out: in small pages, in huge ones where the kernel has them, and some that is given
// back; and moves the program break up and down.

#include <sys/mman.h>

#include "target.h"

#define SMALL (96UL << 20)
#define HUGE (64UL << 20)
#define GIVEN_BACK (32UL << 20)
#define BREAK (5 * 4096)

SITE static void touch(char *from, size_t length) {
    for (size_t at = 0; at < length; at += 4096)
        ((volatile char *)from)[at] = 1;
}

SITE static char *map(size_t length, int advice) {
    char *memory = mmap(NULL, length + (2UL << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = (char *)(((uintptr_t)memory + (2UL << 20) - 1) & ~((2UL << 20) - 1));
    madvise(memory, length, advice);
    return memory;
}

SITE static void at_small(void) {
    touch(map(SMALL, MADV_NOHUGEPAGE), SMALL);
}

SITE static void at_huge(void) {
    touch(map(HUGE, MADV_HUGEPAGE), HUGE);
}

SITE static void at_given_back(void) {
    char *memory = map(GIVEN_BACK, MADV_NOHUGEPAGE);
    touch(memory, GIVEN_BACK);
    madvise(memory, GIVEN_BACK, MADV_DONTNEED);
}

SITE static void at_break(void) {
    if (sbrk(BREAK) == (void *)-1)
        _exit(3);
    sbrk(0);
}

SITE static void at_break_taken_back(void) {
    if (sbrk(3 * BREAK) == (void *)-1 || sbrk(-3 * BREAK) == (void *)-1)
        _exit(3);
}

int main(void) {
    sbrk(-(intptr_t)((uintptr_t)sbrk(0) & 4095));
    ready();
    at_small();
    at_huge();
    at_given_back();
    at_break();
    at_break_taken_back();
    return done();
}
