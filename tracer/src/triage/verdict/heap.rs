//! A Java heap that collections can't empty.

use super::super::reading::{Jvm, Summary};
use super::{Cause, Finding, Looks, is_part};
use crate::report::units::{Bytes, Count};

/// In percent: a heap that is as full as this after a full collection.
const FULL: u64 = 90;
/// Collectors that work beside the program keep room for what they move, and for what the program allocates meanwhile:
/// Shenandoah a twentieth and more (`ShenandoahEvacReserve`), so that it fails before all is taken.
const HIGH: u64 = 85;
/// What the first ZGC, which counts nothing, gives to nobody but itself: a medium page, and a small one for a worker
/// (`ZHeap::heap_max_reserve_size`, JDK 11).
const RESERVE: u64 = (32 << 20) + (2 << 20);
/// One full collection may have been asked for.
const COLLECTIONS: u64 = 2;
/// The peaks of a sawtooth may be met twice.
const LOOKS: usize = 3;

pub(super) fn finding(looks: &Looks<'_>) -> Option<Finding> {
    full(looks)
        .or_else(|| never_less(looks))
        .or_else(|| high(looks))
}

/// The JVM says what the last full collection left.
fn full(looks: &Looks<'_>) -> Option<Finding> {
    let jvm = looks.last.facts.jvm.as_ref()?;
    let (count, seconds) = collections(jvm);
    let (left, of, place) = left_after_full(jvm)?;
    if count < COLLECTIONS || !is_part(left, of, FULL) {
        return None;
    }
    let says = format!(
        "The Java heap is full: the last full collection left {} of {}{place}. It is not native memory.",
        Bytes(left),
        Bytes(of)
    );
    let evidence = format!("{} full collections took {seconds:.1} s", Count(count));
    Some(histogram(
        Finding::new(Cause::HeapFull, left, says).evidence(evidence),
        looks,
    ))
}

/// It does not say so, but has collected between looks, and at none of them less was in use. What is in use at any moment
/// is at least what is reachable.
fn never_less(looks: &Looks<'_>) -> Option<Finding> {
    let least = least_in_use(looks)?;
    let collected = |look: &Summary| look.facts.jvm.as_ref().map_or(0, |jvm| collections(jvm).0);
    let count = collected(looks.last).saturating_sub(collected(looks.all.first()?));
    if looks.all.len() < LOOKS || count < COLLECTIONS || !is_part(least.used, least.usable, HIGH) {
        return None;
    }
    let says = format!(
        "The Java heap is full: collections leave {} or more of {}. It is not native memory.",
        Bytes(least.used),
        Bytes(least.max)
    );
    let evidence = format!(
        "at none of {} looks less was in use, and the collector has paused {} times between them",
        looks.all.len(),
        Count(count)
    );
    Some(histogram(
        Finding::new(Cause::HeapFull, least.used, says).evidence(evidence),
        looks,
    ))
}

/// Much is in use at each look, and that is all there is to know.
fn high(looks: &Looks<'_>) -> Option<Finding> {
    let least = least_in_use(looks)?;
    if !is_part(least.used, least.usable, HIGH) {
        return None;
    }
    let says = format!(
        "The Java heap is nearly full: {} of {} are in use. This collector does not say what its collections leave.",
        Bytes(least.used),
        Bytes(least.max)
    );
    let mut finding = Finding::new(Cause::HeapHigh, least.used, says);
    if looks.all.len() < LOOKS {
        finding = finding.next(format!(
            "offheap triage {} -d 30s   do they free any of it",
            looks.pid
        ));
    }
    Some(histogram(finding, looks))
}

fn histogram(finding: Finding, looks: &Looks<'_>) -> Finding {
    finding
        .next(format!(
            "jcmd {} GC.class_histogram   what fills it",
            looks.pid
        ))
        .next(format!(
            "jcmd {} GC.heap_dump FILE   who keeps it",
            looks.pid
        ))
}

/// How many collections of the whole heap there were, or pauses of them, and how long they took.
fn collections(jvm: &Jvm) -> (u64, f64) {
    let full = jvm.collections.iter().filter(|kind| kind.full);
    full.fold((0, 0.0), |(count, seconds), kind| {
        (count + kind.count, seconds + kind.seconds)
    })
}

/// What the last full collection left, and of how much: of the old generation, or of the whole heap where generations have
/// no limits of their own. ZGC writes its numbers down before it has moved what it will move: less may be in use by now.
fn left_after_full(jvm: &Jvm) -> Option<(u64, u64, &'static str)> {
    let heap = &jvm.heap;
    let old = heap.old_after_full?;
    let now = heap.used.unwrap_or(u64::MAX);
    let max_old = heap.generations.last()?.max;
    let all: u64 = heap
        .generations
        .iter()
        .map(|generation| generation.used)
        .sum();
    match heap.max {
        Some(max) if max_old >= max => Some((all.min(now), max, "")),
        _ => Some((old.min(now), max_old, " in the old generation")),
    }
}

/// What was in use at the look that had least, and what may be, where the collector works beside the program. The others say
/// what they leave; what else they have in use is garbage that they have not come to yet.
struct Least {
    used: u64,
    max: u64,
    /// Of `max` what the program can have.
    usable: u64,
}

fn least_in_use(looks: &Looks<'_>) -> Option<Least> {
    let jvm = looks.last.facts.jvm.as_ref()?;
    let reserve = match jvm.collector.as_deref()? {
        "Z" if jvm.collections.is_empty() => RESERVE,
        "Z" | "Shenandoah" => 0,
        _ => return None,
    };
    let used = looks
        .all
        .iter()
        .map(|look| in_use(look.facts.jvm.as_ref()?));
    let used = used.collect::<Option<Vec<u64>>>()?.into_iter().min()?;
    let max = jvm.heap.max?;
    Some(Least {
        used,
        max,
        usable: max.saturating_sub(reserve),
    })
}

fn in_use(jvm: &Jvm) -> Option<u64> {
    let counted: u64 = jvm
        .heap
        .generations
        .iter()
        .map(|generation| generation.used)
        .sum();
    jvm.heap.used.or((counted > 0).then_some(counted))
}

#[cfg(test)]
mod tests;
