//! Events in, accounts out: unwinds each captured stack and books it.

mod opened;
mod room;
mod stacks;

use std::collections::{BTreeMap, HashMap, HashSet};

use tracer_common::config::FAULT_PERIOD;

use crate::capture::SiteKind;
use crate::events::{Allocation, AllocationKey, End, Event};
use crate::functions::Direction;
use crate::functions::pairs::PairId;
use crate::ledger::{Ended, Freed, Intervals, Ledger, SiteId, Space, Weight};
use crate::probes::Point;
use crate::regions::{Region, Regions, pages};
use crate::stack::{Frame, Marker, Stack, StackEnd};
use crate::streams;
use crate::target::modules::ModuleTable;
use crate::unwind::Unwinder;
use crate::unwind::memory::Memory;

use opened::{direction, object_of};
pub use room::{Forgotten, Orphans};

/// libc's `PROT_NONE`.
const PROT_NONE: u32 = 0;

/// Threads of the JVM that end what the program forgot: JDK 9 and later, JDK 8 and `finalize` methods.
pub const CLEANERS: [&str; 2] = ["Common-Cleaner", "Finalizer"];

/// Who mapped a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub site: SiteId,
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// Mapped without access: reserved until the target's mappings say otherwise.
    pub reserved: bool,
}

impl Origin {
    /// Two mappings of one site were made at different times.
    fn name(&self) -> (SiteId, u64) {
        (self.site, self.time)
    }
}

/// An open stream's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    pub direction: Direction,
    pub window_bits: i32,
    pub mem_level: i32,
}

impl Parameters {
    /// What a stream with these holds.
    fn bytes(&self) -> f64 {
        streams::computed(self.direction, self.window_bits, self.mem_level).bytes as f64
    }
}

/// A stream whose `z_stream` was set up again without having been ended, or an object of a pair whose name another one was
/// given, in memory that is the caller's: it can never be ended any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    pub time: u64,
    pub site: SiteId,
    /// Of a stream.
    pub parameters: Option<Parameters>,
}

/// How allocations become sites.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How the malloc family is sampled.
    pub intervals: Intervals,
}

/// A thread of the target, where sites are split by thread: ids of the kernel are used again, these are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId(pub u32);

/// Who made an allocation.
#[derive(Clone, Debug)]
pub struct Maker {
    pub stack: Stack,
    /// None where sites are not split by thread.
    pub thread: Option<ThreadId>,
}

/// Where sites are not split by thread.
impl From<Stack> for Maker {
    fn from(stack: Stack) -> Maker {
        Maker {
            stack,
            thread: None,
        }
    }
}

/// A page that was touched first at a site.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Page {
    pub site: SiteId,
    pub time: u64,
    /// What it stands for, itself included.
    pub bytes: u64,
    /// Pages that it stands for.
    pub weight: f64,
}

/// Sampled pages that are remembered; at one in 64 they stand for a terabyte.
const MAX_PAGES: usize = 4 << 20;

/// What was seen of stacks.
#[derive(Clone, Debug, Default)]
pub struct StackCounts {
    pub taken: u64,
    pub complete: u64,
    /// Incomplete ones by where they ended.
    pub ends: BTreeMap<StackEnd, u64>,
}

/// All books of a run.
pub struct Accounts<M> {
    pub ledger: Ledger,
    pub regions: Regions<Origin>,
    /// What is left of each mapping, in bytes.
    mapped_bytes: HashMap<(SiteId, u64), u64>,
    pub parameters: HashMap<AllocationKey, Parameters>,
    pub orphans: Orphans,
    /// Objects of each pair that were opened where one was open under the same name.
    pub reopened: BTreeMap<PairId, u64>,
    /// Pages that became resident, by their address: the last who touched one first.
    pub pages: HashMap<u64, Page>,
    /// Pages that there was no room for.
    pub forgotten_pages: u64,
    pub unwinder: Unwinder<M>,
    pub stacks: StackCounts,
    /// Records that made no sense.
    pub malformed: u64,
    /// Threads that end what the program forgot.
    pub cleaners: HashSet<u32>,
    pub rules: Rules,
}

