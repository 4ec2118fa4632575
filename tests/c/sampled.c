// Many blocks of a few known sizes, below and above the sampling interval; half of each kind is freed.

#include "target.h"

SITE_OF("malloc", at_1009);
SITE_OF("malloc", at_8209);
SITE_OF("malloc", at_32771);
SITE_OF("malloc", at_131101);

#define MOST 20000

static void *blocks[MOST];

#define OF_SIZE(size, count)                                  \
    SITE static void *one_of_##size(void) {                   \
        void *block = malloc(size);                           \
        SINK(block);                                          \
        opened(&at_##size##_site, size);                      \
        return block;                                         \
    }                                                         \
    SITE static void at_##size(void) {                        \
        for (int i = 0; i < count; i++)                       \
            blocks[i] = one_of_##size();                      \
        for (int i = 0; i < count; i += 2) {                  \
            free(blocks[i]);                                  \
            closed(&at_##size##_site, size);                  \
        }                                                     \
    }

OF_SIZE(1009, 20000)
OF_SIZE(8209, 4000)
OF_SIZE(32771, 2000)
OF_SIZE(131101, 200)

SITE static void work(void) {
    at_1009();
    at_8209();
    at_32771();
    at_131101();
}

int main(void) {
    ready();
    work();
    return done();
}
