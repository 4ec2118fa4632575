//! The sentences of a verdict, each from the smallest capture that causes it.

use std::sync::Arc;

use super::fixture::{deflater_stack, empty, frame, server, site};
use super::owners::{grew_elsewhere, kept_by_malloc, reconciled};
use crate::capture::*;
use crate::report::{Filter, verdict};

fn sentences(capture: &Capture) -> Vec<String> {
    let shown = Filter::default().select(capture);
    verdict::findings(capture, &shown)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn with(sites: Vec<Site>) -> Capture {
    Capture { sites, ..empty() }
}

/// Proves that open Deflaters are named by the first application method, with exact count and marked bytes.
#[test]
fn deflaters_are_named_by_their_caller() {
    let mut site = site(
        SiteKind::Deflate,
        322_922_432,
        1_204,
        deflater_stack(&["deflateInit2_"]),
    );
    site.estimated = true;
    assert_eq!(
        sentences(&with(vec![site])),
        [
            "1,204 Deflaters (~308 MiB) opened by com.acme.GzipHandler.handle and not ended, of 2,408 opened; \
          the oldest 29.8 s ago"
        ]
    );
}

/// Proves that sites of one caller are added up, and that the rest is counted once three callers are named.
#[test]
fn callers_are_grouped_and_bounded() {
    let opened_by = |method: &str, count: u64| {
        let frames = vec![
            frame("java.util.zip.Inflater.init", FrameKind::Native, None, None),
            frame(method, FrameKind::C2, None, None),
        ];
        site(SiteKind::Inflate, count * 1_000, count, frames)
    };
    let sites = vec![
        opened_by("a.A.a", 1),
        opened_by("b.B.b", 20),
        opened_by("b.B.b", 22),
        opened_by("c.C.c", 30),
        opened_by("d.D.d", 40),
        opened_by("e.E.e", 3),
    ];
    let lines = sentences(&with(sites));
    assert!(
        lines[0].starts_with("42 Inflaters (41 KiB) opened by b.B.b and not ended"),
        "{lines:?}"
    );
    assert!(lines[2].starts_with("30 Inflaters"), "{lines:?}");
    assert_eq!(
        lines[3],
        "4 Inflaters more (3.91 KiB) opened from 2 other places and not ended"
    );
}

/// Proves that a stream without Java is a stream, named by the native function that opened it.
#[test]
fn native_streams_are_named_by_native_callers() {
    let frames = vec![
        frame("deflateInit2_", FrameKind::Native, Some("libz.so.1"), None),
        frame("gzopen64", FrameKind::Native, Some("libz.so.1"), None),
        frame("write_log", FrameKind::Native, Some("logger"), None),
        frame("main", FrameKind::Native, Some("logger"), None),
    ];
    let lines = sentences(&with(vec![site(SiteKind::Deflate, 268_208, 1, frames)]));
    assert!(
        lines[0]
            .starts_with("1 deflate stream (262 KiB) opened by write_log (logger) and not ended"),
        "{lines:?}"
    );
}

/// Proves that JDK methods are skipped only while there is an application method.
#[test]
fn jdk_frames_are_named_when_nothing_else_is_there() {
    let frames = vec![
        frame("java.util.zip.Deflater.init", FrameKind::Native, None, None),
        frame("java.lang.Thread.run", FrameKind::C1, None, None),
    ];
    let lines = sentences(&with(vec![site(SiteKind::Deflate, 1, 1, frames)]));
    assert!(
        lines[0].contains("opened by java.util.zip.Deflater.init and"),
        "{lines:?}"
    );
}

/// Proves that streams that only the cleaner ended are told from streams that the program sometimes ended.
#[test]
fn the_cleaner_is_told_from_the_program() {
    let mut left = site(SiteKind::Deflate, 0, 0, deflater_stack(&["deflateInit2_"]));
    (left.freed_count, left.freed_by_cleaner) = (17, 17);
    assert_eq!(
        sentences(&with(vec![left.clone()]))[1],
        "17 Deflaters were ended only by the Cleaner thread: opened by com.acme.GzipHandler.handle, never ended by \
         the program"
    );
    left.freed_count = 100;
    assert_eq!(
        sentences(&with(vec![left]))[1],
        "17 Deflaters were left to the Cleaner thread, of 100 ended: opened by com.acme.GzipHandler.handle"
    );
}

/// Proves that streams that may be in use are told from those that are old, and that further callers are counted.
#[test]
fn young_streams_may_be_in_use() {
    let mut young = site(
        SiteKind::Deflate,
        268_208,
        1,
        deflater_stack(&["deflateInit2_"]),
    );
    young.oldest_seconds = 0.005;
    let lines = sentences(&with(vec![young]));
    assert!(
        lines[0].contains("and not ended yet, of 2 opened; the oldest 5 ms ago"),
        "{lines:?}"
    );
    let left = |method: &str| {
        let mut left = site(
            SiteKind::Inflate,
            0,
            0,
            vec![frame(method, FrameKind::C1, None, None)],
        );
        (left.freed_count, left.freed_by_cleaner) = (1, 1);
        left
    };
    let lines = sentences(&with(
        ["a.A.a", "b.B.b", "c.C.c", "d.D.d", "e.E.e"]
            .map(left)
            .to_vec(),
    ));
    assert_eq!(
        lines[4],
        "2 streams more, opened from 2 other places, were left to the Cleaner thread"
    );
}

/// Proves that the largest other site is named with its share and native way, and the zlib blocks not twice.
#[test]
fn the_largest_site_is_not_the_streams_again() {
    let lines = sentences(&server());
    assert_eq!(
        lines[2],
        "~41 MiB in ~41 blocks of malloc by org.rocksdb.RocksDB.put (via rocksdb::Arena::AllocateNewBlock) are \
         outstanding: ~9.9 % of all"
    );
    assert!(
        lines[3].starts_with("64 MiB were committed by the JVM itself"),
        "{lines:?}"
    );
    assert!(
        lines[4].starts_with("128 MiB were mapped by the allocator"),
        "{lines:?}"
    );
}

/// Proves that nothing outstanding is said, and that a filter that hides everything is not mistaken for it.
#[test]
fn nothing_is_told_from_nothing_shown() {
    assert_eq!(
        sentences(&empty()),
        ["Nothing that was allocated in this window is outstanding"]
    );
    let capture = server();
    let filter = Filter {
        min_count: u64::MAX,
        ..Filter::default()
    };
    let findings = verdict::findings(&capture, &filter.select(&capture));
    assert_eq!(
        findings[0].to_string(),
        "Nothing outstanding passes the filter; it hides 6 sites"
    );
}

/// Proves that incomplete stacks, an unknown JVM and an ended target are part of the verdict.
#[test]
fn what_limits_the_answer_is_said() {
    let mut capture = empty();
    capture.completeness = Completeness {
        stacks: 200,
        complete: 100,
        ..Completeness::default()
    };
    capture.completeness.ends.insert("truncated".to_owned(), 80);
    capture.completeness.ends.insert("lost".to_owned(), 20);
    capture.target.ended = true;
    if let Some(jvm) = &mut capture.target.jvm {
        jvm.unsupported = Some("no vmStructs in libjvm.so".to_owned());
    }
    assert_eq!(
        sentences(&capture)[1..],
        [
            "Only 50 % of 200 stacks reached the thread's root (mostly: truncated): callers may be missing or wrong",
            "Java frames are missing: no vmStructs in libjvm.so",
            "The target ended in the window: this is what was outstanding then",
        ]
    );
}

/// Proves that what the budget left unrecorded is said before anything else.
#[test]
fn what_was_not_recorded_comes_first() {
    let mut capture = empty();
    capture.tracer.budget.watched = vec![Watched {
        group: "malloc".to_owned(),
        from_seconds: 0.2,
        until_seconds: Some(0.2),
    }];
    let told = sentences(&capture);
    assert!(told[0].starts_with("malloc was not recorded, "), "{told:?}");
    capture.tracer.budget.watched[0].until_seconds = Some(12.7);
    let told = sentences(&capture);
    assert!(
        told[0].starts_with("malloc was recorded for the first 12.5 s only, "),
        "{told:?}"
    );
    capture.tracer.budget.watched[0].until_seconds = None;
    assert_eq!(sentences(&capture).len(), 1);
}

/// Proves that a site without any name is said to be so.
#[test]
fn unknown_callers_have_a_reason() {
    let mut lost = site(SiteKind::Malloc, 4_096, 1, Vec::new());
    lost.stack_end = "lost".to_owned();
    assert_eq!(
        sentences(&with(vec![lost])),
        [
            "4 KiB in 1 block of malloc by an unknown caller (stack: lost) is outstanding: 100 % of all"
        ]
    );
}

fn opened(noun: &str, count: u64, frames: Vec<Arc<Frame>>) -> Site {
    let mut site = site(SiteKind::Pair, 0, count, frames);
    site.pair = Some(noun.to_owned());
    site
}

/// Proves that what any process may keep open is told in one sentence, last, unless there are very many of it or it grows.
#[test]
fn common_objects_are_no_headline() {
    let native = |name, module| frame(name, FrameKind::Native, Some(module), None);
    let by = |name| vec![native("open_it", "libany.so"), native(name, "app")];
    let sites = || {
        vec![
            opened("library handle", 14, by("load")),
            opened("file stream", 6, by("read_config")),
            opened("file stream", 2, by("log_to")),
            opened("cursor", 3, by("query")),
        ]
    };
    let told = sentences(&with(sites()));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("3 cursors opened by query (app) and not closed"),
        "{told:?}"
    );
    assert_eq!(
        told[1],
        "Open: 14 library handles by load (app), 8 file streams (6 by read_config (app))"
    );
    let mut many = sites();
    many[1].outstanding_count = 1_012;
    many[0].trend = Some(Trend {
        class: Some(TrendClass::Growing),
        ..Trend::default()
    });
    let told = sentences(&with(many));
    assert!(told[0].starts_with("1,012 file streams opened by read_config (app) and not closed"));
    assert!(told[1].starts_with("14 library handles opened by load (app)"));
    assert_eq!(told.last().unwrap(), "Open: 2 file streams by log_to (app)");
}

