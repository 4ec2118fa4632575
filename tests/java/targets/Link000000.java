package targets;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;

/**
 * One link of a chain of calls. {@link ChurnFamily} defines it again and again, the zeros replaced by a serial number.
 *
 * <p>As a hidden class, too, which nothing can name: its own type is in no descriptor.
 */
public final class Link000000 implements Churn.Link {
    /** Enough for the loop to be compiled while it runs, where compilers begin early. */
    private static final int LONG = 1500;
    private static final MethodHandle HANDLED = handled();

    private final Churn.Link next;
    private final int way;
    private final int depth;
    private final Hook000000 hook = new Hook000000();
    private int sink;

    /** {@code depth} is that of the recursion, on a way that has one. */
    public Link000000(Churn.Link next, int way, int depth) {
        this.next = next;
        this.way = way;
        this.depth = depth;
    }

    private static MethodHandle handled() {
        try {
            MethodType type = MethodType.methodType(void.class, Churn.Call.class);
            MethodHandle handled = MethodHandles.lookup().findVirtual(Link000000.class, "handled", type);
            return handled.asType(type.insertParameterTypes(0, Object.class));
        } catch (ReflectiveOperationException impossible) {
            throw new AssertionError(impossible);
        }
    }

    @Override
    public void go(Churn.Call call) throws Throwable {
        switch (way) {
            case Churn.PLAIN:
                plain(call);
                break;
            case Churn.RECURSION:
                descend(call, depth);
                break;
            case Churn.LAMBDA:
                Churn.Link after = next;
                Churn.Link inner = passed -> after.go(passed);
                inner.go(call);
                break;
            case Churn.HANDLE:
                HANDLED.invokeExact((Object) this, call);
                break;
            case Churn.LOCKED:
                locked(call);
                break;
            case Churn.HOOK:
                hooked(call);
                break;
            default:
                loop(call);
        }
    }

    private void plain(Churn.Call call) throws Throwable {
        first(call, sink);
    }

    private void first(Churn.Call call, int any) throws Throwable {
        sink = any + 1;
        second(next, call);
    }

    private static void second(Churn.Link next, Churn.Call call) throws Throwable {
        next.go(call);
    }

    private void descend(Churn.Call call, int left) throws Throwable {
        if (left % 2 == 0) {
            sink++;
        }
        if (left > 0) {
            descend(call, left - 1);
        } else {
            next.go(call);
        }
    }

    private void handled(Churn.Call call) throws Throwable {
        next.go(call);
    }

    private synchronized void locked(Churn.Call call) throws Throwable {
        try {
            Object[] none = new Object[sink & 1];
            none[sink + 7] = this;
        } catch (IndexOutOfBoundsException expected) {
            next.go(call);
        }
    }

    private void hooked(Churn.Call call) throws Throwable {
        hook.on(next, call);
    }

    private void loop(Churn.Call call) throws Throwable {
        for (int i = 1; i <= LONG; i++) {
            sink += i ^ (sink << 1);
            if (i == LONG) {
                next.go(call);
            }
        }
    }
}
