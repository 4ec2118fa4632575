package targets;

/** Native methods of all sorts that call Java back. */
final class Natives {
    /** Calls the allocation back from C. */
    static native void call(Allocation allocation);

    static synchronized native void callSynchronized(Allocation allocation);

    native void callHere(Allocation allocation);

    static native void callPath(Paths.Path path, Allocation allocation);
}
