//! Threads and descriptors: what grows in number.

use super::super::super::growth::Series;
use super::super::super::owners::Kind;
use super::super::super::reading::Summary;
use super::super::{Cause, Finding, Looks};
use super::jvm_number;
use crate::report::units::Count;

/// Threads and descriptors that come and go in a pool are fewer.
const LEAST_THREADS: u64 = 16;
const LEAST_DESCRIPTORS: u64 = 32;
/// The heap has grown along, in use or resident.
const LEAST_HEAP: u64 = 1 << 20;

pub(super) fn threads(looks: &Looks<'_>) -> Option<Finding> {
    let count = Series::of(looks.all, |look| look.facts.threads.count);
    if !count.grows(LEAST_THREADS.max(count.first() / 20)) {
        return None;
    }
    let stacks = looks.resident(&[Kind::JavaStacks, Kind::OtherStacks]);
    let (name, more) = grown_pattern(looks)?;
    let says = format!(
        "Threads leak: {} more of `{name}`, {} in all.",
        Count(more),
        Count(count.last())
    );
    Some(
        Finding::new(Cause::Threads, stacks.gain().max(looks.least), says)
            .evidence(format!(
                "stacks {}; each thread has an arena's share and its own structures besides",
                looks.rate(stacks.gain())
            ))
            .next(format!(
                "jcmd {} Thread.print   who starts them, and what they wait for",
                looks.pid
            ))
            .next(format!(
                "offheap capture {} -d 30s --hooks mmap   with the stack that maps theirs",
                looks.pid
            )),
    )
}

/// The pattern of thread names that has most more threads than at first.
fn grown_pattern(looks: &Looks<'_>) -> Option<(String, u64)> {
    let count = |look: &Summary, name: &str| {
        let pattern = look
            .facts
            .threads
            .patterns
            .iter()
            .find(|pattern| pattern.name == name);
        pattern.map_or(0, |pattern| pattern.count)
    };
    let first = looks.all.first()?;
    let patterns = looks.last.facts.threads.patterns.iter();
    let grown = patterns.map(|pattern| {
        (
            pattern.name.clone(),
            pattern.count.saturating_sub(count(first, &pattern.name)),
        )
    });
    grown.max_by_key(|(_, more)| *more)
}

pub(super) fn descriptors(looks: &Looks<'_>) -> Option<Finding> {
    let count = Series::of(looks.all, |look| {
        look.facts
            .descriptors
            .as_ref()
            .map_or(0, |found| found.count)
    });
    if !count.grows(LEAST_DESCRIPTORS.max(count.first() / 10)) {
        return None;
    }
    let heap = looks.resident(&[Kind::JavaHeap]);
    let used = jvm_number(looks, |jvm| jvm.heap.used);
    let with_heap = heap.gain().max(used.gain()) >= LEAST_HEAP;
    let first = looks.all.first()?.facts.descriptors.as_ref()?;
    let last = looks.last.facts.descriptors.as_ref()?;
    let mut kinds: Vec<(u64, &str)> = last
        .kinds
        .iter()
        .map(|(kind, &number)| {
            (
                number.saturating_sub(first.kinds.get(kind).copied().unwrap_or(0)),
                kind.as_str(),
            )
        })
        .filter(|(more, _)| *more > 0)
        .collect();
    kinds.sort_by(|a, b| b.cmp(a));
    let kinds: Vec<String> = kinds
        .iter()
        .take(3)
        .map(|(more, kind)| format!("{} {kind}", Count(*more)))
        .collect();
    let (cause, with) = match with_heap {
        true => (
            Cause::DescriptorsWithHeap,
            ", and the Java heap with them: objects that hold them are not closed",
        ),
        false => (Cause::Descriptors, ""),
    };
    let says = format!(
        "Descriptors grow: {} more ({}){with}.",
        Count(count.gain()),
        kinds.join(", ")
    );
    let limit = last.limit.map_or("no limit".to_owned(), |limit| {
        format!("of {} allowed", Count(limit))
    });
    Some(
        Finding::new(cause, heap.gain().max(used.gain()).max(looks.least), says)
            .evidence(format!("{} are open, {limit}", Count(last.count)))
            .next(format!(
                "jcmd {} GC.class_histogram   what is there as often",
                looks.pid
            ))
            .next(format!("ls -l /proc/{}/fd", looks.pid)),
    )
}
