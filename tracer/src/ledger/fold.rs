//! Bounds what a run keeps: stacks that hold nothing any more make room, and their totals go to one site of each kind.
//!
//! A program that goes on for days makes ever new stacks: requests take other ways, code is compiled anew, classes come and
//! go. Nothing that is outstanding depends on a stack that holds nothing, and what it has allocated and freed is kept as a
//! sum. Only where stacks that do hold something are too many as well, those with the fewest allocations follow.

use std::sync::Arc;

use super::{Ledger, SiteId, SiteKey, StackId, Totals};
use crate::stack::{Frame, Marker, Stack, StackEnd};

/// Room for stacks, in frames of 24 bytes: some 7,000 stacks of 64 frames, in 13 MB, and ten times as much when they have
/// names. Full: stacks that hold nothing go.
const ROOM: usize = 1 << 19;
/// What stacks that hold something may take of it and beyond, in 50 MB. Full: those with the fewest allocations go.
const MOST: usize = 4 * ROOM;
/// What a site takes besides its frames, with its places in the tables, as so many frames.
const SITE: usize = 12;

/// Frames of all that is kept, and at how many of them room is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    used: usize,
    limit: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room {
            used: 0,
            limit: ROOM,
        }
    }
}

impl Room {
    pub fn add(&mut self, frames: usize) {
        self.used += frames + SITE;
    }
}

/// Where each site went.
#[derive(Clone, Debug)]
pub struct Moves(Vec<SiteId>);

impl Moves {
    pub fn to(&self, site: SiteId) -> SiteId {
        self.0.get(site.0 as usize).copied().unwrap_or(site)
    }
}

impl Ledger {
    /// Whether room has to be made.
    pub fn is_full(&self) -> bool {
        self.room.used > self.room.limit
    }

    /// Makes room. `held` are the sites of everything outstanding that the ledger itself does not know of: as many times as
    /// there is something. Who remembers a site has to look up where it went.
    ///
    /// The work is proportional to what is kept and outstanding, and it is done again only after a quarter of the room at
    /// least has been filled anew.
    pub fn fold(&mut self, held: impl Iterator<Item = SiteId>) -> Moves {
        let mut holds = vec![0u64; self.sites.len()];
        let outstanding = self.open.values().copied();
        let spilled = self.spilled.values().map(|spilled| spilled.site);
        for site in outstanding.chain(spilled).chain(held) {
            if let Some(holds) = holds.get_mut(site.0 as usize) {
                *holds += 1;
            }
        }
        let moves = self.rebuild(&self.leaving(&holds));
        self.open
            .values_mut()
            .for_each(|site| *site = moves.to(*site));
        let spilled = self.spilled.values_mut();
        spilled.for_each(|spilled| spilled.site = moves.to(spilled.site));
        self.room.limit = self.room.used.max(ROOM / 2) + ROOM / 2;
        moves
    }

    /// Which sites are to go.
    fn leaving(&self, holds: &[u64]) -> Vec<bool> {
        let mut order: Vec<usize> = (0..self.sites.len())
            .filter(|&index| !self.stack(index).stands_for_others())
            .collect();
        // First those that hold nothing, and of them those that have done the least; the older before the younger.
        order.sort_by_key(|&index| {
            let (_, totals) = &self.sites[index];
            (holds[index], totals.allocated_count as u64, index)
        });
        let mut leaving = vec![false; self.sites.len()];
        let mut used = self.room.used;
        let is_over = used > MOST;
        for index in order {
            let goal = match holds[index] {
                0 => ROOM / 2,
                _ if is_over => MOST / 2,
                _ => MOST,
            };
            if used <= goal {
                break;
            }
            // A stack that several sites share is counted with each: a little more room is made than has to be.
            used = used.saturating_sub(self.stack(index).frames.len() + SITE);
            leaving[index] = true;
        }
        leaving
    }

    fn stack(&self, index: usize) -> &Stack {
        let (key, _) = &self.sites[index];
        &self.stacks[key.stack.0 as usize]
    }

