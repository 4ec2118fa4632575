//! The malloc family of the C library: counts and bytes, exactly.

use std::process::Command;

use offheap::capture::SiteKind;
use offheap_tests::checks::functions;
use offheap_tests::{
    CFlags, Target, Tool, assert_conserved, assert_exact, assert_nothing_else, assert_truth,
    c_library, c_program, session,
};

const EXACT: [&str; 4] = ["--hooks", "malloc", "--sample-bytes", "0"];

/// Every function of the malloc family is counted once, with the bytes that were asked for, whatever its outcome: also
/// a failing `realloc`, whose old block lives on, `realloc(p, 0)`, and `calloc` whose product overflows.
#[test]
fn every_function_is_exact() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(&mut Command::new(c_program("family", CFlags::default())));
    let (capture, truths) = target.captured(&EXACT);

    assert_exact(&capture, SiteKind::Malloc, "work", &truths);
    assert_eq!(
        capture.losses.values().sum::<u64>(),
        0,
        "nothing is lost: {:?}",
        capture.losses
    );
    assert!(capture.target.jvm.is_none(), "a C program is no JVM");
    // One impossible malloc, two overflowing callocs, one realloc and one reallocarray, EINVAL and an impossible size.
    for (name, failed) in [("malloc", 1), ("calloc", 2), ("posix_memalign", 2)] {
        let counted: u64 = functions(&capture, name)
            .iter()
            .map(|function| function.failed)
            .sum();
        assert_eq!(counted, failed, "failed calls of {name}");
    }
    // glibc's reallocarray ends in realloc: which of both the failure is booked on does not matter.
    let reallocations = ["realloc", "reallocarray"]
        .iter()
        .flat_map(|name| functions(&capture, name));
    assert_eq!(
        reallocations.map(|function| function.failed).sum::<u64>(),
        2,
        "failed reallocations"
    );
}

/// An address that is handed out again belongs to the function that has it now, however often it changed hands.
#[test]
fn reused_addresses_belong_to_their_last_owner() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(&mut Command::new(c_program("reuse", CFlags::default())));
    let (capture, truths) = target.captured(&EXACT);

    assert_exact(&capture, SiteKind::Malloc, "work", &truths);
}

/// An allocation that passes through two probed functions, of a preloaded library and of libc, is counted once.
#[test]
fn nested_calls_count_once() {
    forwarded(&[]);
}

/// The same where the preloaded function jumps to libc's, so that both have the same frame.
#[test]
fn tail_calls_count_once() {
    forwarded(&["-foptimize-sibling-calls"]);
}

fn forwarded(compile: &[&str]) {
    let Some(_session) = session() else { return };
    let forward = c_library(
        "forward",
        CFlags {
            compile,
            ..CFlags::default()
        },
    );
    let mut command = Command::new(c_program("family", CFlags::default()));
    let mut target = Target::start(command.env("LD_PRELOAD", &forward));
    let (capture, truths) = target.captured(&EXACT);

    assert_exact(&capture, SiteKind::Malloc, "work", &truths);
    let probed = functions(&capture, "malloc");
    let busy = probed.iter().filter(|function| function.seen > 0).count();
    assert!(
        busy >= 2,
        "both allocators are probed and reached: {probed:#?}"
    );
}

/// 64 threads that free each other's blocks leave exactly what they say they leave.
#[test]
fn threads_free_each_others_blocks() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(&mut Command::new(c_program("threads", CFlags::default())));
    let (capture, truths) = target.captured(&EXACT);

    assert_exact(&capture, SiteKind::Malloc, "trade", &truths);
}

/// Blocks outside of `--min-size` and `--max-size` are left out and counted as such.
#[test]
fn sizes_outside_the_limits_are_filtered() {
    let Some(_session) = session() else { return };
    let mut target =
        Target::start(Command::new(c_program("flood", CFlags::default())).args(["50", "211"]));
    // 211 is within the limits, 213 is not.
    let flags = ["--min-size", "200", "--max-size", "212"];
    let tool = Tool::capture(target.pid(), &[&EXACT[..], &flags[..]].concat());
    let truths = target.work();
    let capture = tool.finish();

    let kept: Vec<_> = truths
        .into_iter()
        .filter(|truth| truth.site == "at_flood")
        .collect();
    assert_truth(&capture, &kept);
    assert_nothing_else(&capture, SiteKind::Malloc, "work", &kept);
    assert_conserved(&capture);
    let filtered: u64 = functions(&capture, "malloc")
        .iter()
        .map(|function| function.filtered)
        .sum();
    assert!(
        filtered >= 50,
        "50 blocks of 213 bytes are filtered, counted {filtered}"
    );
}
