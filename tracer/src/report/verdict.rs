//! The first lines of a report: what holds the memory.
//!
//! Each sentence states what was counted. "Leak" is not among the words: that memory is outstanding is a fact, that it
//! will never be freed is not.

use std::collections::BTreeMap;
use std::fmt;

use crate::capture::{Capture, Owner, Site, SiteKind};
use crate::report::caller::{self, Caller};
use crate::report::units::{Bytes, Count, Seconds, Share};
use crate::report::{accounting, clean};

/// Callers named per kind of stream.
const NAMED_CALLERS: usize = 3;
/// Below this share of complete stacks the reader is warned.
const ENOUGH_COMPLETE: f64 = 0.95;

/// One sentence of a verdict.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// Streams that were opened in the window and not ended.
    OpenStreams { streams: Streams, caller: Caller },
    /// Streams of further callers, too many to name.
    MoreStreams { streams: Streams, callers: u64 },
    /// Streams that the program left to the collector.
    EndedByCleaner { streams: Streams, caller: Caller },
    /// The malloc or mmap site that holds most, beside streams and the JVM's own memory.
    LargestSite {
        kind: SiteKind,
        bytes: u64,
        count: u64,
        estimated: bool,
        share: Share,
        caller: Caller,
        via: Option<String>,
    },
    /// What the JVM itself committed: Java heap, metaspace, code cache.
    JvmMemory { bytes: u64 },
    /// What the allocator mapped for its arenas and big blocks, beside the sites that it serves.
    AllocatorMaps { bytes: u64 },
    /// No site passed the filter with anything outstanding.
    NothingOutstanding { hidden: u64 },
    /// A considerable share of the stacks did not reach the thread's root.
    StacksIncomplete {
        stacks: u64,
        complete: u64,
        mostly: Option<String>,
    },
    /// The JVM's layout is not understood, so there are no Java frames.
    NoJavaFrames { reason: String },
    /// The target ended before the window did.
    TargetEnded,
}

/// Numbers of the streams of one kind and one caller.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Streams {
    /// `Deflater`, `Inflater`, `deflate stream`, `inflate stream`.
    pub noun: &'static str,
    pub open: u64,
    pub bytes: u64,
    /// The bytes are sampled or computed; the count of streams is always exact.
    pub estimated: bool,
    pub opened: u64,
    pub ended: u64,
    pub ended_by_cleaner: u64,
    pub oldest_seconds: f64,
}

/// The verdict on these sites of the capture: streams first, then the largest other site, then what limits the answer.
pub fn findings(capture: &Capture, sites: &[&Site]) -> Vec<Finding> {
    let groups = streams_by_caller(sites);
    let mut findings = open_streams(&groups);
    findings.extend(ended_by_cleaner(&groups));
    findings.extend(largest_site(capture, sites));
    findings.extend(mapped_by(sites, Owner::Jvm).map(|bytes| Finding::JvmMemory { bytes }));
    findings
        .extend(mapped_by(sites, Owner::Allocator).map(|bytes| Finding::AllocatorMaps { bytes }));
    let outstanding = |site: &&Site| site.outstanding_count > 0 || site.outstanding_bytes > 0;
    if !sites.iter().any(outstanding) {
        let hidden = capture.sites.iter().filter(outstanding).count() as u64;
        findings.insert(0, Finding::NothingOutstanding { hidden });
    }
    findings.extend(limits(capture));
    findings
}

type Groups = Vec<(Caller, Streams)>;