    /// Makes all tables anew, without the sites that leave.
    fn rebuild(&mut self, leaving: &[bool]) -> Moves {
        let stacks = std::mem::take(&mut self.stacks);
        let sites = std::mem::take(&mut self.sites);
        let over_time = std::mem::take(&mut self.held)
            .into_iter()
            .zip(std::mem::take(&mut self.lifetimes));
        self.stack_ids.clear();
        self.site_ids.clear();
        self.room.used = 0;
        let mut moves = Vec::with_capacity(sites.len());
        let sites = sites.into_iter().zip(over_time).zip(leaving);
        for (((key, totals), (held, lifetimes)), &leaves) in sites {
            let to = if leaves {
                self.folded += 1;
                self.remainder(key)
            } else {
                let stack = self.keep(&stacks[key.stack.0 as usize]);
                self.site_of_key(SiteKey { stack, ..key })
            };
            if let Some((_, sum)) = self.sites.get_mut(to.0 as usize) {
                sum.add(&totals);
            }
            self.hold(to, held.bytes, held.count);
            if let (Some(sum), Some(lived)) = (self.lifetimes.get_mut(to.0 as usize), lifetimes) {
                sum.get_or_insert_default().merge(&lived);
            }
            moves.push(to);
        }
        self.stack_ids.shrink_to_fit();
        self.site_ids.shrink_to_fit();
        Moves(moves)
    }

    /// What stands for the stacks of a kind, or of a pair, that are kept no more.
    fn remainder(&mut self, of: SiteKey) -> SiteId {
        let stack = self.intern(Stack::not_kept());
        self.site_of_key(SiteKey {
            stack,
            thread: None,
            ..of
        })
    }

    fn keep(&mut self, stack: &Arc<Stack>) -> StackId {
        match self.stack_ids.get(stack) {
            Some(&known) => known,
            None => self.add_stack(Arc::clone(stack)),
        }
    }
}

impl Totals {
    fn add(&mut self, more: &Totals) {
        self.allocated_bytes += more.allocated_bytes;
        self.allocated_count += more.allocated_count;
        self.freed_count += more.freed_count;
        self.freed_by_cleaner += more.freed_by_cleaner;
    }
}

impl Stack {
    fn not_kept() -> Stack {
        Stack {
            frames: vec![Frame::Marker(Marker::NotKept)],
            end: StackEnd::NotKept,
        }
    }

