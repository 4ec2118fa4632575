//! Findings as sentences.

use std::fmt;

use super::{Finding, Growing, Largest, Streams, growth, objects};
use crate::capture::{OomKill, SiteKind};
use crate::report::caller::Caller;
use crate::report::clean;
use crate::report::evolution;
use crate::report::listing::kind_word;
use crate::report::units::{Bytes, Count, Seconds, Share};

/// Streams younger than this may well be in use.
pub(super) const YOUNG_SECONDS: f64 = 1.0;

/// `1 Deflater`, `1,204 Deflaters`.
pub fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", Count(count))
}

/// The sign before an estimated number.
pub fn mark(estimated: bool) -> &'static str {
    if estimated { "~" } else { "" }
}

/// What one allocation of the kind is called.
pub fn unit(kind: SiteKind) -> &'static str {
    match kind {
        SiteKind::Deflate | SiteKind::Inflate => "stream",
        SiteKind::Malloc => "block",
        SiteKind::Mmap => "region",
        SiteKind::Fault => "page",
        SiteKind::Pair => "object",
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::OpenStreams { streams, caller } => open(out, streams, caller),
            Finding::MoreStreams { streams, callers } => more(out, streams, *callers),
            Finding::EndedByCleaner { streams, caller } => ended_by_cleaner(out, streams, caller),
            Finding::MoreEndedByCleaner { streams, callers } => {
                let (streams, places) = (
                    counted(*streams, "stream"),
                    counted(*callers, "other place"),
                );
                write!(
                    out,
                    "{streams} more, opened from {places}, were left to the Cleaner thread"
                )
            }
            Finding::OpenObjects { objects, caller } => objects::open(out, objects, caller),
            Finding::CommonObjects(pairs) => objects::open_as_usual(out, pairs),
            Finding::MoreObjects { objects, callers } => objects::more(out, objects, *callers),
            Finding::ClosedByCleaner { objects, caller } => {
                objects::closed_by_cleaner(out, objects, caller)
            }
            Finding::Growing(site) => growing(out, site),
            Finding::LargestSite(site) => largest(out, site),
            Finding::JvmMemory { bytes } => {
                write!(out, "{} were committed by the JVM itself ", Bytes(*bytes))?;
                out.write_str(
                    "(Java heap, metaspace, code cache): not native memory of the program",
                )
            }
            Finding::AllocatorMaps { bytes } => {
                write!(
                    out,
                    "{} were mapped by the allocator for its arenas and big blocks, ",
                    Bytes(*bytes)
                )?;
                out.write_str("which serve the sites below")
            }
            Finding::NothingOutstanding { hidden: 0 } => {
                out.write_str("Nothing that was allocated in this window is outstanding")
            }
            Finding::NothingOutstanding { hidden } => {
                write!(
                    out,
                    "Nothing outstanding passes the filter; it hides {}",
                    counted(*hidden, "site")
                )
            }
            Finding::StacksIncomplete {
                stacks,
                complete,
                mostly,
            } => incomplete(out, *stacks, *complete, mostly.as_deref()),
            Finding::NoJavaFrames { reason } => write!(out, "Java frames are missing: {reason}"),
            Finding::NotRecorded { group, seconds } if *seconds > 0.0 => write!(
                out,
                "{group} {} recorded for the first {} only, since more would have cost the target more than allowed; \
                 blocks freed later still count (--max-overhead sets the limit)",
                was(group),
                Seconds(*seconds)
            ),
            Finding::NotRecorded { group, .. } => write!(
                out,
                "{group} {} not recorded, since that would have cost the target more than allowed: what follows says \
                 nothing of it (--max-overhead sets the limit)",
                was(group)
            ),
            Finding::GrewElsewhere(found) => growth::elsewhere(out, found),
            Finding::KeptByMalloc(found) => growth::kept(out, found),
            Finding::OomKilled(kill) => oom_killed(out, kill),
            Finding::TargetEnded => {
                out.write_str("The target ended in the window: this is what was outstanding then")
            }
        }
    }
}

