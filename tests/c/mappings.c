// Ten thousand mappings of one page each, which the kernel can't join: every other one may not be written.

#include <sys/mman.h>

#include "target.h"

#define MAPPINGS 10000

int main(void) {
    char *memory = mmap(NULL, MAPPINGS * 4096UL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        _exit(3);
    for (size_t at = 0; at < MAPPINGS; at++) {
        memory[at * 4096] = 1;
        if (at % 2)
            mprotect(memory + at * 4096, 4096, PROT_READ);
    }
    ready();
    return done();
}