/// The stack of a RocksDB iterator that `com.acme.Store.scan` opens.
fn iterator_stack() -> Vec<Arc<Frame>> {
    let library = Some("librocksdbjni.so");
    vec![
        frame(
            "Java_org_rocksdb_RocksDB_iterator",
            FrameKind::Native,
            library,
            None,
        ),
        frame(
            "org.rocksdb.RocksDB.iterator(long)",
            FrameKind::Native,
            None,
            None,
        ),
        frame(
            "org.rocksdb.RocksDB.newIterator",
            FrameKind::Inlined,
            None,
            None,
        ),
        frame("com.acme.Store.scan", FrameKind::C2, None, None),
    ]
}

/// Proves that objects of a pair are called by its name, and belong to the first method outside of the library's Java side.
#[test]
fn objects_are_named_by_their_pair_and_caller() {
    let mut held = opened("RocksDB iterator", 412, iterator_stack());
    (held.outstanding_bytes, held.blocks, held.estimated) = (1_700_000, 824, true);
    let own = vec![
        frame(
            "Java_com_acme_Store_open",
            FrameKind::Native,
            Some("libstore.so"),
            None,
        ),
        frame("com.acme.Store.open", FrameKind::Native, None, None),
        frame("com.acme.Store.main", FrameKind::C1, None, None),
    ];
    assert_eq!(
        sentences(&with(vec![held, opened("handle", 1, own)])),
        [
            "412 RocksDB iterators (~1.62 MiB) opened by com.acme.Store.scan and not closed, of 824 opened; \
             the oldest 29.8 s ago",
            "1 handle opened by com.acme.Store.main and not closed, of 2 opened; the oldest 29.8 s ago",
        ]
    );
}

