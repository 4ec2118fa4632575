//! Who made what: allocations by the stack that made them.
//!
//! What is outstanding is the kernel's to say (its maps are the truth); the ledger knows the stack of each allocation,
//! what was allocated and freed in all, and the few allocations that the kernel's maps had no room for.

use std::sync::Arc;

use tracer_common::sampling;

use crate::accounts::ThreadId;
use crate::ages::Histogram;
use crate::capture::SiteKind;
use crate::events::AllocationKey;
use crate::fast_map::FastMap;
use crate::functions::pairs::PairId;
use crate::stack::Stack;

mod fold;

pub use fold::Moves;

/// Index of a stack in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackId(pub u32);

/// Index of a site in the ledger, until room is made ([`Ledger::fold`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(pub u32);

/// All allocations of one kind with one stack, and, where sites are split by thread, of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SiteKey {
    pub kind: SiteKind,
    /// For [`SiteKind::Pair`]: which.
    pub pair: Option<PairId>,
    pub stack: StackId,
    pub thread: Option<ThreadId>,
}

/// What a site has done since the attach, by sample weight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    pub allocated_bytes: f64,
    pub allocated_count: f64,
    pub freed_count: f64,
    pub freed_by_cleaner: f64,
}

/// What a site holds by the events that were heard, by sample weight: exact while none was lost. Of blocks and streams
/// only.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Held {
    pub bytes: f64,
    pub count: f64,
}

/// An allocation's end.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Requested bytes; 0 for streams.
    pub size: u64,
    pub weight: Weight,
    pub by: Freed,
    /// When, in nanoseconds of the monotonic clock.
    pub now: u64,
}

/// How many objects a sampled allocation stands for; exact ones stand for themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weight(pub f64);

impl Weight {
    pub const ONE: Weight = Weight(1.0);

    /// The weight of an allocation of `size` bytes that was kept at this mean interval (0: all are kept).
    pub fn of(size: u64, interval: u64) -> Weight {
        let kept = sampling::probability(size, interval);
        Weight(sampling::ONE as f64 / kept as f64)
    }
}

/// The mean sampling intervals of a run in bytes, in the order in which they came into force: a block tells by its level
/// which of them chose it. 0 is exact.
#[derive(Clone, Debug)]
pub struct Intervals(Vec<u64>);

impl Intervals {
    pub fn new(first: u64) -> Intervals {
        Intervals(vec![first])
    }

    /// From now on this one is in force; returns its level.
    pub fn push(&mut self, interval: u64) -> u16 {
        self.0.push(interval);
        self.level()
    }

    /// The one in force.
    pub fn last(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }

    /// How many more may come into force is bounded by the width of a level.
    pub fn level(&self) -> u16 {
        u16::try_from(self.0.len() - 1).unwrap_or(u16::MAX)
    }

    /// Every block of the malloc family is recorded, and always was.
    pub fn is_exact(&self) -> bool {
        self.0.iter().all(|&interval| interval == 0)
    }

    /// What a block of `size` bytes stands for that was chosen at `level`.
    pub fn weight(&self, size: u64, level: u16) -> Weight {
        let interval = self.0.get(usize::from(level)).copied();
        Weight::of(size, interval.unwrap_or_else(|| self.last()))
    }
}

/// A block, or stream, that userspace keeps because the kernel's map was full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spilled {
    pub time: u64,
    pub size: u64,
    pub site: SiteId,
    pub weight: Weight,
}

/// A block and a stream may have the same address: a `z_stream` is often a block of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    Blocks,
    Streams,
    Objects(PairId),
}

/// Stacks, sites, and the site of each outstanding allocation.
#[derive(Debug, Default)]
pub struct Ledger {
    pub stacks: Vec<Arc<Stack>>,
    stack_ids: FastMap<Arc<Stack>, StackId>,
    pub sites: Vec<(SiteKey, Totals)>,
    /// Of each site.
    pub held: Vec<Held>,
    /// How long the freed allocations of each site lived; none where none was freed.
    pub lifetimes: Vec<Option<Box<Histogram>>>,
    site_ids: FastMap<SiteKey, SiteId>,
    open: FastMap<AllocationKey, SiteId>,
    pub spilled: FastMap<(Space, u64), Spilled>,
    room: fold::Room,
    /// Sites that had to make room, and are kept as sums alone.
    pub folded: u64,
}

impl Ledger {
    /// The site of `stack`; made when it is new.
    pub fn site(&mut self, kind: SiteKind, stack: Stack, thread: Option<ThreadId>) -> SiteId {
        let stack = self.intern(stack);
        self.site_of_key(SiteKey {
            kind,
            pair: None,
            stack,
            thread,
        })
    }

