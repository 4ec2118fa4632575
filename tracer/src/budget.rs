//! What tracing may cost the target, and what is given up to stay below that.
//!
//! The cost is the CPU time that traps and BPF programs add to the target's threads. The budget is a percentage of the
//! CPU time that the target uses without them; a target that uses less than one CPU counts as using one, since so much of
//! it is idle. So 5 % is 50 ms a second for a target that uses up to one CPU, and 200 ms for one that keeps four busy.

use std::collections::BTreeMap;

use crate::functions::Group;
use crate::functions::pairs::PairId;

/// Groups in the order in which they are given up: what costs most and tells least comes first.
pub const ORDER: [Group; 5] = [
    Group::Malloc,
    Group::Mmap,
    Group::Pairs,
    Group::Zlib,
    Group::Growth,
];

/// Readings above the budget before something is done: one alone may be a burst that has passed.
const PATIENCE: u32 = 2;
/// A step is taken for this part of the budget, so that it is not followed by the next one.
const AIM: f64 = 0.8;
/// Seconds that a program runs for a call that is not sampled. What is beyond goes away when less is recorded.
const UNSAMPLED: f64 = 150e-9;
/// Beyond this interval a sample says little; calls cost their traps in any case.
const WIDEST: u64 = 64 << 20;
/// The first interval of a run that was exact.
const FIRST: u64 = 32 << 10;

/// Of the target's CPU time, where nothing else is asked for.
pub const DEFAULT_PERCENT: f64 = 5.0;

/// The most that tracing may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    Unlimited,
    /// Percent of the CPU time that the target uses by itself.
    Percent(f64),
}

/// What the probes of one group made the target do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    pub calls: u64,
    /// CPU seconds in traps.
    pub traps: f64,
    /// CPU seconds in programs.
    pub programs: f64,
}

impl Spent {
    pub fn seconds(&self) -> f64 {
        self.traps + self.programs
    }
}

/// What was spent in a span of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// How long it was.
    pub seconds: f64,
    /// CPU seconds of the target, tracing included.
    pub cpu: f64,
    pub spent: BTreeMap<Group, Spent>,
    /// Of [`Group::Pairs`], the calls by preset, which its first pair stands for.
    pub presets: BTreeMap<PairId, u64>,
}

impl Reading {
    /// CPUs that tracing takes.
    pub fn cost(&self) -> f64 {
        self.per_second(self.spent.values().map(Spent::seconds).sum())
    }

    /// CPUs that tracing may take.
    pub fn allowed(&self, percent: f64) -> f64 {
        let own = self.per_second(self.cpu) - self.cost();
        percent / 100.0 * own.max(1.0)
    }

    /// CPUs that the probes of `group` take.
    pub fn cost_of(&self, group: Group) -> f64 {
        self.per_second(self.of(group).seconds())
    }

    pub fn calls_of(&self, group: Group) -> u64 {
        self.of(group).calls
    }

    /// CPUs that the pairs of one preset take: of their group's, the share of the calls.
    pub fn cost_of_preset(&self, first: PairId) -> f64 {
        let calls: u64 = self.presets.values().sum();
        let own = self.presets.get(&first).copied().unwrap_or(0);
        self.cost_of(Group::Pairs) * own as f64 / calls.max(1) as f64
    }

    fn of(&self, group: Group) -> Spent {
        self.spent.get(&group).copied().unwrap_or_default()
    }

    fn per_second(&self, seconds: f64) -> f64 {
        seconds / self.seconds.max(1e-9)
    }

    /// CPUs that tracing would take if `factor` times less of the malloc family were recorded.
    fn with_fewer_records(&self, factor: f64) -> f64 {
        let malloc = self.of(Group::Malloc);
        let least = (malloc.calls as f64 * UNSAMPLED).min(malloc.programs);
        let saved = (malloc.programs - least) * (1.0 - 1.0 / factor);
        self.cost() - self.per_second(saved)
    }
}

/// What is done to stay within the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sample the malloc family at this mean interval in bytes.
    Widen(u64),
    GiveUp(Group),
}

/// The groups of `active` that would break the budget, if what was counted goes on: those that have to go so that the
/// rest is below it. One that breaks it alone goes first, since no other can make room for it.
pub fn too_dear(percent: f64, counted: &Reading, active: &[Group]) -> Vec<Group> {
    let mut left = counted.clone();
    let allowed = counted.allowed(percent);
    let mut dear = Vec::new();
    let groups = || ORDER.into_iter().filter(|group| active.contains(group));
    let alone = groups().filter(|group| counted.cost_of(*group) > allowed);
    let beside = groups().filter(|group| counted.cost_of(*group) <= allowed);
    for group in alone.chain(beside) {
        if left.cost() <= allowed {
            break;
        }
        // One that costs nothing is not what breaks it.
        if left.cost_of(group) > 0.0 {
            left.spent.remove(&group);
            dear.push(group);
        }
    }
    dear
}

