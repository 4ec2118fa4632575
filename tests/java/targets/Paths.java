package targets;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Method;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/** Ways to an allocation, one for each kind of Java frame that can be on it. */
final class Paths {
    /** A way, named as its method. */
    interface Path {
        void enter(Allocation allocation) throws Throwable;
    }

    /** Iterations of the hot loop: it calls at every 1,024th, and takes memory at the last. */
    private static final int HOT = 1 << 16;
    private static final Allocation NOTHING = new Allocation(Allocation.Means.NOTHING, 0);
    private static final MethodHandle HANDLE = handle();
    private static int sink;

    private Paths() {}

    /** Ways that can be gone as often as one likes. */
    static Map<String, Path> all() {
        Map<String, Path> paths = new LinkedHashMap<>();
        paths.put("plain", Paths::plain);
        paths.put("recursion5", Paths::recursion5);
        paths.put("recursion50", Paths::recursion50);
        paths.put("recursion1000", Paths::recursion1000);
        paths.put("lambdas", Paths::lambdas);
        paths.put("methodReference", Paths::methodReference);
        paths.put("reflection", Paths::reflection);
        paths.put("methodHandle", Paths::methodHandle);
        paths.put("boundHandle", Paths::boundHandle);
        paths.put("fromNative", Paths::fromNative);
        paths.put("fromSynchronizedNative", Paths::fromSynchronizedNative);
        paths.put("nestedNative", Paths::nestedNative);
        paths.put("inCatch", Paths::inCatch);
        paths.put("inFinally", Paths::inFinally);
        paths.put("staticInitializer", Paths::staticInitializer);
        paths.put("deoptimized", Paths::deoptimized);
        paths.put("defaultMethod", Paths::defaultMethod);
        paths.put("bridge", Paths::bridge);
        paths.put("getters", Paths::getters);
        paths.put("locked", Paths::locked);
        paths.put("stream", Paths::stream);
        paths.put("hotLoop", Paths::hotLoop);
        paths.put("thread", Paths::thread);
        if (Foreign.isThere()) {
            paths.put("upcall", Paths::upcall);
        }
        if (VirtualThreads.areThere()) {
            paths.put("virtualThread", Paths::virtualThread);
            paths.put("parkedVirtualThread", Paths::parkedVirtualThread);
        }
        return paths;
    }

    static void plain(Allocation allocation) {
        allocation.take();
    }

    private static void descend(int depth, Allocation allocation) {
        if (depth > 1) {
            descend(depth - 1, allocation);
        } else {
            allocation.take();
        }
    }

    static void recursion5(Allocation allocation) {
        descend(5, allocation);
    }

    static void recursion50(Allocation allocation) {
        descend(50, allocation);
    }

    static void recursion1000(Allocation allocation) {
        descend(1000, allocation);
    }

    static void lambdas(Allocation allocation) {
        Runnable inner = () -> allocation.take();
        Runnable outer = () -> inner.run();
        outer.run();
    }

    static void methodReference(Allocation allocation) {
        Consumer<Allocation> reference = Allocation::take;
        reference.accept(allocation);
    }

    static void reflection(Allocation allocation) throws ReflectiveOperationException {
        Method take = Allocation.class.getMethod("take");
        take.invoke(allocation);
    }

    private static MethodHandle handle() {
        try {
            return MethodHandles.lookup()
                    .findVirtual(Allocation.class, "take", MethodType.methodType(void.class));
        } catch (ReflectiveOperationException impossible) {
            throw new AssertionError(impossible);
        }
    }

    static void methodHandle(Allocation allocation) throws Throwable {
        HANDLE.invokeExact(allocation);
    }

    static void boundHandle(Allocation allocation) throws Throwable {
        Object any = allocation;
        HANDLE.asType(MethodType.methodType(void.class, Object.class)).bindTo(any).invoke();
    }

    /** Calls the allocation back from C. */
    private static native void call(Allocation allocation);

    private static synchronized native void callSynchronized(Allocation allocation);

    static void fromNative(Allocation allocation) {
        call(allocation);
    }

    static void fromSynchronizedNative(Allocation allocation) {
        callSynchronized(allocation);
    }

    static native void callPath(Path path, Allocation allocation);

    static void nestedNative(Allocation allocation) {
        callPath(Paths::fromNative, allocation);
    }

    static void inCatch(Allocation allocation) {
        try {
            sink = List.of(1).get(sink + 7);
        } catch (IndexOutOfBoundsException expected) {
            allocation.take();
        }
    }

    static void inFinally(Allocation allocation) {
        try {
            sink = 0;
        } finally {
            allocation.take();
        }
    }

    /** A class is initialised once: each call defines another one of the same name. */
    static void staticInitializer(Allocation allocation) throws ReflectiveOperationException {
        Late.initialize(allocation);
    }

    /** Called seldom. A compiled frame becomes invalid while calls from it go on. */
    static void deoptimized(Allocation allocation) throws ReflectiveOperationException {
        Late.deoptimize(allocation);
    }

    static void upcall(Allocation allocation) throws Throwable {
        Foreign.callBack(allocation);
    }

    interface Enterable {
        default void enterDefault(Allocation allocation) {
            allocation.take();
        }
    }

    static void defaultMethod(Allocation allocation) {
        new Enterable() {}.enterDefault(allocation);
    }

    abstract static class Generic<T> {
        abstract void accept(T value);
    }

    static final class Bridged extends Generic<Allocation> {
        @Override
        void accept(Allocation allocation) {
            allocation.take();
        }
    }

    static void bridge(Allocation allocation) {
        Generic<Allocation> generic = new Bridged();
        generic.accept(allocation);
    }

    private static final class Getter {
        private final Allocation allocation;

        Getter(Allocation allocation) {
            this.allocation = allocation;
        }

        Allocation get() {
            return allocation;
        }

        Allocation getAndTake() {
            get().take();
            return allocation;
        }

        Allocation through() {
            return getAndTake();
        }
    }

    static void getters(Allocation allocation) {
        new Getter(allocation).through().getClass();
    }

    static synchronized void locked(Allocation allocation) {
        synchronized (allocation) {
            allocation.take();
        }
    }

    static void stream(Allocation allocation) {
        List.of(allocation).stream().map(one -> one).forEach(Allocation::take);
    }

    /** Called seldom: its loop is compiled while it runs. Without a branch that was never taken, which would leave. */
    static void hotLoop(Allocation allocation) {
        Allocation[] choice = {NOTHING, allocation};
        for (int i = 1; i <= HOT; i++) {
            sink += i;
            if (i % 1024 == 0) {
                choice[i / HOT].take();
            }
        }
    }

    static void thread(Allocation allocation) throws InterruptedException {
        Thread thread = new Thread(allocation::take);
        thread.start();
        thread.join();
    }

    static void virtualThread(Allocation allocation) throws Exception {
        VirtualThreads.run(allocation::take);
    }

    static void parkedVirtualThread(Allocation allocation) throws Exception {
        VirtualThreads.run(() -> VirtualThreads.parkAtDepth(1000, allocation));
    }
}
