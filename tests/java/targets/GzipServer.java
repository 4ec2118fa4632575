package targets;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.zip.Deflater;
import java.util.zip.DeflaterOutputStream;
import java.util.zip.InflaterInputStream;

/**
 * An HTTP server that compresses what it answers, and its clients, one round of requests for each {@code go}:
 * {@code GzipServer leaky|healthy}. The leaky one never ends the Deflaters of exports, which it answers on another thread.
 */
public final class GzipServer {
    private static final int THREADS = 4;
    private static final int REQUESTS = 1200;
    /** Rounds until the JVM's compilers, which take and keep memory of malloc, have seen to most of it. */
    private static final int WARM_UP = 8;
    /** Each fourth request is for the export. */
    private static final int EXPORTS = 4;
    private static final byte[] PAGE = page(400);
    /** Large enough that a Deflater has touched all of its memory. */
    private static final byte[] EXPORT = page(8000);

    private GzipServer() {}

    public static void main(String[] arguments) throws Exception {
        // Answers in several pieces would wait for the client's acknowledgement of the first.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        GzipHandler handler = new GzipHandler(daemons());
        server.createContext("/", handler);
        server.setExecutor(daemons());
        server.start();
        URI site = URI.create("http://127.0.0.1:" + server.getAddress().getPort());
        ExecutorService clients = daemons();
        for (int warmUp = 0; warmUp < WARM_UP; warmUp++) {
            round(site, clients);
        }
        handler.forgets = arguments[0].equals("leaky");
        Truth.reset();
        Truth.ready();
        while (true) {
            round(site, clients);
            Truth.done();
            Truth.reset();
        }
    }

    /** All requests of one round; returns when each was answered. */
    private static void round(URI site, ExecutorService clients) throws Exception {
        URL page = site.resolve("/orders").toURL();
        URL export = site.resolve("/export").toURL();
        List<Future<Void>> answers = new ArrayList<>();
        for (int request = 0; request < REQUESTS; request++) {
            boolean isExport = request % EXPORTS == 0;
            answers.add(clients.submit(() -> isExport ? read(export, EXPORT) : read(page, PAGE)));
        }
        for (Future<Void> answer : answers) {
            answer.get();
        }
    }

    private static Void read(URL url, byte[] expected) throws IOException {
        try (InputStream body = new InflaterInputStream(url.openStream())) {
            byte[] bytes = body.readAllBytes();
            if (bytes.length != expected.length) {
                throw new IOException(bytes.length + " bytes of " + expected.length);
            }
        }
        return null;
    }

    private static ExecutorService daemons() {
        return Executors.newFixedThreadPool(THREADS, task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        });
    }

    private static byte[] page(int orders) {
        StringBuilder text = new StringBuilder();
        for (int order = 0; order < orders; order++) {
            text.append("{\"order\": ").append(order).append(", \"cents\": ").append(order * 7919 % 10_000).append("}\n");
        }
        return text.toString().getBytes(StandardCharsets.UTF_8);
    }

    /** Compresses at once, or, for an export, later. */
    static final class GzipHandler implements HttpHandler {
        private static final String SITE = "targets.GzipServer$GzipHandler.handle";

        private final ExecutorService exports;
        /** What keeps them reachable: no cleaner ends them. */
        private final Set<Deflater> taken = ConcurrentHashMap.newKeySet();
        volatile boolean forgets;

        GzipHandler(ExecutorService exports) {
            this.exports = exports;
        }

        @Override
        public void handle(HttpExchange exchange) throws IOException {
            Deflater deflater = new Deflater();
            taken.add(deflater);
            synchronized (GzipHandler.class) {
                Truth.of(SITE, "deflate").opened();
            }
            if (exchange.getRequestURI().getPath().equals("/export")) {
                exports.execute(() -> answerLater(exchange, deflater));
            } else {
                answer(exchange, deflater, PAGE, true);
            }
        }

        private void answerLater(HttpExchange exchange, Deflater deflater) {
            try {
                answer(exchange, deflater, EXPORT, !forgets);
            } catch (IOException failed) {
                failed.printStackTrace();
            }
        }

        /** Whoever reads the answer's end knows that the Deflater is ended by then, if it is at all. */
        private void answer(HttpExchange exchange, Deflater deflater, byte[] page, boolean ends) throws IOException {
            exchange.getResponseHeaders().set("Content-Encoding", "deflate");
            exchange.sendResponseHeaders(200, 0);
            DeflaterOutputStream body = new DeflaterOutputStream(exchange.getResponseBody(), deflater);
            body.write(page);
            body.finish();
            if (ends) {
                deflater.end();
                taken.remove(deflater);
                synchronized (GzipHandler.class) {
                    Truth.of(SITE, "deflate").closed();
                }
            }
            exchange.getResponseBody().close();
        }
    }
}