    /// The same for objects of a pair.
    pub fn site_of_pair(&mut self, pair: PairId, stack: Stack, thread: Option<ThreadId>) -> SiteId {
        let stack = self.intern(stack);
        self.site_of_key(SiteKey {
            kind: SiteKind::Pair,
            pair: Some(pair),
            stack,
            thread,
        })
    }

    fn site_of_key(&mut self, key: SiteKey) -> SiteId {
        *self.site_ids.entry(key).or_insert_with(|| {
            self.room.add(0);
            self.sites.push((key, Totals::default()));
            self.held.push(Held::default());
            self.lifetimes.push(None);
            SiteId(self.sites.len() as u32 - 1)
        })
    }

    fn intern(&mut self, stack: Stack) -> StackId {
        // Most stacks are known.
        if let Some(&known) = self.stack_ids.get(&stack) {
            return known;
        }
        self.add_stack(Arc::new(stack))
    }

    fn add_stack(&mut self, stack: Arc<Stack>) -> StackId {
        let id = StackId(self.stacks.len() as u32);
        self.room.add(stack.frames.len());
        self.stacks.push(Arc::clone(&stack));
        self.stack_ids.insert(stack, id);
        id
    }

    /// Outstanding allocations whose stack is known, and those that userspace keeps.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// An allocation was made.
    pub fn begin(&mut self, key: AllocationKey, size: u64, site: SiteId, weight: Weight) {
        self.open.insert(key, site);
        self.add(site, size, weight);
        self.hold(site, size as f64 * weight.0, weight.0);
    }

    /// An allocation was made that the kernel could not keep.
    pub fn begin_spilled(
        &mut self,
        space: Space,
        key: AllocationKey,
        size: u64,
        site: SiteId,
        weight: Weight,
    ) {
        self.spilled.insert(
            (space, key.address),
            Spilled {
                time: key.time,
                size,
                site,
                weight,
            },
        );
        self.add(site, size, weight);
        self.hold(site, size as f64 * weight.0, weight.0);
    }

    /// The site holds more, or, with negative numbers, less.
    pub fn hold(&mut self, site: SiteId, bytes: f64, count: f64) {
        if let Some(held) = self.held.get_mut(site.0 as usize) {
            held.bytes += bytes;
            held.count += count;
        }
    }

    fn release(&mut self, site: SiteId, size: u64, Weight(weight): Weight) {
        self.hold(site, -(size as f64 * weight), -weight);
    }

    /// Counts what a site has allocated, where nothing is kept open for it.
    pub fn add(&mut self, site: SiteId, size: u64, weight: Weight) {
        if let Some((_, totals)) = self.sites.get_mut(site.0 as usize) {
            totals.allocated_bytes += size as f64 * weight.0;
            totals.allocated_count += weight.0;
        }
    }

    /// An allocation has ended; returns its site, unless its stack was lost.
    pub fn end(&mut self, key: AllocationKey, ended: Ended) -> Option<SiteId> {
        let site = self.open.remove(&key)?;
        self.release(site, ended.size, ended.weight);
        self.count_end(site, key.time, ended);
        Some(site)
    }

    /// A block or stream has ended that the kernel did not track; returns what was known of it.
    pub fn end_unknown(
        &mut self,
        space: Space,
        address: u64,
        now: u64,
        by: Freed,
    ) -> Option<Spilled> {
        let key = (space, address);
        if self.spilled.get(&key)?.time > now {
            return None;
        }
        let spilled = self.spilled.remove(&key)?;
        let Spilled {
            time,
            size,
            site,
            weight,
        } = spilled;
        self.release(site, size, weight);
        let ended = Ended {
            size,
            weight,
            by,
            now,
        };
        self.count_end(site, time, ended);
        Some(spilled)
    }

    /// Counts an end, where nothing is kept open for it; `made` is when it was made, by the clock of events.
    pub fn count_end(&mut self, site: SiteId, made: u64, ended: Ended) {
        let (at, Weight(weight)) = (site.0 as usize, ended.weight);
        if let Some((_, totals)) = self.sites.get_mut(at) {
            totals.freed_count += weight;
            if ended.by == Freed::ByCleaner {
                totals.freed_by_cleaner += weight;
            }
        }
        if let Some(lifetimes) = self.lifetimes.get_mut(at) {
            let lived = ended.now.saturating_sub(made);
            lifetimes.get_or_insert_default().add(lived, weight);
        }
    }

