//! Keeps the cost of a running trace within its budget, and the record of what was done for that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Trace;
use crate::budget::{self, Budget, Governor, Reading, Spent, Step};
use crate::capture::{self, TrapCost};
use crate::functions::Group;
use crate::functions::pairs::PairId;
use crate::probes::{Counts, LinkKind, Point};
use crate::report::units::{Bytes, Count};
use crate::target::CpuClock;

/// What may be called so often that it is only counted at first.
const HELD_BACK: [Group; 2] = [Group::Malloc, Group::Pairs];
/// How long calls are only counted before some are recorded.
const PREFLIGHT: Duration = Duration::from_millis(50);
/// Time between two looks at the ring before the event loop runs.
const STEP: Duration = Duration::from_millis(3);
/// The least time that a cost is measured over.
const SHORTEST: Duration = Duration::from_millis(100);
/// For the calibration, which runs beside the attach: it is waited for only where there is a budget to be kept.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the trace has cost, and who sees to it.
pub(super) struct Keeper {
    governor: Option<Governor>,
    clock: Option<CpuClock>,
    last: Sample,
    /// Groups that are recorded, with the seconds since the attach at which that began.
    watched: Vec<capture::Watched>,
    /// Presets that were given up, by their first pair.
    presets_off: BTreeSet<PairId>,
    steps: Vec<capture::BudgetStep>,
    program_seconds: f64,
    peak: f64,
    news: Vec<String>,
}

/// The clocks and counters at one moment.
struct Sample {
    taken: Instant,
    cpu: Option<Duration>,
    counts: Vec<Counts>,
    run_time: BTreeMap<Group, f64>,
}

impl Sample {
    fn at_start() -> Sample {
        Sample {
            taken: Instant::now(),
            cpu: None,
            counts: Vec::new(),
            run_time: BTreeMap::new(),
        }
    }
}

impl Keeper {
    pub fn new(budget: Budget, clock: Option<CpuClock>, hooked: &[Group]) -> Keeper {
        let watched = hooked.iter().map(|group| capture::Watched {
            group: group.as_str().to_owned(),
            from_seconds: 0.0,
            until_seconds: None,
        });
        Keeper {
            governor: match budget {
                Budget::Unlimited => None,
                Budget::Percent(percent) => Some(Governor::new(percent)),
            },
            clock,
            last: Sample::at_start(),
            watched: watched.collect(),
            presets_off: BTreeSet::new(),
            steps: Vec::new(),
            program_seconds: 0.0,
            peak: 0.0,
            news: Vec::new(),
        }
    }

    /// Groups that are recorded.
    pub fn active(&self) -> Vec<Group> {
        let is_on = |group: &Group| {
            self.watched
                .iter()
                .any(|watched| watched.group == group.as_str() && watched.until_seconds.is_none())
        };
        Group::ALL.into_iter().filter(is_on).collect()
    }

    /// From now on the group is recorded.
    pub fn begin(&mut self, group: Group, now: f64) {
        self.watched.push(capture::Watched {
            group: group.as_str().to_owned(),
            from_seconds: now,
            until_seconds: None,
        });
    }

    /// Whether the pairs of the preset whose first one this is are not recorded any more.
    pub fn is_off(&self, preset: PairId) -> bool {
        self.presets_off.contains(&preset)
    }

    /// These were only counted before `now`.
    fn held_back_until(&mut self, now: f64) {
        for watched in &mut self.watched {
            if HELD_BACK
                .iter()
                .any(|group| watched.group == group.as_str())
            {
                watched.from_seconds = watched.until_seconds.unwrap_or(now);
            }
        }
    }

    /// For stderr.
    pub fn tell(&mut self, line: String) {
        self.news.push(line);
    }

    /// For the report.
    pub fn budget(&self) -> capture::Budget {
        capture::Budget {
            percent: self.governor.map(|governor| governor.percent()),
            peak_percent: self.peak,
            program_seconds: self.program_seconds,
            watched: self.watched.clone(),
            steps: self.steps.clone(),
        }
    }
}

impl Trace {
    /// Where there is a budget, malloc and pairs are only counted at first; the others cost little and are recorded at once.
    pub(super) fn hold_back(&mut self) -> Result<()> {
        match self.keeper.governor {
            Some(_) => {
                let mut groups = self.keeper.active();
                groups.retain(|group| !HELD_BACK.contains(group));
                self.probes.record(&groups)
            }
            None => Ok(()),
        }
    }