fn oom_killed(out: &mut fmt::Formatter<'_>, kill: &OomKill) -> fmt::Result {
    write!(
        out,
        "The target ended, and the kernel's OOM killer took {} {} of its cgroup {} in the window",
        Count(kill.kills),
        if kill.kills == 1 {
            "process"
        } else {
            "processes"
        },
        clean::name(&kill.cgroup)
    )?;
    if let Some(limit) = kill.limit {
        write!(out, " (limit {})", Bytes(limit))?;
    }
    out.write_str(": this is what was outstanding then")
}

fn was(group: &str) -> &'static str {
    match group {
        "pairs" => "were",
        _ => "was",
    }
}

fn open(out: &mut fmt::Formatter<'_>, streams: &Streams, caller: &Caller) -> fmt::Result {
    let (open, mark) = (counted(streams.open, streams.noun), mark(streams.estimated));
    let yet = if streams.oldest_seconds < YOUNG_SECONDS {
        " yet"
    } else {
        ""
    };
    write!(
        out,
        "{open} ({mark}{}) opened by {caller} and not ended{yet}",
        Bytes(streams.bytes)
    )?;
    let opened = Count(streams.opened);
    write!(
        out,
        ", of {opened} opened; the oldest {} ago",
        Seconds(streams.oldest_seconds)
    )
}

fn more(out: &mut fmt::Formatter<'_>, streams: &Streams, callers: u64) -> fmt::Result {
    let (open, mark) = (counted(streams.open, streams.noun), mark(streams.estimated));
    let places = counted(callers, "other place");
    write!(
        out,
        "{open} more ({mark}{}) opened from {places} and not ended",
        Bytes(streams.bytes)
    )
}

fn ended_by_cleaner(
    out: &mut fmt::Formatter<'_>,
    streams: &Streams,
    caller: &Caller,
) -> fmt::Result {
    let by_cleaner = counted(streams.ended_by_cleaner, streams.noun);
    let verb = if streams.ended_by_cleaner == 1 {
        "was"
    } else {
        "were"
    };
    if streams.ended_by_cleaner >= streams.ended {
        write!(
            out,
            "{by_cleaner} {verb} ended only by the Cleaner thread: opened by {caller}, "
        )?;
        return out.write_str("never ended by the program");
    }
    let ended = Count(streams.ended);
    write!(
        out,
        "{by_cleaner} {verb} left to the Cleaner thread, of {ended} ended: opened by {caller}"
    )
}

fn growing(out: &mut fmt::Formatter<'_>, site: &Growing) -> fmt::Result {
    let stream = matches!(site.kind, SiteKind::Deflate | SiteKind::Inflate);
    let (sign, count_sign) = (mark(site.estimated), mark(site.estimated && !stream));
    write!(
        out,
        "Leak candidate: {} by {}, {sign}{} in {count_sign}{}, {}",
        kind_word(site.kind),
        site.caller,
        Bytes(site.bytes),
        counted(site.count, unit(site.kind)),
        evolution::sentence(&site.trend, site.estimated)
    )
}

fn largest(out: &mut fmt::Formatter<'_>, site: &Largest) -> fmt::Result {
    let what = match site.kind {
        SiteKind::Malloc => "of malloc by",
        SiteKind::Fault => "touched first by",
        SiteKind::Mmap | SiteKind::Deflate | SiteKind::Inflate | SiteKind::Pair => "of mmap by",
    };
    let (mark, blocks) = (mark(site.estimated), counted(site.count, unit(site.kind)));
    write!(
        out,
        "{mark}{} in {mark}{blocks} {what} {}",
        Bytes(site.bytes),
        site.caller
    )?;
    if let Some(via) = &site.via {
        write!(out, " (via {via})")?;
    }
    let verb = if site.count == 1 { "is" } else { "are" };
    let state = match site.kind {
        SiteKind::Fault => "resident",
        _ => "outstanding",
    };
    write!(out, " {verb} {state}: {mark}{} of all", site.share)
}

fn incomplete(
    out: &mut fmt::Formatter<'_>,
    stacks: u64,
    complete: u64,
    mostly: Option<&str>,
) -> fmt::Result {
    let share = Share::of(complete, stacks);
    write!(
        out,
        "Only {share} of {} reached the thread's root",
        counted(stacks, "stack")
    )?;
    if let Some(end) = mostly {
        write!(out, " (mostly: {end})")?;
    }
    out.write_str(": callers may be missing or wrong")
}