    /// The site of an outstanding allocation; none if its event was lost.
    pub fn site_of(&self, key: AllocationKey) -> Option<SiteId> {
        self.open.get(&key).copied()
    }

    /// Takes an allocation out of the books without counting its end.
    pub fn forget(&mut self, key: AllocationKey) {
        self.open.remove(&key);
    }

    /// Forgets allocations that are no longer outstanding but whose end was never heard of.
    pub fn retain(&mut self, is_outstanding: impl Fn(&AllocationKey) -> bool) {
        self.open.retain(|key, _| is_outstanding(key));
    }
}

/// Which thread ended an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freed {
    ByProgram,
    /// The JVM's `Common-Cleaner` or `Finalizer`: the program forgot it and the collector found it.
    ByCleaner,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::{Frame, ModuleId, StackEnd};

    fn stack(offset: u64) -> Stack {
        Stack {
            frames: vec![Frame::Native {
                module: ModuleId(0),
                offset,
            }],
            end: StackEnd::Root,
        }
    }

    fn key(address: u64, time: u64) -> AllocationKey {
        AllocationKey { address, time }
    }

    fn freed(size: u64, now: u64) -> Ended {
        Ended {
            size,
            weight: Weight::ONE,
            by: Freed::ByProgram,
            now,
        }
    }

    /// Equal stacks share a site; another kind or thread is another site.
    #[test]
    fn sites_are_interned() {
        let mut ledger = Ledger::default();
        let first = ledger.site(SiteKind::Malloc, stack(1), None);
        assert_eq!(first, ledger.site(SiteKind::Malloc, stack(1), None));
        assert_ne!(first, ledger.site(SiteKind::Malloc, stack(2), None));
        assert_ne!(first, ledger.site(SiteKind::Deflate, stack(1), None));
        assert_ne!(
            first,
            ledger.site(SiteKind::Malloc, stack(1), Some(ThreadId(7)))
        );
        assert_eq!(ledger.stacks.len(), 2);
    }

    /// An address that is used again is another allocation: the end of the first leaves the second open.
    #[test]
    fn reused_addresses_are_told_apart_by_time() {
        let mut ledger = Ledger::default();
        let site = ledger.site(SiteKind::Malloc, stack(1), None);
        ledger.begin(key(0x10, 1), 97, site, Weight::ONE);
        ledger.begin(key(0x10, 2), 101, site, Weight::ONE);
        assert_eq!(ledger.end(key(0x10, 1), freed(97, 3_000_001)), Some(site));
        assert_eq!(ledger.site_of(key(0x10, 1)), None);
        assert_eq!(ledger.site_of(key(0x10, 2)), Some(site));
        let totals = ledger.sites[0].1;
        assert_eq!(
            (
                totals.allocated_bytes,
                totals.allocated_count,
                totals.freed_count
            ),
            (198.0, 2.0, 1.0)
        );
        let held = ledger.held[0];
        assert_eq!((held.bytes, held.count), (101.0, 1.0));
        let lived = ledger.lifetimes[0].as_ref().unwrap().counts();
        assert_eq!(lived, [0, 0, 1], "3 ms");
    }

    /// A spilled block is ended by a free that the kernel knew nothing of, and by none from before it was made.
    #[test]
    fn spilled_blocks_end_by_address() {
        let mut ledger = Ledger::default();
        let site = ledger.site(SiteKind::Malloc, stack(1), None);
        ledger.begin_spilled(Space::Blocks, key(0x10, 5), 97, site, Weight::ONE);
        ledger.end_unknown(Space::Blocks, 0x10, 4, Freed::ByProgram);
        assert_eq!(ledger.spilled.len(), 1);
        ledger.end_unknown(Space::Blocks, 0x10, 6, Freed::ByProgram);
        assert!(ledger.spilled.is_empty());
        assert_eq!(ledger.held[0], Held::default());
        assert_eq!(ledger.sites[0].1.freed_count, 1.0);
    }

    /// A kept allocation stands for 1/p of its kind; one of the interval or more stands for itself.
    #[test]
    fn weights_are_inverse_probabilities() {
        assert_eq!(Weight::of(97, 0), Weight::ONE);
        assert_eq!(Weight::of(1 << 20, 1 << 19), Weight::ONE);
        let half = Weight::of(363_409, 524_288).0;
        assert!(
            (half - 2.0).abs() < 0.001,
            "p = 1 − e^(−0.69315) = 0.5, weight {half}"
        );
    }
}
