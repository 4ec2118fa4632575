package targets;

import java.lang.reflect.Method;

/** Virtual threads by reflection, since the targets are compiled for JDK 11. */
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

    static void run(Runnable task) throws Exception {
        ((Thread) START.invoke(null, task)).join();
    }

    /**
     * Yields deep down: the thread is unmounted, and of so many frames only the last come back to the stack, the others
     * when they are returned to.
     */
    static void parkAtDepth(int depth, Allocation allocation) {
        if (depth > 0) {
            parkAtDepth(depth - 1, allocation);
        } else {
            Thread.yield();
            allocation.take();
        }
    }
}
