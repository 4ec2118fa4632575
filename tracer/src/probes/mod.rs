//! The kernel side as userspace sees it: loads the programs, attaches them, reads their maps, detaches.
//!
//! The only module that knows aya; names of maps and programs stand nowhere else.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::maps::{Array, MapData, RingBuf};
use bytes::Bytes;
use tracer_common::config::{Config, Control, MAX_POINTS, Sampling};
use tracer_common::inflight::{Allocating, Mapping, Opening, OpeningKey};
use tracer_common::live::{LiveBlock, LiveObject, LiveStream, ObjectKey};
use tracer_common::outcome::{OUTCOMES, Outcome, counter};

use crate::functions::Group;
use crate::functions::pairs::PairId;

mod attach;
mod batch;
mod btf;
mod calibrate;
mod counters;
mod errors;
mod features;
mod links;
mod load;
mod log;
mod multi;
pub mod placement;
pub mod points;
mod ring;
mod run_time;
mod sys;

use attach::Attacher;
use batch::HashMap;
use counters::Counters;
use load::take;
use ring::Ring;
use run_time::Statistics;
use sys::Place;

pub use btf::kernel_offsets;
pub use calibrate::Calibration;
pub use features::{Features, Support, features};
pub use links::LinkKind;
pub use load::Capacities;
pub use points::{Point, Traps};
pub use ring::Waiting;

/// How long a detach waits for calls to return. Most last microseconds; one may be asleep in the kernel for long.
const LAST_RETURNS: Duration = Duration::from_millis(20);
const POLL: Duration = Duration::from_millis(1);

/// How the programs are loaded and attached; what they do is in [`Config`].
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub capacities: Capacities,
    /// How often the user said `-v`.
    pub verbosity: u8,
    /// None takes the best kind that the kernel has.
    pub links: Option<LinkKind>,
    /// Mean sampling interval of the malloc family in bytes; 0 records every allocation.
    pub sample_interval: u64,
    pub work: Work,
}

/// What is done when a probe is hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Work {
    #[default]
    Trace,
    /// Nothing, to measure what the traps alone cost: empty programs at the very same places.
    Nothing,
}

