//! When a target's memory has come so far that a snapshot is due at once: pure, one reading after the other.

use crate::report::units::{Bytes, Share};

/// After the first level, a snapshot at each high-water mark that is so much of the one before above it …
const STEP: u64 = 50;
/// … but no more than so many in a run.
const MOST_MARKS: u32 = 32;

/// How much memory makes a snapshot due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Of the limit of the target's cgroup, by what all processes in it use beside page cache that can be dropped at once.
    Percent(u8),
    /// Resident bytes of the target.
    Bytes(u64),
}

/// What the target and its cgroup use now, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub rss: u64,
    /// Usage and limit of the cgroup, where it has a limit.
    pub cgroup: Option<(u64, u64)>,
}

/// Levels that were passed, and the highest mark so far.
#[derive(Clone, Debug, Default)]
pub struct Thresholds {
    ahead: Vec<Level>,
    /// None before the first level was passed.
    high: Option<u64>,
    marks: u32,
}

impl Thresholds {
    pub fn new(levels: &[Level]) -> Thresholds {
        Thresholds {
            ahead: levels.to_vec(),
            ..Thresholds::default()
        }
    }

    /// Nothing is to be watched: no level was asked for.
    pub fn is_idle(&self) -> bool {
        self.ahead.is_empty() && (self.high.is_none() || self.marks >= MOST_MARKS)
    }

    /// Why a snapshot is due now, if one is. Each level is passed once; several at once make one snapshot.
    pub fn passed(&mut self, usage: Usage) -> Option<String> {
        let mut reasons = Vec::new();
        self.ahead.retain(|level| match reached(*level, usage) {
            Some(reason) => {
                reasons.push(reason);
                false
            }
            None => true,
        });
        if let Some(reason) = reasons.pop() {
            self.high = Some(self.high.unwrap_or(0).max(usage.rss));
            return Some(reason);
        }
        let high = self.high?;
        let is_mark = usage.rss > high.saturating_add(high / STEP) && self.marks < MOST_MARKS;
        is_mark.then(|| {
            self.high = Some(usage.rss);
            self.marks += 1;
            format!("RSS is at a new high-water mark of {}", Bytes(usage.rss))
        })
    }
}

fn reached(level: Level, usage: Usage) -> Option<String> {
    match level {
        Level::Bytes(bytes) => (usage.rss >= bytes)
            .then(|| format!("RSS has passed {}: {}", Bytes(bytes), Bytes(usage.rss))),
        Level::Percent(percent) => {
            let (used, limit) = usage.cgroup?;
            let is_reached = u128::from(used) * 100 >= u128::from(limit) * u128::from(percent);
            is_reached.then(|| {
                format!(
                    "the cgroup has passed {percent} % of its limit: {} of {} ({})",
                    Bytes(used),
                    Bytes(limit),
                    Share::of(used, limit)
                )
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn rss(mib: u64) -> Usage {
        Usage {
            rss: mib * MIB,
            cgroup: None,
        }
    }

    /// Each level makes one snapshot, in whatever order they were typed, and two at once make one.
    #[test]
    fn levels_once() {
        let levels = [300, 100, 200].map(|mib| Level::Bytes(mib * MIB));
        let mut thresholds = Thresholds::new(&levels);
        assert_eq!(thresholds.passed(rss(99)), None);
        let said = thresholds.passed(rss(100));
        assert_eq!(said.as_deref(), Some("RSS has passed 100 MiB: 100 MiB"));
        assert_eq!(thresholds.passed(rss(101)), None);
        assert_eq!(thresholds.passed(rss(50)), None);
        assert!(thresholds.passed(rss(400)).is_some());
        assert_eq!(thresholds.passed(rss(400)), None);
    }

    /// Percent are of the cgroup's limit, and never reached without one.
    #[test]
    fn percent_of_the_limit() {
        let mut thresholds = Thresholds::new(&[Level::Percent(80)]);
        let usage = |used| Usage {
            rss: MIB,
            cgroup: Some((used, 100 * MIB)),
        };
        assert_eq!(thresholds.passed(rss(1 << 30)), None);
        assert_eq!(thresholds.passed(usage(80 * MIB - 1)), None);
        assert_eq!(
            thresholds.passed(usage(80 * MIB)).as_deref(),
            Some("the cgroup has passed 80 % of its limit: 80 MiB of 100 MiB (80 %)")
        );
    }

    /// Behind the first level each considerable new high is worth a snapshot, up to a number.
    #[test]
    fn high_water_marks_are_bounded() {
        let mut thresholds = Thresholds::new(&[Level::Bytes(100 * MIB)]);
        assert!(thresholds.passed(rss(100)).is_some());
        assert_eq!(thresholds.passed(rss(102)), None);
        let said = thresholds.passed(rss(103));
        assert_eq!(
            said.as_deref(),
            Some("RSS is at a new high-water mark of 103 MiB")
        );
        let marks = (1..1000).filter(|n| thresholds.passed(rss(103 + 20 * n)).is_some());
        assert!((20..32).contains(&marks.count()));
        assert!(thresholds.is_idle() || thresholds.marks < MOST_MARKS);
        assert!(Thresholds::new(&[]).is_idle());
    }
}
