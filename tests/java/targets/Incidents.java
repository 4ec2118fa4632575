package targets;

import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.nio.channels.Selector;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.zip.Deflater;
import sun.misc.Unsafe;

/** Does to a JVM's memory what incidents did, one step for each {@code go}: {@code Incidents KIND [FILE]}. */
public final class Incidents {
    private static final BufferedReader INPUT = new BufferedReader(new InputStreamReader(System.in));
    private static final List<Object> KEPT = new ArrayList<>();
    private static final Unsafe UNSAFE = unsafe();
    private static final int MEBI = 1 << 20;
    /** Mebibytes of the file. */
    private static final int CACHED = 400;
    private static final Queue<PendingRead> QUEUE = new ArrayDeque<>(1 << 17);
    /** Forgets what was used least lately. */
    private static final Map<Integer, byte[]> WARM = new LinkedHashMap<Integer, byte[]>(16, 0.75f, true) {
        @Override
        protected boolean removeEldestEntry(Map.Entry<Integer, byte[]> eldest) {
            return size() > 1200;
        }
    };
    private static final ThreadLocal<ByteBuffer> BUFFER = ThreadLocal.withInitial(() -> ByteBuffer.allocateDirect(MEBI / 16));
    private static int served;

    private Incidents() {}

    public static void main(String[] arguments) throws Exception {
        String kind = arguments[0];
        // A service that has been up for a while: its compilers and caches have what they need.
        for (int i = 0; i < 3; i++) {
            work();
        }
        if (kind.equals("warm")) {
            for (int i = 0; i < 10; i++) {
                warm();
            }
        }
        System.out.println("ready");
        while (INPUT.readLine() != null) {
            step(kind, arguments);
            System.out.println("done");
        }
    }

    private static void step(String kind, String[] arguments) throws Exception {
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
                queue();
                break;
            case "cache":
                readAndWrite(Path.of(arguments[1]));
                break;
            case "warm":
                work();
                warm();
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

    /** Requests are queued and nobody takes them, until collections free nothing; the service goes on after each error. */
    private static void queue() {
        for (int failed = 0; failed < 5;) {
            try {
                QUEUE.add(new PendingRead());
            } catch (OutOfMemoryError full) {
                failed++;
            }
        }
        // Room to say so.
        for (int i = 0; i < 600; i++) {
            QUEUE.remove();
        }
        System.gc();
    }

    private static final class PendingRead {
        private final byte[] body = new byte[8 << 10];
    }

    /** Writes a file that is larger than the cache may be, and reads it. */
    private static void readAndWrite(Path path) throws Exception {
        byte[] piece = new byte[MEBI];
        try (OutputStream file = Files.newOutputStream(path)) {
            for (int i = 0; i < CACHED; i++) {
                file.write(piece);
            }
        }
        try (InputStream file = Files.newInputStream(path)) {
            while (file.read(piece) > 0) {
                KEPT.clear();
            }
        }
    }

    /** A cache that is as large as it may be, and always has something new; threads, buffers and files come and go. */
    private static void warm() throws Exception {
        for (int i = 0; i < 2000; i++) {
            WARM.put(served++, new byte[32 << 10]);
        }
        ExecutorService pool = Executors.newFixedThreadPool(24);
        for (int i = 0; i < 48; i++) {
            pool.submit(Incidents::serve);
        }
        pool.shutdown();
        pool.awaitTermination(1, TimeUnit.MINUTES);
    }

    private static Void serve() throws Exception {
        try (Selector selector = Selector.open(); InputStream file = Incidents.class.getResourceAsStream("Incidents.class")) {
            selector.selectNow();
            BUFFER.get().clear();
            BUFFER.get().put(file.readAllBytes());
        }
        return null;
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
