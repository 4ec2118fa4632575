// Loads the library argv[1] and calls its `plugin_work`; with a second argument it loads only after `go`, says `mapped`
// and waits for a line.

#include <dlfcn.h>

#include "target.h"

static void (*load(const char *path))(void) {
    void *library = dlopen(path, RTLD_NOW);
    void (*work)(void) = library ? (void (*)(void))dlsym(library, "plugin_work") : NULL;
    if (!work) {
        dprintf(2, "%s\n", dlerror());
        _exit(4);
    }
    return work;
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 4;
    int late = argc > 2;
    void (*work)(void) = late ? NULL : load(argv[1]);
    ready();
    if (late) {
        work = load(argv[1]);
        say("mapped");
        await_line();
    }
    work();
    return done();
}