    /// Counts calls for a moment, projects what it would cost to record them, and leaves off what would break the budget.
    pub(super) fn preflight(&mut self) -> Result<()> {
        let Some(governor) = self.keeper.governor else {
            return Ok(());
        };
        self.drain_for(PATIENCE, |trace| {
            trace.measure_traps(Duration::ZERO);
            trace.cost.trap.is_some()
        })?;
        self.read_cost()?;
        self.drain_for(PREFLIGHT, |_| false)?;
        let counted = self.read_cost()?;
        let active = self.keeper.active();
        self.keeper
            .news
            .push(projection(&counted, governor.percent(), &active));
        let dear = budget::too_dear(governor.percent(), &counted, &active);
        let allowed = counted.allowed(governor.percent());
        let why = |calls, cost: f64| {
            format!(
                "is left off: {} calls/s would cost ~{:.1} % of a CPU, the budget is {:.1} %; --max-overhead none forces it",
                Count(per_second(calls, &counted)),
                cost * 100.0,
                allowed * 100.0
            )
        };
        // First: where growth stands in for malloc, the pairs that are left begin to be recorded.
        if dear.contains(&Group::Pairs) {
            for preset in budget::dear_presets(governor.percent(), &counted, &dear) {
                let calls = counted.presets.get(&preset).copied().unwrap_or(0);
                self.give_up_preset(preset, &why(calls, counted.cost_of_preset(preset)))?;
            }
        }
        for &group in dear.iter().filter(|group| **group != Group::Pairs) {
            let why = why(counted.calls_of(group), counted.cost_of(group));
            self.give_up(group, format!("{group} {why}"))?;
        }
        self.probes.record(&self.keeper.active())?;
        let now = self.seconds();
        self.keeper.held_back_until(now);
        Ok(())
    }

    /// Keeps the books for so long, or until `done` says so.
    fn drain_for(&mut self, time: Duration, done: impl Fn(&mut Trace) -> bool) -> Result<()> {
        let until = Instant::now() + time;
        while !done(self) && Instant::now() < until {
            std::thread::sleep(STEP);
            self.drain()?;
        }
        Ok(())
    }

    /// To be called a few times a second: does what the budget asks for.
    pub fn govern(&mut self) -> Result<()> {
        self.measure_traps(Duration::ZERO);
        // Of a moment nothing can be said: one call in it would be a storm.
        if self.keeper.last.taken.elapsed() < SHORTEST {
            return Ok(());
        }
        let reading = self.read_cost()?;
        let Some(mut governor) = self.keeper.governor else {
            return Ok(());
        };
        let percent = governor.percent();
        self.keeper.peak = self
            .keeper
            .peak
            .max(reading.cost() / reading.allowed(percent) * percent);
        let interval = self.accounts.rules.intervals.last();
        let step = governor.judge(&reading, &self.keeper.active(), interval);
        self.keeper.governor = Some(governor);
        let why = format!(
            "tracing cost {:.1} % of a CPU, the budget is {:.1} %",
            reading.cost() * 100.0,
            reading.allowed(percent) * 100.0
        );
        match step {
            None => Ok(()),
            Some(Step::Widen(wider)) => self.widen(wider, &why),
            Some(Step::GiveUp(Group::Pairs)) => {
                for preset in budget::dear_presets(percent, &reading, &[Group::Pairs]) {
                    self.give_up_preset(preset, &format!("is given up: {why}"))?;
                }
                Ok(())
            }
            Some(Step::GiveUp(group)) => self.give_up(group, format!("{group} is given up: {why}")),
        }
    }

    fn widen(&mut self, interval: u64, why: &str) -> Result<()> {
        let level = self.accounts.rules.intervals.push(interval);
        self.probes.sample(interval, level)?;
        self.note_step(format!(
            "malloc is sampled every {} now: {why}",
            Bytes(interval)
        ));
        Ok(())
    }

    fn give_up(&mut self, group: Group, what: String) -> Result<()> {
        self.probes.give_up(group)?;
        let now = self.seconds();
        for watched in &mut self.keeper.watched {
            if watched.group == group.as_str() {
                watched.until_seconds = Some(now);
            }
        }
        self.note_step(what);
        match group {
            Group::Malloc => self.fall_back_to_growth(),
            Group::Zlib | Group::Mmap | Group::Pairs | Group::Growth => Ok(()),
        }
    }

    /// Gives up the pairs of one preset, whose first one is named; the other pairs go on.
    fn give_up_preset(&mut self, first: PairId, why: &str) -> Result<()> {
        // Its links take a while to close, and its calls are counted meanwhile.
        if !self.keeper.presets_off.insert(first) {
            return Ok(());
        }
        let pairs = &self.settings.pairs;
        let title = pairs.get(first).map(|pair| pair.title());
        self.probes.give_up_preset(first, &pairs.of_preset(first))?;
        let (title, now) = (title.unwrap_or_default(), self.seconds());
        // What was held back until now was not recorded at all.
        let of_group = |watched: &&capture::Watched| watched.group == Group::Pairs.as_str();
        let from = self.keeper.watched.iter().find(of_group);
        let from_seconds = match self.start.all_probes_ms {
            0.0 => now,
            _ => from.map_or(0.0, |watched| watched.from_seconds),
        };
        self.keeper.watched.push(capture::Watched {
            group: title.clone(),
            from_seconds,
            until_seconds: Some(now),
        });
        self.note_step(format!("{title} {why}"));
        Ok(())
    }

