package targets;

import java.lang.ref.Cleaner;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;

/**
 * Takes handles from a JNI library, whose path is the argument: closes some, forgets some, and leaves some to the library's
 * own Cleaner.
 */
public final class Objects {
    private static final Cleaner CLEANER = Cleaner.create();
    private static final List<Long> KEPT = new ArrayList<>();

    private Objects() {}

    static native long open();

    static native long open(long bytes);

    static native void close(long handle);

    static void forget() {
        KEPT.add(open());
    }

    static void use(long bytes) {
        long handle = open(bytes);
        close(handle);
    }

    static void drop(CountDownLatch cleaned) {
        long handle = open();
        CLEANER.register(new Object(), () -> {
            close(handle);
            cleaned.countDown();
        });
    }

    private static void work() throws InterruptedException {
        for (int i = 0; i < 12; i++) {
            forget();
            Truth.of("targets.Objects.forget", "pair").opened();
        }
        for (int i = 0; i < 100; i++) {
            use(101 + i);
            Truth.of("targets.Objects.use", "pair").opened();
            Truth.of("targets.Objects.use", "pair").closed();
        }
        CountDownLatch cleaned = new CountDownLatch(7);
        for (int i = 0; i < 7; i++) {
            drop(cleaned);
            Truth.of("targets.Objects.drop", "pair").opened();
        }
        do {
            System.gc();
        } while (!cleaned.await(100, java.util.concurrent.TimeUnit.MILLISECONDS));
        Truth.of("targets.Objects.drop", "pair").cleaned(7);
    }

    public static void main(String[] arguments) throws Exception {
        System.load(arguments[0]);
        Truth.ready();
        work();
        Truth.done();
    }
}
