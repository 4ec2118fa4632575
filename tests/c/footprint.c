// Prints what this machine's zlib asks malloc for: `deflate BYTES BLOCKS`, `inflate BYTES BLOCKS`, and the size of the
// `z_stream` that its user allocates, `stream BYTES`.

#include "zabi.h"

int main(void) {
    load_zlib();
    struct footprint deflate = deflate_footprint(6, 15, 8), inflate = inflate_footprint(15);
    say("deflate %lld %lld", deflate.bytes, deflate.blocks);
    say("inflate %lld %lld", inflate.bytes, inflate.blocks);
    say("stream %zu", sizeof(z_stream));
    return 0;
}
