package targets;

import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import sun.misc.Unsafe;

/** Allocates native memory without zlib: Unsafe, direct buffers, and malloc in a JNI library (the first argument). */
public final class Blocks {
    /** HotSpot rounds up what Unsafe asks malloc for to whole heap words (Unsafe_AllocateMemory0, JDK 9 and later). */
    private static final int HEAP_WORD = 8;

    private static final List<ByteBuffer> KEPT = new ArrayList<>();
    private static Unsafe unsafe;

    private Blocks() {}

    static native long allocate(long size);

    static native void free(long block);

    private static long rounded(long size) {
        return (size + HEAP_WORD - 1) / HEAP_WORD * HEAP_WORD;
    }

    static long unsafeBlock(long size) {
        long block = unsafe.allocateMemory(size);
        Truth.of("targets.Blocks.unsafeBlock", "malloc").opened(rounded(size));
        return block;
    }

    static long grownBlock(long block, long size) {
        long grown = unsafe.reallocateMemory(block, size);
        Truth.of("targets.Blocks.grownBlock", "malloc").opened(rounded(size));
        return grown;
    }

    static void directBuffer(int size) {
        KEPT.add(ByteBuffer.allocateDirect(size));
        Truth.of("targets.Blocks.directBuffer", "malloc").opened(rounded(size));
    }

    static long jniBlock(long size) {
        long block = allocate(size);
        Truth.of("targets.Blocks.jniBlock", "malloc").opened(size);
        return block;
    }

    private static void viaUnsafe() {
        for (int i = 0; i < 5; i++) {
            unsafeBlock(Truth.nextPrime());
        }
        long size = Truth.nextPrime();
        unsafe.freeMemory(unsafeBlock(size));
        Truth.of("targets.Blocks.unsafeBlock", "malloc").closed(rounded(size));
        size = Truth.nextPrime();
        grownBlock(unsafeBlock(size), Truth.nextPrime());
        Truth.of("targets.Blocks.unsafeBlock", "malloc").closed(rounded(size));
    }

    private static void viaBuffers() {
        for (int i = 0; i < 7; i++) {
            directBuffer(Truth.nextPrime());
        }
    }

    private static void viaJni() {
        for (int i = 0; i < 11; i++) {
            jniBlock(Truth.nextPrime());
        }
        long size = Truth.nextPrime();
        free(jniBlock(size));
        Truth.of("targets.Blocks.jniBlock", "malloc").closed(size);
    }

    static void work() {
        viaUnsafe();
        viaBuffers();
        viaJni();
    }

    public static void main(String[] arguments) throws Exception {
        Field field = Unsafe.class.getDeclaredField("theUnsafe");
        field.setAccessible(true);
        unsafe = (Unsafe) field.get(null);
        System.load(arguments[0]);
        // Once before anybody looks: linking and loading allocate below the same methods.
        work();
        Truth.reset();
        Truth.ready();
        work();
        Truth.done();
    }
}
