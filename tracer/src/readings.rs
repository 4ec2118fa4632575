//! What each site held at some moments of a run: bounded in moments and in sites, however long the run. Pure.
//!
//! Whenever [`MOMENTS`] are kept every second one is forgotten, so that a run of any length has between half of them and
//! all. Beyond [`SITES`] those that never held much are only kept as a sum.

mod course;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::capture::{SiteKind, SiteSeries};
use crate::fast_map::FastMap;
use crate::ledger::{Held, SiteId, SiteKey};

pub use course::{add, add_values, finish};

/// Moments that are kept at most.
pub const MOMENTS: usize = 120;
/// Sites that are kept apart: at 16 bytes for each moment that makes 8 MB at most.
pub const SITES: usize = 4_096;

/// What is read at one moment.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Seconds after the attach.
    pub seconds: f64,
    /// Resident bytes of the target.
    pub rss: u64,
    /// By the number of the site.
    pub held: Vec<Held>,
}

/// Readings so far.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    pub seconds: Vec<f64>,
    pub rss: Vec<u64>,
    lines: FastMap<SiteId, Line>,
    /// What the sites without a line hold, by kind.
    rest: HashMap<SiteKind, Line>,
    /// Sites that hold no more are only summed up.
    lowest: u64,
}

/// Readings of one site, from its first that is not zero on.
#[derive(Clone, Debug, Default)]
struct Line {
    /// Moments before it.
    first: usize,
    bytes: Vec<u64>,
    count: Vec<u64>,
}

impl Readings {
    /// Keeps a reading. Says whether there was no more room, so that every second one was forgotten: time to read half as
    /// often.
    pub fn keep(&mut self, reading: &Reading, sites: &[(SiteKey, impl Sized)]) -> bool {
        let crowded = self.seconds.len() >= MOMENTS;
        if crowded {
            self.halve();
        }
        let at = self.seconds.len();
        self.seconds.push(reading.seconds);
        self.rss.push(reading.rss);
        for (index, (held, (key, _))) in reading.held.iter().zip(sites).enumerate() {
            let (bytes, count) = rounded(held);
            let id = SiteId(index as u32);
            if let Some(line) = self.lines.get_mut(&id) {
                line.push(bytes, count);
            } else if bytes > self.lowest {
                let mut line = Line::from(at);
                line.push(bytes, count);
                self.lines.insert(id, line);
            } else if bytes > 0 {
                self.rest
                    .entry(key.kind)
                    .or_default()
                    .add_at(at, bytes, count);
            }
        }
        if self.lines.len() > SITES {
            self.sum_up_small(sites);
        }
        crowded
    }

    /// The site's readings with the one after them; zero where it held nothing yet. None where it is only part of a sum.
    pub fn of(&self, site: SiteId, last: &Reading) -> Option<SiteSeries> {
        let line = self.lines.get(&site)?;
        let (bytes, count) = last.held.get(site.0 as usize).map_or((0, 0), rounded);
        let mut series = line.filled(self.seconds.len());
        series.bytes.push(bytes);
        series.count.push(count);
        Some(series)
    }

    /// The same for all others together, by kind.
    pub fn rest(
        &self,
        last: &Reading,
        sites: &[(SiteKey, impl Sized)],
    ) -> HashMap<SiteKind, SiteSeries> {
        let mut ends: HashMap<SiteKind, (u64, u64)> = HashMap::new();
        for (index, (held, (key, _))) in last.held.iter().zip(sites).enumerate() {
            let (bytes, count) = rounded(held);
            if bytes > 0 && !self.lines.contains_key(&SiteId(index as u32)) {
                let end = ends.entry(key.kind).or_default();
                *end = (end.0.saturating_add(bytes), end.1.saturating_add(count));
            }
        }
        let mut all: HashMap<SiteKind, SiteSeries> = HashMap::new();
        let nothing = Line::default();
        for kind in self.rest.keys().chain(ends.keys()) {
            let line = self.rest.get(kind).unwrap_or(&nothing);
            let (bytes, count) = ends.get(kind).copied().unwrap_or_default();
            let mut series = line.filled(self.seconds.len());
            series.bytes.push(bytes);
            series.count.push(count);
            all.insert(*kind, series);
        }
        all
    }