    fn note_step(&mut self, what: String) {
        self.keeper.news.push(what.clone());
        let at_seconds = self.seconds();
        self.keeper
            .steps
            .push(capture::BudgetStep { at_seconds, what });
    }

    /// What there is to tell since it was last asked: the projection, and steps as they are taken.
    pub fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.keeper.news)
    }

    /// Seconds since the first probes were live.
    pub(super) fn seconds(&self) -> f64 {
        (self.start.instant.elapsed().as_secs_f64() - self.start.first_probe_ms / 1000.0).max(0.0)
    }

    pub(super) fn measure_traps(&mut self, patience: Duration) {
        if self.cost.trap.is_some() {
            return;
        }
        let measured = self
            .cost
            .calibration
            .as_ref()
            .and_then(|running| running.wait(patience));
        match measured {
            Some(Ok(cost)) => self.cost.trap = Some(cost),
            // It comes once.
            Some(Err(error)) => self.notes.push(format!(
                "what a trap costs could not be measured, so that the budget counts BPF programs alone: {error:#}"
            )),
            None => {}
        }
    }

    /// What was spent since it was last asked.
    fn read_cost(&mut self) -> Result<Reading> {
        let now = Sample {
            taken: Instant::now(),
            cpu: self.keeper.clock.and_then(|clock| clock.now()),
            counts: self.probes.counts()?,
            run_time: self.probes.run_time(),
        };
        let before = std::mem::replace(&mut self.keeper.last, now);
        let now = &self.keeper.last;
        let links = self.probes.link_kind();
        let mut spent: BTreeMap<Group, Spent> = BTreeMap::new();
        let mut presets: BTreeMap<PairId, u64> = BTreeMap::new();
        for (index, (point, counts)) in self.probes.points.iter().zip(&now.counts).enumerate() {
            let before = before.counts.get(index).copied().unwrap_or_default();
            let of_group = spent.entry(point.function.group).or_default();
            let calls = add_traps(of_group, point, counts, &before, links, self.cost.trap);
            if let Some(of) = point.function.pair {
                *presets.entry(of.preset).or_default() += calls;
            }
        }
        for (group, seconds) in &now.run_time {
            let before = before.run_time.get(group).copied().unwrap_or(*seconds);
            spent.entry(*group).or_default().programs += (seconds - before).max(0.0);
        }
        let cpu = now
            .cpu
            .zip(before.cpu)
            .map(|(now, before)| now.saturating_sub(before));
        let reading = Reading {
            seconds: now.taken.duration_since(before.taken).as_secs_f64(),
            cpu: cpu.unwrap_or_default().as_secs_f64(),
            spent,
            presets,
        };
        let programs = reading.spent.values().map(|spent| spent.programs);
        self.keeper.program_seconds += programs.sum::<f64>();
        Ok(reading)
    }
}

/// Gives the calls.
fn add_traps(
    spent: &mut Spent,
    point: &Point,
    now: &Counts,
    before: &Counts,
    links: LinkKind,
    trap: Option<TrapCost>,
) -> u64 {
    let (now, before) = (point.traps(now, links), point.traps(before, links));
    let (entries, returns) = (
        now.entries.saturating_sub(before.entries),
        now.returns.saturating_sub(before.returns),
    );
    let trap = trap.unwrap_or_default();
    let entry = if point.placement.emulated {
        trap.emulated
    } else {
        trap.single_step
    };
    spent.calls += entries;
    spent.traps += (entries as f64 * entry + returns as f64 * trap.at_return) / 1e9;
    entries
}

fn projection(counted: &Reading, percent: f64, active: &[Group]) -> String {
    let rates: Vec<String> = active
        .iter()
        .map(|&group| {
            let calls = per_second(counted.calls_of(group), counted);
            format!("{} {group}", Count(calls))
        })
        .collect();
    format!(
        "preflight: {} calls/s would cost ~{:.1} % of a CPU; the budget is {:.1} %",
        rates.join(", "),
        counted.cost() * 100.0,
        counted.allowed(percent) * 100.0
    )
}

fn per_second(calls: u64, reading: &Reading) -> u64 {
    (calls as f64 / reading.seconds.max(1e-9)) as u64
}
