// Prints what this machine's zlib asks malloc for: `deflate BYTES BLOCKS`, `inflate BYTES BLOCKS`, and the size of the
// `z_stream` that its user allocates, `stream BYTES`.

#include "zabi.h"

int main(void) {
    load_zlib();
    struct footprint deflate = deflate_footprint(6, 15, 8), inflate = inflate_footprint(15);
    dprintf(1, "deflate %lld %lld\n", deflate.bytes, deflate.blocks);
    dprintf(1, "inflate %lld %lld\n", inflate.bytes, inflate.blocks);
    dprintf(1, "stream %zu\n", sizeof(z_stream));
    return 0;
}
