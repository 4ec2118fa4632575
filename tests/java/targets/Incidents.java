package targets;

import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.nio.channels.Selector;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.Deflater;
import sun.misc.Unsafe;

/** Does to a JVM's memory what incidents did, one step for each {@code go}: {@code Incidents KIND}. */
public final class Incidents {
    private static final BufferedReader INPUT = new BufferedReader(new InputStreamReader(System.in));
    private static final List<Object> KEPT = new ArrayList<>();
    private static final Unsafe UNSAFE = unsafe();
    private static final int MEBI = 1 << 20;

    private Incidents() {}

    public static void main(String[] arguments) throws Exception {
        String kind = arguments[0];
        // A service that has been up for a while: its compilers and caches have what they need.
        for (int i = 0; i < 3; i++) {
            work();
        }
        System.out.println("ready");
        while (INPUT.readLine() != null) {
            step(kind);
            System.out.println("done");
        }
    }

    private static void step(String kind) throws Exception {
        switch (kind) {
            case "healthy":
                work();
                break;
            case "native":
                blocks(24 * MEBI, 1000);
                break;
            case "threads":
                threads(100);
                break;
            case "direct":
                direct();
                break;
            case "loaders":
                loaders(700);
                break;
            case "burst":
                burst();
                break;
            case "heap":
                fill();
                break;
            case "descriptors":
                descriptors();
                break;
            default:
                throw new IllegalArgumentException(kind);
        }
    }

    /** Garbage, compression and blocks that are freed: nothing stays. */
    private static void work() {
        for (int i = 0; i < 200; i++) {
            byte[] garbage = new byte[256 << 10];
            Deflater deflater = new Deflater();
            deflater.setInput(garbage);
            deflater.finish();
            deflater.deflate(new byte[64 << 10]);
            deflater.end();
            UNSAFE.freeMemory(UNSAFE.allocateMemory(100_003));
        }
    }

    /** Blocks of native memory that are used and never freed. */
    private static void blocks(long bytes, int size) {
        for (long all = 0; all < bytes; all += size) {
            UNSAFE.setMemory(UNSAFE.allocateMemory(size), size, (byte) 1);
        }
    }

    private static void threads(int count) {
        for (int i = 0; i < count; i++) {
            Thread thread = new Thread(Incidents::park, "leak-" + KEPT.size());
            thread.setDaemon(true);
            thread.start();
            KEPT.add(thread);
        }
    }

    private static void park() {
        synchronized (Thread.currentThread()) {
            while (true) {
                try {
                    Thread.currentThread().wait();
                } catch (InterruptedException ignored) {
                    return;
                }
            }
        }
    }

    private static void direct() {
        for (int i = 0; i < 24; i++) {
            KEPT.add(ByteBuffer.allocateDirect(MEBI));
        }
    }

    /** Each loader defines the same classes again. */
    private static void loaders(int count) throws Exception {
        byte[] paths = bytesOf("Paths");
        byte[] incidents = bytesOf("Incidents");
        for (int i = 0; i < count; i++) {
            Own own = new Own();
            KEPT.add(own.define(paths));
            KEPT.add(own.define(incidents));
        }
    }

    private static final class Own extends ClassLoader {
        Class<?> define(byte[] bytes) {
            return defineClass(null, bytes, 0, bytes.length);
        }
    }

    private static byte[] bytesOf(String name) throws Exception {
        try (InputStream file = Incidents.class.getResourceAsStream(name + ".class")) {
            return file.readAllBytes();
        }
    }

    /** Small blocks, of which all but a few between them are freed again: the arena can't give the rest back. */
    private static void burst() {
        int count = 4000;
        long[] blocks = new long[count];
        for (int i = 0; i < count; i++) {
            blocks[i] = UNSAFE.allocateMemory(60_000);
            UNSAFE.setMemory(blocks[i], 60_000, (byte) 1);
            UNSAFE.setMemory(UNSAFE.allocateMemory(48), 48, (byte) 1);
        }
        for (long block : blocks) {
            UNSAFE.freeMemory(block);
        }
    }

    /** Fills the heap with what stays reachable, until collections free next to nothing. */
    private static void fill() {
        Runtime runtime = Runtime.getRuntime();
        try {
            while (runtime.totalMemory() - runtime.freeMemory() < runtime.maxMemory() / 100 * 97) {
                KEPT.add(new byte[16 << 10]);
            }
        } catch (OutOfMemoryError full) {
            // As full as it gets.
            KEPT.remove(KEPT.size() - 1);
        }
        System.gc();
        System.gc();
        System.gc();
    }

    private static void descriptors() throws Exception {
        for (int i = 0; i < 60; i++) {
            KEPT.add(Selector.open());
            KEPT.add(new byte[64 << 10]);
        }
    }

    private static Unsafe unsafe() {
        try {
            Field field = Unsafe.class.getDeclaredField("theUnsafe");
            field.setAccessible(true);
            return (Unsafe) field.get(null);
        } catch (ReflectiveOperationException impossible) {
            throw new AssertionError(impossible);
        }
    }
}
