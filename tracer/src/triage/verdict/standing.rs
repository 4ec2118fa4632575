//! Causes that one look shows.

use super::super::reading::Cgroup;
use super::{Cause, Finding, Looks, heap, is_part};
use crate::report::units::{Bytes, Count, Share};

/// Freed memory that malloc keeps is worth a word from here on, and as this part of RSS.
const RETAINED: u64 = 32 << 20;
const RETAINED_PART: u64 = 8;
/// Native memory is worth tracing from here on, and as this part of RSS.
const NATIVE: u64 = 256 << 20;
const NATIVE_PART: u64 = 4;
/// In percent: direct buffers that are as near to their limit as this, a cgroup that is, page cache that is as large a part
/// of the cgroup's memory.
const FULL: u64 = 90;
const NEAR: u64 = 90;
const CACHE_NEAR: u64 = 80;
const CACHE_PART: u64 = 25;

pub(super) fn findings(looks: &Looks<'_>) -> Vec<Finding> {
    let found = [
        heap::finding(looks),
        retained(looks),
        direct_limit(looks),
        native_large(looks),
    ];
    let mut found: Vec<Finding> = found.into_iter().flatten().collect();
    if let Some(group) = &looks.last.facts.cgroup {
        found.extend(page_cache(looks, group).or_else(|| near_limit(looks, group)));
    }
    found
}

fn retained(looks: &Looks<'_>) -> Option<Finding> {
    keeps_much(looks).then(|| kept_by_malloc(looks))
}

/// What malloc keeps is worth a word.
pub(super) fn keeps_much(looks: &Looks<'_>) -> bool {
    let kept = looks.last.facts.malloc.releasable();
    kept >= RETAINED.max(looks.last.rss / RETAINED_PART)
}

/// What malloc keeps, and what would release it.
pub(super) fn kept_by_malloc(looks: &Looks<'_>) -> Finding {
    let malloc = &looks.last.facts.malloc;
    let kept = malloc.releasable();
    let at_least = if malloc.is_partial() { "at least " } else { "" };
    let says = format!(
        "malloc keeps {at_least}{} that the program has freed already: fragmentation or a burst, no leak of these.",
        Bytes(kept)
    );
    let others = malloc.arenas.iter().filter(|arena| !arena.main).count() as u64;
    let largest = malloc
        .arenas
        .iter()
        .map(|arena| arena.releasable)
        .max()
        .unwrap_or(0);
    let mut finding = Finding::new(Cause::RetainedByMalloc, kept, says).evidence(format!(
        "{} arenas besides the main one, {} heaps of 64 MiB; the arena with most keeps {}",
        Count(others),
        Count(malloc.heaps),
        Bytes(largest)
    ));
    if let Some(jvm) = &looks.last.facts.jvm {
        finding = finding.next(format!("jcmd {} System.trim_native_heap   gives it back now (JDK 17.0.9 and later); in C: malloc_trim(0)", looks.pid));
        if !jvm.environment.contains_key("MALLOC_ARENA_MAX") {
            finding = finding.next("at the next start: MALLOC_ARENA_MAX=2, or another allocator");
        }
    } else {
        finding = finding.next("malloc_trim(0) gives it back; at the next start: MALLOC_ARENA_MAX=2, or another allocator");
    }
    finding
}

fn direct_limit(looks: &Looks<'_>) -> Option<Finding> {
    let direct = looks.last.facts.jvm.as_ref()?.direct?;
    if !is_part(direct.reserved, direct.max, FULL) || direct.reserved < super::LEAST {
        return None;
    }
    let says = format!(
        "Direct buffers are at their limit: {} of {}.",
        Bytes(direct.reserved),
        Bytes(direct.max)
    );
    Some(
        Finding::new(Cause::DirectLimit, direct.reserved, says)
            .evidence(format!("{} buffers", Count(direct.count)))
            .next(format!(
                "offheap capture {} -d 30s --hooks malloc   who allocates them",
                looks.pid
            )),
    )
}

/// A single look can't see growth, but what is the larger part can be looked into.
fn native_large(looks: &Looks<'_>) -> Option<Finding> {
    let native = looks.native().last();
    if looks.all.len() > 1
        || !looks.knows_heap()
        || native < NATIVE.max(looks.last.rss / NATIVE_PART)
    {
        return None;
    }
    let says = format!(
        "{} of {} RSS are native memory ({}).",
        Bytes(native),
        Bytes(looks.last.rss),
        Share::of(native, looks.last.rss)
    );
    let mut finding = Finding::new(Cause::NativeLarge, native, says);
    if let Some(direct) = looks.last.facts.jvm.as_ref().and_then(|jvm| jvm.direct) {
        finding = finding.evidence(format!(
            "of it {} in {} direct buffers",
            Bytes(direct.capacity),
            Count(direct.count)
        ));
    }
    Some(
        finding
            .next(format!(
                "offheap triage {} -d 30s   does it grow",
                looks.pid
            ))
            .next(format!(
                "sudo offheap capture {} -d 30s --hooks malloc,zlib   who takes more",
                looks.pid
            )),
    )
}

/// The limit counts page cache, too; it is dropped before anything is killed, but makes the machine read again.
fn page_cache(looks: &Looks<'_>, group: &Cgroup) -> Option<Finding> {
    let (usage, limit, file) = (group.usage?, group.limit?, group.file?);
    if !is_part(usage, limit, CACHE_NEAR) || !is_part(file, usage, CACHE_PART) {
        return None;
    }
    let anonymous = group.anonymous.unwrap_or(0);
    let says = format!(
        "The cgroup's {} of {} are {} page cache and {} anonymous memory: the cache is not the JVM's, and can be dropped.",
        Bytes(usage),
        Bytes(limit),
        Bytes(file),
        Bytes(anonymous)
    );
    Some(
        Finding::new(Cause::PageCache, file, says)
            .evidence(format!("{} of the cache have not been used lately; {}", Bytes(group.inactive_file.unwrap_or(0)), kills(group)))
            .next("look at who reads and writes files in this cgroup; judge the JVM by anonymous memory and not by usage".to_owned()),
    )
    .filter(|_| looks.last.rss > 0)
}

fn near_limit(looks: &Looks<'_>, group: &Cgroup) -> Option<Finding> {
    let (usage, limit) = (group.usage?, group.limit?);
    if !is_part(usage, limit, NEAR) {
        return None;
    }
    let says = format!(
        "The cgroup is near its limit: {} of {}, {} left.",
        Bytes(usage),
        Bytes(limit),
        Bytes(limit.saturating_sub(usage))
    );
    Some(
        Finding::new(Cause::NearLimit, limit.saturating_sub(usage), says).evidence(format!(
            "this process has {} RSS; {}",
            Bytes(looks.last.rss),
            kills(group)
        )),
    )
}

fn kills(group: &Cgroup) -> String {
    match (group.limit_hits, group.oom_kills) {
        (_, Some(kills @ 1..)) => format!("{} processes were killed for memory", Count(kills)),
        (Some(hits @ 1..), _) => {
            format!("the limit was hit {} times, nobody was killed", Count(hits))
        }
        _ => "the limit was never hit".to_owned(),
    }
}
