// Calls a function that is bound when it is called, and no sooner.

#include "target.h"

int chosen(void);
void tell_chosen(void);

SITE static int first_call(void) {
    return chosen() + 1;
}

int main(void) {
    ready();
    SINK(first_call());
    tell_chosen();
    return done();
}
