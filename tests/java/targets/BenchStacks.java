package targets;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.concurrent.locks.LockSupport;
import java.util.zip.Deflater;

/**
 * Opens and ends Deflaters at a steady rate from 1024 different stacks of Java frames. The arguments are the rate per
 * second and the depth in Java frames.
 *
 * <p>Each line read, a number of seconds, is answered with {@code made N} when they are over.
 */
public final class BenchStacks {
    private static final Deflater[] KEPT = new Deflater[64];

    private BenchStacks() {}

    private static Deflater descend(int depth, long path) {
        if (depth == 0) {
            return new Deflater();
        }
        return (path & 1) == 1 ? left(depth - 1, path >> 1) : right(depth - 1, path >> 1);
    }

    static Deflater left(int depth, long path) {
        return descend(depth, path);
    }

    static Deflater right(int depth, long path) {
        return descend(depth, path);
    }

    private static long work(int seconds, int rate, int depth) {
        long count = (long) seconds * rate;
        long begin = System.nanoTime();
        for (long i = 0; i < count; i++) {
            long due = begin + (i + 1) * 1_000_000_000L / rate;
            for (long left = due - System.nanoTime(); left > 0; left = due - System.nanoTime()) {
                LockSupport.parkNanos(left);
            }
            int slot = (int) (i % KEPT.length);
            if (KEPT[slot] != null) {
                KEPT[slot].end();
            }
            // Two Java frames per level.
            KEPT[slot] = descend(depth / 2, i % 1024);
        }
        return count;
    }

    public static void main(String[] arguments) throws Exception {
        int rate = Integer.parseInt(arguments[0]);
        int depth = Integer.parseInt(arguments[1]);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        Truth.say("ready");
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            Truth.say("made " + work(Integer.parseInt(line.trim()), rate, depth));
        }
    }
}
