package targets;

import java.lang.invoke.MethodHandles;
import java.lang.reflect.Array;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.Method;

/** A class that no loader knows by name: hidden from JDK 15 on, anonymous before. */
final class Hidden implements Paths.Path {
    Hidden() {}

    @Override
    public void enter(Allocation allocation) {
        allocation.take();
    }

    static Paths.Path define() throws ReflectiveOperationException {
        byte[] bytes = Late.bytes("targets.Hidden");
        Class<?> hidden = Late.RELEASE < 15 ? anonymous(bytes) : hidden(bytes);
        Late.kept.add(hidden);
        Constructor<?> constructor = hidden.getDeclaredConstructor();
        return (Paths.Path) constructor.newInstance();
    }

    private static Class<?> hidden(byte[] bytes) throws ReflectiveOperationException {
        Object options = Array.newInstance(Class.forName("java.lang.invoke.MethodHandles$Lookup$ClassOption"), 0);
        Method define = MethodHandles.Lookup.class.getMethod("defineHiddenClass", byte[].class, boolean.class,
                options.getClass());
        MethodHandles.Lookup lookup = MethodHandles.lookup();
        return ((MethodHandles.Lookup) define.invoke(lookup, bytes, true, options)).lookupClass();
    }

    private static Class<?> anonymous(byte[] bytes) throws ReflectiveOperationException {
        Class<?> unsafe = Class.forName("sun.misc.Unsafe");
        Field field = unsafe.getDeclaredField("theUnsafe");
        field.setAccessible(true);
        Method define = unsafe.getMethod("defineAnonymousClass", Class.class, byte[].class, Object[].class);
        return (Class<?>) define.invoke(field.get(null), Hidden.class, bytes, null);
    }
}
