package targets;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.LinkedHashMap;
import java.util.Map;

/** What every Java target shares: the handshake, prime sizes, and sites that count what they do. */
final class Truth {
    private static final BufferedReader INPUT = new BufferedReader(new InputStreamReader(System.in));
    private static final Map<String, Truth> SITES = new LinkedHashMap<>();
    private static int lastPrime = 100;

    private final String site;
    private final String kind;
    private long bytes = -1;
    private long outstanding;
    private long allocated;
    private long freedByCleaner = -1;

    private Truth(String site, String kind) {
        this.site = site;
        this.kind = kind;
    }

    /** The truth about the method {@code site}, as a stack names it. */
    static Truth of(String site, String kind) {
        return SITES.computeIfAbsent(site + kind, key -> new Truth(site, kind));
    }

    /** One more is outstanding; its bytes are not told. */
    void opened() {
        outstanding++;
        allocated++;
    }

    /** One more is outstanding, of {@code size} bytes. */
    void opened(long size) {
        bytes = Math.max(bytes, 0) + size;
        opened();
    }

    void closed() {
        outstanding--;
    }

    void closed(long size) {
        bytes -= size;
        closed();
    }

    /** {@code count} were ended by the cleaner and not by the program. */
    void cleaned(long count) {
        outstanding -= count;
        freedByCleaner = Math.max(freedByCleaner, 0) + count;
    }

    /** Forgets what was told: it happened before the target was ready. */
    static void reset() {
        SITES.clear();
    }

    private String json() {
        return "{\"site\":\"" + site + "\",\"kind\":\"" + kind + "\",\"outstanding_count\":" + outstanding
                + ",\"allocated_count\":" + allocated
                + (bytes < 0 ? "" : ",\"outstanding_bytes\":" + bytes)
                + (freedByCleaner < 0 ? "" : ",\"freed_by_cleaner\":" + freedByCleaner) + "}";
    }

    static int nextPrime() {
        for (int candidate = lastPrime + 1;; candidate++) {
            int divisor = 2;
            while (divisor * divisor <= candidate && candidate % divisor != 0) {
                divisor++;
            }
            if (divisor * divisor > candidate) {
                lastPrime = candidate;
                return candidate;
            }
        }
    }

    static void say(String word) {
        System.out.println(word);
        System.out.flush();
    }

    static void awaitLine() throws IOException {
        if (INPUT.readLine() == null) {
            Runtime.getRuntime().halt(0);
        }
    }

    /** The same within a task, which may throw nothing. */
    static void awaitAny() {
        try {
            awaitLine();
        } catch (IOException closed) {
            Runtime.getRuntime().halt(0);
        }
    }

    static void ready() throws IOException {
        say("ready");
        awaitLine();
    }

    static void done() throws IOException {
        SITES.values().forEach(truth -> say(truth.json()));
        say("done");
        awaitLine();
    }
}
