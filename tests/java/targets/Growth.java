package targets;

import java.util.ArrayList;
import java.util.List;

/** Makes the Java heap grow, and says by how much the JVM committed more: {@code committed BYTES}. */
public final class Growth {
    private static final List<byte[]> KEPT = new ArrayList<>();

    private Growth() {}

    public static void main(String[] arguments) throws Exception {
        Truth.ready();
        long before = Runtime.getRuntime().totalMemory();
        for (int i = 0; i < 512; i++) {
            KEPT.add(new byte[64 << 10]);
        }
        long after = Runtime.getRuntime().totalMemory();
        Truth.say("committed " + (after - before));
        Truth.done();
    }
}
