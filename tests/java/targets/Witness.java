package targets;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Takes native memory by all means on all ways, and says what stack the JVM itself has for each.
 *
 * <p>Arguments: the JNI library, how often each way is gone by each means before anybody looks, and `all` if that is to be
 * by all means and not by some.
 */
public final class Witness {
    /** Large enough that the JVM itself asks for no block of such a size. */
    private static final int SMALLEST = 20_000;
    /** Sizes differ by more than what they may be rounded up by. */
    private static final int STEP = 16;

    /** Ways that warm up by themselves, or are what they are only the first times. */
    private static final Set<String> SELDOM = new HashSet<>(Arrays.asList("hotLoop", "deoptimized", "uncommonTrap",
            "firstReflection", "classLoading", "hiddenClass", "redefined", "cleaner", "finalizer"));
    /** Ways that are gone by all means. */
    private static final Set<String> BY_ALL = new HashSet<>(Arrays.asList("plain", "lambdas", "fromNative", "mixed"));

    /** Ways that cost a collection of the whole heap: by one sort of block and one of stream. */
    private static final Set<String> BY_TWO = new HashSet<>(Arrays.asList("cleaner", "finalizer"));
    private static final List<Allocation.Means> TWO = Arrays.asList(Allocation.Means.JNI, Allocation.Means.DEFLATER);

    /** Of the means that differ in many frames. */
    private static final List<Allocation.Means> SOME =
            Arrays.asList(Allocation.Means.UNSAFE, Allocation.Means.JNI, Allocation.Means.DEFLATER);

    private static boolean isByAll;
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

    private static List<Allocation.Means> means(String path) {
        if (BY_TWO.contains(path)) {
            return TWO;
        }
        List<Allocation.Means> chosen = new ArrayList<>();
        for (Allocation.Means means : Allocation.Means.values()) {
            boolean isEverywhere = isByAll ? means.isEverywhere() : SOME.contains(means);
            if (means.isThere() && (isEverywhere || BY_ALL.contains(path))) {
                chosen.add(means);
            }
        }
        return chosen;
    }

    private static void warmUp(Map<String, Paths.Path> paths, int rounds) throws Throwable {
        for (int round = 0; round < rounds; round++) {
            for (Map.Entry<String, Paths.Path> path : paths.entrySet()) {
                for (Allocation.Means means : means(path.getKey())) {
                    if (!SELDOM.contains(path.getKey())) {
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
            for (Allocation.Means means : means(path.getKey())) {
                Allocation allocation = new Allocation(means, nextSize());
                path.getValue().enter(allocation);
                done.put(allocation, path.getKey());
            }
        }
        return done;
    }

    public static void main(String[] arguments) throws Throwable {
        System.load(arguments[0]);
        isByAll = arguments.length > 2 && arguments[2].equals("all");
        Redefined.prepare();
        Map<String, Paths.Path> paths = Paths.all();
        warmUp(paths, Integer.parseInt(arguments[1]));
        Truth.ready();
        Map<Allocation, String> done = work(paths);
        Truth.say("cases " + done.size());
        done.forEach((allocation, path) -> Truth.say("case " + allocation.json(path)));
        Truth.done();
    }
}