/// The presets that have to go where [`Group::Pairs`] is among the groups `given_up`, so that the others are within the
/// budget: those of which most is called. What costs nothing stays.
pub fn dear_presets(percent: f64, counted: &Reading, given_up: &[Group]) -> Vec<PairId> {
    let kept = counted
        .spent
        .keys()
        .filter(|group| !given_up.contains(group));
    let beside: f64 = kept.map(|group| counted.cost_of(*group)).sum();
    let room = counted.allowed(percent) - beside;
    let mut called: Vec<(PairId, u64)> = counted.presets.iter().map(|(&id, &n)| (id, n)).collect();
    called.retain(|(_, calls)| *calls > 0);
    called.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
    let mut left = counted.cost_of(Group::Pairs);
    let mut dear = Vec::new();
    for (preset, _) in called {
        if left <= room {
            break;
        }
        left -= counted.cost_of_preset(preset);
        dear.push(preset);
    }
    dear
}

/// Watches the cost of a run.
#[derive(Clone, Copy, Debug)]
pub struct Governor {
    percent: f64,
    above: u32,
}

impl Governor {
    pub fn new(percent: f64) -> Governor {
        Governor { percent, above: 0 }
    }

    pub fn percent(&self) -> f64 {
        self.percent
    }

    /// What to do after `reading`, where `active` groups are recorded and malloc is sampled at `interval` bytes.
    pub fn judge(&mut self, reading: &Reading, active: &[Group], interval: u64) -> Option<Step> {
        let allowed = reading.allowed(self.percent);
        if reading.cost() <= allowed {
            self.above = 0;
            return None;
        }
        self.above += 1;
        if self.above < PATIENCE {
            return None;
        }
        self.above = 0;
        let widened = active
            .contains(&Group::Malloc)
            .then(|| wide_enough(reading, allowed, interval))
            .flatten();
        widened.map(Step::Widen).or_else(|| {
            let dear = too_dear(self.percent, reading, active);
            dear.first().copied().map(Step::GiveUp)
        })
    }
}