impl Work {
    /// The program that stands in for `program`.
    fn program(self, program: &'static str) -> &'static str {
        match self {
            Work::Trace => program,
            Work::Nothing if program.ends_with("_return") => "empty_return",
            Work::Nothing if program.ends_with("_session") => "empty_session",
            Work::Nothing => "empty_enter",
        }
    }
}

/// What the kernel says to the programs.
#[derive(Debug)]
pub struct Trial {
    pub links: LinkKind,
    /// Programs that it takes.
    pub taken: usize,
    /// Why it does not take the others.
    pub refused: Vec<anyhow::Error>,
}

/// Offers every program that a trace may want to the kernel, attaches none, and drops all of them. Takes some 0.1 s.
///
/// # Errors
/// When the kernel does not even take the maps.
pub fn trial() -> Result<Trial> {
    const LEAST: Capacities = Capacities {
        ring_bytes: 1 << 16,
        blocks: 1,
        streams: 1,
        threads: 1,
        points: 1,
    };
    let links = LinkKind::best();
    let config = Config {
        tgid: std::process::id(),
        offsets: kernel_offsets(),
        stack_pages: 1,
        ..Config::default()
    };
    let ebpf = load::object(&config, LEAST, 0)?;
    let (taken, refused) = Attacher::new(ebpf, links, config.tgid, 0)?.load_all();
    Ok(Trial {
        links,
        taken,
        refused,
    })
}

/// The loaded programs and everything that is attached.
pub struct Probes {
    attacher: Attacher,
    work: Work,
    pub points: Vec<Point>,
    capacities: Capacities,
    events: Ring,
    counters: Counters,
    asleep: Array<MapData, u64>,
    live: HashMap<u64, LiveBlock>,
    streams: HashMap<u64, LiveStream>,
    objects: HashMap<ObjectKey, LiveObject>,
    allocating: HashMap<u32, Allocating>,
    mapping: HashMap<u32, Mapping>,
    opening: HashMap<u32, Mapping>,
    calls: HashMap<OpeningKey, Opening>,
    anchors: aya::maps::HashMap<MapData, u32, u64>,
    control: Array<MapData, Control>,
    given_up: Array<MapData, u64>,
    statistics: Option<Statistics>,
    _log: Option<log::Forwarder>,
}

impl Probes {
    /// Makes the maps; a program is loaded when it is first attached.
    ///
    /// `pid` is the target as our own pid namespace numbers it.
    pub fn load(pid: u32, config: Config, setup: Setup) -> Result<Probes> {
        let ebpf = load::object(&config, setup.capacities, log::level(setup.verbosity))?;
        let kind = setup.links.unwrap_or_else(LinkKind::best);
        let mut attacher = Attacher::new(ebpf, kind, pid, setup.verbosity)?;
        let ebpf = attacher.ebpf();
        let mut probes = Probes {
            work: setup.work,
            points: Vec::new(),
            capacities: setup.capacities,
            events: take::<RingBuf<MapData>>(ebpf, "EVENTS")?.into(),
            counters: take(ebpf, "COUNTERS")?,
            asleep: take(ebpf, "ASLEEP")?,
            live: take(ebpf, "LIVE")?,
            streams: take(ebpf, "STREAMS")?,
            objects: take(ebpf, "OBJECTS")?,
            allocating: take(ebpf, "ALLOCATING")?,
            mapping: take(ebpf, "MAPPING")?,
            opening: take(ebpf, "OPENING")?,
            calls: take(ebpf, "CALLS")?,
            anchors: take(ebpf, "ANCHORS")?,
            control: take(ebpf, "CONTROL")?,
            given_up: take(ebpf, "GIVEN_UP")?,
            statistics: None,
            _log: log::Forwarder::start(ebpf, setup.verbosity),
            attacher,
        };
        probes.sample(setup.sample_interval, 0)?;
        probes.record(&Group::ALL)?;
        Ok(probes)
    }

    /// Attaches functions of one module, and remembers the points also where that fails, with the reason.
    ///
    /// `file` is a path to the module that is valid now, for us. Frees go live before allocations, returns before
    /// entries. A point whose entry cannot be attached may keep its return, which then finds nothing to do.
    pub fn attach(&mut self, points: Vec<Point>, file: &Path) {
        let first = self.points.len();
        let most = self.capacities.points.min(MAX_POINTS) as usize;
        self.points.extend(points);
        for point in self.points.iter_mut().skip(first.max(most)) {
            point.error = Some(format!("no attach point is left: all {most} are in use"));
        }
        for (program, members) in attach::plan(&self.points, first, self.attacher.kind()) {
            self.attach_program(program, members, file);
        }
    }

    fn attach_program(&mut self, planned: &'static str, mut members: Vec<usize>, file: &Path) {
        let program = self.work.program(planned);
        // An entry is of no use where the return has failed.
        members.retain(|&index| self.points[index].error.is_none());
        if members.is_empty() {
            return;
        }
        if let Err(error) = self.attacher.load(program) {
            for index in members {
                self.points[index].error = Some(format!("{error:#}"));
            }
            return;
        }
        let places = |&index: &usize| {
            let point = &self.points[index];
            let cookie = point.cookie(index).0;
            let offsets = match planned {
                points::EXIT => point.exits(),
                _ => vec![point.offset()],
            };
            offsets
                .into_iter()
                .map(move |offset| Place { offset, cookie })
        };
        let attacher = &mut self.attacher;
        let size = attacher.kind().places();
        let mut failed = Vec::new();
        for (owner, members) in attach::by_owner(&self.points, members) {
            failed.extend(attach::in_batches(&members, size, &mut |batch| {
                let places: Vec<Place> = batch.iter().flat_map(places).collect();
                attacher.attach(program, owner, file, &places)
            }));
        }
        for (index, error) in failed {
            let point = &mut self.points[index];
            let (symbol, file) = (&point.symbol, file.display());
            point.error = Some(format!("cannot probe {symbol} in {file}: {error:#}"));
        }
    }