/// Streams by noun and caller; most bytes first.
fn streams_by_caller(sites: &[&Site]) -> Groups {
    let mut groups: BTreeMap<(&'static str, Caller), Streams> = BTreeMap::new();
    for site in sites {
        let Some(noun) = noun(site) else { continue };
        let sum = groups.entry((noun, caller::of(site))).or_insert(Streams {
            noun,
            ..Streams::default()
        });
        sum.open = sum.open.saturating_add(site.outstanding_count);
        sum.bytes = sum.bytes.saturating_add(site.outstanding_bytes);
        sum.estimated |= site.estimated;
        sum.opened = sum.opened.saturating_add(site.allocated_count);
        sum.ended = sum
            .ended
            .saturating_add(site.freed_count.max(site.freed_by_cleaner));
        sum.ended_by_cleaner = sum.ended_by_cleaner.saturating_add(site.freed_by_cleaner);
        sum.oldest_seconds = sum.oldest_seconds.max(site.oldest_seconds);
    }
    let mut groups: Groups = groups
        .into_iter()
        .map(|((_, caller), streams)| (caller, streams))
        .collect();
    groups.sort_by_key(|(_, streams)| {
        std::cmp::Reverse((streams.bytes, streams.open, streams.ended_by_cleaner))
    });
    groups
}

/// What a stream is called: by its Java class where one opened it.
fn noun(site: &Site) -> Option<&'static str> {
    let java = |class: &str| {
        let (method, export) = (
            format!("java.util.zip.{class}."),
            format!("Java_java_util_zip_{class}_"),
        );
        site.frames
            .iter()
            .any(|frame| frame.name.starts_with(&method) || frame.name.starts_with(&export))
    };
    match site.kind {
        SiteKind::Deflate if java("Deflater") => Some("Deflater"),
        SiteKind::Deflate => Some("deflate stream"),
        SiteKind::Inflate if java("Inflater") => Some("Inflater"),
        SiteKind::Inflate => Some("inflate stream"),
        SiteKind::Malloc | SiteKind::Mmap => None,
    }
}

fn open_streams(groups: &Groups) -> Vec<Finding> {
    let mut findings = Vec::new();
    for noun in ["Deflater", "deflate stream", "Inflater", "inflate stream"] {
        let open = || {
            groups
                .iter()
                .filter(|(_, streams)| streams.noun == noun && streams.open > 0)
        };
        findings.extend(
            open()
                .take(NAMED_CALLERS)
                .map(|(caller, streams)| Finding::OpenStreams {
                    streams: streams.clone(),
                    caller: caller.clone(),
                }),
        );
        let mut rest = Streams {
            noun,
            ..Streams::default()
        };
        for (_, streams) in open().skip(NAMED_CALLERS) {
            rest.open = rest.open.saturating_add(streams.open);
            rest.bytes = rest.bytes.saturating_add(streams.bytes);
            rest.estimated |= streams.estimated;
        }
        let callers = open().skip(NAMED_CALLERS).count() as u64;
        if callers > 0 {
            findings.push(Finding::MoreStreams {
                streams: rest,
                callers,
            });
        }
    }
    findings
}

fn ended_by_cleaner(groups: &Groups) -> impl Iterator<Item = Finding> {
    groups
        .iter()
        .filter(|(_, streams)| streams.ended_by_cleaner > 0)
        .take(NAMED_CALLERS)
        .map(|(caller, streams)| Finding::EndedByCleaner {
            streams: streams.clone(),
            caller: caller.clone(),
        })
}

fn largest_site(capture: &Capture, sites: &[&Site]) -> Option<Finding> {
    let streams_shown = sites
        .iter()
        .any(|site| noun(site).is_some() && site.outstanding_count > 0);
    let site = sites
        .iter()
        .filter(|site| matches!(site.kind, SiteKind::Malloc | SiteKind::Mmap))
        .filter(|site| site.outstanding_bytes > 0 && site.owner != Some(Owner::Jvm))
        .filter(|site| accounting::counts(site, &capture.settings.hooks))
        .filter(|site| !(streams_shown && accounting::is_zlib_memory(site)))
        .max_by_key(|site| site.outstanding_bytes)?;
    let (total, _) = accounting::total(capture, sites);
    let caller = caller::of(site);
    let via = match caller {
        Caller::Java(_) => caller::via(site),
        Caller::Native { .. } | Caller::Unknown { .. } => None,
    };
    Some(Finding::LargestSite {
        kind: site.kind,
        bytes: site.outstanding_bytes,
        count: site.outstanding_count,
        estimated: site.estimated,
        share: Share::of(site.outstanding_bytes, total),
        caller,
        via,
    })
}

fn mapped_by(sites: &[&Site], owner: Owner) -> Option<u64> {
    let bytes = sites
        .iter()
        .filter(|site| site.kind == SiteKind::Mmap && site.owner == Some(owner))
        .fold(0u64, |sum, site| sum.saturating_add(site.outstanding_bytes));
    (bytes > 0).then_some(bytes)
}

