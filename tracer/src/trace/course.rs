//! Readings over time of a running trace, at a bounded cost.

use std::time::{Duration, Instant};

use anyhow::Result;
use tracer_common::outcome::Outcome;

use super::{Trace, mappings};
use crate::clock;
use crate::functions::Group;
use crate::probes::Counts;
use crate::readings::{Reading, Readings};
use crate::snapshot::{self, Live, Mapped, Sources};

/// Time between the first readings: the shortest of captures has some.
const FIRST_STRIDE: Duration = Duration::from_millis(125);
/// After a reading there is none for so many times as long as it took: 1 % of one CPU at most.
const REST: u32 = 100;

/// What was read so far, and when to go on.
pub(super) struct Course {
    pub readings: Readings,
    stride: Duration,
    due: Instant,
}

impl Default for Course {
    fn default() -> Self {
        Course {
            readings: Readings::default(),
            stride: FIRST_STRIDE,
            due: Instant::now(),
        }
    }
}

impl Trace {
    /// The first reading: nothing is known yet.
    pub(super) fn read_nothing(&mut self) {
        let reading = Reading {
            rss: self.start.rss,
            ..Reading::default()
        };
        let sites = &self.accounts.ledger.sites;
        self.course.readings.keep(&reading, sites);
        self.course.due = Instant::now() + self.course.stride;
    }

    /// When [`Trace::read`] is to be called next.
    pub fn reading_due(&self) -> Instant {
        self.course.due
    }

    /// Keeps what each site holds now.
    pub fn read(&mut self) -> Result<()> {
        let begun = Instant::now();
        if !self.process.ended() {
            let counts = self.probes.counts()?;
            // The maps first, the ring after.
            let live = match heard_all(&counts) {
                true => Live::default(),
                false => self.read_live()?,
            };
            self.drain()?;
            let mappings = mappings(&self.process);
            let reading = self.reading(&live, mappings.as_deref(), &counts);
            let sites = &self.accounts.ledger.sites;
            if self.course.readings.keep(&reading, sites) {
                self.course.stride *= 2;
            }
        }
        self.course.due = Instant::now() + self.course.stride.max(begun.elapsed() * REST);
        Ok(())
    }

    /// What each site holds: by the events where all were heard, else by `live`.
    pub(super) fn reading(
        &mut self,
        live: &Live,
        mappings: Option<&[Mapped]>,
        counts: &[Counts],
    ) -> Reading {
        if let Ok(rss) = self.process.rss() {
            self.rss = rss;
        }
        let lost_mappings = self.lost(Group::Mmap, counts) > 0;
        let sources = Sources {
            live,
            points: &self.probes.points,
            mappings,
            baseline: lost_mappings.then_some(self.start.mappings.as_slice()),
            memory: None::<&crate::unwind::memory::ProcessMemory>,
            pages: self.pages.as_ref().filter(|_| mappings.is_some()),
            malloc: self.settings.hooks.malloc,
            made_before: u64::MAX,
            now: clock::monotonic(),
        };
        let held = snapshot::held(&mut self.accounts, &sources, heard_all(counts));
        Reading {
            seconds: (self.seconds() * 1000.0).round() / 1000.0,
            rss: self.rss,
            held,
        }
    }
}

/// No event was lost so far, so that the ledger's sums are those of the kernel's maps.
fn heard_all(counts: &[Counts]) -> bool {
    const LOST: [Outcome; 3] = [
        Outcome::StackLost,
        Outcome::LifetimeLost,
        Outcome::Untracked,
    ];
    let mut counts = counts.iter();
    !counts.any(|counts| LOST.iter().any(|lost| counts.get(*lost) > 0))
}