    /// Sites have got other numbers, and several may have become one.
    pub fn renumber(&mut self, to: impl Fn(SiteId) -> SiteId) {
        for (id, line) in std::mem::take(&mut self.lines) {
            match self.lines.entry(to(id)) {
                Entry::Vacant(place) => {
                    place.insert(line);
                }
                Entry::Occupied(mut place) => {
                    let mut sum = Line::default();
                    sum.add(place.get());
                    sum.add(&line);
                    // Both have a value at the newest moment, so that the sum has one.
                    place.insert(sum);
                }
            }
        }
    }

    /// Forgets every second moment.
    fn halve(&mut self) {
        keep_even(&mut self.seconds, 0);
        keep_even(&mut self.rss, 0);
        for line in self.lines.values_mut().chain(self.rest.values_mut()) {
            keep_even(&mut line.bytes, line.first);
            keep_even(&mut line.count, line.first);
            line.first = line.first.div_ceil(2);
        }
    }

    /// Keeps the sites with the highest peaks, and some room for new ones.
    fn sum_up_small(&mut self, sites: &[(SiteKey, impl Sized)]) {
        let mut peaks: Vec<(u64, SiteId)> = self
            .lines
            .iter()
            .map(|(id, line)| (line.peak(), *id))
            .collect();
        peaks.sort_unstable();
        let small = peaks.len() - SITES * 3 / 4;
        for (peak, id) in peaks.drain(..small) {
            self.lowest = peak;
            let kind = sites.get(id.0 as usize).map(|(key, _)| key.kind);
            if let (Some(line), Some(kind)) = (self.lines.remove(&id), kind) {
                self.rest.entry(kind).or_default().add(&line);
            }
        }
    }
}

impl Line {
    fn from(first: usize) -> Line {
        Line {
            first,
            ..Line::default()
        }
    }

    fn push(&mut self, bytes: u64, count: u64) {
        self.bytes.push(bytes);
        self.count.push(count);
    }

    fn peak(&self) -> u64 {
        self.bytes.iter().copied().max().unwrap_or(0)
    }

    fn add(&mut self, other: &Line) {
        let moments = (other.first..).zip(other.bytes.iter().zip(&other.count));
        for (at, (bytes, count)) in moments {
            self.add_at(at, *bytes, *count);
        }
    }

    /// Of sums only, which begin at the first moment.
    fn add_at(&mut self, at: usize, bytes: u64, count: u64) {
        for (values, value) in [(&mut self.bytes, bytes), (&mut self.count, count)] {
            if values.len() <= at {
                values.resize(at + 1, 0);
            }
            values[at] = values[at].saturating_add(value);
        }
    }

    /// From the first moment to the last of so many.
    fn filled(&self, moments: usize) -> SiteSeries {
        let fill = |values: &[u64]| {
            let mut all = vec![0; self.first];
            all.extend_from_slice(values);
            all.resize(moments, 0);
            all
        };
        SiteSeries {
            bytes: fill(&self.bytes),
            count: fill(&self.count),
        }
    }
}

/// Keeps the values whose moments have an even number, of a list that begins at moment `first`.
fn keep_even<T>(values: &mut Vec<T>, first: usize) {
    let mut moment = first;
    values.retain(|_| {
        let kept = moment.is_multiple_of(2);
        moment += 1;
        kept
    });
}

/// Sums of weights may end a little off the numbers that they began at.
fn rounded(held: &Held) -> (u64, u64) {
    (held.bytes.round() as u64, held.count.round() as u64)
}

#[cfg(test)]
mod tests;
