// Objects of libraries that offheap has presets for, opened and closed in known numbers: `presets zstd|ssl|dlopen|file`.
// `presets runpath FINDER` has a library load another one that only its own search path leads to.
//
// The libraries are loaded by name, so that no header package is needed.

#include <dlfcn.h>

#include "target.h"

SITE_OF("pair", at_compressor);
SITE_OF("pair", at_compressor_stream);
SITE_OF("pair", at_decompressor);
SITE_OF("pair", at_dictionary);
SITE_OF("pair", at_context);
SITE_OF("pair", at_connection);
SITE_OF("pair", at_shared_connection);
SITE_OF("pair", at_bio);
SITE_OF("pair", at_cipher);
SITE_OF("pair", at_digest);
SITE_OF("pair", at_library);
SITE_OF("pair", at_library_again);
SITE_OF("pair", at_found);
SITE_OF("pair", at_file);
SITE_OF("pair", at_descriptor);
SITE_OF("pair", at_memory);
SITE_OF("pair", at_process);

static void *library;

static void *function(const char *name) {
    void *found = library ? dlsym(library, name) : NULL;
    if (!found) {
        dprintf(2, "the library lacks %s\n", name);
        _exit(4);
    }
    return found;
}

#define CALL(result, name, ...) ((result(*)())function(name))(__VA_ARGS__)

static void told(struct site *site, int more) {
    known(site);
    site->outstanding_count += more;
    site->allocated_count += more > 0;
    site->outstanding_bytes = site->allocated_bytes = UNTOLD;
}

#define OPEN(site, ...)                          \
    SITE static void *site(void) {               \
        told(&site##_site, 1);                   \
        void *object = __VA_ARGS__;              \
        if (!object)                             \
            _exit(3);                            \
        return object;                           \
    }

static void *method, *context, *file_method;
static char dictionary[64];

OPEN(at_compressor, CALL(void *, "ZSTD_createCCtx"))
OPEN(at_compressor_stream, CALL(void *, "ZSTD_createCStream"))
OPEN(at_decompressor, CALL(void *, "ZSTD_createDCtx"))
OPEN(at_dictionary, CALL(void *, "ZSTD_createCDict", dictionary, sizeof dictionary, 3))
OPEN(at_context, CALL(void *, "SSL_CTX_new", method))
OPEN(at_connection, CALL(void *, "SSL_new", context))
OPEN(at_shared_connection, CALL(void *, "SSL_new", context))
OPEN(at_bio, CALL(void *, "BIO_new", file_method))
OPEN(at_cipher, CALL(void *, "EVP_CIPHER_CTX_new"))
OPEN(at_digest, CALL(void *, "EVP_MD_CTX_new"))
OPEN(at_library, dlopen("libz.so.1", RTLD_NOW))
OPEN(at_file, fopen("/proc/self/status", "r"))
OPEN(at_descriptor, fdopen(dup(0), "r"))
OPEN(at_memory, fmemopen(dictionary, sizeof dictionary, "r"))
OPEN(at_process, popen("exec true", "r"))

// `times` are opened, and all but `kept` of them closed by the function `close`.
static void churn(void *(*open)(void), struct site *site, int times, int kept, void (*close)(void *)) {
    for (int i = 0; i < times; i++) {
        void *object = open();
        if (i >= kept) {
            close(object);
            told(site, -1);
        }
    }
}

#define CHURN(site, times, kept, close) churn(site, &site##_site, times, kept, close)

SITE static void zstd(void) {
    CHURN(at_compressor, 11, 4, function("ZSTD_freeCCtx"));
    CHURN(at_compressor_stream, 5, 3, function("ZSTD_freeCStream"));
    CHURN(at_decompressor, 7, 2, function("ZSTD_freeDCtx"));
    CHURN(at_dictionary, 3, 1, function("ZSTD_freeCDict"));
}

SITE static void ssl(void) {
    context = at_context();
    CHURN(at_context, 5, 2, function("SSL_CTX_free"));
    CHURN(at_connection, 9, 4, function("SSL_free"));
    // A second reference: the first close leaves it open.
    void *shared = at_shared_connection();
    CALL(int, "SSL_up_ref", shared);
    CALL(void, "SSL_free", shared);
    shared = at_shared_connection();
    CALL(int, "SSL_up_ref", shared);
    CALL(void, "SSL_free", shared);
    CALL(void, "SSL_free", shared);
    told(&at_shared_connection_site, -1);
    // Its connections hold on to it.
    CALL(void, "SSL_CTX_free", context);
    CHURN(at_bio, 8, 3, function("BIO_free"));
    CHURN(at_cipher, 6, 2, function("EVP_CIPHER_CTX_free"));
    CHURN(at_digest, 6, 5, function("EVP_MD_CTX_free"));
}

static void close_library(void *handle) {
    dlclose(handle);
}

// A library that is loaded already: one more reference to it.
SITE static void *at_library_again(void) {
    known(&at_library_again_site);
    at_library_again_site.outstanding_bytes = at_library_again_site.allocated_bytes = UNTOLD;
    return dlopen("libz.so.1", RTLD_NOW);
}

SITE static void libraries(void) {
    CHURN(at_library, 3, 0, close_library);
    if (dlopen("libnowhere.so", RTLD_NOW))
        _exit(3);
    at_library();
    for (int i = 0; i < 4; i++)
        close_library(at_library_again());
}

static void *(*find)(const char *);

OPEN(at_found, find("libobjects_lib.so"))

static void close_file(void *file) {
    fclose(file);
}

static void close_process(void *file) {
    pclose(file);
}

SITE static void files(void) {
    CHURN(at_file, 20, 6, close_file);
    CHURN(at_descriptor, 4, 1, close_file);
    CHURN(at_memory, 3, 2, close_file);
    CHURN(at_process, 3, 1, close_process);
    if (fopen("/nowhere", "r"))
        _exit(3);
}

SITE static void work(const char *preset) {
    if (!strcmp(preset, "zstd"))
        zstd();
    else if (!strcmp(preset, "ssl"))
        ssl();
    else if (!strcmp(preset, "dlopen"))
        libraries();
    else if (!strcmp(preset, "runpath"))
        at_found();
    else
        files();
}

int main(int argc, char **argv) {
    const char *preset = argc > 1 ? argv[1] : "";
    if (!strcmp(preset, "zstd"))
        library = dlopen("libzstd.so.1", RTLD_NOW);
    if (!strcmp(preset, "ssl")) {
        library = dlopen("libssl.so.3", RTLD_NOW);
        method = CALL(void *, "TLS_client_method");
        file_method = CALL(void *, "BIO_s_mem");
        // What OpenSSL makes once for all.
        CALL(void, "SSL_CTX_free", CALL(void *, "SSL_CTX_new", method));
    }
    if (!strcmp(preset, "runpath")) {
        library = dlopen(argv[2], RTLD_NOW);
        *(void **)&find = function("find");
    }
    ready();
    work(preset);
    return done();
}
