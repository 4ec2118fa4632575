//! From a process to live probes.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use tracer_common::config::{Config, MAX_POINTS};

use super::govern::Keeper;
use super::kill::Group as MemoryGroup;
use super::owners::{Looks, look_meanwhile};
use super::tally::MANY;
use super::{Cost, Start, Trace, mappings, open_memory};
use crate::exit::TargetEnded;
use crate::functions::Group;
use crate::functions::pairs::{Pairs, Wanted};
use crate::functions::resolve::resolve_with;
use crate::probes::{self, Calibration, Capacities, Point, Probes, Setup, Work};
use crate::settings::{Settings, Verbosity};
use crate::stack::ModuleId;
use crate::symbolize::NativeNames;
use crate::target::CpuClock;
use crate::target::modules::{Module, ModuleTable};
use crate::target::process::Process;
use crate::target::root;

/// Streams that can be open at once. When the map is full, userspace keeps the rest.
const STREAMS: u32 = 1 << 18;
/// Threads that can be inside a hooked call at once. When the map is full, the call is counted as lost.
const THREADS: u32 = 1 << 15;
/// Attach points; a JVM with a dozen JNI libraries that carry a zlib each needs some two hundred.
const POINTS: u32 = MAX_POINTS;
/// The page size that the programs copy stacks by.
const PAGE: u32 = tracer_common::config::PAGE as u32;

impl Start {
    fn of(process: &Process, begin: Instant) -> Start {
        Start {
            time: Timestamp::now(),
            instant: begin,
            rss: process.rss().unwrap_or(0),
            mappings: mappings(process).unwrap_or_default(),
            first_probe_ms: 0.0,
            all_probes_ms: 0.0,
        }
    }
}

impl Trace {
    /// Attaches to `process`.
    ///
    /// # Errors
    /// [`TargetEnded`] when it ended meanwhile, or why the kernel would not take the probes.
    pub fn attach(process: Process, settings: &Settings, begin: Instant) -> Result<Trace> {
        let pid = process.pid.0;
        let ended = |error: anyhow::Error| match process.ended() {
            true => TargetEnded::before_first_probe(process.pid).into(),
            false => error,
        };
        let mut modules = ModuleTable::default();
        modules.refresh(pid).map_err(|error| match error.kind() {
            // It has given its memory back, and is not quite gone yet.
            ErrorKind::NotFound => TargetEnded::before_first_probe(process.pid).into(),
            _ => ended(error.into()),
        })?;
        let accounts = Trace::new_accounts(&process, settings).map_err(ended)?;
        let memory = open_memory(&process).map_err(ended)?;
        let setup = Setup {
            capacities: capacities(settings),
            verbosity: verbosity(settings),
            links: None,
            sample_interval: settings.sampling.bytes(),
            work: Work::Trace,
        };
        let load = || Probes::load(pid, config(pid, settings), setup);
        let (look, probes) = look_meanwhile(&process, load);
        let probes = probes?;
        let start = Start::of(&process, begin);
        let mut trace = Trace {
            rss: start.rss,
            group: MemoryGroup::of(&process),
            looks: Looks {
                start: look,
                end: None,
            },
            start,
            modules,
            accounts,
            memory,
            names: NativeNames::of(root::of(process.directory()).ok()),
            settings: settings.clone(),
            inner_tids: HashMap::new(),
            anchors: Default::default(),
            threads: Default::default(),
            ends: Default::default(),
            high_water: Default::default(),
            look_at: MANY,
            outstanding_before: Vec::new(),
            course: Default::default(),
            pages: None,
            cost: Cost {
                calibration: Calibration::begin(probes.link_kind()).ok(),
                ..Cost::default()
            },
            keeper: Keeper::new(
                settings.budget,
                CpuClock::of(process.pid),
                &settings.hooks.groups(),
            ),
            trampoline: None,
            refreshed: begin,
            refreshed_at: 0,
            extra_refreshes: 0,
            seen_mapped: HashMap::new(),
            notes: Vec::new(),
            probes,
            process,
        };
        trace.hook_first()?;
        Ok(trace)
    }

    /// Hooks everything that is mapped now.
    fn hook_first(&mut self) -> Result<()> {
        self.hold_back()?;
        let all: Vec<ModuleId> = self
            .modules
            .modules
            .iter()
            .map(|module| module.id)
            .collect();
        let hooked = self.keeper.active();
        // Stacks come as soon as the first probe is live, and those that are walked late may meet code that is not theirs.
        self.accounts.unwinder.modules_changed(&self.modules);
        self.tell_anchors();
        self.find_cleaners();
        for module in self.smallest_first(&all) {
            self.hook(&[module], &hooked);
            self.drain()?;
        }
        if hooked.contains(&Group::Growth) {
            self.watch_faults();
        }
        if self.live_points() == 0 {
            self.explain_nothing_live()?;
        }
        self.preflight()?;
        self.start.all_probes_ms = milliseconds(self.start.instant);
        self.tell_missing_pairs();
        self.read_nothing();
        // What takes time and can wait.
        for module in all {
            self.names.freeze(&[module], &self.modules);
            self.drain()?;
        }
        Ok(())
    }

    /// Nothing is hooked: an error, unless there was nothing to hook yet.
    fn explain_nothing_live(&mut self) -> Result<()> {
        if self.process.ended() {
            return Err(TargetEnded::before_first_probe(self.process.pid).into());
        }
        let mut errors = self
            .probes
            .points
            .iter()
            .filter_map(|point| point.error.as_ref());
        if let Some(error) = errors.next() {
            return Err(anyhow!("no probe could be attached: {error}"));
        }
        let what = self.settings.hooks.names().join(", ");
        self.notes.push(format!(
            "no function of {what} was found in any file that the target had mapped at the attach"
        ));
        Ok(())
    }

