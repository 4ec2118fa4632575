package targets;

import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.util.zip.Deflater;
import java.util.zip.Inflater;
import sun.misc.Unsafe;

/** One allocation of native memory, and the stack that the JVM says it has. */
public final class Allocation {
    /** By what memory is taken, and as what it is seen from the outside. */
    enum Means {
        NOTHING(""), UNSAFE("malloc"), BUFFER("malloc"), JNI("malloc"), FOREIGN("malloc"), DEFLATER("deflate"),
        INFLATER("inflate"), SEGMENT("malloc"), CRITICAL("malloc"), SIGNAL("malloc");

        final String kind;

        Means(String kind) {
            this.kind = kind;
        }

        boolean isThere() {
            boolean isForeign = this == FOREIGN || this == SEGMENT;
            return this != NOTHING && (!isForeign || Foreign.isThere());
        }

        /** The last ones end in the same Java frames as others, and so they are tried on a few ways only. */
        boolean isEverywhere() {
            return ordinal() < SEGMENT.ordinal();
        }
    }

    /** HotSpot rounds up what Unsafe asks malloc for to whole heap words (Unsafe_AllocateMemory0, JDK 9 and later). */
    private static final int HEAP_WORD = 8;
    private static final Unsafe UNSAFE = unsafe();

    final Means means;
    private final long size;
    private StackTraceElement[] stack;
    private Object taken;

    Allocation(Means means, long size) {
        this.means = means;
        this.size = size;
    }

    private static Unsafe unsafe() {
        try {
            Field field = Unsafe.class.getDeclaredField("theUnsafe");
            field.setAccessible(true);
            return (Unsafe) field.get(null);
        } catch (ReflectiveOperationException impossible) {
            throw new AssertionError(impossible);
        }
    }

    private static native long allocate(long size);

    /** With a second entry point that compiled code of JDK 17 and earlier calls without any transition. */
    private static native long allocateCritical(long size);

    /** Raises a signal whose handler allocates. */
    private static native long allocateInSignal(long size);

    private static native void free(long block);

    /** Public, for a class of another loader. */
    public void take() {
        switch (means) {
            case UNSAFE:
                byUnsafe();
                break;
            case BUFFER:
                byBuffer();
                break;
            case JNI:
                byJni();
                break;
            case FOREIGN:
                byForeign();
                break;
            case DEFLATER:
                byDeflater();
                break;
            case INFLATER:
                byInflater();
                break;
            case SEGMENT:
                bySegment();
                break;
            case CRITICAL:
                byCritical();
                break;
            case SIGNAL:
                bySignal();
                break;
            default:
        }
    }

    // The stack and the memory are taken in one line, so that the lines agree in this frame, too.

    private void byUnsafe() {
        took(Thread.currentThread().getStackTrace(), UNSAFE.allocateMemory(size));
    }

    private void byBuffer() {
        took(Thread.currentThread().getStackTrace(), ByteBuffer.allocateDirect((int) size));
    }

    private void byJni() {
        took(Thread.currentThread().getStackTrace(), allocate(size));
    }

    private void byForeign() {
        took(Thread.currentThread().getStackTrace(), Foreign.malloc(size));
    }

    private void byDeflater() {
        took(Thread.currentThread().getStackTrace(), new Deflater());
    }

    private void byInflater() {
        took(Thread.currentThread().getStackTrace(), new Inflater());
    }

    private void bySegment() {
        took(Thread.currentThread().getStackTrace(), Foreign.segment(size));
    }

    private void byCritical() {
        took(Thread.currentThread().getStackTrace(), allocateCritical(size));
    }

    private void bySignal() {
        took(Thread.currentThread().getStackTrace(), allocateInSignal(size));
    }

    private void took(StackTraceElement[] stack, Object taken) {
        this.stack = stack;
        this.taken = taken;
    }

    void release() {
        switch (means) {
            case UNSAFE:
                UNSAFE.freeMemory((long) taken);
                break;
            case BUFFER:
                // JDK 8 leaves it to the collector.
                if (Late.RELEASE >= 9) {
                    UNSAFE.invokeCleaner((ByteBuffer) taken);
                }
                break;
            case JNI:
            case CRITICAL:
            case SIGNAL:
                free((long) taken);
                break;
            case FOREIGN:
                Foreign.free((long) taken);
                break;
            case SEGMENT:
                Foreign.close(taken);
                break;
            case DEFLATER:
                ((Deflater) taken).end();
                break;
            case INFLATER:
                ((Inflater) taken).end();
                break;
            default:
        }
    }

    /** What malloc is asked for; 0 for streams, whose size is zlib's affair. */
    private long bytes() {
        switch (means) {
            case UNSAFE:
            case BUFFER:
            case SEGMENT:
                return (size + HEAP_WORD - 1) / HEAP_WORD * HEAP_WORD;
            case JNI:
            case FOREIGN:
            case CRITICAL:
            case SIGNAL:
                return size;
            default:
                return 0;
        }
    }

    /** The frames leaf first, from the method that allocates. */
    String json(String path) {
        if (stack == null) {
            throw new AssertionError(path + " took nothing by " + means);
        }
        StringBuilder json = new StringBuilder();
        json.append("{\"path\":\"").append(path).append("\",\"means\":\"").append(means);
        json.append("\",\"kind\":\"").append(means.kind).append("\",\"bytes\":").append(bytes());
        json.append(",\"frames\":[");
        // The first one is Thread.getStackTrace.
        for (int i = 1; i < stack.length; i++) {
            StackTraceElement frame = stack[i];
            json.append(i > 1 ? "," : "").append("{\"class\":\"").append(frame.getClassName());
            json.append("\",\"method\":\"").append(frame.getMethodName());
            json.append("\",\"line\":").append(frame.getLineNumber()).append('}');
        }
        return json.append("]}").toString();
    }
}
