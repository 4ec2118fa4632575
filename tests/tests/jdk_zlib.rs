//! Each way in which a JDK carries zlib: streams are counted once, and exactly.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use offheap::capture::{Capture, SiteKind};
use offheap_tests::checks::assert_conserved_within;
use offheap_tests::jdk::Jdk;
use offheap_tests::session::{lacks_program, skip};
use offheap_tests::{
    Target, Tool, assert_frames_in_order, assert_rooted, assert_truth, classpath, session,
    sites_through, sources,
};
use tempfile::TempDir;

/// Lets the target know when the cleaner has ended what it dropped.
const OPENS: [&str; 2] = ["--add-opens", "java.base/java.util.zip=ALL-UNNAMED"];
/// Calls of a JVM's other threads that may be under way when the counters are read.
const IN_FLIGHT: u64 = 16;
const LIBRARY: &str = "lib/libzip.so";

/// Which functions tell of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ToldBy {
    /// zlib's own, in a shared library.
    SharedZlib,
    /// zlib's own, as local symbols of the JDK's library that contains it.
    LocalSymbols,
    /// The JDK's native methods, where zlib has no symbols.
    Exports,
}

impl ToldBy {
    fn of(jdk: &Jdk) -> ToldBy {
        let libzip = std::fs::read(jdk.home().join(LIBRARY)).expect("each JDK has this library");
        let has = |text: &[u8]| libzip.windows(text.len()).any(|window| window == text);
        // The first is the library's name among those needed, the second a symbol that only zlib itself has.
        match (has(b"\0libz.so.1\0"), has(b"\0deflate_slow\0")) {
            (true, _) => ToldBy::SharedZlib,
            (false, true) => ToldBy::LocalSymbols,
            (false, false) => ToldBy::Exports,
        }
    }

    fn is(self, function: &str) -> bool {
        function.starts_with("Java_") == (self == ToldBy::Exports)
    }

    /// What opens a Deflater, as a frame.
    fn opener(self) -> &'static str {
        match self {
            ToldBy::SharedZlib | ToldBy::LocalSymbols => "deflateInit2_",
            ToldBy::Exports => "Java_java_util_zip_Deflater_init",
        }
    }
}

/// Runs `targets.Streams` on `jdk`, and compares everything with the truth.
fn check(jdk: &Jdk, told: ToldBy, classpath: &Path) {
    let mut target = Target::start(jdk.java(classpath, &OPENS, "Streams").arg("2000"));
    let tool = Tool::capture(
        target.pid(),
        &["--hooks", "zlib,malloc", "--sample-bytes", "0"],
    );
    let truths = target.work();
    let capture = tool.finish();
    assert_truth(&capture, &truths);
    assert_conserved_within(&capture, IN_FLIGHT);
    assert_told(&capture, told, jdk);
    for (kind, leak) in [
        (SiteKind::Deflate, "targets.Streams.forgetDeflater"),
        (SiteKind::Malloc, "targets.Streams.forgetDeflater"),
        (SiteKind::Inflate, "targets.Streams.forgetInflater"),
        (SiteKind::Malloc, "targets.Streams.forgetInflater"),
    ] {
        let sites = sites_through(&capture, kind, leak);
        assert!(!sites.is_empty(), "JDK {jdk}: {leak} has {kind:?} sites");
        for site in sites {
            assert_frames_in_order(
                site,
                &[leak, "targets.Streams.serve", "targets.Streams.main"],
            );
            assert_rooted(site);
        }
    }
    for site in sites_through(
        &capture,
        SiteKind::Deflate,
        "targets.Streams.forgetDeflater",
    ) {
        assert_frames_in_order(site, &[told.opener(), "java.util.zip.Deflater.init"]);
    }
    println!("JDK {jdk}: streams told by {told:?}");
}

/// Only one kind of functions was called, so that no stream was counted twice.
fn assert_told(capture: &Capture, told: ToldBy, jdk: &Jdk) {
    let seen: BTreeSet<(&str, &str)> = capture
        .functions
        .iter()
        .filter(|function| function.group == "zlib" && function.seen > 0)
        .map(|function| (function.name.as_str(), function.file.as_str()))
        .collect();
    assert!(!seen.is_empty(), "JDK {jdk}: no function of zlib was seen");
    assert!(
        seen.iter().all(|(name, _)| told.is(name)),
        "JDK {jdk}: streams are told by {told:?}, seen {seen:?}"
    );
    let own = jdk.home().join(LIBRARY);
    assert!(
        seen.iter()
            .all(|(_, file)| (Path::new(file) == own) != (told == ToldBy::SharedZlib)),
        "JDK {jdk}: streams are told by {told:?}, seen {seen:?}"
    );
}

/// Deflaters and Inflaters of each JDK are counted exactly by zlib's own functions, be they in a shared library or local
/// symbols of the JDK's, and by nothing else.
#[test]
fn streams_are_exact_wherever_zlib_is() {
    let Some(_session) = session() else { return };
    let Some(classpath) = classpath() else { return };
    for jdk in Jdk::downloaded() {
        let told = ToldBy::of(&jdk);
        assert_ne!(told, ToldBy::Exports, "JDK {jdk} comes with symbols");
        check(&jdk, told, &classpath);
    }
}

/// A copy of `jdk` whose library has lost its local symbols; all other files are the same ones.
fn stripped(jdk: &Jdk) -> (TempDir, Jdk) {
    let folder = tempfile::Builder::new()
        .prefix("jdk-")
        .tempdir_in(sources::directory())
        .expect("a folder for a JDK");
    let home = folder.path().join("jdk");
    let (from, to) = (jdk.home().join(LIBRARY), home.join(LIBRARY));
    let mut copy = Command::new("cp");
    // Links where it is one file system, copies elsewhere.
    let linked = copy.arg("-al").arg(jdk.home()).arg(&home).output();
    if !linked.is_ok_and(|output| output.status.success()) {
        let _ = std::fs::remove_dir_all(&home);
        run(Command::new("cp").arg("-a").arg(jdk.home()).arg(&home));
    }
    std::fs::remove_file(&to).expect("the link, not the file");
    run(Command::new("strip").arg("-o").arg(&to).arg(&from));
    (folder, jdk.moved(&home))
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("can't run {command:?}: {error}"));
    let says = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {says}");
}

/// Where the JDK's library contains a zlib without symbols, the streams are counted just as exactly by the JDK's native
/// methods, and by nothing else.
#[test]
fn streams_are_exact_without_symbols() {
    let Some(_session) = session() else { return };
    let Some(classpath) = classpath() else { return };
    if lacks_program("strip") {
        return;
    }
    let jdks = Jdk::downloaded();
    let (mut checked, there) = (0, !jdks.is_empty());
    for jdk in jdks
        .iter()
        .filter(|jdk| ToldBy::of(jdk) == ToldBy::LocalSymbols)
    {
        let (_folder, copy) = stripped(jdk);
        assert_eq!(ToldBy::of(&copy), ToldBy::Exports, "JDK {jdk}, stripped");
        check(&copy, ToldBy::Exports, &classpath);
        checked += 1;
    }
    if there && checked == 0 {
        skip("a JDK with a zlib of its own");
    }
}
