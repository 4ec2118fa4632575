package targets;

import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.zip.Deflater;
import java.util.zip.Inflater;
import sun.misc.Unsafe;

/**
 * Takes native memory below code that is generated, compiled, deoptimised and unloaded all the time, and says what stack
 * the JVM itself has for each chain of calls.
 *
 * <p>Arguments: the JNI library, the number of threads, and how often memory is taken in all.
 */
public final class Churn {
    /** One link of a chain of calls. */
    public interface Link {
        void go(Call call) throws Throwable;
    }

    /** How a link calls the next one. */
    public static final int PLAIN = 0;
    public static final int RECURSION = 1;
    public static final int LAMBDA = 2;
    public static final int HANDLE = 3;
    public static final int LOCKED = 4;
    public static final int HOOK = 5;
    public static final int LOOP = 6;
    static final int WAYS = 7;

    /** By what memory is taken. */
    enum Means {
        UNSAFE("malloc"), JNI("malloc"), DEFLATER("deflate"), INFLATER("inflate");

        /** As what it is seen from the outside. */
        final String kind;

        Means(String kind) {
            this.kind = kind;
        }
    }

    /** Large enough that the JVM itself asks for few blocks of such a size; tells the family. */
    private static final int SMALLEST = 20_000;
    private static final int STEP = 8;
    private static final int SIZES = 10_000;
    /** Calls of one chain: some are never compiled, some by all tiers. */
    private static final int FEWEST = 10;
    private static final int MOST = 600;
    private static final int COLLECT_MILLIS = 20;
    /** Leaves time to whoever watches: what it loses says nothing about stacks. */
    private static final int PAUSE_NANOS = 50_000;
    private static final Unsafe UNSAFE = unsafe();

    private static final AtomicInteger families = new AtomicInteger();
    private static final AtomicInteger left = new AtomicInteger();
    private static volatile Object garbage;

    private Churn() {}

    private static Unsafe unsafe() {
        try {
            Field field = Unsafe.class.getDeclaredField("theUnsafe");
            field.setAccessible(true);
            return (Unsafe) field.get(null);
        } catch (ReflectiveOperationException impossible) {
            throw new AssertionError(impossible);
        }
    }

    /** Goes along a chain and takes memory at its end. */
    public static final class Call {
        private final Means means;
        private final int size;
        private final ChurnFamily family;
        private boolean isTold;
        private boolean isInvalidating;
        private StackTraceElement[] stack;
        private Object taken;

        Call(ChurnFamily family, int number) {
            this.family = family;
            means = Means.values()[number % Means.values().length];
            size = SMALLEST + STEP * (number % SIZES);
        }

        public void take() {
            if (isInvalidating) {
                isInvalidating = false;
                family.invalidate();
            }
            switch (means) {
                case UNSAFE:
                    byUnsafe();
                    break;
                case JNI:
                    byJni();
                    break;
                case DEFLATER:
                    byDeflater();
                    break;
                default:
                    byInflater();
            }
        }

        // The stack and the memory are taken in one line, so that the lines agree in this frame, too.

        private void byUnsafe() {
            took(stack(), UNSAFE.allocateMemory(size));
        }

        private void byJni() {
            took(stack(), Blocks.allocate(size));
        }

        private void byDeflater() {
            took(stack(), new Deflater());
        }

        private void byInflater() {
            took(stack(), new Inflater());
        }

        private StackTraceElement[] stack() {
            return isTold ? stack : (stack = Thread.currentThread().getStackTrace());
        }

        private void took(StackTraceElement[] stack, Object taken) {
            isTold = true;
            this.stack = stack;
            this.taken = taken;
        }

        void release() {
            switch (means) {
                case UNSAFE:
                    UNSAFE.freeMemory((long) taken);
                    break;
                case JNI:
                    Blocks.free((long) taken);
                    break;
                case DEFLATER:
                    ((Deflater) taken).end();
                    break;
                default:
                    ((Inflater) taken).end();
            }
        }

        private boolean isStream() {
            return means == Means.DEFLATER || means == Means.INFLATER;
        }

        /** The frames leaf first, from the method that allocates. */
        String json(int count) {
            StringBuilder json = new StringBuilder();
            json.append("{\"family\":\"").append(family.serial()).append("\",\"kind\":\"");
            json.append(means.kind);
            json.append("\",\"bytes\":").append(isStream() ? 0 : size).append(",\"count\":").append(count);
            json.append(",\"frames\":[");
            // The first two are Thread.getStackTrace and Call.stack.
            for (int i = 2; i < stack.length; i++) {
                StackTraceElement frame = stack[i];
                json.append(i > 2 ? "," : "").append("{\"class\":\"").append(frame.getClassName());
                json.append("\",\"method\":\"").append(frame.getMethodName());
                json.append("\",\"line\":").append(frame.getLineNumber()).append('}');
            }
            return json.append("]}").toString();
        }
    }

    /** One family from its first class to the last call. Whatever it was is garbage then. */
    private static String live() throws Throwable {
        int number = families.incrementAndGet();
        ChurnFamily family = new ChurnFamily(number);
        Link chain = family.chain();
        Call call = new Call(family, number);
        int count = FEWEST + Math.floorMod(number * 0x85ebca6b, MOST - FEWEST);
        for (int i = 0; i < count; i++) {
            call.isInvalidating = i == count * 3 / 4;
            chain.go(call);
            call.release();
            garbage = new byte[1024];
            LockSupport.parkNanos(PAUSE_NANOS);
        }
        left.addAndGet(-count);
        return call.json(count);
    }

    private static void work(List<String> told) {
        try {
            while (left.get() > 0) {
                String family = live();
                synchronized (told) {
                    told.add(family);
                }
            }
        } catch (Throwable failure) {
            failure.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
    }

    /** Collects and unloads as long as the others work. */
    private static void collect() {
        try {
            while (left.get() > 0) {
                System.gc();
                Thread.sleep(COLLECT_MILLIS);
            }
        } catch (InterruptedException impossible) {
            throw new AssertionError(impossible);
        }
    }

    private static List<String> run(int threads, int takes) throws InterruptedException {
        List<String> told = new ArrayList<>();
        left.set(takes);
        List<Thread> all = new ArrayList<>();
        for (int i = 0; i < threads; i++) {
            all.add(new Thread(() -> work(told), "churn-" + i));
        }
        all.add(new Thread(Churn::collect, "collect"));
        all.forEach(Thread::start);
        for (Thread thread : all) {
            thread.join();
        }
        return told;
    }

    public static void main(String[] arguments) throws Exception {
        System.load(arguments[0]);
        ChurnFamily.load();
        // Loads zlib.
        new Deflater().end();
        Truth.ready();
        List<String> told = run(Integer.parseInt(arguments[1]), Integer.parseInt(arguments[2]));
        Truth.say("families " + told.size());
        told.forEach(family -> Truth.say("family " + family));
        Truth.done();
    }
}
