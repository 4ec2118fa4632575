package targets;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;

/**
 * A service on a native key-value store, one round of queries for each {@code go}: {@code Store LIBRARY FOLDER
 * leaky|healthy}. The leaky one never closes its iterators. After each round it says what the store itself has counted.
 */
public final class Store {
    private static final int ENTRIES = 8000;
    private static final int QUERIES = 250;

    private final Deque<Long> iterators = new ArrayDeque<>();
    private final boolean closes;

    private Store(boolean closes) {
        this.closes = closes;
    }

    /** Opens the one store of this process. */
    static native void open(String folder);

    static native void put(byte[] key, byte[] value);

    /** Writes what is in memory to a file with an index. */
    static native void flush();

    /** A new iterator that stands at {@code key}. */
    static native long iterate(byte[] key);

    static native void close(long iterator);

    /** Bytes of blocks that were unpacked so far, by the store's own statistics. */
    static native long unpacked();

    private static byte[] key(int entry) {
        return String.format("order-%08d", entry).getBytes(StandardCharsets.US_ASCII);
    }

    private void query(int entry) {
        iterators.add(iterate(key(entry)));
        if (closes) {
            close(iterators.remove());
        }
    }

    private void round() {
        for (int i = 0; i < QUERIES; i++) {
            query(i * (ENTRIES / QUERIES));
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.load(arguments[0]);
        open(arguments[1]);
        StringBuilder value = new StringBuilder();
        for (int entry = 0; entry < ENTRIES; entry++) {
            value.setLength(0);
            while (value.length() < 1000) {
                value.append("line ").append(entry * 31 % 997).append(" of order ").append(entry).append(' ');
            }
            put(key(entry), value.toString().getBytes(StandardCharsets.US_ASCII));
        }
        flush();
        // A service that has been up for a while: its compilers and caches have what they need.
        for (int i = 0; i < 20; i++) {
            new Store(true).round();
        }
        Store store = new Store(arguments[2].equals("healthy"));
        Truth.ready();
        while (true) {
            long before = unpacked();
            store.round();
            Truth.say("unpacked " + (unpacked() - before));
            Truth.say("iterators " + store.iterators.size());
            Truth.done();
        }
    }
}
