package targets;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.rocksdb.AbstractNativeReference;
import org.rocksdb.ReadOptions;
import org.rocksdb.RocksDB;
import org.rocksdb.RocksIterator;
import org.rocksdb.Snapshot;
import org.rocksdb.WriteBatch;
import org.rocksdb.WriteOptions;

/** Opens objects of RocksDB in known numbers, and closes some of them. */
public final class Rocks {
    private static final List<Object> KEPT = new ArrayList<>();

    private Rocks() {}

    private static Truth truth(String method) {
        return Truth.of("targets.Rocks." + method, "pair");
    }

    private static RocksIterator iterators(RocksDB db) {
        truth("iterators").opened();
        return db.newIterator();
    }

    private static Snapshot snapshots(RocksDB db) {
        truth("snapshots").opened();
        return db.getSnapshot();
    }

    private static WriteBatch batches() {
        truth("batches").opened();
        return new WriteBatch();
    }

    private static ReadOptions options() {
        truth("options").opened();
        return new ReadOptions();
    }

    private static void closed(AbstractNativeReference object, String method) {
        object.close();
        truth(method).closed();
    }

    private static void work(RocksDB db, WriteOptions options) throws Exception {
        for (int i = 0; i < 30; i++) {
            RocksIterator iterator = iterators(db);
            iterator.seekToFirst();
            if (i % 3 == 0) {
                KEPT.add(iterator);
            } else {
                closed(iterator, "iterators");
            }
        }
        for (int i = 0; i < 8; i++) {
            Snapshot snapshot = snapshots(db);
            if (i < 3) {
                KEPT.add(snapshot);
            } else {
                db.releaseSnapshot(snapshot);
                truth("snapshots").closed();
            }
        }
        for (int i = 0; i < 12; i++) {
            WriteBatch batch = batches();
            batch.put(new byte[] {1, (byte) i}, new byte[1000]);
            db.write(options, batch);
            if (i < 5) {
                KEPT.add(batch);
            } else {
                closed(batch, "batches");
            }
        }
        for (int i = 0; i < 9; i++) {
            ReadOptions read = options();
            if (i < 2) {
                KEPT.add(read);
            } else {
                closed(read, "options");
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        RocksDB.loadLibrary();
        Path folder = Files.createTempDirectory("rocks");
        try (RocksDB db = RocksDB.open(folder.toString()); WriteOptions options = new WriteOptions()) {
            Truth.ready();
            work(db, options);
            Truth.done();
        }
    }
}
