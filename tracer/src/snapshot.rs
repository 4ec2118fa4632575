//! What is outstanding at one moment: the seam. What is right of it needs neither the kernel nor the target.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tracer_common::live::{LiveBlock, LiveStream};

use crate::accounts::{Accounts, Origin, Parameters, kind_of};
use crate::capture::SiteKind;
use crate::events::AllocationKey;
use crate::functions::Direction;
use crate::ledger::{SiteId, Space, Totals, Weight};
use crate::probes::Point;
use crate::regions::Region;
use crate::stack::Stack;
use crate::streams::{self, Held};
use crate::unwind::memory::Memory;

/// The sites with what they hold.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub sites: Vec<SiteSnapshot>,
}

/// One site, by sample weight.
#[derive(Clone, Debug)]
pub struct SiteSnapshot {
    pub kind: SiteKind,
    pub stack: Arc<Stack>,
    pub tid: Option<u32>,
    pub totals: Totals,
    pub outstanding: Outstanding,
}

/// What a site holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outstanding {
    pub bytes: f64,
    pub count: f64,
    /// Mapped, but without access.
    pub reserved: u64,
    /// Malloc blocks behind streams.
    pub blocks: u64,
    pub estimated: bool,
    /// Nanoseconds of the monotonic clock; none without an outstanding allocation.
    pub oldest: Option<u64>,
    pub newest: Option<u64>,
}

impl Outstanding {
    fn add(&mut self, time: u64, bytes: f64, count: f64) {
        self.bytes += bytes;
        self.count += count;
        self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
        self.newest = Some(self.newest.map_or(time, |newest| newest.max(time)));
    }
}

/// What the kernel's maps hold.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub blocks: Vec<(u64, LiveBlock)>,
    pub streams: Vec<(u64, LiveStream)>,
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
    /// Mean sampling interval in bytes; 0 is exact.
    pub interval: u64,
    /// The malloc family is hooked.
    pub malloc: bool,
    /// Allocations made after this moment are left out.
    pub made_before: u64,
}

/// Adds up what is outstanding, by site.
pub fn take<A: Memory, M: Memory>(
    accounts: &mut Accounts<A>,
    sources: &Sources<'_, M>,
) -> Snapshot {
    let mut sums: HashMap<SiteId, Outstanding> = HashMap::new();
    add_blocks(accounts, sources, &mut sums);
    add_streams(accounts, sources, &mut sums);
    add_regions(accounts, sources, &mut sums);
    let ledger = &accounts.ledger;
    let sites = ledger
        .sites
        .iter()
        .enumerate()
        .map(|(index, (key, totals))| {
            let mut outstanding = sums.get(&SiteId(index as u32)).copied().unwrap_or_default();
            outstanding.estimated |= key.kind == SiteKind::Malloc && sources.interval > 0;
            SiteSnapshot {
                kind: key.kind,
                stack: Arc::clone(&ledger.stacks[key.stack.0 as usize]),
                tid: key.tid,
                totals: *totals,
                outstanding,
            }
        });
    Snapshot {
        sites: sites.collect(),
    }
}

fn add_blocks<A: Memory, M>(
    accounts: &mut Accounts<A>,
    sources: &Sources<'_, M>,
    sums: &mut HashMap<SiteId, Outstanding>,
) {
    for &(address, block) in &sources.live.blocks {
        let known = accounts.ledger.site_of(AllocationKey {
            address,
            time: block.time,
        });
        let site = known.unwrap_or_else(|| {
            accounts.lost_site(SiteKind::Malloc, sources.points.get(block.point as usize))
        });
        add_block(site, block.time, block.size, sources, sums);
    }
    let spilled = accounts
        .ledger
        .spilled
        .iter()
        .filter(|((space, _), _)| *space == Space::Blocks);
    for (_, block) in spilled {
        add_block(block.site, block.time, block.size, sources, sums);
    }
}

fn add_block<M>(
    site: SiteId,
    time: u64,
    size: u64,
    sources: &Sources<'_, M>,
    sums: &mut HashMap<SiteId, Outstanding>,
) {
    if time <= sources.made_before {
        let Weight(weight) = Weight::of(size, sources.interval);
        sums.entry(site)
            .or_default()
            .add(time, size as f64 * weight, weight);
    }
}

fn add_streams<A: Memory, M: Memory>(
    accounts: &mut Accounts<A>,
    sources: &Sources<'_, M>,
    sums: &mut HashMap<SiteId, Outstanding>,
) {
    let sizes: HashMap<u64, u64> = match sources.malloc && sources.interval == 0 {
        true => sources
            .live
            .blocks
            .iter()
            .map(|(address, block)| (*address, block.size))
            .collect(),
        false => HashMap::new(),
    };
    for (address, stream) in open_streams(accounts, sources) {
        // An Init that failed has left no state behind.
        if sources
            .memory
            .and_then(|memory| streams::is_open(address, memory))
            == Some(false)
        {
            continue;
        }
        let found = sources.memory.and_then(|memory| {
            streams::found(address, stream.parameters.direction, memory, |a| {
                sizes.get(&a).copied()
            })
        });
        add_stream(&stream, found, sources, sums);
    }
    for orphan in &accounts.orphans {
        let stream = OpenStream {
            site: orphan.site,
            time: orphan.time,
            parameters: orphan.parameters,
        };
        add_stream(&stream, None, sources, sums);
    }
}

