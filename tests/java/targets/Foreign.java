package targets;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Array;
import java.lang.reflect.Method;
import java.util.Optional;

/**
 * The foreign function interface by reflection, since the targets are compiled for earlier JDKs: JDK 21 has it as a
 * preview, which only its compiler refuses.
 */
final class Foreign {
    private static final boolean IS_THERE = Late.RELEASE >= 21;
    private static final MethodHandle MALLOC = IS_THERE ? function("malloc", "JAVA_LONG", "JAVA_LONG") : null;
    private static final MethodHandle FREE = IS_THERE ? function("free", null, "JAVA_LONG") : null;
    private static final MethodHandle CALL = IS_THERE ? function("call_function", null, "ADDRESS") : null;
    private static final MethodHandle QSORT =
            IS_THERE ? function("qsort", null, "ADDRESS", "JAVA_LONG", "JAVA_LONG", "ADDRESS") : null;
    private static final MethodHandle ALLOCATE = IS_THERE ? allocate() : null;
    private static final Object GLOBAL = IS_THERE ? arena("global") : null;
    private static final Object UPCALL = IS_THERE ? upcall("calledBack", void.class, null) : null;
    private static final Object OUTER = IS_THERE ? upcall("calledBackOutside", void.class, null) : null;
    private static final Object COMPARE = IS_THERE ? upcall("compare", int.class, "JAVA_INT", "ADDRESS", "ADDRESS") : null;

    private static Allocation calledBack;

    private Foreign() {}

    static boolean isThere() {
        return IS_THERE;
    }

    static long malloc(long size) {
        try {
            return (long) MALLOC.invokeExact(size);
        } catch (Throwable error) {
            throw new AssertionError(error);
        }
    }

    static void free(long block) {
        try {
            FREE.invokeExact(block);
        } catch (Throwable error) {
            throw new AssertionError(error);
        }
    }

    /** Java calls C, which calls Java back. */
    static void upcall(Allocation allocation) throws Throwable {
        calledBack = allocation;
        CALL.invoke(UPCALL);
    }

    /** Java calls C, which calls Java back, which calls C again, which calls Java back. */
    static void nestedUpcall(Allocation allocation) throws Throwable {
        calledBack = allocation;
        CALL.invoke(OUTER);
    }

    /** Two elements are compared once. */
    static void sorting(Allocation allocation) throws Throwable {
        calledBack = allocation;
        QSORT.invoke(ALLOCATE.invoke(GLOBAL, 16L), 2L, 8L, COMPARE);
    }

    private static void calledBack() {
        calledBack.take();
    }

    private static void calledBackOutside() {
        try {
            CALL.invoke(UPCALL);
        } catch (Throwable error) {
            throw new AssertionError(error);
        }
    }

    private static int compare() {
        calledBack.take();
        return 0;
    }

    /** An arena with a segment of {@code size} bytes. */
    static Object segment(long size) {
        try {
            Object arena = arena("ofShared");
            Object segment = ALLOCATE.invoke(arena, size);
            return segment == null ? null : arena;
        } catch (Throwable error) {
            throw new AssertionError(error);
        }
    }

    static void close(Object arena) {
        try {
            api("Arena").getMethod("close").invoke(arena);
        } catch (ReflectiveOperationException error) {
            throw new AssertionError(error);
        }
    }

    private static Object arena(String kind) {
        try {
            return api("Arena").getMethod(kind).invoke(null);
        } catch (ReflectiveOperationException error) {
            throw new AssertionError(error);
        }
    }

    private static MethodHandle allocate() {
        try {
            MethodType type = MethodType.methodType(api("MemorySegment"), long.class);
            return MethodHandles.lookup().findVirtual(api("SegmentAllocator"), "allocate", type);
        } catch (ReflectiveOperationException error) {
            throw new AssertionError(error);
        }
    }

    private static Class<?> api(String name) throws ClassNotFoundException {
        return Class.forName("java.lang.foreign." + name);
    }

    private static Object linker() throws ReflectiveOperationException {
        return api("Linker").getMethod("nativeLinker").invoke(null);
    }

    private static Object descriptor(String result, String... arguments) throws ReflectiveOperationException {
        Object layouts = Array.newInstance(api("MemoryLayout"), arguments.length);
        for (int i = 0; i < arguments.length; i++) {
            Array.set(layouts, i, layout(arguments[i]));
        }
        Class<?> descriptor = api("FunctionDescriptor");
        if (result == null) {
            return descriptor.getMethod("ofVoid", layouts.getClass()).invoke(null, layouts);
        }
        Method of = descriptor.getMethod("of", api("MemoryLayout"), layouts.getClass());
        return of.invoke(null, layout(result), layouts);
    }

    private static Object layout(String name) throws ReflectiveOperationException {
        return api("ValueLayout").getField(name).get(null);
    }

    private static Object options() throws ReflectiveOperationException {
        return Array.newInstance(api("Linker$Option"), 0);
    }

    /** A function of libc or of the library that the target has loaded. */
    private static MethodHandle function(String name, String result, String... arguments) {
        try {
            Method find = api("SymbolLookup").getMethod("find", String.class);
            Object libc = api("Linker").getMethod("defaultLookup").invoke(linker());
            Object loaded = api("SymbolLookup").getMethod("loaderLookup").invoke(null);
            Optional<?> address = (Optional<?>) find.invoke(libc, name);
            Object symbol = address.isPresent() ? address.get() : ((Optional<?>) find.invoke(loaded, name)).get();
            Method downcall = api("Linker").getMethod("downcallHandle", api("MemorySegment"),
                    api("FunctionDescriptor"), options().getClass());
            return (MethodHandle) downcall.invoke(linker(), symbol, descriptor(result, arguments), options());
        } catch (ReflectiveOperationException error) {
            throw new AssertionError(error);
        }
    }

    /** A function that calls the method {@code name}, which takes none of what the function is given. */
    private static Object upcall(String name, Class<?> type, String result, String... arguments) {
        try {
            MethodHandle target =
                    MethodHandles.lookup().findStatic(Foreign.class, name, MethodType.methodType(type));
            for (int i = 0; i < arguments.length; i++) {
                target = MethodHandles.dropArguments(target, 0, api("MemorySegment"));
            }
            Method stub = api("Linker").getMethod("upcallStub", MethodHandle.class, api("FunctionDescriptor"),
                    api("Arena"), options().getClass());
            return stub.invoke(linker(), target, descriptor(result, arguments), arena("global"), options());
        } catch (ReflectiveOperationException error) {
            throw new AssertionError(error);
        }
    }
}
