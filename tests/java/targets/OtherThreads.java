package targets;

import java.lang.reflect.Method;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Ways that begin in other threads, some of them the JVM's own. */
final class OtherThreads {
    private OtherThreads() {}

    static void startThread(Allocation allocation) throws InterruptedException {
        Thread thread = new Thread(() -> thread(allocation));
        thread.start();
        thread.join();
    }

    private static void thread(Allocation allocation) {
        allocation.take();
    }

    private static void cleaner(Allocation allocation, CountDownLatch done) {
        allocation.take();
        done.countDown();
    }

    private static void finalizer(Allocation allocation, CountDownLatch done) {
        allocation.take();
        done.countDown();
    }

    /** Collects until something that was given up is noticed. */
    private static void collect(CountDownLatch done) throws InterruptedException {
        do {
            System.gc();
        } while (!done.await(200, TimeUnit.MILLISECONDS));
    }

    static void awaitCleaner(Allocation allocation) throws Exception {
        CountDownLatch done = new CountDownLatch(1);
        register(new Object(), () -> cleaner(allocation, done));
        collect(done);
    }

    /** JDK 8 has a cleaner of another shape, and runs it in the thread that handles references. */
    private static void register(Object object, Runnable action) throws Exception {
        if (Late.RELEASE < 9) {
            Method create = Class.forName("sun.misc.Cleaner").getMethod("create", Object.class, Runnable.class);
            create.invoke(null, object, action);
        } else {
            Class<?> cleaner = Class.forName("java.lang.ref.Cleaner");
            Object one = cleaner.getMethod("create").invoke(null);
            cleaner.getMethod("register", Object.class, Runnable.class).invoke(one, object, action);
        }
    }

    private static final class Finalized {
        private final Allocation allocation;
        private final CountDownLatch done;

        Finalized(Allocation allocation, CountDownLatch done) {
            this.allocation = allocation;
            this.done = done;
        }

        @Override
        protected void finalize() {
            finalizer(allocation, done);
        }
    }

    static void awaitFinalizer(Allocation allocation) throws InterruptedException {
        CountDownLatch done = new CountDownLatch(1);
        new Finalized(allocation, done).hashCode();
        collect(done);
    }
}
