//! How what a capture tracked accounts for the change of RSS: a pure function of two looks and the capture's sites.
//!
//! Each owner of a look belongs to one term. What native code has is left over, and divided into what malloc keeps of
//! freed memory, what is tracked, and the remainder. So the terms add up to the difference of RSS, whatever they are.

use serde::Serialize;

use crate::capture::{Owner, OwnersAt, Reconciliation, Site, SiteKind};
use crate::report::accounting;
use crate::stack::IN_JAVA;
use crate::triage::owners::Kind;
use crate::triage::reading::Summary;

/// What belongs together in the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    JavaHeap,
    Jvm,
    Stacks,
    Files,
    /// Taken by native code, from an allocator or by itself: what can be tracked.
    Native,
}

fn term(kind: Kind) -> Term {
    match kind {
        Kind::JavaHeap | Kind::JavaHeapViews => Term::JavaHeap,
        Kind::Metaspace
        | Kind::ClassSpace
        | Kind::CodeCache
        | Kind::CollectorTables
        | Kind::Cds
        | Kind::JvmData => Term::Jvm,
        Kind::JavaStacks | Kind::OtherStacks => Term::Stacks,
        Kind::Libraries
        | Kind::LibraryData
        | Kind::MappedFiles
        | Kind::SharedMemory
        | Kind::Kernel => Term::Files,
        Kind::MallocMain
        | Kind::MallocArenas
        | Kind::MallocLarge
        | Kind::OtherAllocator
        | Kind::OtherCode
        | Kind::Anonymous => Term::Native,
    }
}

/// What the sites hold of native memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    pub bytes: u64,
    pub estimated: bool,
    /// By the pages that were touched, so that what malloc keeps of them is in it.
    pub by_pages: bool,
}

impl Tracked {
    /// Each byte once, and only those of native memory: what the JVM, threads' stacks and the allocator have is known by
    /// the looks, as far as it is resident.
    pub fn of(sites: &[Site], hooks: &[String]) -> Tracked {
        let mut tracked = Tracked::default();
        for site in sites {
            tracked.by_pages |= site.kind == SiteKind::Fault;
            if accounting::counts(site, hooks) && is_native(site) {
                tracked.bytes = tracked.bytes.saturating_add(site.outstanding_bytes);
                tracked.estimated |= site.estimated;
            }
        }
        tracked
    }
}

fn is_native(site: &Site) -> bool {
    match site.kind {
        SiteKind::Mmap => matches!(site.owner, None | Some(Owner::Other)),
        // The JVM's own code and running Java code touch the heap and the JVM's tables, in most cases.
        SiteKind::Fault => site.stack_end != IN_JAVA && !is_jvm_leaf(site),
        SiteKind::Deflate | SiteKind::Inflate | SiteKind::Malloc | SiteKind::Pair => true,
    }
}

fn is_jvm_leaf(site: &Site) -> bool {
    let module = site
        .frames
        .first()
        .and_then(|frame| frame.module.as_deref());
    module.is_none_or(|module| module == "libjvm.so")
}

/// What a capture keeps of a look.
pub fn at(look: &Summary, took_ms: f64) -> OwnersAt {
    OwnersAt {
        rss: look.rss,
        resident: look
            .owners
            .iter()
            .map(|owner| (name(owner.kind), owner.resident))
            .collect(),
        malloc_free: malloc_free(look),
        took_ms,
    }
}

/// As serde writes it.
fn name(kind: impl Serialize) -> String {
    match serde_json::to_value(kind) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// Freed memory that malloc keeps resident. None: not known.
fn malloc_free(look: &Summary) -> Option<u64> {
    let malloc = &look.facts.malloc;
    let free = malloc.arenas.iter().map(|arena| arena.resident);
    malloc
        .unknown
        .is_none()
        .then(|| free.fold(0, u64::saturating_add))
}

/// The change between two looks, with nothing left over.
pub fn reconcile(start: &Summary, end: &Summary, tracked: Tracked) -> Reconciliation {
    let change = |wanted: Term| {
        let of = |look: &Summary| -> i64 {
            let owners = look.owners.iter();
            let wanted = owners.filter(|owner| term(owner.kind) == wanted);
            wanted.map(|owner| signed(owner.resident)).fold(0, add)
        };
        of(end).saturating_sub(of(start))
    };
    let kept = match (malloc_free(start), malloc_free(end)) {
        (Some(start), Some(end)) if !tracked.by_pages => signed(end) - signed(start),
        _ => 0,
    };
    let [java_heap, jvm, stacks, files, native] = [
        Term::JavaHeap,
        Term::Jvm,
        Term::Stacks,
        Term::Files,
        Term::Native,
    ]
    .map(change);
    let in_blocks = native.saturating_sub(kept);
    Reconciliation {
        rss_delta: [java_heap, jvm, stacks, files, native]
            .into_iter()
            .fold(0, add),
        tracked: signed(tracked.bytes),
        tracked_estimated: tracked.estimated,
        java_heap,
        jvm,
        stacks,
        allocator_free: kept,
        files,
        untracked: in_blocks.saturating_sub(signed(tracked.bytes)),
    }
}

/// More than this no address space has: sums of these do not overflow.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes.min(1 << 58)).unwrap_or(i64::MAX)
}

fn add(sum: i64, bytes: i64) -> i64 {
    sum.saturating_add(bytes)
}

#[cfg(test)]
mod tests;
