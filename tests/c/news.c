// C++ operators new and delete, called from C by their mangled names, so that no C++ compiler is needed. They are the
// preloaded allocator's where it defines its own, else libstdc++'s, which end in malloc and free.

#include <dlfcn.h>

#include "target.h"

typedef void *(*new_function)(size_t);
typedef void *(*aligned_new_function)(size_t, size_t);
typedef void (*delete_function)(void *);
typedef void (*sized_delete_function)(void *, size_t);
typedef void (*aligned_delete_function)(void *, size_t);

static void *function(const char *name) {
    static void *library;
    if (!library)
        library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_GLOBAL);
    void *found = dlsym(RTLD_DEFAULT, name);
    if (!found) {
        say("no %s", name);
        exit(1);
    }
    return found;
}

// The aligned operator asks malloc's family for a multiple of the alignment: all sizes here are one.
enum { ALIGNMENT = 64 };

SITE_OF("malloc", at_new);
SITE_OF("malloc", at_new_array);
SITE_OF("malloc", at_aligned_new);
SITE_OF("malloc", at_deleted);
SITE_OF("malloc", at_sized_delete);
SITE_OF("malloc", at_aligned_delete);

static new_function new_one, new_array;
static aligned_new_function aligned_new;
static delete_function delete_one;
static sized_delete_function delete_sized;
static aligned_delete_function delete_aligned;

SITE static void at_new(size_t size) {
    SINK(new_one(size));
    opened(&at_new_site, size);
}

SITE static void at_new_array(size_t size) {
    SINK(new_array(size));
    opened(&at_new_array_site, size);
}

SITE static void at_aligned_new(size_t size) {
    SINK(aligned_new(size, ALIGNMENT));
    opened(&at_aligned_new_site, size);
}

SITE static void at_deleted(size_t size) {
    void *block = new_one(size);
    SINK(block);
    delete_one(block);
    opened(&at_deleted_site, size);
    closed(&at_deleted_site, size);
}

SITE static void at_sized_delete(size_t size) {
    void *block = new_one(size);
    SINK(block);
    delete_sized(block, size);
    opened(&at_sized_delete_site, size);
    closed(&at_sized_delete_site, size);
}

SITE static void at_aligned_delete(size_t size) {
    void *block = aligned_new(size, ALIGNMENT);
    SINK(block);
    delete_aligned(block, ALIGNMENT);
    opened(&at_aligned_delete_site, size);
    closed(&at_aligned_delete_site, size);
}

SITE static void work(void) {
    for (int i = 0; i < 10; i++) {
        at_new(next_prime());
        at_new_array(next_prime());
        at_aligned_new(next_prime() * ALIGNMENT);
        at_deleted(next_prime());
        at_sized_delete(next_prime());
        at_aligned_delete(next_prime() * ALIGNMENT);
    }
}

int main(void) {
    new_one = (new_function)function("_Znwm");
    new_array = (new_function)function("_Znam");
    aligned_new = (aligned_new_function)function("_ZnwmSt11align_val_t");
    delete_one = (delete_function)function("_ZdlPv");
    delete_sized = (sized_delete_function)function("_ZdlPvm");
    delete_aligned = (aligned_delete_function)function("_ZdlPvSt11align_val_t");
    ready();
    work();
    return done();
}