/// The least interval that brings the cost below the budget, if one does.
fn wide_enough(reading: &Reading, allowed: f64, interval: u64) -> Option<u64> {
    let first = if interval == 0 { FIRST / 2 } else { interval };
    (1..)
        .map(|doublings| 1u64 << doublings)
        .map_while(|factor| Some((factor, first.checked_mul(factor)?)))
        .take_while(|&(_, widened)| widened <= WIDEST)
        .find(|&(factor, _)| reading.with_fewer_records(factor as f64) <= AIM * allowed)
        .map(|(_, widened)| widened)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Group; 5] = Group::ALL;
    const INTERVAL: u64 = 512 << 10;

    /// A second in which each group spent so many milliseconds: calls, traps, programs.
    fn reading(cpu: f64, spent: &[(Group, u64, f64, f64)]) -> Reading {
        let spent = spent.iter().map(|&(group, calls, traps, programs)| {
            let (traps, programs) = (traps / 1e3, programs / 1e3);
            let spent = Spent {
                calls,
                traps,
                programs,
            };
            (group, spent)
        });
        Reading {
            seconds: 1.0,
            cpu,
            spent: spent.collect(),
            ..Reading::default()
        }
    }

    fn judge_twice(reading: &Reading, active: &[Group], interval: u64) -> Option<Step> {
        let mut governor = Governor::new(5.0);
        assert_eq!(
            governor.judge(reading, active, interval),
            None,
            "once may be a burst"
        );
        governor.judge(reading, active, interval)
    }

    /// The budget is a share of what the target uses by itself, and of one CPU at least.
    #[test]
    fn the_budget_grows_with_the_target() {
        let spent = [(Group::Malloc, 50_000, 60.0, 40.0)];
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(reading(0.1, &spent).allowed(5.0), 0.05));
        assert!(close(reading(4.1, &spent).allowed(5.0), 0.2));
        assert!(close(reading(4.1, &spent).cost(), 0.1));
    }

    /// Nothing is done below the budget, nor after a single reading above it.
    #[test]
    fn a_burst_is_let_pass() {
        let (above, below) = (
            reading(0.5, &[(Group::Malloc, 100_000, 60.0, 10.0)]),
            reading(0.5, &[(Group::Malloc, 10_000, 6.0, 1.0)]),
        );
        let mut governor = Governor::new(5.0);
        for reading in [&above, &below, &above, &below] {
            assert_eq!(governor.judge(reading, &ALL, INTERVAL), None);
        }
    }

    /// Where recording is what costs, less is recorded, as much less as it takes.
    #[test]
    fn sampling_is_widened_first() {
        let dear = reading(1.0, &[(Group::Malloc, 20_000, 20.0, 100.0)]);
        assert_eq!(
            judge_twice(&dear, &ALL, INTERVAL),
            Some(Step::Widen(8 * INTERVAL))
        );
        assert_eq!(judge_twice(&dear, &ALL, 0), Some(Step::Widen(4 * FIRST)));
    }

    /// Where the traps alone break the budget, no interval helps, and malloc goes before mmap, mmap before pairs, and these
    /// before zlib.
    #[test]
    fn groups_are_given_up_in_order() {
        let all = [
            (Group::Malloc, 500_000, 300.0, 75.0),
            (Group::Mmap, 100_000, 100.0, 20.0),
            (Group::Pairs, 100_000, 100.0, 20.0),
            (Group::Zlib, 100_000, 100.0, 20.0),
        ];
        for left in 1..=4 {
            let reading = reading(1.0, &all[4 - left..]);
            let first = all[4 - left].0;
            let active: Vec<Group> = all[4 - left..].iter().map(|spent| spent.0).collect();
            assert_eq!(
                judge_twice(&reading, &active, INTERVAL),
                Some(Step::GiveUp(first))
            );
        }
    }

    /// A group that costs nothing is kept, whatever its place in the order.
    #[test]
    fn the_culprit_is_given_up() {
        let reading = reading(1.0, &[(Group::Mmap, 200_000, 100.0, 20.0)]);
        assert_eq!(
            judge_twice(&reading, &ALL, INTERVAL),
            Some(Step::GiveUp(Group::Mmap))
        );
        assert_eq!(too_dear(5.0, &reading, &ALL), [Group::Mmap]);
    }

    /// A group that is above the budget by itself goes before others that are not, which have room then.
    #[test]
    fn what_breaks_it_alone_goes_first() {
        let counted = reading(
            1.0,
            &[
                (Group::Malloc, 10_000, 10.0, 5.0),
                (Group::Pairs, 100_000, 100.0, 20.0),
            ],
        );
        assert_eq!(too_dear(5.0, &counted, &ALL), [Group::Pairs]);
    }

    /// Of pairs, the preset that is called most goes, and the others stay; all go where nothing else makes room.
    #[test]
    fn the_dearest_preset_goes() {
        let mut counted = reading(
            1.0,
            &[
                (Group::Mmap, 1_000, 10.0, 0.0),
                (Group::Pairs, 100_000, 100.0, 0.0),
            ],
        );
        let presets = [
            (PairId(1), 10_000),
            (PairId(6), 70_000),
            (PairId(9), 20_000),
        ];
        counted.presets = presets.into_iter().chain([(PairId(4), 0)]).collect();
        let dear = |percent, given_up: &[Group]| dear_presets(percent, &counted, given_up);
        assert_eq!(dear(5.0, &[Group::Pairs]), [PairId(6)]);
        let (pairs, both) = ([Group::Pairs], [Group::Mmap, Group::Pairs]);
        assert_eq!(dear(3.0, &pairs), [PairId(6), PairId(9)]);
        assert_eq!(dear(3.0, &both), [PairId(6)], "the other made room");
        assert_eq!(dear(0.5, &pairs), [PairId(6), PairId(9), PairId(1)]);
    }

    /// The preflight leaves off no more than it takes.
    #[test]
    fn what_fits_is_kept() {
        let counted = reading(
            1.0,
            &[
                (Group::Malloc, 500_000, 300.0, 0.0),
                (Group::Mmap, 10_000, 10.0, 0.0),
                (Group::Zlib, 10_000, 10.0, 0.0),
            ],
        );
        assert_eq!(too_dear(5.0, &counted, &ALL), [Group::Malloc]);
        assert_eq!(too_dear(50.0, &counted, &ALL), []);
        let all = [Group::Malloc, Group::Mmap, Group::Zlib];
        assert_eq!(too_dear(0.5, &counted, &ALL), all);
    }
}
