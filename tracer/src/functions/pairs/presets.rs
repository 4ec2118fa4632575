//! The pairs that come with offheap, each in the words of a declaration.

use super::{Origin, Pair, parse};

/// Pairs of one library, by a name that `--pairs` takes.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    pub name: &'static str,
    pub declarations: fn() -> Vec<String>,
}

/// Those that are active where nothing else is asked for: all, each where its library is mapped.
pub const DEFAULT: [&str; 7] = ["rocksdb", "zstd", "ssl", "bio", "evp", "dlopen", "file"];

/// Objects of presets of which any process may keep some open, without a leak.
pub const COMMON: [&str; 7] = [
    "SSL connection",
    "SSL context",
    "BIO object",
    "EVP cipher context",
    "EVP digest context",
    "library handle",
    "file stream",
];

pub const PRESETS: [Preset; 7] = [
    Preset {
        name: "rocksdb",
        declarations: rocksdb,
    },
    Preset {
        name: "zstd",
        declarations: zstd,
    },
    Preset {
        name: "ssl",
        declarations: ssl,
    },
    Preset {
        name: "bio",
        declarations: bio,
    },
    Preset {
        name: "evp",
        declarations: evp,
    },
    Preset {
        name: "dlopen",
        declarations: dlopen,
    },
    Preset {
        name: "file",
        declarations: file,
    },
];

impl Preset {
    pub fn pairs(&self) -> Vec<Pair> {
        let declarations = (self.declarations)();
        // That each can be read is tested.
        let pairs = declarations.iter().filter_map(|text| parse(text).ok());
        pairs
            .map(|mut pair| {
                for role in &mut pair.roles {
                    role.beside = beside(&role.symbol);
                }
                pair.origin = Origin::Preset(self.name);
                pair
            })
            .collect()
    }
}

/// The presets that a word of `--pairs` stands for; none where it is no such word.
pub fn named(word: &str) -> Option<Vec<&'static str>> {
    match word {
        "none" => Some(Vec::new()),
        "all" | "default" => Some(DEFAULT.to_vec()),
        name => {
            let preset = PRESETS.iter().find(|preset| preset.name == name)?;
            Some(vec![preset.name])
        }
    }
}

pub fn unknown(word: &str) -> String {
    let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    format!(
        "--pairs `{word}`: presets are {}; besides `none`, `all`, and files, which have a `/` or end with .toml",
        names.join(", ")
    )
}

/// Until zstd-jni 1.5.2 these were methods of an object, which took the context into a field and returned nothing. A library
/// that has the mark is newer (seen in 1.5.5-4).
fn beside(symbol: &str) -> Option<&'static str> {
    let context = symbol.strip_prefix("Java_com_github_luben_zstd_Zstd")?;
    let method = context
        .strip_prefix("CompressCtx_")
        .or_else(|| context.strip_prefix("DecompressCtx_"))?;
    let renamed = "Java_com_github_luben_zstd_ZstdCompressCtx_getFrameProgression0";
    matches!(method, "init" | "free").then_some(renamed)
}

/// One group of a declaration: functions of a Java class, and where their object is.
fn java(package: &str, class: &str, methods: &[&str], place: &str) -> String {
    let symbols = methods
        .iter()
        .map(|method| format!("Java_{package}_{class}_{method}"));
    format!("{}({place})", symbols.collect::<Vec<_>>().join("|"))
}

/// Declares `name`: each class with its methods that open, then classes whose objects are disposed of.
fn rocksdb_pair(name: &str, opens: &[(&str, &[&str])], closes: &[&str]) -> String {
    let open = opens
        .iter()
        .map(|(class, methods)| java("org_rocksdb", class, methods, "ret"));
    let close = closes
        .iter()
        .map(|class| java("org_rocksdb", class, &DISPOSE, "arg2"));
    let (open, close): (Vec<_>, Vec<_>) = (open.collect(), close.collect());
    format!("{name}={}/{}", open.join("|"), close.join("|"))
}

/// Until RocksDB 9.7 an instance method, since then a static one: the handle is the third argument of both.
const DISPOSE: [&str; 2] = ["disposeInternal", "disposeInternalJni"];

