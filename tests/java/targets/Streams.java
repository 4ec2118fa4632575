package targets;

import java.lang.ref.Reference;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.Deflater;
import java.util.zip.Inflater;

/**
 * Opens Deflaters and Inflaters in known methods and in known order; ends some, forgets some, drops some for the
 * cleaner.
 *
 * <p>The argument is how often the openers run before the target is ready, so that they are compiled by then.
 */
public final class Streams {
    private static final List<Object> KEPT = new ArrayList<>();

    private Streams() {}

    static Deflater openDefault() {
        return new Deflater();
    }

    static Deflater openRaw() {
        return new Deflater(Deflater.BEST_SPEED, true);
    }

    static Inflater openInflater() {
        return new Inflater();
    }

    /** The leak: nobody ends it, and it stays reachable. */
    static void forgetDeflater() {
        Deflater deflater = openDefault();
        KEPT.add(deflater);
    }

    static void forgetRawDeflater() {
        Deflater deflater = openRaw();
        KEPT.add(deflater);
    }

    static void forgetInflater() {
        Inflater inflater = openInflater();
        KEPT.add(inflater);
    }

    static void endDeflater() {
        Deflater deflater = openDefault();
        deflater.end();
    }

    static void endInflater() {
        Inflater inflater = openInflater();
        inflater.end();
    }

    /** The leak that the collector repairs: what is returned is the stream's native side, without its owner. */
    static Object dropDeflater() throws ReflectiveOperationException {
        Deflater deflater = openRaw();
        Field reference = Deflater.class.getDeclaredField("zsRef");
        reference.setAccessible(true);
        Object stream = reference.get(deflater);
        Reference.reachabilityFence(deflater);
        return stream;
    }

    private static void warmUp(int rounds) {
        for (int i = 0; i < rounds; i++) {
            endDeflater();
            endInflater();
            openRaw().end();
        }
    }

    /** One round of requests, as a server would make them. */
    private static void serve(int rounds) {
        for (int i = 0; i < rounds; i++) {
            endDeflater();
            endInflater();
            Truth.of("targets.Streams.endDeflater", "deflate").opened();
            Truth.of("targets.Streams.endDeflater", "deflate").closed();
            Truth.of("targets.Streams.endInflater", "inflate").opened();
            Truth.of("targets.Streams.endInflater", "inflate").closed();
            if (i % 2 == 0) {
                forgetDeflater();
                Truth.of("targets.Streams.forgetDeflater", "deflate").opened();
            }
            if (i % 3 == 0) {
                forgetRawDeflater();
                Truth.of("targets.Streams.forgetRawDeflater", "deflate").opened();
            }
            if (i % 5 == 0) {
                forgetInflater();
                Truth.of("targets.Streams.forgetInflater", "inflate").opened();
            }
        }
    }

    private static void drop(int count) throws ReflectiveOperationException {
        List<Object> dropped = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            dropped.add(dropDeflater());
            Truth.of("targets.Streams.dropDeflater", "deflate").opened();
        }
        for (Object stream : dropped) {
            awaitCleaned(stream);
        }
        Truth.of("targets.Streams.dropDeflater", "deflate").cleaned(count);
    }

    /** The cleaner holds the stream's monitor from before it forgets the address until zlib has ended the stream. */
    private static void awaitCleaned(Object stream) throws ReflectiveOperationException {
        Method address = stream.getClass().getDeclaredMethod("address");
        address.setAccessible(true);
        while (true) {
            synchronized (stream) {
                if ((long) address.invoke(stream) == 0) {
                    return;
                }
            }
            System.gc();
            Thread.yield();
        }
    }

    static void work() throws Exception {
        serve(30);
        drop(7);
    }

    public static void main(String[] arguments) throws Exception {
        warmUp(arguments.length > 0 ? Integer.parseInt(arguments[0]) : 0);
        Truth.ready();
        work();
        Truth.done();
    }
}
