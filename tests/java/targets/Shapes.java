package targets;

import java.util.ArrayList;
import java.util.List;
import java.util.zip.Deflater;
import java.util.zip.Inflater;

/** Keeps Deflaters, one each step, and drops Inflaters, which the collector finds every few steps and the cleaner ends. */
public final class Shapes {
    private static final int STEPS = 90;
    private static final long STEP_MILLIS = 100;
    private static final int DROPPED_A_STEP = 2;
    private static final int COLLECTED_EVERY = 15;
    private static final List<Object> KEPT = new ArrayList<>();

    private Shapes() {}

    static void keep() {
        KEPT.add(new Deflater());
    }

    static void drop() {
        new Inflater();
    }

    private static void step(int at) {
        keep();
        for (int i = 0; i < DROPPED_A_STEP; i++) {
            drop();
        }
        if (at % COLLECTED_EVERY == COLLECTED_EVERY - 1) {
            System.gc();
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.out.println("ready");
        System.in.read();
        for (int at = 0; at < STEPS; at++) {
            step(at);
            Thread.sleep(STEP_MILLIS);
        }
        System.out.println("done");
        while (System.in.read() >= 0) {
            // Until the end of the input.
        }
    }
}