    /// The kind of link that holds the probes.
    pub fn link_kind(&self) -> LinkKind {
        self.attacher.kind()
    }

    /// Appends copies of the records that wait, oldest first, until none is left or `limit` bytes are taken; returns how many
    /// bytes.
    pub fn drain(&mut self, limit: u64, records: &mut Vec<Bytes>) -> u64 {
        self.events.take(limit, records)
    }

    /// Records that were taken out of the ring so that it does not overflow.
    pub fn waiting(&self) -> Waiting {
        self.events.waiting()
    }

    /// From now on a thread of its own, which calls `prepare` first, keeps the ring from overflowing while nobody drains it.
    ///
    /// # Errors
    /// When the system gives no thread or no descriptor.
    pub fn relieve_ring(&mut self, prepare: fn()) -> std::io::Result<()> {
        self.events.relieve(prepare)
    }

    /// The next record wakes who waits for [`Probes::ring`]; those behind it don't.
    pub fn ask_to_be_woken(&mut self) -> Result<()> {
        let set = self.asleep.set(0, 1, 0);
        set.context("cannot ask the programs for a wake-up")
    }

    /// Becomes readable when the ring fills faster than it is drained, or when a wake-up was asked for.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn ring(&self) -> std::io::Result<std::os::fd::OwnedFd> {
        self.events.descriptor()
    }

    /// The counters of all attach points, summed over the CPUs.
    pub fn counts(&self) -> Result<Vec<Counts>> {
        let counted = (self.points.len() as u32).min(self.capacities.points);
        let values = self.counters.read(counted * OUTCOMES);
        let values = values.context("cannot read the counters")?;
        let (counters, _) = values.as_chunks::<{ OUTCOMES as usize }>();
        let mut counts: Vec<Counts> = counters.iter().copied().map(Counts).collect();
        // Points beyond have no probe.
        counts.resize(self.points.len(), Counts::default());
        Ok(counts)
    }

    /// Every outstanding block that the kernel tracks, by address.
    pub fn live_blocks(&self, each: impl FnMut(u64, LiveBlock)) -> Result<()> {
        self.live
            .for_each(each)
            .context("cannot read the outstanding blocks")
    }

    /// Every open stream that the kernel tracks, by address.
    pub fn live_streams(&self, each: impl FnMut(u64, LiveStream)) -> Result<()> {
        self.streams
            .for_each(each)
            .context("cannot read the open streams")
    }

    /// Every open object of a pair that the kernel tracks.
    pub fn live_objects(&self, each: impl FnMut(ObjectKey, LiveObject)) -> Result<()> {
        self.objects
            .for_each(each)
            .context("cannot read the open objects")
    }

    /// Calls that have entered and not returned, per attach point.
    pub fn in_flight(&self) -> Result<Vec<u64>> {
        let mut calls = vec![0; self.points.len()];
        let mut add = |point: u32| {
            if let Some(count) = calls.get_mut(point as usize) {
                *count += 1;
            }
        };
        self.allocating.for_each(|_, call| {
            if call.skip == 0 {
                add(call.point);
            }
        })?;
        self.mapping.for_each(|_, call| add(call.point))?;
        self.opening.for_each(|_, call| add(call.point))?;
        self.calls.for_each(|key, _| add(key.point))?;
        Ok(calls)
    }

    /// Tells the programs where the kernel's return-probe trampoline is in the target.
    pub fn set_trampoline(&mut self, address: u64) -> Result<()> {
        self.set_control(|control| control.trampoline = address)
    }

    /// From now on, calls of these groups are recorded, and those of others are only counted.
    pub fn record(&mut self, groups: &[Group]) -> Result<()> {
        let bits = groups.iter().fold(0, |bits, group| bits | group.bit());
        self.set_control(|control| control.recording = bits)
    }

