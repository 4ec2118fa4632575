import java.util.function.IntSupplier;
import java.util.zip.Deflater;

/** Opens and ends a Deflater again and again, ever by the same calls. */
public class Live {
    public static void main(String[] args) throws Exception {
        boolean parked = args[1].equals("parked");
        for (int i = Integer.parseInt(args[0]); i > 0; i--) {
            once(parked);
        }
        System.out.println("ready");
        if (System.in.read() < 0) {
            return;
        }
        while (true) {
            once(parked);
        }
    }

    static void once(boolean parked) throws Exception {
        if (!parked) {
            outer(3);
            return;
        }
        Runnable task = () -> park(1000);
        // By reflection, so that older JDKs compile it.
        ((Thread) Thread.class.getMethod("startVirtualThread", Runnable.class).invoke(null, task)).join();
    }

    /** Unmounts a virtual thread with so many frames that not all come back to the stack when it goes on. */
    static void park(int depth) {
        if (depth > 0) {
            park(depth - 1);
        } else {
            Thread.yield();
            leak();
        }
    }

    static int outer(int depth) {
        return depth == 0 ? middle() : outer(depth - 1) + 1;
    }

    static int middle() {
        IntSupplier supplier = Live::leak;
        return supplier.getAsInt();
    }

    static synchronized int leak() {
        Deflater deflater = new Deflater();
        deflater.end();
        return 1;
    }
}
