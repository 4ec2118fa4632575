package demo;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.zip.Deflater;

/**
 * Hands out Deflaters, and knows which ones are out. That is what keeps a forgotten one reachable: the collector
 * never gets to it, and no Cleaner ends it.
 */
final class DeflaterPool {
    /** From here on nothing is forgotten any more, so that a server left alone does not fill the machine. */
    private static final int MOST_FORGOTTEN = 2_000;

    private final Set<Deflater> handedOut = ConcurrentHashMap.newKeySet();

    Deflater take() {
        var deflater = new Deflater(Deflater.DEFAULT_COMPRESSION, true);
        if (handedOut.size() < MOST_FORGOTTEN) {
            handedOut.add(deflater);
        }
        return deflater;
    }

    void giveBack(Deflater deflater) {
        handedOut.remove(deflater);
        deflater.end();
    }

    /** Deflaters that are out; among them those of the requests that are being answered right now. */
    int forgotten() {
        return handedOut.size();
    }
}
