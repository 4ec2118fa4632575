//! Presets of pairs on the real libraries, called by Java: RocksDB, and zstd as its publisher builds it and as Debian does.

use std::path::{Path, PathBuf};
use std::process::Command;

use offheap::capture::{Capture, SiteKind};
use offheap_tests::checks::{assert_conserved_within, describe};
use offheap_tests::sources::classpath_with;
use offheap_tests::{
    Target, Tool, Truth, assert_frames_in_order, assert_rooted, assert_truth, session,
    sites_through, skip,
};

/// The jar whose name begins so; None, with the reason printed, where it was not downloaded.
///
/// # Panics
/// A folder that `OFFHEAP_JARS` names lacks it.
fn jar(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("OFFHEAP_JARS") else {
        skip("RocksDB and zstd for Java (OFFHEAP_JARS; `cargo xtask test` has them)");
        return None;
    };
    let entries = std::fs::read_dir(&folder).expect("the folder of the jars");
    let mut paths = entries.flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        let file = path.file_name().and_then(|file| file.to_str());
        file.is_some_and(|file| file.starts_with(name) && file.ends_with(".jar"))
    };
    Some(paths.find(is_it).expect("the jar"))
}

/// Runs the target under default settings; the capture, what the report says, and the truth.
fn captured(
    source: &str,
    jar: &Path,
    flags: &[&str],
) -> Option<(Capture, Vec<String>, Vec<Truth>)> {
    let classpath = classpath_with(source, jar)?;
    let mut java = Command::new("java");
    java.args(["-Xmx64m", "-cp", &classpath]).args(flags);
    let mut target =
        Target::start(java.arg(format!("targets.{}", source.trim_end_matches(".java"))));
    let tool = Tool::capture(target.pid(), &[]);
    let truths = target.work();
    let finished = tool.interrupted();
    let capture = finished.capture();
    Some((capture, finished.stdout, truths))
}

/// Each method has opened as many objects of its pair as it says, from stacks that are whole.
fn assert_objects(capture: &Capture, truths: &[Truth], pairs: &[(&str, &str)]) {
    assert_eq!(truths.len(), pairs.len(), "{truths:?}");
    assert_truth(capture, truths);
    assert_conserved_within(capture, 16);
    for (method, pair) in pairs {
        let sites = sites_through(capture, SiteKind::Pair, method);
        assert!(!sites.is_empty(), "{method}\n{}", describe(capture));
        for site in sites {
            assert_eq!(site.pair.as_deref(), Some(*pair), "{method}");
            assert_rooted(site);
        }
    }
}

/// Iterators, snapshots, write batches and options that a program has opened in RocksDB and not closed are counted by a
/// default capture, each under its Java caller, and are the first that the report tells.
#[test]
fn rocksdb_is_exact() {
    let Some(jar) = jar("rocksdbjni") else { return };
    let Some(_session) = session() else { return };
    let Some((capture, report, truths)) = captured("Rocks.java", &jar, &[]) else {
        return;
    };
    let pairs = [
        ("targets.Rocks.iterators", "RocksDB iterator"),
        ("targets.Rocks.snapshots", "RocksDB snapshot"),
        ("targets.Rocks.batches", "RocksDB write batch object"),
        ("targets.Rocks.options", "RocksDB options object"),
    ];
    assert_objects(&capture, &truths, &pairs);
    for site in sites_through(&capture, SiteKind::Pair, "targets.Rocks.iterators") {
        let stack = [
            "org.rocksdb.RocksDB.newIterator",
            "targets.Rocks.iterators",
            "targets.Rocks.work",
            "targets.Rocks.main",
        ];
        assert_frames_in_order(site, &stack);
    }
    for sentence in [
        "10 RocksDB iterators",
        "3 RocksDB snapshots",
        "5 RocksDB write batch objects",
        "2 RocksDB options objects",
    ] {
        let told = report.iter().take(4).any(|line| line.starts_with(sentence));
        assert!(told, "{sentence}: {report:#?}");
    }
}

const ZSTD: [(&str, &str); 4] = [
    ("targets.Zstd.outputs", "zstd compressor"),
    ("targets.Zstd.inputs", "zstd decompressor"),
    ("targets.Zstd.compressors", "zstd compressor"),
    ("targets.Zstd.decompressors", "zstd decompressor"),
];

/// Streams and contexts of zstd-jni with zstd linked in: the classes' functions are all there is to see.
#[test]
fn zstd_jni_is_exact() {
    let Some(jar) = jar("zstd-jni") else { return };
    let Some(_session) = session() else { return };
    if let Some((capture, _, truths)) = captured("Zstd.java", &jar, &[]) {
        assert_objects(&capture, &truths, &ZSTD);
    }
}

/// The same of Debian's, which calls the system's libzstd: an object that both sides open counts once.
#[test]
fn debians_zstd_jni_is_exact() {
    let jar = Path::new("/usr/share/java/zstd-jni.jar");
    if !jar.is_file() {
        return skip("zstd-jni of Debian (libzstd-jni-java)");
    }
    let Some(_session) = session() else { return };
    if let Some((capture, _, truths)) = captured("Zstd.java", jar, &[]) {
        assert_objects(&capture, &truths, &ZSTD);
    }
}
