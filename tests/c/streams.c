// zlib streams through every function that opens or ends one.
//
// Modes: `early` loads zlib before the target is ready, `late` afterwards (it says `mapped` and waits for a line),
// `failing` opens nothing, `forgotten` opens streams again where unended ones lie.

#include "zabi.h"

SITE_OF("deflate", at_deflate_init);
SITE_OF("deflate", at_deflate_init2);
SITE_OF("deflate", at_deflate_copy);
SITE_OF("deflate", at_deflate_on_stack);
SITE_OF("inflate", at_inflate_init);
SITE_OF("inflate", at_inflate_init2);
SITE_OF("inflate", at_inflate_copy);
SITE_OF("inflate", at_inflate_back);
SITE_OF("deflate", at_failing_deflate);
SITE_OF("inflate", at_failing_inflate);
SITE_OF("deflate", at_forgotten);

// Streams live here, so that they are no allocations themselves.
static z_stream streams[64];
static int used;
static unsigned char window[1 << 15];
static struct footprint plain, small, inflater, back;

static z_stream *fresh(void) {
    return &streams[used++];
}

static void must(int result) {
    if (result != Z_OK)
        _exit(3);
}

SITE static z_stream *at_deflate_init(void) {
    z_stream *stream = fresh();
    must(z.deflateInit_(stream, 6, z.version(), STREAM));
    opened_stream(&at_deflate_init_site, plain);
    return stream;
}

SITE static z_stream *at_deflate_init2(void) {
    z_stream *stream = fresh();
    must(z.deflateInit2_(stream, 1, Z_DEFLATED, -9, 1, 0, z.version(), STREAM));
    opened_stream(&at_deflate_init2_site, small);
    return stream;
}

SITE static z_stream *at_deflate_copy(z_stream *from) {
    z_stream *stream = fresh();
    must(z.deflateCopy(stream, from));
    opened_stream(&at_deflate_copy_site, small);
    return stream;
}

// The same address again and again, always ended.
SITE static void at_deflate_on_stack(void) {
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    must(z.deflateInit_(&stream, 9, z.version(), STREAM));
    opened_stream(&at_deflate_on_stack_site, plain);
    must(z.deflateEnd(&stream));
    closed_stream(&at_deflate_on_stack_site, plain);
}

SITE static z_stream *at_inflate_init(void) {
    z_stream *stream = fresh();
    must(z.inflateInit_(stream, z.version(), STREAM));
    opened_stream(&at_inflate_init_site, inflater);
    return stream;
}

SITE static z_stream *at_inflate_init2(void) {
    z_stream *stream = fresh();
    must(z.inflateInit2_(stream, -15, z.version(), STREAM));
    opened_stream(&at_inflate_init2_site, inflater);
    return stream;
}

SITE static z_stream *at_inflate_copy(z_stream *from) {
    z_stream *stream = fresh();
    must(z.inflateCopy(stream, from));
    opened_stream(&at_inflate_copy_site, inflater);
    return stream;
}

SITE static z_stream *at_inflate_back(void) {
    z_stream *stream = fresh();
    must(z.inflateBackInit_(stream, 15, window, z.version(), STREAM));
    opened_stream(&at_inflate_back_site, back);
    return stream;
}

SITE static void deflaters(void) {
    at_deflate_init();
    at_deflate_init();
    must(z.deflateEnd(at_deflate_init()));
    closed_stream(&at_deflate_init_site, plain);
    z_stream *original = at_deflate_init2();
    at_deflate_copy(original);
    must(z.deflateEnd(at_deflate_copy(original)));
    closed_stream(&at_deflate_copy_site, small);
    must(z.deflateEnd(original));
    closed_stream(&at_deflate_init2_site, small);
    for (int i = 0; i < 100; i++)
        at_deflate_on_stack();
}

SITE static void inflaters(void) {
    for (int i = 0; i < 3; i++)
        at_inflate_init();
    must(z.inflateEnd(at_inflate_init()));
    closed_stream(&at_inflate_init_site, inflater);
    z_stream *original = at_inflate_init2();
    at_inflate_copy(original);
    must(z.inflateEnd(original));
    closed_stream(&at_inflate_init2_site, inflater);
    at_inflate_back();
    must(z.inflateBackEnd(at_inflate_back()));
    closed_stream(&at_inflate_back_site, back);
}

static void *no_memory(void *opaque, unsigned count, unsigned size) {
    (void)opaque, (void)count, (void)size;
    return NULL;
}

// Every call is refused: nothing is open afterwards, and nothing may be ended.
SITE static void at_failing_deflate(void) {
    known(&at_failing_deflate_site);
    at_failing_deflate_site.allocated_count = at_failing_deflate_site.allocated_bytes = UNTOLD;
    z_stream *poor = fresh();
    poor->zalloc = no_memory;
    if (z.deflateInit_(fresh(), 77, z.version(), STREAM) == Z_OK ||
        z.deflateInit_(fresh(), 6, "0.0", STREAM) == Z_OK ||
        z.deflateInit2_(fresh(), 6, Z_DEFLATED, 15, 99, 0, z.version(), STREAM) == Z_OK ||
        z.deflateInit_(poor, 6, z.version(), STREAM) == Z_OK)
        _exit(3);
}

SITE static void at_failing_inflate(void) {
    known(&at_failing_inflate_site);
    at_failing_inflate_site.allocated_count = at_failing_inflate_site.allocated_bytes = UNTOLD;
    z_stream *poor = fresh();
    poor->zalloc = no_memory;
    if (z.inflateInit2_(fresh(), 77, z.version(), STREAM) == Z_OK || z.inflateInit_(poor, z.version(), STREAM) == Z_OK ||
        z.inflateBackInit_(fresh(), 77, window, z.version(), STREAM) == Z_OK)
        _exit(3);
}

// Nobody can end the older stream at this address any more, and its memory stays: both are outstanding.
SITE static void at_forgotten(void) {
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    must(z.deflateInit_(&stream, 6, z.version(), STREAM));
    opened_stream(&at_forgotten_site, plain);
}

static void measure(void) {
    plain = deflate_footprint(6, 15, 8);
    small = deflate_footprint(1, -9, 1);
    inflater = inflate_footprint(15);
    z_stream stream = counting(&back);
    must(z.inflateBackInit_(&stream, 15, window, z.version(), STREAM));
    z.inflateBackEnd(&stream);
}

SITE static void work(const char *mode) {
    if (!strcmp(mode, "failing")) {
        at_failing_deflate();
        at_failing_inflate();
    } else if (!strcmp(mode, "forgotten")) {
        for (int i = 0; i < 5; i++)
            at_forgotten();
    } else {
        deflaters();
        inflaters();
    }
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "early";
    int late = !strcmp(mode, "late");
    if (!late) {
        load_zlib();
        measure();
    }
    ready();
    if (late) {
        load_zlib();
        say("mapped");
        await_line();
        measure();
    }
    work(mode);
    return done();
}
