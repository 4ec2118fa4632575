package targets;

import com.github.luben.zstd.ZstdCompressCtx;
import com.github.luben.zstd.ZstdDecompressCtx;
import com.github.luben.zstd.ZstdInputStreamNoFinalizer;
import com.github.luben.zstd.ZstdOutputStreamNoFinalizer;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** Opens contexts and streams of zstd-jni in known numbers, and closes some of them. */
public final class Zstd {
    private static final List<Object> KEPT = new ArrayList<>();

    private Zstd() {}

    private static Truth truth(String method) {
        return Truth.of("targets.Zstd." + method, "pair");
    }

    private static ZstdOutputStreamNoFinalizer outputs(ByteArrayOutputStream out) throws IOException {
        truth("outputs").opened();
        return new ZstdOutputStreamNoFinalizer(out);
    }

    private static ZstdInputStreamNoFinalizer inputs(byte[] bytes) throws IOException {
        truth("inputs").opened();
        return new ZstdInputStreamNoFinalizer(new ByteArrayInputStream(bytes));
    }

    private static ZstdCompressCtx compressors() {
        truth("compressors").opened();
        return new ZstdCompressCtx();
    }

    private static ZstdDecompressCtx decompressors() {
        truth("decompressors").opened();
        return new ZstdDecompressCtx();
    }

    /** Opens one of each; those that are not kept are closed again. */
    private static void round(boolean outputKept, boolean inputKept, boolean contextsKept) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        ZstdOutputStreamNoFinalizer output = outputs(bytes);
        output.write(new byte[5000]);
        output.flush();
        if (outputKept) {
            KEPT.add(output);
        } else {
            output.close();
            truth("outputs").closed();
        }
        ZstdInputStreamNoFinalizer input = inputs(bytes.toByteArray());
        if (input.read(new byte[100]) <= 0) {
            throw new IOException("nothing comes out");
        }
        if (inputKept) {
            KEPT.add(input);
        } else {
            input.close();
            truth("inputs").closed();
        }
        ZstdCompressCtx compressor = compressors();
        ZstdDecompressCtx decompressor = decompressors();
        if (contextsKept) {
            KEPT.add(compressor);
            KEPT.add(decompressor);
        } else {
            compressor.close();
            truth("compressors").closed();
            decompressor.close();
            truth("decompressors").closed();
        }
    }

    private static void work() throws IOException {
        for (int i = 0; i < 20; i++) {
            round(i % 2 == 0, i % 4 == 0, i % 5 == 0);
        }
    }

    public static void main(String[] arguments) throws Exception {
        // Loads the library.
        new ZstdCompressCtx().close();
        Truth.ready();
        work();
        Truth.done();
    }
}
