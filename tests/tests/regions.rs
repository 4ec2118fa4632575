//! mmap, munmap and mremap: regions, to the page.

use std::process::Command;

use offheap::capture::{Capture, Owner, Site, SiteKind};
use offheap_tests::{
    CFlags, Target, Tool, Truth, assert_conserved, assert_truth, c_program, session, sites_through,
    sum,
};

fn captured(hooks: &str) -> (Capture, Vec<Truth>) {
    let mut target = Target::start(&mut Command::new(c_program("regions", CFlags::default())));
    let tool = Tool::capture(target.pid(), &["--hooks", hooks, "--sample-bytes", "0"]);
    let truths = target.work();
    (tool.finish(), truths)
}

/// Partial and spanning unmaps, MAP_FIXED over older regions, moves, growth and failures leave exactly the pages that
/// are there; a block that malloc maps for itself is one malloc; a thread's stack is told apart.
#[test]
fn regions_are_exact_to_the_page() {
    let Some(_session) = session() else { return };
    let (capture, truths) = captured("mmap,malloc");

    assert_truth(&capture, &truths);
    assert_conserved(&capture);
    let stacks = sites_through(&capture, SiteKind::Mmap, "at_thread_stack");
    assert!(!stacks.is_empty(), "the thread's stack was mapped");
    assert!(
        stacks
            .iter()
            .all(|site| site.owner == Some(Owner::ThreadStack)),
        "{stacks:#?}"
    );
    let room = sum(&stacks).outstanding_bytes + sum(&stacks).reserved_bytes;
    assert!(
        room >= 53 * 16 * 4096,
        "the stack has the size that was asked for, got {room}"
    );
}

/// What malloc maps for itself is the allocator's, and is not counted a second time in the total.
#[test]
fn big_blocks_count_once_in_the_total() {
    let Some(_session) = session() else { return };
    let (capture, _) = captured("mmap,malloc");

    let own = sites_through(&capture, SiteKind::Mmap, "big_blocks");
    assert!(
        own.iter().all(|site| site.owner == Some(Owner::Allocator)),
        "{own:#?}"
    );
    let counts = |site: &&Site| match site.kind {
        SiteKind::Malloc => true,
        SiteKind::Mmap => site.owner != Some(Owner::Allocator),
        SiteKind::Deflate | SiteKind::Inflate | SiteKind::Fault | SiteKind::Pair => false,
    };
    let once: u64 = capture
        .sites
        .iter()
        .filter(counts)
        .map(|site| site.outstanding_bytes)
        .sum();
    assert_eq!(capture.memory.outstanding_bytes, once, "each byte once");
}

/// The mmap hooks alone see the same regions, and no malloc.
#[test]
fn mmap_hooks_stand_alone() {
    let Some(_session) = session() else { return };
    let (capture, truths) = captured("mmap");

    let truths: Vec<_> = truths
        .into_iter()
        .filter(|truth| truth.kind == SiteKind::Mmap)
        .collect();
    assert_truth(&capture, &truths);
    assert!(
        capture.sites.iter().all(|site| site.kind == SiteKind::Mmap),
        "only regions were asked for"
    );
    assert!(
        capture
            .functions
            .iter()
            .all(|function| function.group == "mmap"),
        "only mmap's probes are set"
    );
}
