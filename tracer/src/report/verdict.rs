//! The first lines of a report: what holds the memory.
//!
//! Each sentence states what was counted. That memory is outstanding is a fact; that it will never be freed is not. So
//! "leak" is only said of what grows, as "leak candidate", with the figures that say that it grows.

mod growth;
mod objects;
mod words;

use std::collections::BTreeMap;

use crate::capture::{Capture, OomKill, Owner, Site, SiteKind, Trend, TrendClass};
use crate::report::caller::{self, Caller};
use crate::report::units::Share;
use crate::report::{accounting, clean};
use crate::stack::IN_JAVA;

pub use growth::{Elsewhere, Kept};
pub use objects::{Common, Objects};
pub use words::{counted, mark, unit};

/// Callers named per kind of stream.
const NAMED_CALLERS: usize = 3;
/// Growing sites named.
const NAMED_GROWING: usize = 3;
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
    /// The same for further callers, too many to name.
    MoreEndedByCleaner { streams: u64, callers: u64 },
    /// Objects of a pair of functions that were opened in the window and not closed.
    OpenObjects { objects: Objects, caller: Caller },
    /// The same for further callers, too many to name.
    MoreObjects { objects: Objects, callers: u64 },
    /// Objects that any process may keep open, and not many of them.
    CommonObjects(Vec<Common>),
    /// Objects of a pair that the program left to the collector.
    ClosedByCleaner { objects: Objects, caller: Caller },
    /// What grows over the readings, with the figures that say so.
    Growing(Growing),
    /// The malloc or mmap site that holds most, beside streams and the JVM's own memory.
    LargestSite(Largest),
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
    /// RSS grew, and most of that is not what is tracked.
    GrewElsewhere(Elsewhere),
    /// Freed memory that malloc keeps is what grew, and not what is outstanding.
    KeptByMalloc(Kept),
    /// The target ended, and the kernel's OOM killer was at work in its cgroup.
    OomKilled(OomKill),
    /// The target ended before the window did.
    TargetEnded,
    /// Calls of a group were not recorded, or not to the end, because that would have cost more than the budget.
    NotRecorded {
        group: String,
        /// How long they were.
        seconds: f64,
    },
}

/// A site that grows.
#[derive(Clone, Debug, PartialEq)]
pub struct Growing {
    pub kind: SiteKind,
    pub bytes: u64,
    pub count: u64,
    pub estimated: bool,
    pub caller: Caller,
    pub trend: Trend,
}

/// The site that holds most.
#[derive(Clone, Debug, PartialEq)]
pub struct Largest {
    pub kind: SiteKind,
    pub bytes: u64,
    pub count: u64,
    pub estimated: bool,
    pub share: Share,
    pub caller: Caller,
    /// The native function through which a Java caller came to allocate.
    pub via: Option<String>,
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
    findings.extend(objects::findings(sites));
    findings.extend(growing(capture, sites));
    findings.extend(largest_site(capture, sites));
    findings.extend(objects::common(sites));
    findings.extend(mapped_by(sites, Owner::Jvm).map(|bytes| Finding::JvmMemory { bytes }));
    findings
        .extend(mapped_by(sites, Owner::Allocator).map(|bytes| Finding::AllocatorMaps { bytes }));
    let outstanding = |site: &&Site| site.outstanding_count > 0 || site.outstanding_bytes > 0;
    if !sites.iter().any(outstanding) {
        let hidden = capture.sites.iter().filter(outstanding).count() as u64;
        findings.insert(0, Finding::NothingOutstanding { hidden });
    }
    findings.extend(limits(capture));
    // What was not looked at is no sign of anything, and comes first.
    findings.splice(0..0, not_recorded(capture));
    findings.splice(0..0, growth::findings(capture));
    let killed = capture.target.oom_kill.clone();
    findings.splice(0..0, killed.map(Finding::OomKilled));
    findings
}

fn not_recorded(capture: &Capture) -> Vec<Finding> {
    let watched = capture.tracer.budget.watched.iter();
    watched
        .filter_map(|watched| {
            Some(Finding::NotRecorded {
                group: clean::name(&watched.group).into_owned(),
                seconds: (watched.until_seconds? - watched.from_seconds).max(0.0),
            })
        })
        .collect()
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
        SiteKind::Malloc | SiteKind::Mmap | SiteKind::Fault | SiteKind::Pair => None,
    }
}

fn open_streams(groups: &Groups) -> Vec<Finding> {
    let mut findings = Vec::new();
    for noun in ["Deflater", "deflate stream", "Inflater", "inflate stream"] {
        let open: Vec<_> = groups
            .iter()
            .filter(|(_, streams)| streams.noun == noun && streams.open > 0)
            .collect();
        let (named, more) = open.split_at(open.len().min(NAMED_CALLERS));
        findings.extend(named.iter().map(|(caller, streams)| Finding::OpenStreams {
            streams: streams.clone(),
            caller: caller.clone(),
        }));
        if !more.is_empty() {
            let (streams, callers) = (sum(noun, more), more.len() as u64);
            findings.push(Finding::MoreStreams { streams, callers });
        }
    }
    findings
}