struct OpenStream {
    site: SiteId,
    time: u64,
    parameters: Parameters,
}

/// Streams that the kernel tracks, and those that it had no room for.
fn open_streams<A: Memory, M>(
    accounts: &mut Accounts<A>,
    sources: &Sources<'_, M>,
) -> Vec<(u64, OpenStream)> {
    let mut open = Vec::with_capacity(sources.live.streams.len());
    for &(address, stream) in &sources.live.streams {
        let key = AllocationKey {
            address,
            time: stream.time,
        };
        let point = sources.points.get(stream.point as usize);
        let direction = point
            .and_then(|point| point.function.direction)
            .unwrap_or(Direction::Deflate);
        let site = match accounts.ledger.site_of(key) {
            Some(site) => site,
            None => accounts.lost_site(kind_of(direction), point),
        };
        let (window_bits, mem_level) = (stream.window_bits, stream.mem_level);
        let parameters = Parameters {
            direction,
            window_bits,
            mem_level,
        };
        open.push((
            address,
            OpenStream {
                site,
                time: stream.time,
                parameters,
            },
        ));
    }
    let spilled = accounts
        .ledger
        .spilled
        .iter()
        .filter(|((space, _), _)| *space == Space::Streams);
    for ((_, address), stream) in spilled {
        let key = AllocationKey {
            address: *address,
            time: stream.time,
        };
        if let Some(&parameters) = accounts.parameters.get(&key) {
            open.push((
                *address,
                OpenStream {
                    site: stream.site,
                    time: stream.time,
                    parameters,
                },
            ));
        }
    }
    open
}

fn add_stream<M>(
    stream: &OpenStream,
    found: Option<Held>,
    sources: &Sources<'_, M>,
    sums: &mut HashMap<SiteId, Outstanding>,
) {
    if stream.time > sources.made_before {
        return;
    }
    let Parameters {
        direction,
        window_bits,
        mem_level,
    } = stream.parameters;
    let held = found.unwrap_or_else(|| streams::computed(direction, window_bits, mem_level));
    let sum = sums.entry(stream.site).or_default();
    sum.add(stream.time, held.bytes as f64, 1.0);
    sum.blocks += held.blocks;
    sum.estimated |= held.estimated;
}

fn add_regions<A: Memory, M>(
    accounts: &mut Accounts<A>,
    sources: &Sources<'_, M>,
    sums: &mut HashMap<SiteId, Outstanding>,
) {
    let mut counted = HashSet::new();
    for region in accounts
        .regions
        .iter()
        .filter(|region| region.origin.time <= sources.made_before)
    {
        let (committed, reserved) = match sources.mappings {
            Some(mappings) => split(&region, mappings),
            None if region.origin.reserved => (0, region.length()),
            None => (region.length(), 0),
        };
        if committed + reserved == 0 {
            continue;
        }
        // The parts that a mapping was cut into are still one.
        let first_part = counted.insert((region.origin.site, region.origin.time));
        let sum = sums.entry(region.origin.site).or_default();
        sum.add(
            region.origin.time,
            committed as f64,
            if first_part { 1.0 } else { 0.0 },
        );
        sum.reserved += reserved;
    }
    if let (Some(mappings), Some(baseline)) = (sources.mappings, sources.baseline) {
        add_unseen(accounts, mappings, baseline, sums);
    }
}

/// Bytes of the region that are mapped with and without access now.
fn split(region: &Region<Origin>, mappings: &[Mapped]) -> (u64, u64) {
    let first = mappings.partition_point(|mapped| mapped.end <= region.start);
    let touched = mappings[first..]
        .iter()
        .take_while(|mapped| mapped.start < region.end);
    touched.fold((0, 0), |(committed, reserved), mapped| {
        let length = mapped.end.min(region.end) - mapped.start.max(region.start);
        if mapped.accessible {
            (committed + length, reserved)
        } else {
            (committed, reserved + length)
        }
    })
}

/// Events of mappings were lost: what is mapped now, was not at the attach, and has no known origin.
fn add_unseen<A: Memory>(
    accounts: &mut Accounts<A>,
    mappings: &[Mapped],
    baseline: &[Mapped],
    sums: &mut HashMap<SiteId, Outstanding>,
) {
    let mut unseen = crate::regions::Regions::default();
    for mapped in mappings.iter().filter(|mapped| mapped.accessible) {
        unseen.map(mapped.start, mapped.end - mapped.start, ());
    }
    let known = accounts
        .regions
        .iter()
        .map(|region| (region.start, region.length()));
    let old = baseline
        .iter()
        .filter(|old| old.accessible)
        .map(|old| (old.start, old.end - old.start));
    for (start, length) in known.chain(old) {
        unseen.unmap(start, length);
    }
    let site = accounts.lost_site(SiteKind::Mmap, None);
    let sum = sums.entry(site).or_default();
    for region in unseen.iter() {
        sum.bytes += region.length() as f64;
        sum.count += 1.0;
        sum.estimated = true;
    }
}
