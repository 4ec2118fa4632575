// What processes do besides allocating: fork, vfork and exec, ending, becoming another program.

#include <sys/wait.h>

#include "target.h"

SITE_OF("malloc", at_parent);
SITE_OF("malloc", at_child);

#define BLOCKS 10

static void *blocks[BLOCKS];

SITE static void *at_parent(size_t size) {
    void *block = malloc(size);
    SINK(block);
    opened(&at_parent_site, size);
    return block;
}

// The child's copy of the counters is gone with it: for the parent this site never did anything.
SITE static void *at_child(size_t size) {
    void *block = malloc(size);
    SINK(block);
    return block;
}

static void reap(pid_t child) {
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status)
        _exit(3);
}

// The child frees its copies of the parent's blocks, and gets the same addresses for its own.
static void forked(void) {
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < BLOCKS; i++)
            free(blocks[i]);
        for (int i = 0; i < 100; i++)
            at_child(next_prime());
        _exit(0);
    }
    reap(child);
}

// vfork lends the parent's memory to the child; what the child allocates there really is the parent's, so it does not.
static void spawned(void) {
    pid_t child = vfork();
    if (child == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(3);
    }
    reap(child);
}

SITE static void work(void) {
    known(&at_child_site);
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = at_parent(next_prime());
    forked();
    spawned();
    forked();
    at_parent(next_prime());
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "fork";
    ready();
    if (!strcmp(mode, "again"))
        return 0;
    work();
    tell_truth();
    say("done");
    await_line();
    if (!strcmp(mode, "exec"))
        execl("/proc/self/exe", argv[0], "again", (char *)NULL);
    return 0;
}
