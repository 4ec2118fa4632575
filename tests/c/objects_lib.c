// A library whose functions open and close objects in every way that a pair can be declared.

#include <stdint.h>
#include <stdlib.h>

struct conn {
    int references;
    void *buffer;
};

// Two blocks; null when asked for nothing.
struct conn *conn_open(size_t bytes) {
    if (!bytes)
        return NULL;
    struct conn *conn = malloc(sizeof *conn);
    conn->references = 1;
    conn->buffer = malloc(bytes);
    return conn;
}

// An opening function that calls another one.
struct conn *conn_open2(size_t bytes) {
    void *passing = malloc(bytes);
    struct conn *conn = conn_open(bytes);
    free(passing);
    return conn;
}

// An opening function that opens a second object of the same kind, and gives that away.
struct conn *conn_open_with(size_t bytes, struct conn **other) {
    *other = conn_open(bytes);
    return conn_open(bytes);
}

// Through a pointer, and with a status. Where it fails, what was there before stays.
int conn_open3(size_t bytes, struct conn **out) {
    if (!bytes)
        return -1;
    struct conn *conn = malloc(sizeof *conn);
    conn->references = 1;
    conn->buffer = malloc(bytes);
    *out = conn;
    return 0;
}

void conn_up_ref(struct conn *conn) {
    conn->references++;
}

void conn_close(struct conn *conn) {
    if (!conn || --conn->references)
        return;
    free(conn->buffer);
    free(conn);
}

// Takes a pointer to the pointer; the object is the same.
void conn_drop(struct conn **conn) {
    struct conn *dropped = *conn;
    *conn = NULL;
    free(dropped->buffer);
    free(dropped);
}

// Objects in memory of the caller.
struct session {
    void *buffer;
};

int session_init(int fails, struct session *session) {
    if (fails)
        return 0;
    session->buffer = malloc(64);
    return 1;
}

void session_start(struct session *session) {
    session->buffer = malloc(64);
}

void session_end(struct session *session) {
    free(session->buffer);
}

// Numbers, of which 0 is one; −1 is a failure.
static int numbers;

int handle_open(int fails) {
    return fails ? -1 : numbers++;
}

int handle_close(long long unused, int handle) {
    return (int)unused * 0 + handle;
}

// Counts how often it was asked for the one thing that it has.
static char only;
static int asked;

void *shared_get(void) {
    asked++;
    return &only;
}

void shared_put(void *shared) {
    asked -= shared == &only;
}

// Returns nothing: what is in the result's register is not an object.
void nothing_open(void) {
    __asm__ volatile("xor %%eax, %%eax" : : : "rax");
}

// Returns a status, which is always the same.
int status_open(void **out) {
    *out = malloc(8);
    return 1;
}

void status_close(void *object) {
    free(object);
}

// Has the object as its second argument.
void conn_close_second(int unused, struct conn *conn) {
    (void)unused;
    conn_close(conn);
}
