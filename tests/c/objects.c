// Objects of a library of its own, opened and closed in every way that a pair can be declared.
//
// `objects LIBRARY MODE`. Modes: `all` does everything in proper order; `late` does so with a library that is mapped after
// `ready` (it says `mapped` and waits for a line); `left` opens and never closes; `many` opens 3,000 and
// closes a third of them; `status` calls what declarations get wrong.

#include <dlfcn.h>

#include "target.h"

struct conn;
struct session {
    void *buffer;
};

static struct conn *(*conn_open)(size_t), *(*conn_open2)(size_t), *(*conn_open_with)(size_t, struct conn **);
static int (*conn_open3)(size_t, struct conn **);
static void (*conn_up_ref)(struct conn *), (*conn_close)(struct conn *), (*conn_drop)(struct conn **);
static int (*session_init)(int, struct session *);
static void (*session_start)(struct session *), (*session_end)(struct session *);
static int (*handle_open)(int), (*handle_close)(long long, int);
static void *(*shared_get)(void);
static void (*shared_put)(void *), (*nothing_open)(void);
static int (*status_open)(void **);
static void (*status_close)(void *), (*conn_close_second)(int, struct conn *);

#define LOAD(name) *(void **)&name = function(library, #name)

static void *function(void *library, const char *name) {
    void *found = library ? dlsym(library, name) : NULL;
    if (!found) {
        dprintf(2, "the library lacks %s\n", name);
        _exit(4);
    }
    return found;
}

static void load(const char *path) {
    void *library = dlopen(path, RTLD_NOW);
    LOAD(conn_open);
    LOAD(conn_open2);
    LOAD(conn_open_with);
    LOAD(conn_open3);
    LOAD(conn_up_ref);
    LOAD(conn_close);
    LOAD(conn_drop);
    LOAD(session_init);
    LOAD(session_start);
    LOAD(session_end);
    LOAD(handle_open);
    LOAD(handle_close);
    LOAD(shared_get);
    LOAD(shared_put);
    LOAD(nothing_open);
    LOAD(status_open);
    LOAD(status_close);
    LOAD(conn_close_second);
}

SITE_OF("pair", at_returned);
SITE_OF("pair", at_nested);
SITE_OF("pair", at_two_at_once);
SITE_OF("pair", at_stored);
SITE_OF("pair", at_referenced);
SITE_OF("pair", at_given);
SITE_OF("pair", at_started);
SITE_OF("pair", at_overwritten);
SITE_OF("pair", at_numbers);
SITE_OF("pair", at_shared);
SITE_OF("pair", at_left);
SITE_OF("pair", at_many);

// What opening a conn takes besides its buffer.
#define CONN 16

static void open_one(struct site *site, size_t bytes) {
    opened(site, bytes);
    site->allocated_bytes = UNTOLD;
    site->blocks = (site->blocks == UNTOLD ? 0 : site->blocks) + (bytes ? 2 : 0);
}

static void close_one(struct site *site, size_t bytes) {
    closed(site, bytes);
    site->blocks -= bytes ? 2 : 0;
}

SITE static struct conn *at_returned(size_t bytes) {
    open_one(&at_returned_site, bytes + CONN);
    return conn_open(bytes);
}

SITE static struct conn *at_nested(size_t bytes) {
    open_one(&at_nested_site, bytes + CONN);
    return conn_open2(bytes);
}

SITE static struct conn *at_two_at_once(size_t bytes, struct conn **other) {
    open_one(&at_two_at_once_site, bytes + CONN);
    open_one(&at_two_at_once_site, bytes + CONN);
    return conn_open_with(bytes, other);
}

SITE static struct conn *at_stored(size_t bytes) {
    struct conn *conn = NULL;
    open_one(&at_stored_site, bytes + CONN);
    conn_open3(bytes, &conn);
    // What fails leaves the one before where it was.
    struct conn *before = conn;
    if (conn_open3(0, &before) == 0)
        _exit(3);
    return conn;
}

SITE static struct conn *at_referenced(size_t bytes) {
    open_one(&at_referenced_site, bytes + CONN);
    struct conn *conn = conn_open(bytes);
    conn_up_ref(conn);
    conn_up_ref(conn);
    return conn;
}

