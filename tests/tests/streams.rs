//! zlib streams of a C program: every function that opens or ends one, wherever and whenever zlib is mapped.

use std::process::Command;
use std::time::Duration;

use offheap::capture::{Capture, SiteKind};
use offheap_tests::checks::{describe, functions};
use offheap_tests::session::lacks_library;
use offheap_tests::{
    CFlags, Target, Tool, Truth, assert_conserved, assert_nothing_else, assert_truth, c_program,
    session, sites_through, sum,
};

const EXACT: [&str; 4] = ["--hooks", "zlib,malloc", "--sample-bytes", "0"];

fn target(mode: &str) -> Target {
    Target::start(Command::new(c_program("streams", CFlags::default())).arg(mode))
}

fn assert_streams(capture: &Capture, truths: &[Truth]) {
    assert_truth(capture, truths);
    for kind in [SiteKind::Deflate, SiteKind::Inflate] {
        assert_nothing_else(capture, kind, "work", truths);
    }
    assert_conserved(capture);
}

/// Deflaters and inflaters, copied ones and `inflateBack`'s too, are outstanding from their opening to their end; with
/// exact malloc hooks so are the bytes and blocks behind each of them.
#[test]
fn streams_are_exact() {
    if lacks_library("libz.so.1") {
        return;
    }
    let Some(_session) = session() else { return };
    let mut target = target("early");
    let (capture, truths) = target.captured(&EXACT);

    assert_streams(&capture, &truths);
    let calls: u64 = functions(&capture, "deflateEnd")
        .iter()
        .map(|function| function.seen)
        .sum();
    assert_eq!(calls, 103, "ended deflaters, each seen once");
}

/// The zlib hooks alone, without malloc, count the same streams; what they hold is then computed, and called estimated.
#[test]
fn streams_are_counted_without_malloc() {
    if lacks_library("libz.so.1") {
        return;
    }
    let Some(_session) = session() else { return };
    let mut target = target("early");
    let tool = Tool::capture(target.pid(), &["--hooks", "zlib"]);
    let truths = target.work();
    let capture = tool.finish();

    let counts: Vec<Truth> = truths.into_iter().map(without_bytes).collect();
    assert_truth(&capture, &counts);
    assert_conserved(&capture);
    for site in capture
        .sites
        .iter()
        .filter(|site| site.outstanding_count > 0)
    {
        assert!(
            site.estimated && site.outstanding_bytes > 0,
            "the bytes are computed\n{}",
            describe(&capture)
        );
    }
    assert!(
        capture
            .functions
            .iter()
            .all(|function| function.group == "zlib"),
        "only zlib's probes are set"
    );
}

/// A call that opens nothing, because its arguments are wrong or memory is short, leaves no stream outstanding.
#[test]
fn refused_streams_are_not_outstanding() {
    if lacks_library("libz.so.1") {
        return;
    }
    let Some(_session) = session() else { return };
    let mut target = target("failing");
    let tool = Tool::capture(target.pid(), &EXACT);
    let truths = target.work();
    assert_streams(&tool.finish(), &truths);
}

/// A stream opened where an unended one lies does not end that one: nobody can, and its memory stays. What the older ones
/// hold may be computed; it is then called estimated and is right to one percent.
#[test]
fn forgotten_streams_stay_outstanding() {
    if lacks_library("libz.so.1") {
        return;
    }
    let Some(_session) = session() else { return };
    let mut target = target("forgotten");
    let (capture, truths) = target.captured(&EXACT);

    let bytes: u64 = truths
        .iter()
        .filter_map(|truth| truth.outstanding_bytes)
        .sum();
    let counts: Vec<Truth> = truths.into_iter().map(without_bytes).collect();
    assert_truth(&capture, &counts);
    assert_conserved(&capture);
    let sites = sites_through(&capture, SiteKind::Deflate, "at_forgotten");
    let held = sum(&sites).outstanding_bytes;
    let estimated = sites.iter().any(|site| site.estimated);
    let off = held.abs_diff(bytes);
    assert!(
        off == 0 || estimated && off <= bytes / 100,
        "{held} bytes, not {bytes}\n{}",
        describe(&capture)
    );
}

fn without_bytes(truth: Truth) -> Truth {
    Truth {
        outstanding_bytes: None,
        blocks: None,
        ..truth
    }
}

/// A zlib that the target maps after the attach is hooked within a second, and the report says when that was.
#[test]
fn zlib_mapped_later_is_hooked_within_a_second() {
    if lacks_library("libz.so.1") {
        return;
    }
    let Some(_session) = session() else { return };
    let mut target = target("late");
    let tool = Tool::capture(target.pid(), &EXACT);
    target.say("go");
    target.await_word("mapped");
    // The second that the tool is given. There is no handshake with it: the promise is the time.
    std::thread::sleep(Duration::from_secs(1));
    let truths = target.work();
    let capture = tool.finish();

    assert_streams(&capture, &truths);
    let opening = functions(&capture, "deflateInit2_");
    assert!(
        opening
            .iter()
            .any(|function| function.attached_after_seconds > 0.0),
        "{opening:#?}"
    );
}