/// What the accounts know of the target when they book an event.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub modules: &'a ModuleTable,
    pub points: &'a [Point],
    /// Thread ids as the target sees them, by thread ids as the kernel sees them; the same where there is none.
    pub inner_tids: &'a HashMap<u32, u32>,
}

impl StackCounts {
    /// Counts a stack by where its walk ended.
    pub fn count(&mut self, end: StackEnd) {
        self.taken += 1;
        match end {
            StackEnd::Root => self.complete += 1,
            end => *self.ends.entry(end).or_default() += 1,
        }
    }
}

impl<M: Memory> Accounts<M> {
    pub fn new(unwinder: Unwinder<M>, rules: Rules) -> Accounts<M> {
        Accounts {
            ledger: Ledger::default(),
            regions: Regions::default(),
            mapped_bytes: HashMap::new(),
            parameters: HashMap::new(),
            orphans: Orphans::default(),
            reopened: BTreeMap::new(),
            pages: HashMap::new(),
            forgotten_pages: 0,
            unwinder,
            stacks: StackCounts::default(),
            malformed: 0,
            cleaners: HashSet::new(),
            rules,
        }
    }

    /// Books one event; `maker` is that of the allocation that it tells of, if it tells of one.
    pub fn book(&mut self, event: Event, maker: Option<Maker>, scene: Scene<'_>) {
        match (event, maker) {
            (Event::Allocated(block), Some(maker)) => {
                let site = self.site(SiteKind::Malloc, maker);
                self.allocated(&block, site);
            }
            (Event::Allocated(block), None) if block.stack_lost => {
                let point = scene.points.get(block.point as usize);
                let site = self.lost_site(SiteKind::Malloc, point);
                self.allocated(&block, site);
            }
            (Event::Faulted(page), Some(maker)) => self.faulted(&page, maker),
            (Event::Mapped { protection, region }, Some(maker)) => {
                self.mapped(protection, &region, maker)
            }
            (
                Event::Remapped {
                    old_address,
                    old_length,
                    keeps_old,
                    region,
                },
                Some(maker),
            ) => {
                let old = if keeps_old {
                    (old_address, 0)
                } else {
                    (old_address, old_length)
                };
                self.remapped(old, &region, maker);
            }
            (
                Event::Opened {
                    stream,
                    window_bits,
                    mem_level,
                    replaced,
                },
                Some(maker),
            ) => {
                let direction = direction(scene, stream.point);
                self.opened(
                    &stream,
                    Parameters {
                        direction,
                        window_bits,
                        mem_level,
                    },
                    replaced,
                    maker,
                );
            }
            (
                Event::Unmapped {
                    address,
                    length,
                    now,
                },
                _,
            ) => {
                let gone = self.regions.unmap(address, length);
                self.unmapped(&gone, now);
            }
            (Event::Freed(end), _) => self.freed(end),
            (Event::FreedUnknown(end), _) => {
                let by = self.freed_by(end.tid);
                self.ledger
                    .end_unknown(Space::Blocks, end.key.address, end.now, by);
            }
            (Event::ObjectOpened { object, replaced }, Some(maker)) => {
                match object_of(scene, object.point) {
                    Some(pair) => self.object_opened(&object, pair, replaced, maker),
                    None => self.malformed += 1,
                }
            }
            (Event::Closed { end, comm }, _) => {
                let space = match object_of(scene, end.point) {
                    Some((pair, _)) => Space::Objects(pair),
                    None => Space::Streams,
                };
                self.closed(end, space, &comm);
            }
            (_, None) => self.malformed += 1,
        }
    }

    fn allocated(&mut self, block: &Allocation, site: SiteId) {
        let weight = self.rules.intervals.weight(block.size, block.level);
        if block.spilled {
            self.ledger
                .begin_spilled(Space::Blocks, block.key, block.size, site, weight);
        } else {
            self.ledger.begin(block.key, block.size, site, weight);
        }
    }

