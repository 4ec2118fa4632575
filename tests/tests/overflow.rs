//! Rings and maps that are too small, on purpose: what must not be lost is not, and what is lost is said.

use std::process::Command;

use offheap::capture::{Capture, SiteKind};
use offheap_tests::checks::describe;
use offheap_tests::{
    CFlags, Target, Tool, Truth, assert_conserved, assert_exact, c_program, session, sites_through,
    sum,
};

fn captured(count: &str, flags: &[&str]) -> (Capture, Vec<Truth>, Vec<String>) {
    let mut target =
        Target::start(Command::new(c_program("flood", CFlags::default())).args([count, "1009"]));
    let exact = ["--hooks", "malloc", "--sample-bytes", "0"];
    let tool = Tool::capture(target.pid(), &[&exact[..], flags].concat());
    let truths = target.work();
    let finished = tool.interrupted();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    (finished.capture(), truths, finished.stdout)
}

/// Outstanding bytes and blocks of everything, whether its stack is known or not: the flood is all that the target does.
fn assert_outstanding_is_exact(capture: &Capture, truths: &[Truth]) {
    let got = sum(&capture
        .sites
        .iter()
        .filter(|site| site.kind == SiteKind::Malloc)
        .collect::<Vec<_>>());
    let bytes: u64 = truths
        .iter()
        .filter_map(|truth| truth.outstanding_bytes)
        .sum();
    let count: u64 = truths
        .iter()
        .filter_map(|truth| truth.outstanding_count)
        .sum();
    assert_eq!(
        (got.outstanding_bytes, got.outstanding_count),
        (bytes, count),
        "{}",
        describe(capture)
    );
    assert_conserved(capture);
}

fn assert_said(capture: &Capture, report: &[String]) {
    let lost: u64 = capture.losses.values().sum();
    assert!(
        lost > 0,
        "an overflow on purpose loses something: {:?}",
        capture.losses
    );
    for (reason, count) in capture.losses.iter().filter(|(_, count)| **count > 0) {
        assert!(
            report.iter().any(|line| mentions(line, *count)),
            "{reason} {count}: {report:#?}"
        );
    }
}

/// The report shows a count with or without separators.
fn mentions(line: &str, count: u64) -> bool {
    line.replace([',', '_', '\u{202f}'], "")
        .contains(&count.to_string())
}

/// With the smallest ring stacks are lost; the bytes then stand without a stack, and every one of them is there.
#[test]
fn a_full_ring_loses_stacks_and_no_byte() {
    let Some(_session) = session() else { return };
    let (capture, truths, report) = captured("20000", &["--ring-bytes", "128k"]);
    assert_outstanding_is_exact(&capture, &truths);
    assert_said(&capture, &report);
    let lost = capture
        .sites
        .iter()
        .filter(|site| site.stack_end == "lost")
        .count();
    assert!(
        lost > 0,
        "bytes without a stack stand under one of their own\n{}",
        describe(&capture)
    );
}

/// With a map for a thousand blocks the rest is kept elsewhere: the outstanding bytes are exact all the same.
#[test]
fn a_full_map_loses_no_byte() {
    let Some(_session) = session() else { return };
    // The ring has room for all 4,000 stacks: the map alone is too small.
    let (capture, truths, _) = captured("2000", &["--max-outstanding", "1024"]);
    assert_outstanding_is_exact(&capture, &truths);
    let full = capture
        .tracer
        .high_water
        .values()
        .any(|fill| fill.capacity > 0 && fill.used >= fill.capacity);
    let lost: u64 = capture.losses.values().sum();
    assert!(
        full || lost > 0,
        "the full map is said: {:?}",
        capture.tracer.high_water
    );
}

/// A realloc ends its old block also where that is kept elsewhere for want of room in the map.
#[test]
fn resized_blocks_are_exact_in_a_full_map() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(&mut Command::new(c_program("resized", CFlags::default())));
    let flags = [
        "--hooks",
        "malloc",
        "--sample-bytes",
        "0",
        "--max-outstanding",
        "1024",
        "--ring-bytes",
        "128m",
    ];
    let (capture, truths) = target.captured(&flags);
    assert_exact(&capture, SiteKind::Malloc, "work", &truths);
    let spilled = capture.losses.get("kept by the tracer: map full");
    assert!(
        spilled.is_some_and(|count| *count > 0),
        "{:?}",
        capture.losses
    );
}

/// With both too small at once what is missing, and what is there though it was freed, is covered by reported losses.
#[test]
fn a_full_map_and_ring_report_what_they_lose() {
    let Some(_session) = session() else { return };
    let flags = ["--max-outstanding", "1024", "--ring-bytes", "128k"];
    let (capture, truths, report) = captured("20000", &flags);
    assert_conserved(&capture);
    assert_said(&capture, &report);
    let got = sum(&capture
        .sites
        .iter()
        .filter(|site| site.kind == SiteKind::Malloc)
        .collect::<Vec<_>>());
    let freed = sum(&sites_through(&capture, SiteKind::Malloc, "at_freed_later"));
    let blocks: u64 = truths
        .iter()
        .filter_map(|truth| truth.outstanding_count)
        .sum();
    let wrong = blocks.abs_diff(got.outstanding_count) + freed.outstanding_count;
    let lost: u64 = capture.losses.values().sum();
    assert!(
        wrong <= lost,
        "{wrong} blocks are wrong, {lost} losses reported: {:?}\n{}",
        capture.losses,
        describe(&capture)
    );
}

/// A target that allocates faster than its stacks can be unwound costs stacks, and neither memory of the tool without bound
/// nor a Ctrl-C that is not obeyed.
#[test]
fn a_target_that_is_too_fast_does_not_swamp_the_tool() {
    const RING: u64 = 64 << 20;
    let Some(_session) = session() else { return };
    let mut target = Target::start(&mut Command::new(c_program("load", CFlags::default())));
    let tool = Tool::capture(
        target.pid(),
        &["--sample-bytes", "0", "--ring-bytes", "64m"],
    );
    let mut allocated = || -> u64 {
        target.say("count");
        target.await_value("count ").parse().expect("a count")
    };
    let enough = allocated() + 200_000;
    while allocated() < enough {}
    let capture = tool.finish();

    let bound = 256 * 1024 * 1024 + 4 * RING;
    assert!(
        capture.tracer.max_rss < bound,
        "{} bytes of peak RSS, bound {bound}",
        capture.tracer.max_rss
    );
    for (name, fill) in &capture.tracer.high_water {
        assert!(
            fill.used <= fill.capacity,
            "{name} held {} of {}",
            fill.used,
            fill.capacity
        );
    }
}
