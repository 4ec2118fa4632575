package demo;

import com.sun.net.httpserver.HttpServer;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;

/**
 * A small HTTP server under its own load, which gzips its responses and forgets some Deflaters.
 *
 * <p>It prints {@code ready PORT} once the first request was answered. For each line that it reads it prints how many
 * Deflaters it has forgotten so far. It ends when its input ends, so that it cannot outlive the program that started
 * it.
 */
public final class LeakyServer {
    private static final int WORKERS = 4;
    private static final int REQUESTS_PER_SECOND = 160;

    private LeakyServer() {}

    public static void main(String[] arguments) throws IOException, InterruptedException {
        var deflaters = new DeflaterPool();
        var workers = Executors.newFixedThreadPool(WORKERS);
        var exports = Executors.newSingleThreadExecutor();
        var server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(workers);
        server.createContext("/", new GzipHandler(new OrderPage(), deflaters, exports));
        server.start();

        var port = server.getAddress().getPort();
        var load = new RequestLoad(port, REQUESTS_PER_SECOND);
        load.start();
        load.awaitFirstAnswer();
        System.out.println("ready " + port);

        answerUntilInputEnds(deflaters);
        load.stop();
        server.stop(0);
        workers.shutdownNow();
        exports.shutdownNow();
    }

    private static void answerUntilInputEnds(DeflaterPool deflaters) throws IOException {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        while (input.readLine() != null) {
            System.out.println("forgotten " + deflaters.forgotten());
        }
    }
}
