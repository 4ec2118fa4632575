// Loads each library that it is told of, calls its `plugin_work`, says `worked`, and unloads it after one more line.

#include <dlfcn.h>

#include "target.h"

static int read_path(char *path, size_t size) {
    size_t length = 0;
    while (length + 1 < size && read(0, path + length, 1) == 1 && path[length] != '\n')
        length++;
    path[length] = 0;
    return length > 0;
}

int main(void) {
    char path[4096];
    ready();
    while (read_path(path, sizeof path)) {
        void *library = dlopen(path, RTLD_NOW);
        void (*work)(void) = library ? (void (*)(void))dlsym(library, "plugin_work") : NULL;
        if (!work) {
            dprintf(2, "%s\n", dlerror());
            _exit(4);
        }
        say("at %p", (void *)work);
        work();
        say("worked");
        await_line();
        dlclose(library);
    }
    return done();
}
