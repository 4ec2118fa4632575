package targets;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.Stream;

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
        // Collections free code that was given up: these come before any is.
        paths.put("cleaner", OtherThreads::awaitCleaner);
        paths.put("finalizer", OtherThreads::awaitFinalizer);
        paths.put("plain", Paths::plain);
        paths.put("recursion5", allocation -> recursion5(5, allocation));
        paths.put("recursion50", allocation -> recursion50(50, allocation));
        paths.put("recursion500", allocation -> recursion500(500, allocation));
        paths.put("recursion1000", allocation -> recursion1000(1000, allocation));
        paths.put("lambdas", Paths::lambdas);
        paths.put("methodReference", Paths::methodReference);
        paths.put("reflection", Paths::reflection);
        paths.put("firstReflection", Paths::firstReflection);
        paths.put("reflectedConstructor", Paths::reflectedConstructor);
        paths.put("methodHandle", Paths::methodHandle);
        paths.put("boundHandle", Paths::boundHandle);
        paths.put("fromNative", Paths::fromNative);
        paths.put("fromSynchronizedNative", Paths::fromSynchronizedNative);
        paths.put("fromNativeOfObject", Paths::fromNativeOfObject);
        paths.put("nestedNative", Paths::nestedNative);
        paths.put("nestedThrice", Paths::nestedThrice);
        paths.put("mixed", Paths::mixed);
        paths.put("inCatch", Paths::inCatch);
        paths.put("inFinally", Paths::inFinally);
        paths.put("inException", Throwing::inException);
        paths.put("inStackTrace", Throwing::inStackTrace);
        paths.put("whileUnwinding", Throwing::whileUnwinding);
        paths.put("staticInitializer", Paths::staticInitializer);
        paths.put("constructor", Paths::constructor);
        paths.put("classLoading", Paths::classLoading);
        paths.put("hiddenClass", Paths::hiddenClass);
        paths.put("uncommonTrap", Paths::uncommonTrap);
        paths.put("redefined", Redefined::start);
        paths.put("deoptimized", Paths::deoptimized);
        paths.put("defaultMethod", Paths::defaultMethod);
        paths.put("bridge", Paths::bridge);
        paths.put("getters", Paths::getters);
        paths.put("locked", Paths::locked);
        paths.put("stream", Paths::stream);
        paths.put("hotLoop", Paths::hotLoop);
        paths.put("thread", OtherThreads::startThread);
        if (Foreign.isThere()) {
            paths.put("upcall", Foreign::upcall);
            paths.put("nestedUpcall", Foreign::nestedUpcall);
            paths.put("sorting", Foreign::sorting);
        }
        if (VirtualThreads.areThere()) {
            paths.put("virtualThread", VirtualThreads.path(VirtualThreads::virtualThread));
            paths.put("unparkedVirtualThread", VirtualThreads.path(VirtualThreads::unparkedVirtualThread));
            paths.put("pinnedVirtualThread", VirtualThreads.path(VirtualThreads::pinnedVirtualThread));
            paths.put("parkedVirtualThread", VirtualThreads.path(one -> VirtualThreads.parkedVirtualThread(1000, one)));
        }
        return paths;
    }

    static void plain(Allocation allocation) {
        allocation.take();
    }

    // Methods of their own, so that also the leaf side of a stack tells which one it is.

    private static void recursion5(int depth, Allocation allocation) {
        if (depth > 1) {
            recursion5(depth - 1, allocation);
        } else {
            allocation.take();
        }
    }

    private static void recursion50(int depth, Allocation allocation) {
        if (depth > 1) {
            recursion50(depth - 1, allocation);
        } else {
            allocation.take();
        }
    }

    private static void recursion500(int depth, Allocation allocation) {
        if (depth > 1) {
            recursion500(depth - 1, allocation);
        } else {
            allocation.take();
        }
    }

    private static void recursion1000(int depth, Allocation allocation) {
        if (depth > 1) {
            recursion1000(depth - 1, allocation);
        } else {
            allocation.take();
        }
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

    static void fromNative(Allocation allocation) {
        Natives.call(allocation);
    }

    static void fromSynchronizedNative(Allocation allocation) {
        Natives.callSynchronized(allocation);
    }

    static void fromNativeOfObject(Allocation allocation) {
        new Natives().callHere(allocation);
    }

    static void nestedNative(Allocation allocation) {
        Natives.callPath(Natives::call, allocation);
    }

    static void nestedThrice(Allocation allocation) {
        Natives.callPath(inner -> Natives.callPath(Natives::call, inner), allocation);
    }

    /** The interpreter calls compiled code, which calls the interpreter, with more arguments than there are registers. */
    static void mixed(Allocation allocation) {
        sink += Mixed.compiled(4, 1, 2, 3, 4, 5, 6, 7, 8, allocation);
    }

    static void inCatch(Allocation allocation) {
        try {
            sink = Arrays.asList(1).get(sink + 7);
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

    /** Called seldom. Compiled code without a rare branch reaches it. */
    static void uncommonTrap(Allocation allocation) throws ReflectiveOperationException {
        Late.trap(allocation);
    }

    static void firstReflection(Allocation allocation) throws ReflectiveOperationException {
        Late.reflect(allocation);
    }

    /** The JVM itself calls the loader. */
    static void classLoading(Allocation allocation) throws ReflectiveOperationException {
        Late.load(allocation);
    }

    static void hiddenClass(Allocation allocation) throws Throwable {
        Hidden.define().enter(allocation);
    }

    static class Constructed {
        final Allocation allocation;

        public Constructed(Allocation allocation) {
            this.allocation = allocation;
            allocation.take();
        }
    }

    static final class Derived extends Constructed {
        {
            sink++;
        }

        public Derived(Allocation allocation) {
            super(allocation);
        }
    }

    static void constructor(Allocation allocation) {
        new Derived(allocation);
    }

    static void reflectedConstructor(Allocation allocation) throws ReflectiveOperationException {
        Derived.class.getConstructor(Allocation.class).newInstance(allocation);
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
        Stream.of(allocation).map(one -> one).forEach(Allocation::take);
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
}