    /// Hooks what was mapped later, and says since when.
    pub(super) fn hook_later(&mut self, new: &[ModuleId]) {
        let before = self.probes.points.len();
        let active = self.keeper.active();
        self.hook(new, &active);
        let after = self.start.instant.elapsed().as_secs_f64() - self.start.all_probes_ms / 1000.0;
        let mut files: HashMap<ModuleId, usize> = HashMap::new();
        for point in &mut self.probes.points[before..] {
            point.attached_after = after;
            *files.entry(point.module).or_default() += 1;
        }
        for (module, count) in files {
            let path = self
                .modules
                .get(module)
                .map(|module| module.path.display().to_string())
                .unwrap_or_default();
            self.notes.push(format!(
                "{path} was mapped after the attach: its {count} functions are hooked since second {after:.1}, \
                 calls in the half second before may have been missed"
            ));
        }
    }

    /// The biggest, libjvm, has no function of the table in most cases.
    fn smallest_first(&self, modules: &[ModuleId]) -> Vec<ModuleId> {
        let size = |id: &ModuleId| {
            let ranges = self.modules.get(*id).map(|module| &module.ranges);
            let ranges = ranges.into_iter().flatten();
            ranges.map(|range| range.end - range.start).sum::<u64>()
        };
        let mut modules = modules.to_vec();
        modules.sort_by_key(size);
        modules
    }

    pub(super) fn hook(&mut self, modules: &[ModuleId], groups: &[Group]) {
        for module in self.smallest_first(modules) {
            let Some(module) = self.modules.get(module) else {
                continue;
            };
            let mut points = points_of(module, groups, &self.settings.pairs);
            points.retain(|point| !self.is_given_up(point));
            if points.is_empty() {
                continue;
            }
            // Mangled names are left to the symbolizer, which demangles them.
            for point in points
                .iter()
                .filter(|point| !point.symbol.starts_with("_Z"))
            {
                self.names.call(module.id, point.entry, &point.symbol);
            }
            self.probes.attach(points, &own_path(module));
            if self.start.first_probe_ms == 0.0
                && self.probes.points.iter().any(|point| point.error.is_none())
            {
                self.start.first_probe_ms = milliseconds(self.start.instant);
                self.start.time = Timestamp::now();
            }
        }
    }

    /// Whether the point belongs to a preset that would cost too much.
    fn is_given_up(&self, point: &Point) -> bool {
        let pair = point.function.pair;
        pair.is_some_and(|of| self.keeper.is_off(of.preset))
    }

    /// Attach points that have their probe.
    pub fn live_points(&self) -> usize {
        self.probes
            .points
            .iter()
            .filter(|point| point.error.is_none())
            .count()
    }

    /// How many functions have no probe, and why the first of them has none.
    fn refused(&self) -> Option<String> {
        let errors = self
            .probes
            .points
            .iter()
            .filter_map(|point| point.error.as_ref());
        let reason = errors.clone().next()?.lines().next().unwrap_or_default();
        Some(format!("; {} have no probe: {reason}", errors.count()))
    }

    /// The line that scripts wait for.
    pub fn live_line(&self) -> String {
        let files: std::collections::BTreeSet<ModuleId> = self
            .probes
            .points
            .iter()
            .map(|point| point.module)
            .collect();
        format!(
            "probes live: {} functions in {} files of process {} ({}), the first after {:.0} ms, all after {:.0} ms{}",
            self.live_points(),
            files.len(),
            self.process.pid,
            self.process.comm,
            self.start.first_probe_ms,
            self.start.all_probes_ms,
            self.refused().unwrap_or_default(),
        )
    }
}

fn points_of(module: &Module, groups: &[Group], pairs: &Pairs) -> Vec<Point> {
    let wanted = match groups.contains(&Group::Pairs) {
        true => pairs.in_file(&module.path.to_string_lossy()),
        false => Wanted::default(),
    };
    let found = resolve_with(&module.file, &wanted).into_iter();
    found
        .filter(|found| groups.contains(&found.function.group))
        .map(|found| Point::new(module.id, found))
        .collect()
}

/// The module through our own descriptor: the file that the target has mapped, whatever its path leads to by now.
fn own_path(module: &Module) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", module.file.as_raw_fd()))
}

fn config(pid: u32, settings: &Settings) -> Config {
    Config {
        tgid: pid,
        stack_pages: settings.stack_cap.bytes() / PAGE,
        wakeup_bytes: settings.capacity.ring_bytes / 4,
        block_bytes: settings.capacity.ring_bytes / 4 * 3,
        offsets: probes::kernel_offsets(),
        min_size: settings.sizes.min.unwrap_or(0),
        max_size: settings.sizes.max.unwrap_or(u64::MAX),
    }
}

fn capacities(settings: &Settings) -> Capacities {
    Capacities {
        ring_bytes: settings.capacity.ring_bytes,
        blocks: settings.capacity.max_outstanding,
        streams: STREAMS.min(settings.capacity.max_outstanding),
        threads: THREADS,
        points: POINTS,
    }
}

fn verbosity(settings: &Settings) -> u8 {
    match settings.verbosity {
        Verbosity::Normal => 0,
        Verbosity::Verbose => 1,
        Verbosity::Probes => 2,
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
