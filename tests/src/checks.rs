//! Questions to a capture, and what holds of every one.

use std::collections::HashSet;
use std::fmt::Write;

use offheap::capture::{Capture, Frame, Function, Site, SiteKind};

/// The numbers of several sites together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub outstanding_bytes: u64,
    pub outstanding_count: u64,
    pub allocated_bytes: u64,
    pub allocated_count: u64,
    pub freed_count: u64,
    pub reserved_bytes: u64,
    pub blocks: u64,
    pub freed_by_cleaner: u64,
}

/// The sites of `kind` whose stack has a frame called `name`.
pub fn sites_through<'a>(capture: &'a Capture, kind: SiteKind, name: &str) -> Vec<&'a Site> {
    let through =
        |site: &&Site| site.kind == kind && site.frames.iter().any(|frame| frame.name == name);
    capture.sites.iter().filter(through).collect()
}

pub fn sum(sites: &[&Site]) -> Sum {
    sites.iter().fold(Sum::default(), |sum, site| Sum {
        outstanding_bytes: sum.outstanding_bytes + site.outstanding_bytes,
        outstanding_count: sum.outstanding_count + site.outstanding_count,
        allocated_bytes: sum.allocated_bytes + site.allocated_bytes,
        allocated_count: sum.allocated_count + site.allocated_count,
        freed_count: sum.freed_count + site.freed_count,
        reserved_bytes: sum.reserved_bytes + site.reserved_bytes,
        blocks: sum.blocks + site.blocks,
        freed_by_cleaner: sum.freed_by_cleaner + site.freed_by_cleaner,
    })
}

/// The attach points of the function `name`, in all files.
pub fn functions<'a>(capture: &'a Capture, name: &str) -> Vec<&'a Function> {
    capture
        .functions
        .iter()
        .filter(|function| function.name == name)
        .collect()
}

/// Every call that was seen has exactly one outcome, for each attach point.
pub fn assert_conserved(capture: &Capture) {
    assert_conserved_within(capture, 0);
}

/// Like [`assert_conserved`], for a target that goes on while it is read: at most `in_flight` calls of each function
/// have no outcome yet.
pub fn assert_conserved_within(capture: &Capture, in_flight: u64) {
    assert!(
        capture.functions.iter().any(|function| function.seen > 0),
        "no attach point saw a call"
    );
    for function in &capture.functions {
        let outcomes = function.recorded
            + function.filtered
            + function.unsampled
            + function.failed
            + function.lost;
        let without = function.seen.checked_sub(outcomes);
        assert!(
            without.is_some_and(|calls| calls <= in_flight),
            "not conserved, outcomes {outcomes}: {function:#?}"
        );
    }
}

/// A site is all allocations of a kind with one stack: no two sites look the same. Kept apart are estimated numbers and
/// what mappings serve.
pub fn assert_distinct(capture: &Capture) {
    let mut seen = HashSet::new();
    for site in &capture.sites {
        let first = seen.insert((
            site.kind,
            site.estimated,
            site.owner,
            &site.stack_end,
            &site.frames,
        ));
        assert!(
            first,
            "two {:?} sites have the stack\n{}",
            site.kind,
            stack(site)
        );
    }
}

/// Overloaded Java methods are told apart by their parameters: `java.util.zip.Deflater.<init>(int, boolean)`.
fn is_called(frame: &Frame, name: &str) -> bool {
    let rest = frame.name.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('('))
}

/// The stack of `site` has `names` in this order, leaf first, other frames between them allowed.
pub fn assert_frames_in_order(site: &Site, names: &[&str]) {
    let mut frames = site.frames.iter();
    for name in names {
        assert!(
            frames.any(|frame| is_called(frame, name)),
            "{name} is missing or out of order in\n{}",
            stack(site)
        );
    }
}

/// The stack of `site` ends at the root of its thread.
pub fn assert_rooted(site: &Site) {
    assert_eq!(site.stack_end, "root", "the stack\n{}", stack(site));
}

/// The stack of a site, one frame a line.
pub fn stack(site: &Site) -> String {
    let mut text = String::new();
    for frame in &site.frames {
        let module = frame.module.as_deref().unwrap_or("-");
        let _ = writeln!(text, "    {} {:?} {module}", frame.name, frame.kind);
    }
    let _ = writeln!(text, "    = {}", site.stack_end);
    text
}

/// The sites of a capture, bounded, for messages of failed assertions.
pub fn describe(capture: &Capture) -> String {
    const SITES: usize = 60;
    const FRAMES: usize = 6;
    let mut text = String::new();
    for site in capture.sites.iter().take(SITES) {
        let leaf: Vec<&str> = site
            .frames
            .iter()
            .take(FRAMES)
            .map(|frame| frame.name.as_str())
            .collect();
        let _ = writeln!(
            text,
            "  {:?} outstanding {} in {}, allocated {} in {}, {}: {}",
            site.kind,
            site.outstanding_bytes,
            site.outstanding_count,
            site.allocated_bytes,
            site.allocated_count,
            site.stack_end,
            leaf.join(" < ")
        );
    }
    text
}
