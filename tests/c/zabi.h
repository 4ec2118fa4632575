// zlib's binary interface, unchanged since 1.2: with it the targets need libz.so.1 and no header package.

#ifndef ZABI_H
#define ZABI_H

#include <dlfcn.h>

#include "target.h"

typedef struct {
    const unsigned char *next_in;
    unsigned avail_in;
    unsigned long total_in;
    unsigned char *next_out;
    unsigned avail_out;
    unsigned long total_out;
    const char *msg;
    void *state;
    void *(*zalloc)(void *, unsigned, unsigned);
    void (*zfree)(void *, void *);
    void *opaque;
    int data_type;
    unsigned long adler, reserved;
} z_stream;

#define Z_OK 0
#define Z_DEFLATED 8
#define STREAM (int)sizeof(z_stream)

static struct {
    const char *(*version)(void);
    int (*deflateInit_)(z_stream *, int, const char *, int);
    int (*deflateInit2_)(z_stream *, int, int, int, int, int, const char *, int);
    int (*deflateCopy)(z_stream *, z_stream *);
    int (*deflateEnd)(z_stream *);
    int (*inflateInit_)(z_stream *, const char *, int);
    int (*inflateInit2_)(z_stream *, int, const char *, int);
    int (*inflateCopy)(z_stream *, z_stream *);
    int (*inflateEnd)(z_stream *);
    int (*inflateBackInit_)(z_stream *, int, unsigned char *, const char *, int);
    int (*inflateBackEnd)(z_stream *);
} z;

static void *z_function(void *library, const char *name) {
    void *function = library ? dlsym(library, name) : NULL;
    if (!function) {
        dprintf(2, "libz.so.1 lacks %s\n", name);
        _exit(4);
    }
    return function;
}

#define Z_LOAD(library, name) *(void **)&z.name = z_function(library, #name)

__attribute__((unused)) static void load_zlib(void) {
    void *library = dlopen("libz.so.1", RTLD_NOW);
    *(void **)&z.version = z_function(library, "zlibVersion");
    Z_LOAD(library, deflateInit_);
    Z_LOAD(library, deflateInit2_);
    Z_LOAD(library, deflateCopy);
    Z_LOAD(library, deflateEnd);
    Z_LOAD(library, inflateInit_);
    Z_LOAD(library, inflateInit2_);
    Z_LOAD(library, inflateCopy);
    Z_LOAD(library, inflateEnd);
    Z_LOAD(library, inflateBackInit_);
    Z_LOAD(library, inflateBackEnd);
}

// What one stream asked its allocator for.
struct footprint {
    long long bytes, blocks;
};

static void *counting_alloc(void *opaque, unsigned count, unsigned size) {
    struct footprint *footprint = opaque;
    footprint->bytes += (long long)count * size;
    footprint->blocks++;
    return malloc((size_t)count * size);
}

static void counting_free(void *opaque, void *block) {
    (void)opaque;
    free(block);
}

// A stream that counts what it asks for.
__attribute__((unused)) static z_stream counting(struct footprint *footprint) {
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    stream.zalloc = counting_alloc;
    stream.zfree = counting_free;
    stream.opaque = footprint;
    return stream;
}

__attribute__((unused)) static struct footprint deflate_footprint(int level, int window_bits, int memory_level) {
    struct footprint footprint = {0, 0};
    z_stream stream = counting(&footprint);
    if (z.deflateInit2_(&stream, level, Z_DEFLATED, window_bits, memory_level, 0, z.version(), STREAM) != Z_OK)
        _exit(3);
    z.deflateEnd(&stream);
    return footprint;
}

__attribute__((unused)) static struct footprint inflate_footprint(int window_bits) {
    struct footprint footprint = {0, 0};
    z_stream stream = counting(&footprint);
    if (z.inflateInit2_(&stream, window_bits, z.version(), STREAM) != Z_OK)
        _exit(3);
    z.inflateEnd(&stream);
    return footprint;
}

// The site has one open stream more.
__attribute__((unused)) static void opened_stream(struct site *site, struct footprint footprint) {
    known(site);
    site->outstanding_bytes += footprint.bytes;
    site->outstanding_count++;
    site->allocated_bytes = UNTOLD;
    site->allocated_count++;
    site->blocks = (site->blocks == UNTOLD ? 0 : site->blocks) + footprint.blocks;
}

__attribute__((unused)) static void closed_stream(struct site *site, struct footprint footprint) {
    site->outstanding_bytes -= footprint.bytes;
    site->outstanding_count--;
    site->blocks -= footprint.blocks;
}

#endif
