//! Whether what is tracked is what grew.

use std::fmt;

use super::{Finding, mark};
use crate::capture::{Capture, Reconciliation};
use crate::report::reconciliation::{delta, kept_at, others};
use crate::report::units::{Bytes, Share};

/// Growth that is worth a word: at least so much …
const LEAST: i64 = 16 << 20;
/// … and this part of what there was.
const PART: u64 = 50;
/// Freed memory is what grew where it is so many times what is outstanding.
const TIMES: i64 = 4;
/// Terms that are named, and the share of the growth that is worth it.
const NAMED: usize = 3;
const NAMED_PART: i64 = 50;

/// RSS grew, and most of it is not what the capture tracked.
#[derive(Clone, Debug, PartialEq)]
pub struct Elsewhere {
    pub sum: Reconciliation,
    pub malloc_hooked: bool,
}

/// malloc keeps more of freed memory than at the start, and little is outstanding.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub start: u64,
    pub end: u64,
    pub outstanding: u64,
    pub estimated: bool,
    /// The process, where it is a JVM, which can be asked to give it back.
    pub jvm: Option<u32>,
}

pub(super) fn findings(capture: &Capture) -> Vec<Finding> {
    let Some(sum) = capture.memory.reconciliation else {
        return Vec::new();
    };
    let before = capture.memory.owners.as_ref().and_then(|owners| {
        let start = owners.start.as_ref()?;
        Some(start.rss)
    });
    let part = i64::try_from(before.unwrap_or(0) / PART).unwrap_or(i64::MAX);
    let least = LEAST.max(part);
    let elsewhere = sum.rss_delta >= least && sum.tracked < sum.rss_delta / 2;
    let kept = sum.allocator_free >= least && sum.tracked <= sum.allocator_free / TIMES;
    let mut findings = Vec::new();
    if elsewhere {
        let malloc_hooked = capture.settings.hooks.iter().any(|hook| hook == "malloc");
        findings.push(Finding::GrewElsewhere(Elsewhere { sum, malloc_hooked }));
    }
    if let Some((start, end)) = kept_at(capture).filter(|_| kept) {
        findings.push(Finding::KeptByMalloc(Kept {
            start,
            end,
            outstanding: u64::try_from(sum.tracked).unwrap_or(0),
            estimated: sum.tracked_estimated,
            jvm: capture.target.jvm.as_ref().map(|_| capture.target.pid),
        }));
    }
    findings
}

pub(super) fn elsewhere(out: &mut fmt::Formatter<'_>, found: &Elsewhere) -> fmt::Result {
    let sum = &found.sum;
    let [tracked, grown] =
        [sum.tracked, sum.rss_delta].map(|bytes| u64::try_from(bytes).unwrap_or(0));
    let mark = mark(sum.tracked_estimated);
    write!(
        out,
        "RSS grew by {}, and what this capture tracked accounts for {mark}{} of it ({mark}{})",
        Bytes(grown),
        Bytes(tracked),
        Share::of(tracked, grown)
    )?;
    let mut parts = others(sum).to_vec();
    parts.retain(|(_, bytes)| *bytes >= sum.rss_delta / NAMED_PART);
    parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    parts.truncate(NAMED);
    let names = parts
        .iter()
        .map(|(name, bytes)| format!("{name} ({})", delta(*bytes)));
    let names: Vec<String> = names.collect();
    if !names.is_empty() {
        write!(out, ": the rest is {}", names.join(", "))?;
    }
    let is_untracked = parts.first().is_some_and(|(name, _)| *name == "untracked");
    match is_untracked && !found.malloc_hooked {
        true => out.write_str("; malloc is not hooked (--hooks zlib,mmap,malloc)"),
        false => Ok(()),
    }
}

pub(super) fn kept(out: &mut fmt::Formatter<'_>, found: &Kept) -> fmt::Result {
    write!(
        out,
        "malloc keeps {} of freed memory ({} at the start) while {}{} are outstanding from this window: retention or \
         fragmentation, no leak of these; ",
        Bytes(found.end),
        Bytes(found.start),
        mark(found.estimated),
        Bytes(found.outstanding)
    )?;
    match found.jvm {
        Some(pid) => write!(
            out,
            "`jcmd {pid} System.trim_native_heap` (JDK 17.0.9 and later) gives back whole pages"
        ),
        None => out.write_str("malloc_trim(0) gives back whole pages"),
    }
}
