//! Bounds what the accounts keep, however long a run lasts.

use std::collections::HashMap;

use super::{Accounts, Orphan};
use crate::fast_map::FastMap;
use crate::ledger::{Moves, SiteId};
use crate::streams::{self, Held};
use crate::unwind::memory::Memory;

/// Streams that were forgotten and are remembered one by one. Full: the older half is kept as sums.
const MAX_ORPHANS: usize = 1 << 16;

/// Streams that were forgotten, as a sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forgotten {
    pub count: u64,
    pub bytes: u64,
    pub blocks: u64,
    pub estimated: bool,
    /// Nanoseconds of the monotonic clock.
    pub oldest: u64,
    pub newest: u64,
}

/// Streams that were set up again without having been ended.
#[derive(Debug, Default)]
pub struct Orphans {
    /// The younger ones, in the order in which they were found.
    pub each: Vec<Orphan>,
    pub older: FastMap<SiteId, Forgotten>,
}

impl Orphans {
    pub fn push(&mut self, orphan: Orphan) {
        if self.each.len() >= MAX_ORPHANS {
            for old in self.each.drain(..MAX_ORPHANS / 2) {
                self.older.entry(old.site).or_default().add(&old.into());
            }
        }
        self.each.push(orphan);
    }

    /// An object of a pair: all of a site are kept as a sum.
    pub fn add_object(&mut self, site: SiteId, time: u64) {
        let one = Forgotten {
            count: 1,
            oldest: time,
            newest: time,
            ..Forgotten::default()
        };
        self.older.entry(site).or_default().add(&one);
    }

    fn sites(&self) -> impl Iterator<Item = SiteId> + '_ {
        let each = self.each.iter().map(|orphan| orphan.site);
        each.chain(self.older.keys().copied())
    }

    fn follow(&mut self, moves: &Moves) {
        for orphan in &mut self.each {
            orphan.site = moves.to(orphan.site);
        }
        for (site, sum) in std::mem::take(&mut self.older) {
            self.older.entry(moves.to(site)).or_default().add(&sum);
        }
    }
}

impl From<Orphan> for Forgotten {
    fn from(orphan: Orphan) -> Forgotten {
        let p = orphan.parameters;
        let Held {
            bytes,
            blocks,
            estimated,
        } = streams::computed(p.direction, p.window_bits, p.mem_level);
        Forgotten {
            count: 1,
            bytes,
            blocks,
            estimated,
            oldest: orphan.time,
            newest: orphan.time,
        }
    }
}

impl Forgotten {
    fn add(&mut self, more: &Forgotten) {
        self.oldest = match self.count {
            0 => more.oldest,
            _ => self.oldest.min(more.oldest),
        };
        self.newest = self.newest.max(more.newest);
        self.count += more.count;
        self.bytes += more.bytes;
        self.blocks += more.blocks;
        self.estimated |= more.estimated;
    }
}

impl<M: Memory> Accounts<M> {
    /// Makes room in the ledger, where it is full. Who remembers a site has to look up where it went.
    pub fn make_room(&mut self) -> Option<Moves> {
        if !self.ledger.is_full() {
            return None;
        }
        let regions = self.regions.iter().map(|region| region.origin.site);
        let pages = self.pages.values().map(|page| page.site);
        let held = regions.chain(pages).chain(self.orphans.sites());
        let moves = self.ledger.fold(held);
        for origin in self.regions.origins_mut() {
            origin.site = moves.to(origin.site);
        }
        for page in self.pages.values_mut() {
            page.site = moves.to(page.site);
        }
        self.orphans.follow(&moves);
        let mut mapped: HashMap<_, u64> = HashMap::with_capacity(self.mapped_bytes.len());
        for ((site, time), bytes) in self.mapped_bytes.drain() {
            *mapped.entry((moves.to(site), time)).or_default() += bytes;
        }
        self.mapped_bytes = mapped;
        Some(moves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Parameters;
    use crate::functions::Direction;

    /// Forgotten streams beyond the bound are kept as sums by site: none is missing, and the younger ones keep their times.
    #[test]
    fn forgotten_streams_are_bounded() {
        let parameters = Parameters {
            direction: Direction::Deflate,
            window_bits: 15,
            mem_level: 8,
        };
        let mut orphans = Orphans::default();
        let count = 5 * MAX_ORPHANS as u64 / 2;
        for time in 0..count {
            let site = SiteId((time % 3) as u32);
            orphans.push(Orphan {
                time,
                site,
                parameters,
            });
        }
        assert!(orphans.each.len() <= MAX_ORPHANS);
        let one = streams::computed(Direction::Deflate, 15, 8);
        let older: Forgotten =
            orphans
                .older
                .values()
                .fold(Forgotten::default(), |mut sum, more| {
                    sum.add(more);
                    sum
                });
        assert_eq!(older.count + orphans.each.len() as u64, count);
        assert_eq!(older.bytes, older.count * one.bytes);
        assert_eq!((older.oldest, older.newest + 1), (0, orphans.each[0].time));
    }
}
