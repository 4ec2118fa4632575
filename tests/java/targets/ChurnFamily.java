package targets;

import java.io.IOException;
import java.io.InputStream;
import java.lang.invoke.MethodHandles;
import java.lang.reflect.Array;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;

/** Classes with a serial number in their names, a loader of their own, and a chain of calls through them. */
final class ChurnFamily extends ClassLoader {
    private static final String ZEROS = "000000";
    private static final int LINKS = 6;
    private static final int DEPTH = 40;
    /** One link in so many is a hidden class, where there are any. */
    private static final int HIDDEN = 3;
    private static final Map<String, byte[]> TEMPLATES = new TreeMap<>();
    private static final Method DEFINE_HIDDEN = defineHidden();

    private final String serial;
    private final Class<?> hook;

    /** A family's classes are generated from these. */
    static void load() throws IOException {
        for (String name : new String[] {"Link", "Hook", "Tail"}) {
            try (InputStream bytes = ChurnFamily.class.getResourceAsStream(name + ZEROS + ".class")) {
                TEMPLATES.put(name, bytes.readAllBytes());
            }
        }
    }

    private static Method defineHidden() {
        for (Method method : MethodHandles.Lookup.class.getMethods()) {
            if (method.getName().equals("defineHiddenClass")) {
                return method;
            }
        }
        return null;
    }

    ChurnFamily(int number) throws ReflectiveOperationException {
        super(ChurnFamily.class.getClassLoader());
        String digits = Integer.toString(number);
        serial = ZEROS.substring(digits.length()) + digits;
        hook = define("Hook");
    }

    private byte[] bytes(String template) {
        byte[] bytes = TEMPLATES.get(template).clone();
        byte[] from = ZEROS.getBytes(StandardCharsets.US_ASCII);
        byte[] to = serial.getBytes(StandardCharsets.US_ASCII);
        for (int at = 0; at + from.length <= bytes.length; at++) {
            if (Arrays.equals(bytes, at, at + from.length, from, 0, from.length)) {
                System.arraycopy(to, 0, bytes, at, to.length);
            }
        }
        return bytes;
    }

    private Class<?> define(String template) {
        byte[] bytes = bytes(template);
        return defineClass("targets." + template + serial, bytes, 0, bytes.length);
    }

    private Class<?> hidden(String template) throws ReflectiveOperationException {
        Object lookup = hook.getMethod("lookup").invoke(null);
        Object none = Array.newInstance(DEFINE_HIDDEN.getParameterTypes()[2].getComponentType(), 0);
        Object defined = DEFINE_HIDDEN.invoke(lookup, bytes(template), true, none);
        return ((MethodHandles.Lookup) defined).lookupClass();
    }

    /** A chain that the serial number decides, to its last call. */
    Churn.Link chain() throws ReflectiveOperationException {
        int choice = Integer.parseInt(serial) * 0x9e3779b1;
        Class<?> common = define("Link");
        Churn.Link chain = Churn.Call::take;
        for (int link = 0; link <= Math.floorMod(choice, LINKS); link++) {
            boolean isHidden = DEFINE_HIDDEN != null && link % HIDDEN == HIDDEN - 1;
            Class<?> type = isHidden ? hidden("Link") : common;
            int way = Math.floorMod(choice >>> (8 + 3 * link), Churn.WAYS);
            // Not every JDK lets hidden classes have lambdas.
            way = isHidden && way == Churn.LAMBDA ? Churn.PLAIN : way;
            int depth = 2 + Math.floorMod(choice >>> (4 + link), DEPTH);
            chain = (Churn.Link) type.getConstructors()[0].newInstance(chain, way, depth);
        }
        return chain;
    }

    /** Makes compiled calls of the family's hook invalid. */
    void invalidate() {
        try {
            define("Tail").getConstructor().newInstance();
        } catch (ReflectiveOperationException impossible) {
            throw new AssertionError(impossible);
        }
    }

    String serial() {
        return serial;
    }
}