/// Proves that the caller of a native library is named and not its own functions, but for one that calls itself.
#[test]
fn objects_of_native_callers() {
    let frames = |caller| {
        vec![
            frame(
                "BIO_new_ex",
                FrameKind::Native,
                Some("libcrypto.so.3"),
                None,
            ),
            frame(
                "BIO_new_file",
                FrameKind::Native,
                Some("libcrypto.so.3"),
                None,
            ),
            frame("serve", FrameKind::Native, caller, None),
        ]
    };
    let sites = vec![
        opened("cipher", 3, frames(Some("server"))),
        opened("inner", 2, frames(Some("libcrypto.so.3"))),
    ];
    let lines = sentences(&with(sites));
    assert!(
        lines[0].starts_with("3 ciphers opened by serve (server) and"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("2 inners opened by BIO_new_file (libcrypto.so.3)"),
        "{lines:?}"
    );
}

/// Proves that what a cleaner had to close is told apart, and that callers beyond the third are counted.
#[test]
fn objects_left_to_a_cleaner() {
    let mut left = opened("iterator", 0, iterator_stack());
    (left.freed_count, left.freed_by_cleaner) = (9, 9);
    let mut some = opened("batch", 0, iterator_stack());
    (some.freed_count, some.freed_by_cleaner) = (9, 1);
    let lines = sentences(&with(vec![left, some]));
    assert_eq!(
        lines[1..],
        [
            "1 batch was left to a Cleaner thread, of 9 closed: opened by com.acme.Store.scan",
            "9 iterators were closed only by a Cleaner thread: opened by com.acme.Store.scan, never closed by the program",
        ]
    );
    let by = |method: &str| {
        let frames = vec![frame(method, FrameKind::C2, None, None)];
        opened("x", 5, frames)
    };
    let lines = sentences(&with(["a.A", "b.B", "c.C", "d.D", "e.E"].map(by).to_vec()));
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(
        lines[3],
        "10 xs more opened from 2 other places and not closed"
    );
}

/// Proves that growth comes first where less than half of it was tracked, and is no news where it was, or is small.
#[test]
fn growth_elsewhere_comes_first() {
    let first = |capture: &Capture| sentences(capture).swap_remove(0);
    let elsewhere = grew_elsewhere();
    assert_eq!(
        first(&elsewhere),
        "RSS grew by 2 GiB, and what this capture tracked accounts for ~20 MiB of it (~1 %): the rest is Java heap \
         (+1.46 GiB), untracked (+510 MiB)"
    );
    let with = |change: fn(&mut Reconciliation)| {
        let mut capture = elsewhere.clone();
        capture.memory.reconciliation.as_mut().map(change);
        first(&capture)
    };
    assert!(!with(|sum| sum.tracked = 1024 << 20).starts_with("RSS grew"));
    assert!(with(|sum| sum.tracked = (1024 << 20) - 1).starts_with("RSS grew"));
    // A fiftieth of what there was is 20.48 MiB.
    let small = |sum: &mut Reconciliation| (sum.rss_delta, sum.tracked) = (20 << 20, 0);
    assert!(!with(small).starts_with("RSS grew"));
    let mut unhooked = reconciled(
        Reconciliation {
            rss_delta: 64 << 20,
            untracked: 64 << 20,
            ..Reconciliation::default()
        },
        [0, 0],
    );
    unhooked.settings.hooks = vec!["zlib".to_owned()];
    assert!(first(&unhooked).ends_with("malloc is not hooked (--hooks zlib,mmap,malloc)"));
}

/// Proves that freed memory that malloc keeps is told from a leak, and not where much is outstanding.
#[test]
fn kept_memory_is_no_leak() {
    let is_told = |capture: &Capture| {
        let lines = sentences(capture);
        lines.iter().any(|line| line.contains("retention"))
    };
    let mut capture = kept_by_malloc();
    assert!(is_told(&capture));
    let sum = capture.memory.reconciliation.as_mut();
    sum.expect("a sum").tracked = 60 << 20;
    assert!(!is_told(&capture));
}

/// Proves that a target that the kernel killed for its memory is told first, in place of its plain end.
#[test]
fn oom_kill_comes_first() {
    let mut capture = grew_elsewhere();
    capture.target.ended = true;
    capture.target.oom_kill = Some(OomKill {
        cgroup: "/kubepods/pod\u{1b}7".to_owned(),
        kills: 2,
        limit: Some(3 << 30),
    });
    let lines = sentences(&capture);
    assert_eq!(
        lines[0],
        "The target ended, and the kernel's OOM killer took 2 processes of its cgroup /kubepods/pod_7 in the window \
         (limit 3 GiB): this is what was outstanding then"
    );
    let ended = lines.iter().filter(|line| line.contains("target ended"));
    assert_eq!(ended.count(), 1, "{lines:?}");
}