    /// From now on, the malloc family is sampled at this mean interval in bytes, which is the run's `level`th.
    pub fn sample(&mut self, interval: u64, level: u16) -> Result<()> {
        let interval = u32::try_from(interval).context("the sampling interval is too long")?;
        self.set_control(|control| control.sampling = Sampling::new(interval, level))
    }

    /// Has page faults recorded, as far as [`Group::Growth`] is.
    pub fn watch_faults(&mut self) -> Result<()> {
        self.attacher.watch_faults()
    }

    /// Calls of this group are no longer recorded, and soon cost no trap any more.
    pub fn give_up(&mut self, group: Group) -> Result<()> {
        let given_up = self.set_control(|control| control.recording &= !group.bit());
        self.attacher.give_up(|owner| owner.group == group);
        given_up
    }

    /// The same for the pairs of one preset, by its first one.
    pub fn give_up_preset(&mut self, first: PairId, pairs: &[PairId]) -> Result<()> {
        for pair in pairs {
            let set = self.given_up.set(pair.0.into(), 1, 0);
            set.context("cannot tell the programs what was given up")?;
        }
        self.attacher.give_up(|owner| owner.preset == Some(first));
        Ok(())
    }

    /// CPU seconds that the programs of each group ran since this was first asked: the kernel counts from then on. Nothing
    /// where it can't.
    pub fn run_time(&mut self) -> BTreeMap<Group, f64> {
        if self.statistics.is_none() {
            self.statistics = Statistics::on().ok();
        }
        let mut seconds = BTreeMap::new();
        for (name, program) in self.attacher.programs() {
            if let Ok(nanoseconds) = run_time::nanoseconds(program) {
                *seconds.entry(attach::group(name)).or_default() += nanoseconds as f64 / 1e9;
            }
        }
        seconds
    }

    fn set_control(&mut self, change: impl FnOnce(&mut Control)) -> Result<()> {
        let mut control = self
            .control
            .get(&0, 0)
            .context("cannot read the control map")?;
        change(&mut control);
        self.control
            .set(0, control, 0)
            .context("cannot write the control map")
    }

    /// Tells the programs where a thread (as this host numbers it) has the note that they copy, or that it has none.
    ///
    /// # Errors
    /// When the map is full.
    pub fn set_anchor(&mut self, tid: u32, address: Option<u64>) -> Result<()> {
        match address {
            Some(address) => self.anchors.insert(tid, address, 0)?,
            None => self.anchors.remove(&tid)?,
        }
        Ok(())
    }

    pub fn capacities(&self) -> Capacities {
        self.capacities
    }

    /// Detaches everything; the maps stay readable. Returns how long it took: with multi-uprobes some 100 ms however many
    /// probes there are, seconds where threads outnumber the CPUs (docs/BENCHMARKS.md); with perf links some 75 ms for each.
    ///
    /// Our process must not end before this returns. A thread that is killed while the kernel takes probes out, also by
    /// another thread's `exit`, leaves breakpoints in the target (seen on Linux 6.18: `failed to unregister, leaking
    /// uprobe`). In the few cases tried each still cost a trap, and the next attach and detach there took it away. A process
    /// that is killed while nothing is being attached or detached leaves nothing behind.
    pub fn detach(&mut self) -> Duration {
        let start = Instant::now();
        self.end_calls();
        self.attacher.detach();
        start.elapsed()
    }

    /// Records no new call, and waits a little for those that were entered: one that is entered and never seen to return
    /// would look as if it never had.
    fn end_calls(&mut self) {
        let deadline = Instant::now() + LAST_RETURNS;
        // Where the maps can't be read or written, the calls are reported as under way.
        if self.record(&[]).is_err() {
            return;
        }
        while Instant::now() < deadline
            && self
                .in_flight()
                .is_ok_and(|calls| calls.iter().any(|&calls| calls != 0))
        {
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.detach();
    }
}

/// The counters of one attach point, by [`Outcome`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub [u64; OUTCOMES as usize]);

impl Counts {
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.0[counter(0, outcome) as usize]
    }
}
