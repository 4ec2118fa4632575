//! Sums that come out exactly, from numbers written down by hand.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::capture::Frame;
use crate::report::tests::fixture;
use crate::triage::owners::Owner as TriageOwner;
use crate::triage::reading::{Arena, Malloc};

const MIB: u64 = 1 << 20;

fn look(owners: &[(Kind, u64)], free: Option<u64>) -> Summary {
    let owners: Vec<TriageOwner> = owners
        .iter()
        .map(|&(kind, resident)| TriageOwner {
            kind,
            resident,
            guessed: 0,
            committed: resident,
            reserved: resident,
            swap: 0,
            count: 1,
        })
        .collect();
    let mut look = Summary {
        rss: owners.iter().map(|owner| owner.resident).sum(),
        owners,
        ..Summary::default()
    };
    look.facts.malloc = Malloc {
        unknown: free.is_none().then(|| "another allocator".to_owned()),
        arenas: vec![Arena {
            resident: free.unwrap_or(0),
            ..Arena::default()
        }],
        ..Malloc::default()
    };
    look
}

fn tracked(bytes: u64) -> Tracked {
    Tracked {
        bytes,
        ..Tracked::default()
    }
}

fn sum(of: &Reconciliation) -> i64 {
    of.tracked + of.java_heap + of.jvm + of.stacks + of.allocator_free + of.files + of.untracked
}

/// Each owner is in its term, what malloc keeps and what is tracked are taken from native memory, and the rest is named.
#[test]
fn terms() {
    let start = look(
        &[
            (Kind::JavaHeap, 500 * MIB),
            (Kind::Metaspace, 40 * MIB),
            (Kind::JavaStacks, 3 * MIB),
            (Kind::MallocArenas, 80 * MIB),
            (Kind::Libraries, 20 * MIB),
            (Kind::Anonymous, 5 * MIB),
        ],
        Some(10 * MIB),
    );
    let end = look(
        &[
            (Kind::JavaHeap, 600 * MIB),
            (Kind::JavaHeapViews, MIB),
            (Kind::Metaspace, 47 * MIB),
            (Kind::OtherStacks, 5 * MIB),
            (Kind::MallocArenas, 180 * MIB),
            (Kind::MallocLarge, 30 * MIB),
            (Kind::MappedFiles, 9 * MIB),
            (Kind::Anonymous, 4 * MIB),
        ],
        Some(60 * MIB),
    );
    let found = reconcile(&start, &end, tracked(70 * MIB));
    let mib = |number: i64| number << 20;
    let expected = Reconciliation {
        rss_delta: mib(228),
        tracked: mib(70),
        tracked_estimated: false,
        java_heap: mib(101),
        jvm: mib(7),
        stacks: mib(2),
        allocator_free: mib(50),
        files: mib(-11),
        // Of 129 MiB more native memory.
        untracked: mib(9),
    };
    assert_eq!(found, expected);
    assert_eq!(sum(&found), found.rss_delta);
}

/// Without the allocator's structures its free memory is part of the remainder; where pages are what is tracked it is
/// part of these.
#[test]
fn free_memory_is_counted_once() {
    let start = look(&[(Kind::MallocArenas, 10 * MIB)], Some(MIB));
    let end = look(&[(Kind::MallocArenas, 60 * MIB)], Some(41 * MIB));
    let unknown = look(&[(Kind::MallocArenas, 60 * MIB)], None);
    let found = reconcile(&start, &unknown, tracked(10 * MIB));
    assert_eq!((found.allocator_free, found.untracked), (0, 40 << 20));
    let pages = Tracked {
        by_pages: true,
        ..tracked(50 * MIB)
    };
    let found = reconcile(&start, &end, pages);
    assert_eq!((found.allocator_free, found.untracked), (0, 0));
    let found = reconcile(&start, &end, tracked(10 * MIB));
    assert_eq!((found.allocator_free, found.untracked), (40 << 20, 0));
}

/// Pages that were not touched make the remainder negative.
#[test]
fn untouched_pages() {
    let same = look(&[(Kind::MallocLarge, 10 * MIB)], Some(0));
    let found = reconcile(&same, &same, tracked(300 * MIB));
    assert_eq!((found.rss_delta, found.untracked), (0, -(300 << 20)));
}

/// What the JVM, the allocator and threads' stacks mapped is not tracked native memory, and neither is what running Java
/// code or the JVM touched first.
#[test]
fn tracked_is_native() {
    let frame = |module: Option<&str>| -> Vec<Arc<Frame>> {
        vec![fixture::frame(
            "leaf",
            crate::capture::FrameKind::Native,
            module,
            None,
        )]
    };
    let mapped = |owner, bytes| Site {
        owner: Some(owner),
        ..fixture::site(SiteKind::Mmap, bytes, 1, frame(Some("libc.so.6")))
    };
    let fault = |module, bytes| fixture::site(SiteKind::Fault, bytes, 1, frame(module));
    let hooks =
        |names: &[&str]| -> Vec<String> { names.iter().map(|name| name.to_string()).collect() };
    let mut sites = vec![
        fixture::site(SiteKind::Malloc, 1, 1, frame(Some("libacme.so"))),
        mapped(Owner::Other, 2),
        mapped(Owner::Jvm, 4),
        mapped(Owner::ThreadStack, 8),
        mapped(Owner::Allocator, 16),
    ];
    sites[0].estimated = true;
    let found = Tracked::of(&sites, &hooks(&["malloc", "mmap"]));
    assert_eq!(
        (found.bytes, found.estimated, found.by_pages),
        (3, true, false)
    );
    let sites = [
        fault(Some("libacme.so"), 1),
        fault(Some("libjvm.so"), 2),
        fault(None, 4),
    ];
    let found = Tracked::of(&sites, &hooks(&["growth"]));
    assert_eq!((found.bytes, found.by_pages), (1, true));
}

/// Owners are kept by the names that triage gives them.
#[test]
fn owners_by_name() {
    let kept = at(&look(&[(Kind::MallocArenas, 7)], Some(3)), 1.5);
    assert_eq!(kept.resident.get("malloc-arenas"), Some(&7));
    assert_eq!(
        (kept.rss, kept.malloc_free, kept.took_ms),
        (7, Some(3), 1.5)
    );
}

const KINDS: [Kind; 8] = [
    Kind::JavaHeap,
    Kind::CodeCache,
    Kind::JavaStacks,
    Kind::MallocMain,
    Kind::MallocArenas,
    Kind::SharedMemory,
    Kind::Kernel,
    Kind::Anonymous,
];

proptest! {
    /// Whatever the looks say and was tracked, the terms add up to the difference of RSS.
    #[test]
    fn exact(
        start in proptest::collection::vec(0_u64..1 << 50, 8),
        end in proptest::collection::vec(0_u64..1 << 50, 8),
        free in proptest::array::uniform2(proptest::option::of(0_u64..1 << 50)),
        bytes in 0_u64..1 << 50,
        by_pages: bool,
    ) {
        let owners = |bytes: Vec<u64>| -> Vec<(Kind, u64)> { KINDS.into_iter().zip(bytes).collect() };
        let (start, end) = (look(&owners(start), free[0]), look(&owners(end), free[1]));
        let found = reconcile(&start, &end, Tracked { by_pages, ..tracked(bytes) });
        prop_assert_eq!(sum(&found), found.rss_delta);
        prop_assert_eq!(i128::from(found.rss_delta), i128::from(end.rss) - i128::from(start.rss));
    }
}