SITE static void conns(void) {
    struct conn *other, *conn;
    for (int i = 0; i < 3; i++)
        at_returned(next_prime());
    for (int i = 0; i < 100; i++) {
        size_t bytes = next_prime();
        conn_close(at_returned(bytes));
        close_one(&at_returned_site, bytes + CONN);
    }
    if (conn_open(0))
        _exit(3);
    conn_close(NULL);
    size_t bytes = next_prime();
    at_nested(next_prime());
    conn = at_nested(bytes);
    conn_drop(&conn);
    close_one(&at_nested_site, bytes + CONN);
    bytes = next_prime();
    conn = at_two_at_once(bytes, &other);
    conn_close(other);
    close_one(&at_two_at_once_site, bytes + CONN);
    bytes = next_prime();
    at_stored(next_prime());
    conn_close(at_stored(bytes));
    close_one(&at_stored_site, bytes + CONN);
    // Three references: two closes leave it open, the third one does not.
    bytes = next_prime();
    conn = at_referenced(next_prime());
    conn_close(conn);
    conn_close(conn);
    conn = at_referenced(bytes);
    for (int i = 0; i < 3; i++)
        conn_close(conn);
    close_one(&at_referenced_site, bytes + CONN);
}

static struct session given[8], started[8], over;

SITE static void at_given(struct session *session) {
    open_one(&at_given_site, 64);
    at_given_site.blocks--;
    if (!session_init(0, session) || session_init(1, &given[7]))
        _exit(3);
}

SITE static void at_started(struct session *session) {
    open_one(&at_started_site, 0);
    session_start(session);
}

// In the same memory as the one before, which nobody can end any more.
SITE static void at_overwritten(void) {
    open_one(&at_overwritten_site, 0);
    session_start(&over);
}

SITE static void sessions(void) {
    for (int i = 0; i < 4; i++)
        at_given(&given[i]);
    session_end(&given[0]);
    close_one(&at_given_site, 64);
    at_given_site.blocks++;
    for (int i = 0; i < 5; i++)
        at_started(&started[i]);
    session_end(&started[1]);
    close_one(&at_started_site, 0);
    for (int i = 0; i < 3; i++)
        at_overwritten();
}

SITE static int at_numbers(void) {
    open_one(&at_numbers_site, 0);
    return handle_open(0);
}

SITE static void handles(void) {
    int first = at_numbers();
    for (int i = 0; i < 4; i++)
        at_numbers();
    if (first != 0 || handle_open(1) != -1)
        _exit(3);
    // The upper half of an argument's register is not the number's.
    ((int (*)(long long, long long))handle_close)(0, 0x5a5a5a5a00000000LL + first);
    close_one(&at_numbers_site, 0);
}

SITE static void *at_shared(void) {
    return shared_get();
}

SITE static void shared(void) {
    // One thing, asked for five times and given back four times, then asked for by another.
    open_one(&at_shared_site, 0);
    void *one = at_shared();
    for (int i = 0; i < 4; i++)
        at_shared();
    for (int i = 0; i < 4; i++)
        shared_put(one);
}

SITE static void at_left(void) {
    opened(&at_left_site, 0);
    at_left_site.outstanding_bytes = at_left_site.allocated_bytes = UNTOLD;
    conn_open(97);
}

static struct conn *many[3000];

SITE static void at_many(int index) {
    known(&at_many_site);
    at_many_site.outstanding_count++;
    at_many_site.allocated_count++;
    many[index] = conn_open(97);
}

SITE static void work(const char *mode) {
    if (!strcmp(mode, "many")) {
        for (int i = 0; i < 3000; i++)
            at_many(i);
        for (int i = 0; i < 3000; i += 3) {
            conn_close(many[i]);
            at_many_site.outstanding_count--;
        }
        at_many_site.outstanding_bytes = at_many_site.allocated_bytes = UNTOLD;
    } else if (!strcmp(mode, "left")) {
        for (int i = 0; i < 5; i++)
            at_left();
    } else if (!strcmp(mode, "status")) {
        for (int i = 0; i < 5; i++) {
            void *object;
            nothing_open();
            if (status_open(&object))
                status_close(object);
            conn_close_second(0, conn_open(97));
        }
        known(&at_left_site);
    } else {
        conns();
        sessions();
        handles();
        shared();
    }
}

int main(int argc, char **argv) {
    const char *mode = argc > 2 ? argv[2] : "all";
    int late = !strcmp(mode, "late");
    if (!late)
        load(argv[1]);
    ready();
    if (late) {
        load(argv[1]);
        say("mapped");
        await_line();
    }
    work(mode);
    return done();
}
