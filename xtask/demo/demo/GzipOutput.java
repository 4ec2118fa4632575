package demo;

import java.io.IOException;
import java.io.OutputStream;
import java.util.zip.CRC32;
import java.util.zip.Deflater;
import java.util.zip.DeflaterOutputStream;

/** The gzip format (RFC 1952) around a raw deflate stream whose Deflater belongs to somebody else. */
final class GzipOutput extends DeflaterOutputStream {
    private static final byte[] HEADER = {0x1f, (byte) 0x8b, Deflater.DEFLATED, 0, 0, 0, 0, 0, 0, (byte) 0xff};

    private final CRC32 checksum = new CRC32();

    GzipOutput(OutputStream out, Deflater deflater) throws IOException {
        super(out, deflater);
        out.write(HEADER);
    }

    @Override
    public void write(byte[] bytes, int offset, int length) throws IOException {
        super.write(bytes, offset, length);
        checksum.update(bytes, offset, length);
    }

    @Override
    public void close() throws IOException {
        finish();
        writeLittleEndian((int) checksum.getValue());
        writeLittleEndian(def.getTotalIn());
        out.close();
    }

    private void writeLittleEndian(int word) throws IOException {
        for (var shift = 0; shift < Integer.SIZE; shift += Byte.SIZE) {
            out.write(word >>> shift);
        }
    }
}
