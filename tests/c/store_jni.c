// Native methods of targets.Store: RocksDB by its C interface, as Java bindings of it do.

#include <jni.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Each iterator unpacks a block of its own where no cache shares them.
#define BLOCK_BYTES (128 << 10)

static rocksdb_t *store;
static rocksdb_options_t *options;

static void succeed(const char *what, char *error) {
    if (!error)
        return;
    fprintf(stderr, "%s: %s\n", what, error);
    exit(1);
}

JNIEXPORT void JNICALL Java_targets_Store_open(JNIEnv *env, jclass class, jstring folder) {
    (void)class;
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_size(table, BLOCK_BYTES);
    rocksdb_block_based_options_set_no_block_cache(table, 1);
    options = rocksdb_options_create();
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_compression(options, rocksdb_snappy_compression);
    rocksdb_options_enable_statistics(options);
    const char *path = (*env)->GetStringUTFChars(env, folder, NULL);
    char *error = NULL;
    store = rocksdb_open(options, path, &error);
    succeed(path, error);
    (*env)->ReleaseStringUTFChars(env, folder, path);
}

// The bytes of an array, to be given to free.
static char *copied(JNIEnv *env, jbyteArray array, size_t *length) {
    *length = (size_t)(*env)->GetArrayLength(env, array);
    char *bytes = malloc(*length);
    (*env)->GetByteArrayRegion(env, array, 0, (jsize)*length, (jbyte *)bytes);
    return bytes;
}

JNIEXPORT void JNICALL Java_targets_Store_put(JNIEnv *env, jclass class, jbyteArray key, jbyteArray value) {
    (void)class;
    size_t key_length, value_length;
    char *key_bytes = copied(env, key, &key_length), *value_bytes = copied(env, value, &value_length);
    rocksdb_writeoptions_t *how = rocksdb_writeoptions_create();
    char *error = NULL;
    rocksdb_put(store, how, key_bytes, key_length, value_bytes, value_length, &error);
    succeed("put", error);
    rocksdb_writeoptions_destroy(how);
    free(key_bytes);
    free(value_bytes);
}

JNIEXPORT void JNICALL Java_targets_Store_flush(JNIEnv *env, jclass class) {
    (void)env, (void)class;
    rocksdb_flushoptions_t *how = rocksdb_flushoptions_create();
    char *error = NULL;
    rocksdb_flush(store, how, &error);
    succeed("flush", error);
    rocksdb_flushoptions_destroy(how);
}

JNIEXPORT jlong JNICALL Java_targets_Store_iterate(JNIEnv *env, jclass class, jbyteArray key) {
    (void)class;
    size_t length;
    char *bytes = copied(env, key, &length);
    rocksdb_readoptions_t *how = rocksdb_readoptions_create();
    rocksdb_iterator_t *iterator = rocksdb_create_iterator(store, how);
    rocksdb_iter_seek(iterator, bytes, length);
    if (!rocksdb_iter_valid(iterator))
        succeed("seek", "there is no such key");
    rocksdb_readoptions_destroy(how);
    free(bytes);
    return (jlong)iterator;
}

JNIEXPORT void JNICALL Java_targets_Store_close(JNIEnv *env, jclass class, jlong iterator) {
    (void)env, (void)class;
    rocksdb_iter_destroy((rocksdb_iterator_t *)iterator);
}

// A line of the statistics: a histogram before RocksDB 8, a counter since.
JNIEXPORT jlong JNICALL Java_targets_Store_unpacked(JNIEnv *env, jclass class) {
    (void)env, (void)class;
    char *text = rocksdb_options_statistics_get_string(options);
    const char *line = strstr(text, "\nrocksdb.bytes.decompressed ");
    const char *number = line ? strstr(line, " SUM : ") : NULL;
    if (!number && (line = strstr(text, "\nrocksdb.bytes.decompressed.to ")))
        number = strstr(line, " COUNT : ");
    jlong bytes = number ? strtoll(strchr(number, ':') + 1, NULL, 10) : -1;
    free(text);
    if (bytes < 0)
        succeed("statistics", "RocksDB does not say how many bytes it has unpacked");
    return bytes;
}
