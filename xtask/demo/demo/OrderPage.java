package demo;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;

/** The application behind the handler: a list of orders as JSON lines, some 20 kB. */
final class OrderPage {
    private static final int ORDERS = 400;

    void write(OutputStream out) throws IOException {
        for (var order = 0; order < ORDERS; order++) {
            out.write(line(order).getBytes(StandardCharsets.UTF_8));
        }
    }

    private static String line(int order) {
        return "{\"order\": " + order + ", \"state\": \"shipped\", \"cents\": " + order * 7919 % 10_000 + "}\n";
    }
}
