//! Findings on objects of pairs of functions.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use super::words::{YOUNG_SECONDS, counted, mark};
use super::{Finding, NAMED_CALLERS};
use crate::capture::{Site, SiteKind, TrendClass};
use crate::functions::pairs::COMMON;
use crate::report::caller::{self, Caller};
use crate::report::clean;
use crate::report::units::{Bytes, Count, Seconds};

/// Numbers of the objects of one pair and one caller.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// The pair's name: what one object is called.
    pub noun: String,
    pub open: u64,
    /// What opening them took of malloc; 0 where that is not known.
    pub bytes: u64,
    /// The bytes are sampled; the count of objects is always exact.
    pub estimated: bool,
    pub opened: u64,
    pub closed: u64,
    pub closed_by_cleaner: u64,
    pub oldest_seconds: f64,
    /// Some of them are of a site that grows.
    pub growing: bool,
}

/// So many of what any process keeps open are worth a sentence: a process has 1,024 descriptors where nobody asks for more.
const MANY: u64 = 1000;

/// Objects of a pair that are open and say nothing by themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    pub noun: String,
    pub open: u64,
    /// Who opened most of them, and how many.
    pub caller: Caller,
    pub by_caller: u64,
}

impl Objects {
    fn is_common(&self) -> bool {
        COMMON.contains(&self.noun.as_str()) && self.open < MANY && !self.growing
    }
}

type Groups = BTreeMap<String, Vec<(Caller, Objects)>>;

/// What is open, by pair, and then what was left to the collector. The pair of which most are open comes first.
pub(super) fn findings(sites: &[&Site]) -> Vec<Finding> {
    let mut pairs: Vec<_> = groups(sites).into_values().collect();
    pairs.sort_by_key(|callers| {
        let open = callers.iter().map(|(_, objects)| objects.open);
        Reverse(open.fold(0, u64::saturating_add))
    });
    let mut findings: Vec<Finding> = pairs
        .iter()
        .flat_map(|callers| open_ones(callers))
        .collect();
    findings.extend(pairs.iter().flat_map(|callers| left(callers)));
    findings
}

/// What is open as it may well be, in one sentence.
pub(super) fn common(sites: &[&Site]) -> Option<Finding> {
    let of_pair = |(noun, callers): (String, Vec<(Caller, Objects)>)| {
        let common = callers
            .into_iter()
            .filter(|(_, o)| o.open > 0 && o.is_common());
        let common: Vec<_> = common.collect();
        let open = common
            .iter()
            .fold(0u64, |sum, (_, o)| sum.saturating_add(o.open));
        let (caller, objects) = common.into_iter().next()?;
        Some(Common {
            noun,
            open,
            caller,
            by_caller: objects.open,
        })
    };
    let mut pairs: Vec<Common> = groups(sites).into_iter().filter_map(of_pair).collect();
    pairs.sort_by_key(|common| Reverse(common.open));
    (!pairs.is_empty()).then_some(Finding::CommonObjects(pairs))
}

fn groups(sites: &[&Site]) -> Groups {
    let mut sums: BTreeMap<(String, Caller), Objects> = BTreeMap::new();
    for site in sites.iter().filter(|site| site.kind == SiteKind::Pair) {
        let name = site.pair.as_deref().unwrap_or("object");
        let noun = clean::name(name).into_owned();
        let sum = sums.entry((noun.clone(), caller::of(site))).or_default();
        sum.noun = noun;
        sum.open = sum.open.saturating_add(site.outstanding_count);
        sum.bytes = sum.bytes.saturating_add(site.outstanding_bytes);
        sum.estimated |= site.estimated;
        sum.opened = sum.opened.saturating_add(site.allocated_count);
        let closed = site.freed_count.max(site.freed_by_cleaner);
        sum.closed = sum.closed.saturating_add(closed);
        sum.closed_by_cleaner = sum.closed_by_cleaner.saturating_add(site.freed_by_cleaner);
        sum.oldest_seconds = sum.oldest_seconds.max(site.oldest_seconds);
        let class = site.trend.as_ref().and_then(|trend| trend.class);
        sum.growing |= class == Some(TrendClass::Growing);
    }
    let mut groups = Groups::new();
    for ((noun, caller), objects) in sums {
        groups.entry(noun).or_default().push((caller, objects));
    }
    for callers in groups.values_mut() {
        callers.sort_by_key(|(_, objects)| Reverse((objects.open, objects.closed_by_cleaner)));
    }
    groups
}

