//! Reads the truth from the kernel's maps and the target, and adds it up.

use anyhow::Result;
use tracer_common::outcome::Outcome;

use super::{Trace, mappings};
use crate::clock;
use crate::events::AllocationKey;
use crate::fast_map::FastMap;
use crate::functions::Group;
use crate::probes::Counts;
use crate::readings::Reading;
use crate::snapshot::{self, Live, Snapshot, Sources};

/// Allocations that the books hold open before they are looked at between two snapshots; each takes some 40 bytes.
pub(super) const MANY: usize = 1 << 20;

/// Nanoseconds from when a program has read the clock until its map has the allocation, with room for one that is preempted.
const ON_ITS_WAY: u64 = 1_000_000_000;

/// One moment of a trace, before anything has a name.
pub(super) struct Tally {
    pub snapshot: Snapshot,
    /// The same as one of the readings over time.
    pub reading: Reading,
    pub counts: Vec<Counts>,
    pub in_flight: Vec<u64>,
    /// Nanoseconds of the monotonic clock.
    pub now: u64,
}

impl Trace {
    /// The maps first, the ring after: whatever is in a map has its event in the ring by then.
    pub(super) fn tally(&mut self) -> Result<Tally> {
        let begin = clock::monotonic();
        let live = self.read_live()?;
        self.drain()?;
        let counts = self.probes.counts()?;
        let in_flight = self.probes.in_flight()?;
        self.forget_unheard(&live, begin, &counts);
        let alive = !self.process.ended();
        let mappings = if alive { mappings(&self.process) } else { None };
        let now = clock::monotonic();
        let made_before = self
            .settings
            .view
            .older
            .map_or(u64::MAX, |age| now.saturating_sub(age.as_nanos() as u64));
        let lost_mappings = self.lost(Group::Mmap, &counts) > 0;
        let sources = Sources {
            live: &live,
            points: &self.probes.points,
            mappings: mappings.as_deref(),
            baseline: lost_mappings.then_some(self.start.mappings.as_slice()),
            memory: alive.then_some(&self.memory),
            pages: self.pages.as_ref().filter(|_| alive),
            malloc: self.settings.hooks.malloc,
            made_before,
            now,
        };
        let snapshot = snapshot::take(&mut self.accounts, &sources);
        let reading = self.reading(&live, mappings.as_deref(), &counts);
        Ok(Tally {
            snapshot,
            reading,
            counts,
            in_flight,
            now,
        })
    }

    /// Where ends were lost, looks at what is still there before the books of what is not have grown for long.
    pub(super) fn forget_lost_ends(&mut self) -> Result<()> {
        if self.accounts.ledger.open_count() < self.look_at {
            return Ok(());
        }
        let counts = self.probes.counts()?;
        let begin = clock::monotonic();
        let live = self.read_live()?;
        self.drain()?;
        self.forget_unheard(&live, begin, &counts);
        self.look_at = 2 * self.accounts.ledger.open_count() + MANY;
        Ok(())
    }

    pub(super) fn read_live(&mut self) -> Result<Live> {
        let mut live = Live::default();
        self.probes
            .live_blocks(|address, block| live.blocks.push((address, block)))?;
        self.probes
            .live_streams(|address, stream| live.streams.push((address, stream)))?;
        self.probes
            .live_objects(|name, object| live.objects.push((name, object)))?;
        let capacities = self.probes.capacities();
        self.note_fill("LIVE", live.blocks.len() as u64, capacities.blocks.into());
        self.note_fill(
            "STREAMS",
            live.streams.len() as u64,
            capacities.streams.into(),
        );
        if !live.objects.is_empty() {
            let used = live.objects.len() as u64;
            self.note_fill("OBJECTS", used, capacities.streams.into());
        }
        Ok(live)
    }

    /// Ends that were lost on the way leave allocations in the books that are long gone. The maps were read from `begin` on.
    fn forget_unheard(&mut self, live: &Live, begin: u64, counts: &[Counts]) {
        if counts
            .iter()
            .all(|counts| counts.get(Outcome::LifetimeLost) == 0)
        {
            return;
        }
        let blocks = live.blocks.iter().map(|&(address, block)| AllocationKey {
            address,
            time: block.time,
        });
        let streams = live.streams.iter().map(|&(address, stream)| AllocationKey {
            address,
            time: stream.time,
        });
        let objects = live.objects.iter().map(|&(name, object)| AllocationKey {
            address: name.object,
            time: object.time,
        });
        let outstanding: FastMap<AllocationKey, ()> = blocks
            .chain(streams)
            .chain(objects)
            .map(|key| (key, ()))
            .collect();
        // What was made while the maps were read may not be in them, or was on its way there.
        let settled = begin.saturating_sub(ON_ITS_WAY);
        let is_open = |key: &AllocationKey| key.time > settled || outstanding.contains_key(key);
        self.accounts.ledger.retain(is_open);
        self.accounts.parameters.retain(|key, _| is_open(key));
    }

    /// Calls of a group that could not be recorded.
    pub(super) fn lost(&self, group: Group, counts: &[Counts]) -> u64 {
        let points = self.probes.points.iter().zip(counts);
        points
            .filter(|(point, _)| point.function.group == group)
            .map(|(_, counts)| counts.get(Outcome::Untracked) + counts.get(Outcome::InFlightFull))
            .sum()
    }
}
