//! Captures whose change of RSS is accounted for.

use std::collections::BTreeMap;

use super::fixture::empty;
use crate::capture::*;

/// What a capture says of the owners where RSS went from 1 GiB to what `sum` adds to it.
pub fn reconciled(sum: Reconciliation, malloc_free: [u64; 2]) -> Capture {
    let mut capture = empty();
    let [start, end] = [0, sum.rss_delta].map(|bytes| (1u64 << 30).saturating_add_signed(bytes));
    let at = |rss: u64, free: u64| OwnersAt {
        rss,
        resident: BTreeMap::from([("anonymous".to_owned(), rss)]),
        malloc_free: Some(free),
        took_ms: 12.5,
    };
    capture.memory = Memory {
        rss_start: start,
        rss_end: end,
        outstanding_bytes: sum.tracked.unsigned_abs(),
        owners: Some(Owners {
            start: Some(at(start, malloc_free[0])),
            end: Some(at(end, malloc_free[1])),
            missing: Vec::new(),
        }),
        reconciliation: Some(sum),
    };
    capture
}

/// Two GiB of growth, of which twenty MiB were tracked.
pub fn grew_elsewhere() -> Capture {
    reconciled(
        Reconciliation {
            rss_delta: 2048 << 20,
            tracked: 20 << 20,
            tracked_estimated: true,
            java_heap: 1500 << 20,
            jvm: 12 << 20,
            stacks: -(1 << 20),
            allocator_free: 7 << 20,
            files: 0,
            untracked: 510 << 20,
        },
        [3 << 20, 10 << 20],
    )
}

/// A burst that is over: malloc keeps what it took.
pub fn kept_by_malloc() -> Capture {
    reconciled(
        Reconciliation {
            rss_delta: 230 << 20,
            tracked: 160 << 10,
            allocator_free: 229 << 20,
            untracked: 864 << 10,
            ..Reconciliation::default()
        },
        [1 << 20, 230 << 20],
    )
}