fn open_ones(callers: &[(Caller, Objects)]) -> Vec<Finding> {
    let open = callers.iter().filter(|(_, o)| o.open > 0 && !o.is_common());
    let open: Vec<_> = open.collect();
    let (named, more) = open.split_at(open.len().min(NAMED_CALLERS));
    let finding = |(caller, objects): &&(Caller, Objects)| Finding::OpenObjects {
        objects: objects.clone(),
        caller: caller.clone(),
    };
    let mut findings: Vec<Finding> = named.iter().map(finding).collect();
    if let Some((_, first)) = more.first() {
        let mut objects = Objects {
            noun: first.noun.clone(),
            ..Objects::default()
        };
        for (_, of_caller) in more {
            objects.open = objects.open.saturating_add(of_caller.open);
            objects.bytes = objects.bytes.saturating_add(of_caller.bytes);
            objects.estimated |= of_caller.estimated;
        }
        let callers = more.len() as u64;
        findings.push(Finding::MoreObjects { objects, callers });
    }
    findings
}

fn left(callers: &[(Caller, Objects)]) -> impl Iterator<Item = Finding> {
    let left = callers.iter().filter(|(_, o)| o.closed_by_cleaner > 0);
    left.take(NAMED_CALLERS)
        .map(|(caller, objects)| Finding::ClosedByCleaner {
            objects: objects.clone(),
            caller: caller.clone(),
        })
}

/// ` (~1.6 MiB)`; nothing where no bytes are known.
fn bytes(objects: &Objects) -> String {
    match objects.bytes {
        0 => String::new(),
        bytes => format!(" ({}{})", mark(objects.estimated), Bytes(bytes)),
    }
}

pub(super) fn open(
    out: &mut fmt::Formatter<'_>,
    objects: &Objects,
    caller: &Caller,
) -> fmt::Result {
    let yet = match objects.oldest_seconds < YOUNG_SECONDS {
        true => " yet",
        false => "",
    };
    write!(
        out,
        "{}{} opened by {caller} and not closed{yet}, of {} opened; the oldest {} ago",
        counted(objects.open, &objects.noun),
        bytes(objects),
        Count(objects.opened),
        Seconds(objects.oldest_seconds)
    )
}

pub(super) fn open_as_usual(out: &mut fmt::Formatter<'_>, pairs: &[Common]) -> fmt::Result {
    out.write_str("Open: ")?;
    for (index, common) in pairs.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let (open, caller) = (counted(common.open, &common.noun), &common.caller);
        match common.by_caller {
            all if all == common.open => write!(out, "{comma}{open} by {caller}")?,
            most => write!(out, "{comma}{open} ({} by {caller})", Count(most))?,
        }
    }
    Ok(())
}

pub(super) fn more(out: &mut fmt::Formatter<'_>, objects: &Objects, callers: u64) -> fmt::Result {
    write!(
        out,
        "{} more{} opened from {} and not closed",
        counted(objects.open, &objects.noun),
        bytes(objects),
        counted(callers, "other place")
    )
}

pub(super) fn closed_by_cleaner(
    out: &mut fmt::Formatter<'_>,
    objects: &Objects,
    caller: &Caller,
) -> fmt::Result {
    let left = counted(objects.closed_by_cleaner, &objects.noun);
    let were = match objects.closed_by_cleaner {
        1 => "was",
        _ => "were",
    };
    if objects.closed_by_cleaner >= objects.closed {
        return write!(
            out,
            "{left} {were} closed only by a Cleaner thread: opened by {caller}, never closed by the program"
        );
    }
    write!(
        out,
        "{left} {were} left to a Cleaner thread, of {} closed: opened by {caller}",
        Count(objects.closed)
    )
}
