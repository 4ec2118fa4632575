package targets;

import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;

/** A class whose code is replaced while it runs: the frame on the stack is one of the code that was. */
final class Redefined {
    private static boolean isNew;
    private static int sink;

    private Redefined() {}

    /** The class that is redefined, as it is first. */
    static final class FormA {
        void enter(Allocation allocation, CountDownLatch taken) throws Exception {
            replace();
            allocation.take();
            stay(taken);
        }
    }

    /** What it becomes, under the name of the other: names of one length are exchanged in a class file. */
    static final class FormB {
        void enter(Allocation allocation, CountDownLatch taken) throws Exception {
            sink++;
            replace();
            sink--;
            allocation.take();
            stay(taken);
        }
    }

    /** Code that was replaced is freed with its last frame: the thread stays in it until the program ends. */
    private static void stay(CountDownLatch taken) throws InterruptedException {
        taken.countDown();
        new CountDownLatch(1).await();
    }

    private static native void redefine(Class<?> redefined, byte[] bytes);

    private static void replace() throws ReflectiveOperationException {
        isNew = !isNew;
        if (!isNew) {
            redefine(FormA.class, Late.bytes("targets.Redefined$FormA"));
            return;
        }
        String other = new String(Late.bytes("targets.Redefined$FormB"), StandardCharsets.ISO_8859_1);
        redefine(FormA.class, other.replace("FormB", "FormA").getBytes(StandardCharsets.ISO_8859_1));
    }

    /** The first redefinition makes all compiled code invalid, unless the JVM was told to expect some. */
    static void prepare() throws ReflectiveOperationException {
        replace();
    }

    static void start(Allocation allocation) throws InterruptedException {
        CountDownLatch taken = new CountDownLatch(1);
        Thread thread = new Thread(() -> redefined(allocation, taken));
        thread.setDaemon(true);
        thread.start();
        taken.await();
    }

    private static void redefined(Allocation allocation, CountDownLatch taken) {
        try {
            new FormA().enter(allocation, taken);
        } catch (Exception error) {
            throw new AssertionError(error);
        }
    }
}