fn limits(capture: &Capture) -> Vec<Finding> {
    let mut findings = Vec::new();
    let completeness = &capture.completeness;
    if (completeness.complete as f64) < ENOUGH_COMPLETE * completeness.stacks as f64 {
        let mostly = completeness.ends.iter().max_by_key(|(_, count)| **count);
        findings.push(Finding::StacksIncomplete {
            stacks: completeness.stacks,
            complete: completeness.complete,
            mostly: mostly.map(|(end, _)| clean::name(end).into_owned()),
        });
    }
    if let Some(reason) = capture
        .target
        .jvm
        .as_ref()
        .and_then(|jvm| jvm.unsupported.as_deref())
    {
        findings.push(Finding::NoJavaFrames {
            reason: clean::name(reason).into_owned(),
        });
    }
    if capture.target.ended {
        findings.push(Finding::TargetEnded);
    }
    findings
}

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
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::OpenStreams { streams, caller } => open_text(out, streams, caller),
            Finding::MoreStreams { streams, callers } => {
                let Streams {
                    open,
                    bytes,
                    noun,
                    estimated,
                    ..
                } = *streams;
                let (open, bytes, mark) = (counted(open, noun), Bytes(bytes), mark(estimated));
                write!(
                    out,
                    "{open} more ({mark}{bytes}) opened from {} and not ended",
                    counted(*callers, "other place")
                )
            }
            Finding::EndedByCleaner { streams, caller } => cleaner_text(out, streams, caller),
            Finding::LargestSite {
                kind,
                bytes,
                count,
                estimated,
                share,
                caller,
                via,
            } => {
                let (mark, what) = (
                    mark(*estimated),
                    if *kind == SiteKind::Malloc {
                        "malloc"
                    } else {
                        "mmap"
                    },
                );
                let blocks = counted(*count, unit(*kind));
                write!(
                    out,
                    "{mark}{} in {mark}{blocks} of {what} by {caller}",
                    Bytes(*bytes)
                )?;
                if let Some(via) = via {
                    write!(out, " (via {via})")?;
                }
                write!(
                    out,
                    " {} outstanding: {mark}{share} of all",
                    if *count == 1 { "is" } else { "are" }
                )
            }
            Finding::JvmMemory { bytes } => write!(
                out,
                "{} were committed by the JVM itself (Java heap, metaspace, code cache): not native memory of the program",
                Bytes(*bytes)
            ),
            Finding::AllocatorMaps { bytes } => write!(
                out,
                "{} were mapped by the allocator for its arenas and big blocks, which serve the sites below",
                Bytes(*bytes)
            ),
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
            } => {
                write!(
                    out,
                    "Only {} of {}",
                    Share::of(*complete, *stacks),
                    counted(*stacks, "stack")
                )?;
                write!(out, " reached the thread's root")?;
                if let Some(end) = mostly {
                    write!(out, " (mostly: {end})")?;
                }
                out.write_str(": callers may be missing or wrong")
            }
            Finding::NoJavaFrames { reason } => write!(out, "Java frames are missing: {reason}"),
            Finding::TargetEnded => {
                out.write_str("The target ended in the window: this is what was outstanding then")
            }
        }
    }
}

fn open_text(out: &mut fmt::Formatter<'_>, streams: &Streams, caller: &Caller) -> fmt::Result {
    let (open, mark) = (counted(streams.open, streams.noun), mark(streams.estimated));
    write!(
        out,
        "{open} ({mark}{}) opened by {caller} and not ended",
        Bytes(streams.bytes)
    )?;
    let opened = Count(streams.opened);
    write!(
        out,
        ", of {opened} opened; the oldest {} ago",
        Seconds(streams.oldest_seconds)
    )
}

fn cleaner_text(out: &mut fmt::Formatter<'_>, streams: &Streams, caller: &Caller) -> fmt::Result {
    let by_cleaner = counted(streams.ended_by_cleaner, streams.noun);
    let verb = if streams.ended_by_cleaner == 1 {
        "was"
    } else {
        "were"
    };
    if streams.ended_by_cleaner >= streams.ended {
        return write!(
            out,
            "{by_cleaner} {verb} ended only by the Cleaner thread: opened by {caller}, never ended by the program"
        );
    }
    let ended = Count(streams.ended);
    write!(
        out,
        "{by_cleaner} {verb} left to the Cleaner thread, of {ended} ended: opened by {caller}"
    )
}
