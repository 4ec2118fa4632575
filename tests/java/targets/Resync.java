package targets;

/**
 * Java frames above native code that can't be unwound. Each case takes one block, and says which: {@code case NAME SIZE}.
 *
 * <p>Arguments: the JNI library, and {@code wrong} for the one case whose unwind information is there and wrong.
 */
public final class Resync {
    private static int lastSize = 20_000;

    private Resync() {}

    private static native void take(long size);

    private static native void takeOdd(long size);

    /** Its unwind information leads past the frame of this method. */
    private static native void takeWrong(long size);

    private static native void through(Runnable task);

    /** A thread that Java does not start takes one block by itself, and runs the task. */
    private static native void attached(long size, Runnable task);

    private static long next(String name) {
        lastSize += 1000 + Truth.nextPrime();
        Truth.say("case " + name + " " + lastSize);
        return lastSize;
    }

    static void plain(String name) {
        take(next(name));
    }

    static void odd() {
        takeOdd(next("odd"));
    }

    static void nested() {
        through(() -> plain("nested"));
    }

    static void thrice() {
        through(() -> through(() -> plain("thrice")));
    }

    static void fromAttached() {
        attached(next("attached"), () -> {
            Truth.say("attached");
            Truth.awaitAny();
            plain("fromAttached");
        });
    }

    static void wrong() {
        takeWrong(next("wrong"));
    }

    public static void main(String[] arguments) throws Exception {
        System.load(arguments[0]);
        Truth.ready();
        if (arguments.length > 1) {
            wrong();
            Truth.done();
            return;
        }
        plain("plain");
        odd();
        nested();
        thrice();
        fromAttached();
        Truth.done();
    }
}
