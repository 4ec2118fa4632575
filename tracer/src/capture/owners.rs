//! Resident memory by owner at both ends of the window, and what became of the difference.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A look at the attach and one at the capture's end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Owners {
    #[serde(default)]
    pub start: Option<OwnersAt>,
    #[serde(default)]
    pub end: Option<OwnersAt>,
    /// Why a look is not there, or is not whole.
    #[serde(default)]
    pub missing: Vec<String>,
}

/// Whose the resident memory was at one moment, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnersAt {
    /// The sum of `resident`, by the kernel's count of each mapping.
    pub rss: u64,
    /// By owner, as `offheap triage -f json` calls them.
    pub resident: BTreeMap<String, u64>,
    /// Resident memory that the program has freed and malloc keeps. None: the allocator's structures are not known.
    pub malloc_free: Option<u64>,
    /// Milliseconds that the look took.
    pub took_ms: f64,
}

/// The change of RSS between the two looks, in bytes. `rss_delta` is the sum of all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    pub rss_delta: i64,
    /// Outstanding from this window, each byte once, without what the JVM, the allocator and threads' stacks mapped.
    pub tracked: i64,
    /// An estimate is part of `tracked`, and so of `untracked`.
    pub tracked_estimated: bool,
    pub java_heap: i64,
    /// Metaspace, code cache, the collector's tables, archive, perf data.
    pub jvm: i64,
    /// Stacks of all threads.
    pub stacks: i64,
    /// Freed by the program and kept by malloc; 0 where that is not known, or is part of `tracked` (`growth`).
    pub allocator_free: i64,
    /// The program, libraries, mapped files, shared memory.
    pub files: i64,
    /// The remainder. Negative where tracked pages were not touched, or older memory was given back.
    pub untracked: i64,
}
