// A library with an allocator of its own under a prefix, as JNI libraries carry one: a first-fit list in a static arena.

#include "target.h"

SITE_OF("malloc", at_plugin);
SITE_OF("malloc", at_plugin_calloc);
SITE_OF("malloc", at_plugin_realloc);

#define HIDDEN __attribute__((visibility("hidden"), noipa))
#define ARENA (1 << 20)
#define UNIT 16

struct header {
    size_t size;
    int used;
    char padding[UNIT - sizeof(size_t) - sizeof(int)];
};

static _Alignas(UNIT) char arena[ARENA];

HIDDEN void *je_malloc(size_t size) {
    size = (size + UNIT - 1) / UNIT * UNIT;
    for (size_t at = 0; at + sizeof(struct header) + size <= ARENA;) {
        struct header *header = (struct header *)(arena + at);
        if (!header->used && (!header->size || header->size >= size)) {
            header->size = header->size ? header->size : size;
            header->used = 1;
            return header + 1;
        }
        at += sizeof(struct header) + header->size;
    }
    return NULL;
}

HIDDEN void je_free(void *block) {
    if (block)
        ((struct header *)block)[-1].used = 0;
}

HIDDEN void *je_calloc(size_t count, size_t size) {
    void *block = je_malloc(count * size);
    return block ? memset(block, 0, count * size) : NULL;
}

HIDDEN void *je_realloc(void *old, size_t size) {
    void *block = je_malloc(size);
    if (!block || !old)
        return block;
    size_t had = ((struct header *)old)[-1].size;
    memcpy(block, old, had < size ? had : size);
    je_free(old);
    return block;
}

SITE static void *at_plugin(size_t size) {
    void *block = je_malloc(size);
    SINK(block);
    opened(&at_plugin_site, size);
    return block;
}

SITE static void at_plugin_calloc(size_t count, size_t size) {
    void *block = je_calloc(count, size);
    SINK(block);
    opened(&at_plugin_calloc_site, count * size);
}

SITE static void at_plugin_realloc(void *old, size_t old_size, size_t size) {
    void *block = je_realloc(old, size);
    SINK(block);
    closed(&at_plugin_site, old_size);
    opened(&at_plugin_realloc_site, size);
}

SITE void plugin_work(void) {
    for (int i = 0; i < 5; i++)
        at_plugin(next_prime());
    size_t size = next_prime();
    je_free(at_plugin(size));
    closed(&at_plugin_site, size);
    at_plugin_calloc(3, next_prime());
    size = next_prime();
    at_plugin_realloc(at_plugin(size), size, next_prime());
    tell_truth();
}
