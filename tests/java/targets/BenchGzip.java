package targets;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.zip.CRC32;
import java.util.zip.Deflater;

/**
 * Compresses response bodies as a web server does: a Deflater is created and ended per request. The arguments are the
 * number of threads and the bytes of a body.
 *
 * <p>Each line read, a number of requests, is answered with {@code ns CPU WALL}: the CPU time of the threads that served
 * them, and the time that passed.
 */
public final class BenchGzip {
    private static final int BODIES = 64;
    private static final int WORDS = 4096;

    private BenchGzip() {}

    /** Text that compresses about as well as prose or JSON does. */
    private static byte[] body(Random random, String[] words, int size) {
        StringBuilder text = new StringBuilder(size + 16);
        while (text.length() < size) {
            // Some words are much more frequent than others.
            double squared = random.nextDouble() * random.nextDouble();
            text.append(words[(int) (squared * words.length)]).append(' ');
        }
        text.setLength(size);
        return text.toString().getBytes(StandardCharsets.US_ASCII);
    }

    private static String[] words(Random random) {
        String[] words = new String[WORDS];
        for (int i = 0; i < words.length; i++) {
            words[i] = Integer.toString(random.nextInt(Integer.MAX_VALUE), Character.MAX_RADIX);
        }
        return words;
    }

    private static long serve(byte[] body, byte[] response) {
        CRC32 checksum = new CRC32();
        checksum.update(body);
        Deflater deflater = new Deflater(Deflater.DEFAULT_COMPRESSION, true);
        try {
            deflater.setInput(body);
            deflater.finish();
            long length = 0;
            while (!deflater.finished()) {
                length += deflater.deflate(response);
            }
            return length + checksum.getValue();
        } finally {
            deflater.end();
        }
    }

    private static long cpuTime() {
        return java.lang.management.ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
    }

    private static long share(byte[][] bodies, AtomicInteger left) {
        byte[] response = new byte[8192];
        long begin = cpuTime();
        for (int request = left.decrementAndGet(); request >= 0; request = left.decrementAndGet()) {
            serve(bodies[request % bodies.length], response);
        }
        return cpuTime() - begin;
    }

    private static String work(ExecutorService pool, int threads, byte[][] bodies, int requests) throws Exception {
        AtomicInteger left = new AtomicInteger(requests);
        List<Future<Long>> shares = new ArrayList<>();
        long begin = System.nanoTime();
        for (int i = 0; i < threads; i++) {
            shares.add(pool.submit(() -> share(bodies, left)));
        }
        long cpu = 0;
        for (Future<Long> share : shares) {
            cpu += share.get();
        }
        return "ns " + cpu + " " + (System.nanoTime() - begin);
    }

    public static void main(String[] arguments) throws Exception {
        int threads = Integer.parseInt(arguments[0]);
        int size = Integer.parseInt(arguments[1]);
        Random random = new Random(1);
        String[] words = words(random);
        byte[][] bodies = new byte[BODIES][];
        for (int i = 0; i < bodies.length; i++) {
            bodies[i] = body(random, words, size);
        }
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        Truth.say("ready");
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            Truth.say(work(pool, threads, bodies, Integer.parseInt(line.trim())));
        }
        pool.shutdownNow();
    }
}
