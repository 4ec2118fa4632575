import java.util.function.IntSupplier;
import java.util.zip.Deflater;

/** Opens and ends a Deflater again and again, ever by the same calls. */
public class Live {
    public static void main(String[] args) throws Exception {
        for (int i = Integer.parseInt(args[0]); i > 0; i--) {
            outer(3);
        }
        System.out.println("ready");
        if (System.in.read() < 0) {
            return;
        }
        while (true) {
            outer(3);
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
