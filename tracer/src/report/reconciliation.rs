//! The change of RSS as a sum, in words.

use crate::capture::{Capture, Reconciliation};
use crate::report::clean;
use crate::report::units::{Bytes, Delta};
use crate::report::verdict::mark;

/// Everything but what is tracked, by the names that reports give it.
pub fn others(sum: &Reconciliation) -> [(&'static str, i64); 6] {
    [
        ("Java heap", sum.java_heap),
        ("other memory of the JVM", sum.jvm),
        ("thread stacks", sum.stacks),
        ("freed and kept by malloc", sum.allocator_free),
        ("files and libraries", sum.files),
        ("untracked", sum.untracked),
    ]
}

/// The sum and what it leaves open, a line each. None in a capture without one.
pub fn lines(capture: &Capture) -> Option<Vec<String>> {
    let sum = capture.memory.reconciliation.as_ref()?;
    let mark = mark(sum.tracked_estimated);
    let mut parts = vec![format!("{mark}{} tracked", delta(sum.tracked))];
    for (name, bytes) in others(sum) {
        let mark = if name == "untracked" { mark } else { "" };
        // A term that a process without a JVM can't have says nothing.
        if bytes != 0 || name == "untracked" {
            parts.push(format!("{mark}{} {name}", delta(bytes)));
        }
    }
    let mut lines = vec![format!("{} = {}", delta(sum.rss_delta), parts.join(", "))];
    lines.extend(kept(capture));
    lines.extend(reason(sum).map(|reason| format!("untracked: {reason}")));
    Some(lines)
}

/// Why there is no sum, or not a whole one.
pub fn missing(capture: &Capture) -> Vec<String> {
    let owners = capture.memory.owners.as_ref();
    let missing = owners.map_or(&[][..], |owners| &owners.missing);
    missing
        .iter()
        .map(|reason| format!("owners {}", clean::name(reason)))
        .collect()
}

fn kept(capture: &Capture) -> Option<String> {
    let (start, end) = kept_at(capture)?;
    Some(format!(
        "malloc keeps {} of freed memory resident, {} at the start",
        Bytes(end),
        Bytes(start)
    ))
}

/// What malloc keeps of freed memory, at both looks.
pub fn kept_at(capture: &Capture) -> Option<(u64, u64)> {
    let owners = capture.memory.owners.as_ref()?;
    let at = |look: &Option<crate::capture::OwnersAt>| look.as_ref()?.malloc_free;
    Some((at(&owners.start)?, at(&owners.end)?))
}

fn reason(sum: &Reconciliation) -> Option<&'static str> {
    match sum.untracked {
        0 => None,
        1.. => Some(
            "what is not hooked or not recorded, what allocators add to each block, blocks that threads keep for themselves",
        ),
        _ => Some("pages that are not touched yet, and older memory that was given back or freed"),
    }
}

/// A signed number of bytes.
pub fn delta(bytes: i64) -> Delta {
    Delta(i128::from(bytes))
}
