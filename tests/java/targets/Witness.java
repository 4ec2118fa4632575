package targets;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/**
 * Takes native memory by all means on all ways, and says what stack the JVM itself has for each.
 *
 * <p>Arguments: the JNI library, and how often each way is gone by each means before anybody looks.
 */
public final class Witness {
    /** Large enough that the JVM itself asks for no block of such a size. */
    private static final int SMALLEST = 20_000;
    /** Sizes differ by more than what they may be rounded up by. */
    private static final int STEP = 16;

    /** Ways that warm up by themselves, or are what they are only the first times. */
    private static final Set<String> SELDOM = Set.of("hotLoop", "deoptimized");

    private static int lastSize = SMALLEST;

    private Witness() {}

    private static boolean isPrime(int number) {
        for (int divisor = 2; divisor * divisor <= number; divisor++) {
            if (number % divisor == 0) {
                return false;
            }
        }
        return true;
    }

    private static int nextSize() {
        lastSize += STEP;
        while (!isPrime(lastSize)) {
            lastSize++;
        }
        return lastSize;
    }

    private static void warmUp(Map<String, Paths.Path> paths, int rounds) throws Throwable {
        for (int round = 0; round < rounds; round++) {
            for (Map.Entry<String, Paths.Path> path : paths.entrySet()) {
                for (Allocation.Means means : Allocation.Means.values()) {
                    if (means.isThere() && !SELDOM.contains(path.getKey())) {
                        Allocation allocation = new Allocation(means, 64);
                        path.getValue().enter(allocation);
                        allocation.release();
                    }
                }
            }
        }
    }

    private static Map<Allocation, String> work(Map<String, Paths.Path> paths) throws Throwable {
        Map<Allocation, String> done = new LinkedHashMap<>();
        for (Map.Entry<String, Paths.Path> path : paths.entrySet()) {
            for (Allocation.Means means : Allocation.Means.values()) {
                if (means.isThere()) {
                    Allocation allocation = new Allocation(means, nextSize());
                    path.getValue().enter(allocation);
                    done.put(allocation, path.getKey());
                }
            }
        }
        return done;
    }

    public static void main(String[] arguments) throws Throwable {
        System.load(arguments[0]);
        Map<String, Paths.Path> paths = Paths.all();
        warmUp(paths, Integer.parseInt(arguments[1]));
        Truth.ready();
        Map<Allocation, String> done = work(paths);
        Truth.say("cases " + done.size());
        done.forEach((allocation, path) -> Truth.say("case " + allocation.json(path)));
        Truth.done();
    }
}
