package targets;

import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import sun.misc.Unsafe;

/**
 * Threads with names of all kinds, each of which takes one block.
 *
 * <p>Says for each the size that it took and what it is called: {@code thread SIZE NAME}. Between the lines {@code taken}
 * and {@code done} it waits for a line, so that the tool can look at threads that are still there. With an argument a
 * thread makes garbage all the while, so that objects are moved.
 */
public final class Threads {
    private static final Unsafe UNSAFE = unsafe();
    private static final int HEAP_WORD = 8;
    private static final CountDownLatch END = new CountDownLatch(1);
    private static final List<String> TOLD = new ArrayList<>();

    private Threads() {}

    private static Unsafe unsafe() {
        try {
            Field field = Unsafe.class.getDeclaredField("theUnsafe");
            field.setAccessible(true);
            return (Unsafe) field.get(null);
        } catch (ReflectiveOperationException impossible) {
            throw new AssertionError(impossible);
        }
    }

    /** One block of a size that nobody else has, and who took it. */
    private static void take(String name) {
        int size;
        synchronized (TOLD) {
            size = 20_000 + Truth.nextPrime() / HEAP_WORD * HEAP_WORD + HEAP_WORD * 100 * TOLD.size();
            TOLD.add("thread " + size + " " + name);
        }
        UNSAFE.allocateMemory(size);
    }

    private static void stay(CountDownLatch taken) {
        taken.countDown();
        try {
            END.await();
        } catch (InterruptedException end) {
            Thread.currentThread().interrupt();
        }
    }

    private static void awaitAll(CountDownLatch latch) throws InterruptedException {
        latch.await();
    }

    /** One that stays: it is there at the snapshot. */
    private static void staying(String name) throws InterruptedException {
        CountDownLatch taken = new CountDownLatch(1);
        daemon(name, () -> {
            take(name);
            stay(taken);
        });
        awaitAll(taken);
    }

    private static Thread daemon(String name, Runnable task) {
        Thread thread = new Thread(task, name);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    /** Renamed by itself, and by another: then the kernel is not told. */
    private static void renamed() throws InterruptedException {
        CountDownLatch taken = new CountDownLatch(2);
        daemon("before it renamed itself", () -> {
            take("renamed by itself, later");
            Thread.currentThread().setName("renamed by itself, later");
            stay(taken);
        });
        Thread other = daemon("before another renamed it", () -> {
            take("renamed by another, later");
            stay(taken);
        });
        awaitAll(taken);
        other.setName("renamed by another, later");
    }

    /** Takes its block, lives until somebody has had the time to look, and ends. */
    private static Thread ending(String name, CountDownLatch look) {
        return daemon(name, () -> {
            take(name);
            try {
                look.await();
            } catch (InterruptedException end) {
                Thread.currentThread().interrupt();
            }
        });
    }

    private static void virtual() throws Exception {
        if (VirtualThreads.areThere()) {
            VirtualThreads.run(() -> take("[carrier]"));
        }
    }

    /** Strings and arrays of all ages. */
    private static void makeGarbage() {
        Object[] kept = new Object[4096];
        for (int i = 0;; i++) {
            kept[i % kept.length] = ("garbage " + i).getBytes();
            kept[(i * 7) % kept.length] = new Thread("never started " + i);
        }
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0) {
            daemon("garbage", Threads::makeGarbage);
        }
        Truth.ready();
        CountDownLatch look = new CountDownLatch(1);
        Thread ending = ending("this one ends before the snapshot", look);
        take(Thread.currentThread().getName());
        staying("short");
        staying("exactly15bytes!");
        staying("a name that is longer than fifteen bytes-17");
        staying("Gr\u00f6\u00dfen\u00e4nderung von Bl\u00f6cken");
        staying("\u043f\u043e\u0442\u043e\u043a-\u7ebf\u7a0b-\u30b9\u30ec\u30c3\u30c9-1");
        renamed();
        virtual();
        Truth.say("taken");
        Truth.awaitLine();
        look.countDown();
        ending.join();
        synchronized (TOLD) {
            TOLD.forEach(Truth::say);
        }
        Truth.done();
        END.countDown();
    }
}