    /// The address is that of a page, and the size what it stands for.
    fn faulted(&mut self, page: &Allocation, maker: Maker) {
        let site = self.site(SiteKind::Fault, maker);
        let weight = FAULT_PERIOD as f64;
        self.ledger
            .add(site, page.size / FAULT_PERIOD, Weight(weight));
        if self.pages.len() >= MAX_PAGES && !self.pages.contains_key(&page.key.address) {
            self.forgotten_pages += 1;
            return;
        }
        let page = (
            page.key.address,
            Page {
                site,
                time: page.key.time,
                bytes: page.size,
                weight,
            },
        );
        self.pages.extend([page]);
    }

    fn mapped(&mut self, protection: u32, region: &Allocation, maker: Maker) {
        let site = self.site(SiteKind::Mmap, maker);
        let origin = Origin {
            site,
            time: region.key.time,
            reserved: protection == PROT_NONE,
        };
        let replaced = self.regions.map(region.key.address, region.size, origin);
        self.mapped_bytes.insert(origin.name(), pages(region.size));
        self.ledger.add(site, pages(region.size), Weight::ONE);
        self.unmapped(&replaced, region.key.time);
    }

    fn remapped(&mut self, old: (u64, u64), region: &Allocation, maker: Maker) {
        let site = self.site(SiteKind::Mmap, maker);
        let origin = Origin {
            site,
            time: region.key.time,
            reserved: false,
        };
        let gone = self
            .regions
            .remap(old, region.key.address, region.size, origin);
        let grown = pages(region.size).saturating_sub(pages(old.1));
        if grown > 0 && old.1 > 0 {
            self.mapped_bytes.insert(origin.name(), grown);
            self.ledger.add(site, grown, Weight::ONE);
        }
        self.unmapped(&gone, region.key.time);
    }

    /// Counts the mappings of which nothing is left.
    fn unmapped(&mut self, parts: &[Region<Origin>], now: u64) {
        for part in parts {
            let name = part.origin.name();
            let Some(left) = self.mapped_bytes.get_mut(&name) else {
                continue;
            };
            *left = left.saturating_sub(part.length());
            if *left == 0 {
                self.mapped_bytes.remove(&name);
                let ended = Ended {
                    size: part.length(),
                    weight: Weight::ONE,
                    by: Freed::ByProgram,
                    now,
                };
                self.ledger
                    .count_end(part.origin.site, part.origin.time, ended);
            }
        }
    }

    fn freed(&mut self, end: End) {
        let by = self.freed_by(end.tid);
        let weight = self.rules.intervals.weight(end.size, end.level);
        let ended = Ended {
            size: end.size,
            weight,
            by,
            now: end.now,
        };
        self.ledger.end(end.key, ended);
    }

    fn freed_by(&self, tid: u32) -> Freed {
        if self.cleaners.contains(&tid) {
            Freed::ByCleaner
        } else {
            Freed::ByProgram
        }
    }

    fn site(&mut self, kind: SiteKind, maker: Maker) -> SiteId {
        self.ledger.site(kind, maker.stack, maker.thread)
    }

    /// The site of allocations whose stack never arrived.
    pub fn lost_site(&mut self, kind: SiteKind, point: Option<&Point>) -> SiteId {
        let leaf = point.map(|point| Frame::Native {
            module: point.module,
            offset: point.entry,
        });
        let frames = leaf
            .into_iter()
            .chain([Frame::Marker(Marker::StackLost)])
            .collect();
        let stack = Stack {
            frames,
            end: StackEnd::Lost,
        };
        match point.and_then(|point| point.function.pair) {
            Some(membership) => self.ledger.site_of_pair(membership.pair, stack, None),
            None => self.ledger.site(kind, stack, None),
        }
    }
}

/// The kind of site that a stream makes.
pub fn kind_of(direction: Direction) -> SiteKind {
    match direction {
        Direction::Deflate => SiteKind::Deflate,
        Direction::Inflate | Direction::InflateBack => SiteKind::Inflate,
    }
}
