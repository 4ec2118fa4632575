package demo;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;

import java.io.IOException;
import java.util.concurrent.Executor;
import java.util.zip.Deflater;

/** Gzips what a page answers: at once, or, for an export, later and on another thread. */
final class GzipHandler implements HttpHandler {
    static final String EXPORT = "/export";

    private final OrderPage page;
    private final DeflaterPool deflaters;
    private final Executor exports;

    GzipHandler(OrderPage page, DeflaterPool deflaters, Executor exports) {
        this.page = page;
        this.deflaters = deflaters;
        this.exports = exports;
    }

    @Override
    public void handle(HttpExchange exchange) throws IOException {
        var deflater = deflaters.take();
        if (exchange.getRequestURI().getPath().equals(EXPORT)) {
            exports.execute(() -> answerLater(exchange, deflater));
            return;
        }
        try {
            answer(exchange, deflater);
        } finally {
            deflaters.giveBack(deflater);
        }
    }

    /** The bug: the handler has returned long ago, and nobody gives this Deflater back. */
    private void answerLater(HttpExchange exchange, Deflater deflater) {
        try {
            answer(exchange, deflater);
        } catch (IOException e) {
            System.err.println("export failed: " + e);
        }
    }

    private void answer(HttpExchange exchange, Deflater deflater) throws IOException {
        exchange.getResponseHeaders().set("Content-Encoding", "gzip");
        exchange.sendResponseHeaders(200, 0);
        try (var gzip = new GzipOutput(exchange.getResponseBody(), deflater)) {
            page.write(gzip);
        }
    }
}