    fn stands_for_others(&self) -> bool {
        matches!(self.end, StackEnd::NotKept | StackEnd::Lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::ThreadId;
    use crate::capture::SiteKind;
    use crate::events::AllocationKey;
    use crate::ledger::{Ended, Freed, Space, Weight};
    use crate::stack::ModuleId;

    const DEPTH: u64 = 8;

    /// A stack like no other, and one that shares a frame with many.
    fn stack(number: u64) -> Stack {
        let frame = |depth| Frame::Native {
            module: ModuleId(0),
            offset: number >> (8 * depth),
        };
        Stack {
            frames: (0..DEPTH).map(frame).collect(),
            end: StackEnd::Root,
        }
    }

    fn key(number: u64) -> AllocationKey {
        AllocationKey {
            address: 16 * number,
            time: number,
        }
    }

    fn ended(number: u64) -> Ended {
        Ended {
            size: number % 1009,
            weight: Weight::ONE,
            by: Freed::ByProgram,
            now: number + 1,
        }
    }

    fn sum(ledger: &Ledger) -> Totals {
        let mut sum = Totals::default();
        ledger.sites.iter().for_each(|(_, totals)| sum.add(totals));
        sum
    }

    /// Millions of stacks, each of which comes once, take no more room than some ten thousand: what they have allocated and
    /// freed is there to the last digit, and what is outstanding has its own stack still.
    #[test]
    fn ever_new_stacks_take_no_more_room() {
        const STACKS: u64 = 2_000_000;
        const KEPT: u64 = 1000;
        let mut ledger = Ledger::default();
        let (mut bytes, mut most) = (0, 0);
        for number in 0..STACKS {
            let site = ledger.site(SiteKind::Malloc, stack(number), None);
            bytes += number % 1009;
            ledger.begin(key(number), number % 1009, site, Weight::ONE);
            if number % (STACKS / KEPT) != 0 {
                ledger.end(key(number), ended(number));
            }
            if ledger.is_full() {
                ledger.fold(std::iter::empty());
            }
            most = most.max(ledger.sites.len());
        }
        assert!(most <= 2 * ROOM / (SITE + DEPTH as usize), "{most} sites");
        assert_eq!(ledger.stacks.len(), ledger.stack_ids.len());
        let sum = sum(&ledger);
        assert_eq!(
            (sum.allocated_bytes, sum.allocated_count, sum.freed_count),
            (bytes as f64, STACKS as f64, (STACKS - KEPT) as f64)
        );
        assert_eq!(ledger.open_count() as u64, KEPT);
        for number in (0..STACKS).step_by((STACKS / KEPT) as usize) {
            let site = ledger.site_of(key(number)).expect("it is outstanding");
            let (site, _) = ledger.sites[site.0 as usize];
            assert_eq!(*ledger.stacks[site.stack.0 as usize], stack(number));
        }
    }

    /// Where even the stacks of what is outstanding are too many, those that hold the least go: the memory is bounded, each
    /// allocation still has a site, and one that many come from keeps its stack.
    #[test]
    fn outstanding_ones_are_bounded_too() {
        const STACKS: u64 = 600_000;
        let mut ledger = Ledger::default();
        let busy = ledger.site(SiteKind::Malloc, stack(u64::MAX), None);
        for number in 0..100 {
            ledger.begin(key(STACKS + number), 7, busy, Weight::ONE);
        }
        for number in 0..STACKS {
            let site = ledger.site(SiteKind::Malloc, stack(number), None);
            match number % 2 {
                0 => ledger.begin(key(number), 97, site, Weight::ONE),
                _ => ledger.begin_spilled(Space::Blocks, key(number), 97, site, Weight::ONE),
            }
            if ledger.is_full() {
                ledger.fold(std::iter::empty());
            }
            assert!(ledger.room.used <= MOST + ROOM, "{:?}", ledger.room);
        }
        let count = |site: SiteId| {
            let open = ledger.open.values().copied();
            let all = open.chain(ledger.spilled.values().map(|spilled| spilled.site));
            all.filter(|&other| other == site).count()
        };
        let busy = ledger.site_of(key(STACKS)).expect("it is outstanding");
        assert_eq!(count(busy), 100);
        let remainder = (0..).zip(&ledger.sites);
        let remainder = remainder.map(|(index, _)| index);
        let remainder = remainder.filter(|&index| ledger.stack(index as usize).stands_for_others());
        let remainder: Vec<SiteId> = remainder.map(SiteId).collect();
        assert_eq!(remainder.len(), 1);
        assert_eq!(count(remainder[0]) as u64, ledger.folded);
        let sum = sum(&ledger);
        assert_eq!(sum.allocated_count, (STACKS + 100) as f64);
        assert_eq!(sum.allocated_bytes, (97 * STACKS + 700) as f64);
    }

    /// Whatever else holds a site keeps it, sites of one stack are told apart by thread and kind as before, and the order
    /// stays.
    #[test]
    fn what_is_held_stays() {
        let mut ledger = Ledger::default();
        let held = ledger.site(SiteKind::Mmap, stack(1), None);
        let gone = ledger.site(SiteKind::Malloc, stack(1), Some(ThreadId(1)));
        let open = ledger.site(SiteKind::Malloc, stack(1), Some(ThreadId(2)));
        ledger.begin(key(1), 97, open, Weight::ONE);
        ledger.add(gone, 101, Weight::ONE);
        // As if the three had filled all the room.
        ledger.room.used = ROOM;
        let moves = ledger.fold([held].into_iter());
        assert_eq!(ledger.folded, 1);
        let key_of = |site: SiteId| ledger.sites[moves.to(site).0 as usize].0;
        assert_eq!(
            (key_of(held).kind, key_of(held).thread),
            (SiteKind::Mmap, None)
        );
        assert_eq!(key_of(open).thread, Some(ThreadId(2)));
        assert_eq!(key_of(open).stack, key_of(held).stack);
        assert_eq!(ledger.site_of(key(1)), Some(moves.to(open)));
        assert_eq!(
            *ledger.stacks[key_of(gone).stack.0 as usize],
            Stack::not_kept()
        );
        assert_eq!(
            ledger.sites[moves.to(gone).0 as usize].1.allocated_bytes,
            101.0
        );
    }
}