/// Classes of options with what makes one, besides `new` and the class's name.
const ROCKSDB_OPTIONS: [(&str, &[&str]); 17] = [
    ("Options", &["newOptions", "copyOptions"]),
    (
        "DBOptions",
        &["newDBOptions", "newDBOptionsFromOptions", "copyDBOptions"],
    ),
    (
        "ColumnFamilyOptions",
        &[
            "newColumnFamilyOptions",
            "newColumnFamilyOptionsFromOptions",
            "copyColumnFamilyOptions",
        ],
    ),
    ("ReadOptions", &["newReadOptions", "copyReadOptions"]),
    ("WriteOptions", &["newWriteOptions", "copyWriteOptions"]),
    ("FlushOptions", &["newFlushOptions"]),
    ("CompactRangeOptions", &["newCompactRangeOptions"]),
    ("CompactionOptions", &["newCompactionOptions"]),
    ("CompressionOptions", &["newCompressionOptions"]),
    (
        "IngestExternalFileOptions",
        &["newIngestExternalFileOptions"],
    ),
    ("EnvOptions", &["newEnvOptions"]),
    ("TransactionDBOptions", &["newTransactionDBOptions"]),
    ("TransactionOptions", &["newTransactionOptions"]),
    (
        "OptimisticTransactionOptions",
        &["newOptimisticTransactionOptions"],
    ),
    ("ConfigOptions", &["newConfigOptions"]),
    ("RestoreOptions", &["newRestoreOptions"]),
    ("BackupEngineOptions", &["newBackupEngineOptions"]),
];

/// RocksDB's JNI library, by the names that 8.3.2 and 9.8.4 export. `iterators`, which returns an array of handles, is not
/// seen. An iterator with a base takes that over: Java does not dispose of it any more.
fn rocksdb() -> Vec<String> {
    let batch = "WriteBatchWithIndex";
    let iterators = rocksdb_pair(
        "RocksDB iterator",
        &[
            ("RocksDB", &["iterator", "iteratorCF", "getUpdatesSince"]),
            ("Transaction", &["getIterator"]),
            ("SstFileReader", &["newIterator"]),
            (batch, &["iterator0", "iterator1", "iteratorWithBase"]),
        ],
        &[
            "RocksIterator",
            "WBWIRocksIterator",
            "SstFileReaderIterator",
            "TransactionLogIterator",
        ],
    );
    let base = java("org_rocksdb", batch, &["iteratorWithBase"], "arg4");
    let options = ROCKSDB_OPTIONS.map(|(class, _)| class);
    let transactions: [(&str, &[&str]); 2] = [
        ("TransactionDB", &["beginTransaction"]),
        ("OptimisticTransactionDB", &["beginTransaction"]),
    ];
    vec![
        format!("{iterators}|{base}"),
        format!(
            "RocksDB snapshot={}/{}",
            java("org_rocksdb", "RocksDB", &["getSnapshot"], "ret"),
            java("org_rocksdb", "RocksDB", &["releaseSnapshot"], "arg3"),
        ),
        rocksdb_pair(
            "RocksDB write batch object",
            &[
                ("WriteBatch", &["newWriteBatch"]),
                (batch, &["newWriteBatchWithIndex"]),
            ],
            &["WriteBatch", batch],
        ),
        rocksdb_pair("RocksDB transaction", &transactions, &["Transaction"]),
        rocksdb_pair("RocksDB options object", &ROCKSDB_OPTIONS, &options),
    ]
}

