package targets;

import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.lang.reflect.Method;
import java.util.zip.Deflater;

/**
 * Opens and ends Deflaters from random stacks of some sixty frames, through thousands of classes: compiled and inlined
 * ({@link Step}), interpreted ({@link Plain}, which a flag keeps from the compilers), and one reflective call, which passes
 * through the JVM's own code. The argument is the number of classes.
 *
 * <p>Each line read, a number, is answered with {@code made N} when so many were opened.
 */
public final class BenchUnwind {
    private static final int RUNGS = 13;
    private static final int PLAIN = 4;
    /** Called often enough for C2; the others are for C1. */
    private static final int HOT = 100;

    private static Rung[] steps;
    private static Method descend;
    private static long seed = 97;

    private BenchUnwind() {}

    /** One step of the way down, two frames. */
    public interface Rung {
        Deflater down(Rung[] way, int depth, boolean open);
    }

    /** Loaded again and again: each time another class, with compiled code of its own. */
    public static final class Step implements Rung {
        @Override
        public Deflater down(Rung[] way, int depth, boolean open) {
            return next(way, depth, open);
        }

        private static Deflater next(Rung[] way, int depth, boolean open) {
            return descend(way, depth, open);
        }
    }

    /** Never compiled. */
    public static final class Plain implements Rung {
        @Override
        public Deflater down(Rung[] way, int depth, boolean open) {
            return next(way, depth, open);
        }

        private static Deflater next(Rung[] way, int depth, boolean open) {
            return descend(way, depth, open);
        }
    }

    /** Through {@code Method.invoke}. */
    public static final class Reflected implements Rung {
        @Override
        public Deflater down(Rung[] way, int depth, boolean open) {
            try {
                return (Deflater) descend.invoke(null, way, depth, open);
            } catch (ReflectiveOperationException failed) {
                throw new IllegalStateException(failed);
            }
        }
    }

    private static final class Loader extends ClassLoader {
        private final byte[] code;

        Loader(byte[] code) {
            super(BenchUnwind.class.getClassLoader());
            this.code = code;
        }

        Rung load() throws ReflectiveOperationException {
            Class<?> step = defineClass(Step.class.getName(), code, 0, code.length);
            return (Rung) step.getDeclaredConstructor().newInstance();
        }
    }

    public static Deflater descend(Rung[] way, int depth, boolean open) {
        if (depth < way.length) {
            return way[depth].down(way, depth + 1, open);
        }
        return open ? new Deflater() : null;
    }

    private static int random(int bound) {
        seed = seed * 6364136223846793005L + 1442695040888963407L;
        return (int) ((seed >>> 33) % bound);
    }

    private static Rung[] way(Rung plain, Rung reflected) {
        Rung[] way = new Rung[RUNGS];
        for (int i = 0; i < way.length; i++) {
            way[i] = steps[random((i & 1) == 0 ? Math.min(HOT, steps.length) : steps.length)];
        }
        for (int i = 0; i < PLAIN; i++) {
            way[random(way.length)] = plain;
        }
        way[random(way.length)] = reflected;
        return way;
    }

    private static void load(int classes) throws Exception {
        byte[] code;
        try (InputStream input = BenchUnwind.class.getResourceAsStream("BenchUnwind$Step.class")) {
            code = input.readAllBytes();
        }
        descend = BenchUnwind.class.getMethod("descend", Rung[].class, int.class, boolean.class);
        steps = new Rung[classes];
        for (int i = 0; i < classes; i++) {
            steps[i] = new Loader(code).load();
        }
    }

    private static void warmUp(Rung plain, Rung reflected) {
        for (int i = 0; i < 150 * steps.length; i++) {
            Deflater opened = descend(way(plain, reflected), 0, i % 32 == 0);
            // A branch that was never taken is one that C2 leaves out, and deoptimises for later.
            if (opened != null) {
                opened.end();
            }
        }
    }

    private static void open(int count, Rung plain, Rung reflected) {
        for (int i = 0; i < count; i++) {
            descend(way(plain, reflected), 0, true).end();
        }
    }

    public static void main(String[] arguments) throws Exception {
        load(Integer.parseInt(arguments[0]));
        Rung plain = new Plain();
        Rung reflected = new Reflected();
        warmUp(plain, reflected);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        Truth.say("ready");
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            int count = Integer.parseInt(line.trim());
            open(count, plain, reflected);
            Truth.say("made " + count);
        }
    }
}
