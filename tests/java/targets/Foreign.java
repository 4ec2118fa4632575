package targets;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Array;
import java.lang.reflect.Method;
import java.util.Optional;

/** The foreign function interface of JDK 22 by reflection, since the targets are compiled for JDK 11. */
final class Foreign {
    private static final boolean IS_THERE = Runtime.version().feature() >= 22;
    private static final MethodHandle MALLOC = IS_THERE ? function("malloc", "JAVA_LONG", "JAVA_LONG") : null;
    private static final MethodHandle FREE = IS_THERE ? function("free", null, "JAVA_LONG") : null;
    private static final MethodHandle CALL = IS_THERE ? function("call_function", null, "ADDRESS") : null;
    private static final Object UPCALL = IS_THERE ? upcall() : null;

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
    static void callBack(Allocation allocation) throws Throwable {
        calledBack = allocation;
        CALL.invoke(UPCALL);
    }

    private static void calledBack() {
        calledBack.take();
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

    private static Object upcall() {
        try {
            MethodHandle target = MethodHandles.lookup()
                    .findStatic(Foreign.class, "calledBack", MethodType.methodType(void.class));
            Object arena = api("Arena").getMethod("global").invoke(null);
            Method stub = api("Linker").getMethod("upcallStub", MethodHandle.class, api("FunctionDescriptor"),
                    api("Arena"), options().getClass());
            return stub.invoke(linker(), target, descriptor(null), arena, options());
        } catch (ReflectiveOperationException error) {
            throw new AssertionError(error);
        }
    }
}
