package demo;

import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.URI;
import java.net.URL;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.zip.GZIPInputStream;

/** Requests at a bounded rate, each fourth of them for the export. */
final class RequestLoad {
    private static final int CLIENTS = 4;
    private static final int EXPORT_EVERY = 4;

    private final URL page;
    private final URL export;
    private final int requestsPerSecond;
    private final AtomicLong requests = new AtomicLong();
    private final CountDownLatch answered = new CountDownLatch(1);
    private final ScheduledExecutorService clients = Executors.newScheduledThreadPool(CLIENTS);

    RequestLoad(int port, int requestsPerSecond) throws IOException {
        var host = InetAddress.getLoopbackAddress().getHostAddress();
        var site = URI.create("http://" + host + ":" + port);
        this.page = site.resolve("/orders").toURL();
        this.export = site.resolve(GzipHandler.EXPORT).toURL();
        this.requestsPerSecond = requestsPerSecond;
    }

    void start() {
        var micros = TimeUnit.SECONDS.toMicros(CLIENTS) / requestsPerSecond;
        for (var client = 0; client < CLIENTS; client++) {
            clients.scheduleAtFixedRate(this::request, 0, micros, TimeUnit.MICROSECONDS);
        }
    }

    void awaitFirstAnswer() throws InterruptedException {
        answered.await();
    }

    /** Returns when the requests under way are answered, so that the server does not end in the middle of one. */
    void stop() throws InterruptedException {
        clients.shutdown();
        clients.awaitTermination(1, TimeUnit.MINUTES);
    }

    private void request() {
        try {
            read(requests.incrementAndGet() % EXPORT_EVERY == 0 ? export : page);
            answered.countDown();
        } catch (IOException e) {
            System.err.println("request failed: " + e);
        }
    }

    private static void read(URL url) throws IOException {
        try (var body = new GZIPInputStream(url.openStream())) {
            body.transferTo(OutputStream.nullOutputStream());
        }
    }
}
