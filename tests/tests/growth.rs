//! Growth: what enlarges the process, without a probe on malloc.

use std::process::Command;

use offheap::capture::{Capture, SiteKind};
use offheap_tests::{
    CFlags, Target, Tool, assert_conserved, c_program, session, sites_through, sum,
};

const MIB: u64 = 1 << 20;
/// Pages of which one is recorded.
const PERIOD: u64 = 64;

fn resident(capture: &Capture, site: &str) -> u64 {
    sum(&sites_through(capture, SiteKind::Fault, site)).outstanding_bytes
}

fn assert_close(got: u64, truth: u64) {
    // Each CPU counts for itself, and the target may move between them: some periods of pages at either end.
    let off = 4 * PERIOD * 4096;
    assert!(
        got.abs_diff(truth) <= off,
        "{got} is not {truth}, give or take {off}"
    );
}

/// What was touched first and is resident stands under who touched it; what was given back does not. The program break is
/// exact.
#[test]
fn growth_is_attributed() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(&mut Command::new(c_program("growth", CFlags::default())));
    let (capture, _) = target.captured(&["--hooks", "growth"]);
    assert_conserved(&capture);
    assert_close(resident(&capture, "at_small"), 96 * MIB);
    assert_eq!(resident(&capture, "at_given_back"), 0);
    let touched = sum(&sites_through(&capture, SiteKind::Fault, "at_given_back"));
    assert_close(touched.allocated_bytes, 32 * MIB);
    for site in sites_through(&capture, SiteKind::Fault, "at_small") {
        assert!(site.estimated && site.stack_end == "root", "{site:#?}");
    }
    let grown = sum(&sites_through(&capture, SiteKind::Mmap, "at_break"));
    assert_eq!(
        (grown.outstanding_bytes, grown.outstanding_count),
        (5 * 4096, 1)
    );
    let back = sum(&sites_through(
        &capture,
        SiteKind::Mmap,
        "at_break_taken_back",
    ));
    assert_eq!(
        (back.outstanding_bytes, back.allocated_bytes),
        (0, 15 * 4096)
    );
}

/// One fault of a huge page stands for all of it. One in 64 is seen, so that of 32 huge pages it is none or a few: what
/// is asserted is that they are not taken for small ones.
#[test]
fn huge_pages_are_huge() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(&mut Command::new(c_program("growth", CFlags::default())));
    let (capture, _) = target.captured(&["--hooks", "growth"]);
    let huge = sum(&sites_through(&capture, SiteKind::Fault, "at_huge"));
    let small = PERIOD * 4096;
    let whole = PERIOD * 2 * MIB;
    // Before the first and behind the last huge page there is room for small ones.
    let is_huge = huge.outstanding_bytes % whole <= 4 * MIB + 4 * small;
    // Where the kernel has no huge pages to give, these are small ones, and all of them are seen.
    let is_small = huge.outstanding_bytes.abs_diff(64 * MIB) <= 4 * small;
    assert!(is_huge || is_small, "{huge:?}");
}

/// Where malloc is left off for its cost, growth is watched in its place: what the storm's process keeps is still found.
#[test]
fn growth_stands_in_for_malloc() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(&mut Command::new(c_program("pace", CFlags::default())));
    target.say("storm");
    target.await_value("count ");
    let tool = Tool::capture(target.pid(), &["--max-overhead", "5"]);
    target.say("touch 100");
    target.await_value("count ");
    let capture = tool.finish();
    let watched = &capture.tracer.budget.watched;
    let growth = watched.iter().find(|watched| watched.group == "growth");
    assert!(
        growth.is_some_and(|growth| growth.until_seconds.is_none()),
        "{watched:?}"
    );
    assert_close(resident(&capture, "at_touched"), 100 * 1_048_583);
}
