//! What is outstanding at one moment, added up from the accounts and the kernel's maps. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use tracer_common::live::{LiveBlock, LiveObject, LiveStream, ObjectKey};

use crate::accounts::{Accounts, ThreadId};
use crate::ages::Histogram;
use crate::capture::SiteKind;
use crate::functions::pairs::PairId;
use crate::ledger::{Held, SiteId, Totals};
use crate::probes::Point;
use crate::stack::Stack;
use crate::target::Pages;
use crate::unwind::memory::Memory;

mod blocks;
mod faults;
mod objects;
mod regions;
mod streams;
#[cfg(test)]
mod tests;

/// What sites hold.
type Sums = HashMap<SiteId, Outstanding>;

/// The sites with what they hold.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub sites: Vec<SiteSnapshot>,
}

/// One site, by sample weight.
#[derive(Clone, Debug)]
pub struct SiteSnapshot {
    pub kind: SiteKind,
    pub pair: Option<PairId>,
    pub stack: Arc<Stack>,
    pub thread: Option<ThreadId>,
    pub totals: Totals,
    pub outstanding: Outstanding,
    /// How long the freed ones lived.
    pub lifetimes: Option<Box<Histogram>>,
}

/// What a site holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outstanding {
    pub bytes: f64,
    pub count: f64,
    /// What was recorded of it, each allocation once.
    pub recorded_bytes: u64,
    pub recorded_count: u64,
    /// Mapped, but without access.
    pub reserved: u64,
    /// Malloc blocks behind streams and objects of pairs.
    pub blocks: u64,
    pub estimated: bool,
    /// Nanoseconds of the monotonic clock; none without an outstanding allocation.
    pub oldest: Option<u64>,
    pub newest: Option<u64>,
    pub ages: Histogram,
}

impl Outstanding {
    /// Something that was recorded at `time` and stands for so many bytes and allocations; `now` is the moment of the
    /// snapshot.
    fn add(&mut self, time: u64, now: u64, bytes: f64, count: f64) {
        self.recorded_bytes += (bytes / count.max(1.0)).round() as u64;
        self.recorded_count += 1;
        self.bytes += bytes;
        self.count += count;
        self.ages.add(now.saturating_sub(time), count);
        self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
        self.newest = Some(self.newest.map_or(time, |newest| newest.max(time)));
    }
}

/// What the kernel's maps hold.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub blocks: Vec<(u64, LiveBlock)>,
    pub streams: Vec<(u64, LiveStream)>,
    pub objects: Vec<(ObjectKey, LiveObject)>,
}

/// A range of the target's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub start: u64,
    pub end: u64,
    pub accessible: bool,
}

/// Everything that a snapshot is made from, besides the accounts.
pub struct Sources<'a, M> {
    pub live: &'a Live,
    pub points: &'a [Point],
    /// The target's mappings now, ascending; none when it has ended.
    pub mappings: Option<&'a [Mapped]>,
    /// Ranges that were mapped with access at the attach; given when events of mappings were lost.
    pub baseline: Option<&'a [Mapped]>,
    pub memory: Option<&'a M>,
    /// Which pages are resident; none when the target has ended.
    pub pages: Option<&'a Pages>,
    /// The malloc family is hooked.
    pub malloc: bool,
    /// Allocations made after this moment are left out.
    pub made_before: u64,
    /// The moment, in nanoseconds of the monotonic clock.
    pub now: u64,
}

/// What each site holds, from events where `heard` says that none was lost, and at little cost: without a look at each
/// allocation. Streams by their parameters; the target's memory is not needed for that.
pub fn held<A: Memory, M: Memory>(
    accounts: &mut Accounts<A>,
    sources: &Sources<'_, M>,
    heard: bool,
) -> Vec<Held> {
    let mut sums = Sums::new();
    if !heard {
        blocks::add(accounts, sources, &mut sums);
        streams::add(accounts, sources, &mut sums);
    }
    regions::add(accounts, sources, &mut sums);
    faults::add(accounts, sources, &mut sums);
    let sites = accounts.ledger.sites.iter().zip(&accounts.ledger.held);
    sites
        .enumerate()
        .map(|(index, ((key, _), held))| match key.kind {
            SiteKind::Deflate | SiteKind::Inflate | SiteKind::Malloc if heard => *held,
            _ => {
                let sum = sums.get(&SiteId(index as u32));
                sum.map_or(Held::default(), |sum| Held {
                    bytes: sum.bytes,
                    count: sum.count,
                })
            }
        })
        .collect()
}

/// Adds up what is outstanding, by site.
pub fn take<A: Memory, M: Memory>(
    accounts: &mut Accounts<A>,
    sources: &Sources<'_, M>,
) -> Snapshot {
    let mut sums = Sums::new();
    blocks::add(accounts, sources, &mut sums);
    streams::add(accounts, sources, &mut sums);
    objects::add(accounts, sources, &mut sums);
    regions::add(accounts, sources, &mut sums);
    faults::add(accounts, sources, &mut sums);
    let ledger = &accounts.ledger;
    let sites = ledger
        .sites
        .iter()
        .enumerate()
        .map(|(index, (key, totals))| {
            let mut outstanding = sums.get(&SiteId(index as u32)).copied().unwrap_or_default();
            outstanding.estimated |= match key.kind {
                SiteKind::Malloc => !accounts.rules.intervals.is_exact(),
                SiteKind::Fault => true,
                SiteKind::Mmap | SiteKind::Deflate | SiteKind::Inflate | SiteKind::Pair => false,
            };
            SiteSnapshot {
                kind: key.kind,
                pair: key.pair,
                stack: Arc::clone(&ledger.stacks[key.stack.0 as usize]),
                thread: key.thread,
                totals: *totals,
                outstanding,
                lifetimes: ledger.lifetimes.get(index).cloned().flatten(),
            }
        });
    Snapshot {
        sites: sites.collect(),
    }
}