/// zstd.h 1.5, also linked into another library; and the classes of zstd-jni 1.5, which has the functions of zstd.h inlined
/// in part. A name is that of the context in both.
fn zstd() -> Vec<String> {
    let luben = |class: &str, methods: &[&str], place: &str| {
        java("com_github_luben_zstd", class, methods, place)
    };
    let decompressing = [
        "ZstdBufferDecompressingStreamNoFinalizer",
        "ZstdDirectBufferDecompressingStreamNoFinalizer",
    ];
    let decompressing = |method: &str, place: &str| {
        let classes = decompressing.map(|class| luben(class, &[method], place));
        classes.join("|")
    };
    let compressing = |method: &str, place: &str| {
        let classes = [
            "ZstdOutputStreamNoFinalizer",
            "ZstdDirectBufferCompressingStreamNoFinalizer",
        ];
        classes
            .map(|class| luben(class, &[method], place))
            .join("|")
    };
    vec![
        format!(
            "zstd compressor=ZSTD_createCCtx|ZSTD_createCCtx_advanced|ZSTD_createCStream|ZSTD_createCStream_advanced(ret)\
             |{}|{}/ZSTD_freeCCtx|ZSTD_freeCStream(arg0)|{}|{}",
            luben("ZstdCompressCtx", &["init"], "ret"),
            compressing("createCStream", "ret"),
            luben("ZstdCompressCtx", &["free"], "arg2"),
            compressing("freeCStream", "arg2"),
        ),
        format!(
            "zstd decompressor=ZSTD_createDCtx|ZSTD_createDCtx_advanced|ZSTD_createDStream|ZSTD_createDStream_advanced(ret)\
             |{}|{}|{}/ZSTD_freeDCtx|ZSTD_freeDStream(arg0)|{}|{}|{}",
            luben("ZstdDecompressCtx", &["init"], "ret"),
            luben("ZstdInputStreamNoFinalizer", &["createDStream"], "ret"),
            decompressing("createDStreamNative", "ret"),
            luben("ZstdDecompressCtx", &["free"], "arg2"),
            luben("ZstdInputStreamNoFinalizer", &["freeDStream"], "arg2"),
            decompressing("freeDStreamNative", "arg2"),
        ),
        "zstd compression dict=ZSTD_createCDict|ZSTD_createCDict_byReference|ZSTD_createCDict_advanced\
         |ZSTD_createCDict_advanced2(ret)/ZSTD_freeCDict(arg0)"
            .to_owned(),
        "zstd decompression dict=ZSTD_createDDict|ZSTD_createDDict_byReference|ZSTD_createDDict_advanced(ret)\
         /ZSTD_freeDDict(arg0)"
            .to_owned(),
    ]
}

/// OpenSSL 1.1 and 3. Connections and contexts count references: SSL_new takes one to its context, and SSL_dup may return
/// what it was given.
fn ssl() -> Vec<String> {
    declared(&[
        "SSL connection=SSL_new|SSL_dup(ret)/SSL_free(arg0)/SSL_up_ref(arg0)/reopen",
        "SSL context=SSL_CTX_new|SSL_CTX_new_ex(ret)/SSL_CTX_free(arg0)/SSL_CTX_up_ref(arg0)",
    ])
}

/// All other functions that make a BIO call one of these (crypto/bio/bio_lib.c).
fn bio() -> Vec<String> {
    declared(&["BIO object=BIO_new|BIO_new_ex(ret)/BIO_free(arg0)/BIO_up_ref(arg0)"])
}

/// `EVP_CIPHER_CTX_dup` and `EVP_MD_CTX_dup` call these.
fn evp() -> Vec<String> {
    declared(&[
        "EVP cipher context=EVP_CIPHER_CTX_new(ret)/EVP_CIPHER_CTX_free(arg0)",
        "EVP digest context=EVP_MD_CTX_new(ret)/EVP_MD_CTX_free(arg0)",
    ])
}

fn dlopen() -> Vec<String> {
    declared(&[
        "library handle=dlopen|dlmopen(ret)/dlclose(arg0)/reopen@/(libc|libdl|ld-musl)[^/]*$",
    ])
}

/// The C library's own; `freopen` keeps a stream, and `popen`'s may be closed by either function.
fn file() -> Vec<String> {
    declared(&[
        "file stream=fopen|fopen64|fdopen|fmemopen|open_memstream|open_wmemstream|fopencookie|tmpfile|tmpfile64|popen(ret)\
         /fclose|pclose(arg0)@/(libc|ld-musl)[^/]*$",
    ])
}

fn declared(declarations: &[&str]) -> Vec<String> {
    declarations.iter().map(|&text| text.to_owned()).collect()
}