fn sum(noun: &'static str, groups: &[&(Caller, Streams)]) -> Streams {
    let mut sum = Streams {
        noun,
        ..Streams::default()
    };
    for (_, streams) in groups {
        sum.open = sum.open.saturating_add(streams.open);
        sum.bytes = sum.bytes.saturating_add(streams.bytes);
        sum.estimated |= streams.estimated;
    }
    sum
}

fn ended_by_cleaner(groups: &Groups) -> Vec<Finding> {
    let left: Vec<_> = groups
        .iter()
        .filter(|(_, streams)| streams.ended_by_cleaner > 0)
        .collect();
    let (named, more) = left.split_at(left.len().min(NAMED_CALLERS));
    let finding = |(caller, streams): &&(Caller, Streams)| Finding::EndedByCleaner {
        streams: streams.clone(),
        caller: caller.clone(),
    };
    let mut findings: Vec<_> = named.iter().map(finding).collect();
    if !more.is_empty() {
        let ended = more.iter().map(|(_, streams)| streams.ended_by_cleaner);
        findings.push(Finding::MoreEndedByCleaner {
            streams: ended.fold(0, u64::saturating_add),
            callers: more.len() as u64,
        });
    }
    findings
}

/// The fastest growing sites, each byte once: blocks of streams that are shown stand under these.
fn growing(capture: &Capture, sites: &[&Site]) -> Vec<Finding> {
    let hooks = &capture.settings.hooks;
    let streams_shown = streams_are_shown(sites);
    let mut growing: Vec<(&Site, &Trend)> = sites
        .iter()
        .filter(|site| noun(site).is_some() || accounting::counts(site, hooks))
        .filter(|site| site.owner != Some(Owner::Jvm) && site.stack_end != IN_JAVA)
        .filter(|site| !(streams_shown && accounting::is_zlib_memory(site)))
        .filter_map(|site| Some((*site, site.trend.as_ref()?)))
        .filter(|(_, trend)| trend.class == Some(TrendClass::Growing))
        .collect();
    growing.sort_by(|(_, a), (_, b)| b.bytes_per_hour.total_cmp(&a.bytes_per_hour));
    growing.truncate(NAMED_GROWING);
    let finding = |(site, trend): (&Site, &Trend)| {
        Finding::Growing(Growing {
            kind: site.kind,
            bytes: site.outstanding_bytes,
            count: site.outstanding_count,
            estimated: site.estimated,
            caller: caller::of(site),
            trend: trend.clone(),
        })
    };
    growing.into_iter().map(finding).collect()
}

fn streams_are_shown(sites: &[&Site]) -> bool {
    let mut sites = sites.iter();
    sites.any(|site| noun(site).is_some() && site.outstanding_count > 0)
}

fn largest_site(capture: &Capture, sites: &[&Site]) -> Option<Finding> {
    let streams_shown = streams_are_shown(sites);
    let site = sites
        .iter()
        .filter(|site| {
            matches!(
                site.kind,
                SiteKind::Malloc | SiteKind::Mmap | SiteKind::Fault
            )
        })
        .filter(|site| site.outstanding_bytes > 0 && site.owner != Some(Owner::Jvm))
        // What running Java code touches first is its heap, in most cases.
        .filter(|site| site.stack_end != IN_JAVA)
        .filter(|site| accounting::counts(site, &capture.settings.hooks))
        .filter(|site| !(streams_shown && accounting::is_zlib_memory(site)))
        .max_by_key(|site| site.outstanding_bytes)?;
    let (total, _) = accounting::total(capture, sites);
    let caller = caller::of(site);
    let via = match caller {
        Caller::Java(_) => caller::via(site),
        Caller::Native { .. } | Caller::Unknown { .. } => None,
    };
    Some(Finding::LargestSite(Largest {
        kind: site.kind,
        bytes: site.outstanding_bytes,
        count: site.outstanding_count,
        estimated: site.estimated,
        share: Share::of(site.outstanding_bytes, total),
        caller,
        via,
    }))
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
    // Who touches its own heap needs no caller to be understood.
    let in_java = completeness.ends.get(IN_JAVA).copied().unwrap_or(0);
    let stacks = completeness.stacks.saturating_sub(in_java);
    if (completeness.complete as f64) < ENOUGH_COMPLETE * stacks as f64 {
        let mostly = completeness.ends.iter().max_by_key(|(_, count)| **count);
        findings.push(Finding::StacksIncomplete {
            stacks,
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
    if capture.target.ended && capture.target.oom_kill.is_none() {
        findings.push(Finding::TargetEnded);
    }
    findings
}
