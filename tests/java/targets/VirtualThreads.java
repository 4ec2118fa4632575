package targets;

import java.lang.reflect.Method;
import java.util.concurrent.CountDownLatch;

/** Virtual threads by reflection, since the targets are compiled for earlier JDKs. */
final class VirtualThreads {
    private static final Method START = start();

    private VirtualThreads() {}

    private static Method start() {
        try {
            return Thread.class.getMethod("startVirtualThread", Runnable.class);
        } catch (NoSuchMethodException before21) {
            return null;
        }
    }

    static boolean areThere() {
        return START != null;
    }

    /** Goes {@code path} in a virtual thread, and waits for that. */
    static Paths.Path path(Paths.Path path) {
        return allocation -> run(task(path, allocation));
    }

    /** Runs {@code task} in a virtual thread, and waits for its end. */
    static void run(Runnable task) throws ReflectiveOperationException, InterruptedException {
        ((Thread) START.invoke(null, task)).join();
    }

    private static Runnable task(Paths.Path path, Allocation allocation) {
        return () -> {
            try {
                path.enter(allocation);
            } catch (Throwable error) {
                throw new AssertionError(error);
            }
        };
    }

    static void virtualThread(Allocation allocation) {
        allocation.take();
    }

    /**
     * Yields deep down: the thread is unmounted, and of so many frames only the last come back to the stack, the others
     * when they are returned to.
     */
    static void parkedVirtualThread(int depth, Allocation allocation) {
        if (depth > 0) {
            parkedVirtualThread(depth - 1, allocation);
        } else {
            Thread.yield();
            allocation.take();
        }
    }

    private static void releaseWaiting(Thread waiting, CountDownLatch latch) {
        while (waiting.getState() != Thread.State.WAITING) {
            Thread.yield();
        }
        latch.countDown();
    }

    private static void awaitOther() throws InterruptedException {
        CountDownLatch latch = new CountDownLatch(1);
        Thread waiting = Thread.currentThread();
        new Thread(() -> releaseWaiting(waiting, latch)).start();
        latch.await();
    }

    /** Waits for another thread with few frames: they come back together, unless the interpreter runs them. */
    static void unparkedVirtualThread(Allocation allocation) throws InterruptedException {
        awaitOther();
        allocation.take();
    }

    /** A native frame can't be taken off the stack: the thread that carries this one waits instead. */
    static void pinnedVirtualThread(Allocation allocation) {
        Natives.callPath(VirtualThreads::awaitAndTake, allocation);
    }

    private static void awaitAndTake(Allocation allocation) throws InterruptedException {
        awaitOther();
        allocation.take();
    }
}
