//! The kernel side as userspace sees it: loads the programs, attaches them, reads their maps, detaches.
//!
//! The only module that knows aya; names of maps and programs stand nowhere else.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use aya::maps::{Array, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};
use aya::{Ebpf, EbpfLoader};
use tracer_common::config::{Config, Control, MAX_POINTS};
use tracer_common::inflight::{Allocating, Mapping};
use tracer_common::live::{LiveBlock, LiveStream};
use tracer_common::outcome::{OUTCOMES, Outcome, counter};

mod batch;
mod calibrate;
mod detach;
mod log;
pub mod placement;
pub mod points;
mod stack_tops;

use batch::HashMap;
pub use calibrate::calibrate;
pub use points::Point;
use stack_tops::StackTops;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("OFFHEAP_BPF_OBJECT"));

/// Capacities of the maps, in elements, and of the ring, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Capacities {
    /// A power of two and a multiple of the page size.
    pub ring_bytes: u32,
    pub blocks: u32,
    pub streams: u32,
    pub threads: u32,
}

/// The loaded programs and everything that is attached.
pub struct Probes {
    ebpf: Ebpf,
    links: Vec<UProbeLink>,
    pub points: Vec<Point>,
    capacities: Capacities,
    pid: NonZeroU32,
    events: RingBuf<MapData>,
    counters: PerCpuArray<MapData, u64>,
    live: HashMap<u64, LiveBlock>,
    streams: HashMap<u64, LiveStream>,
    allocating: HashMap<u32, Allocating>,
    mapping: HashMap<u32, Mapping>,
    control: Array<MapData, Control>,
    pub stack_tops: StackTops,
    _log: Option<log::Forwarder>,
}

impl Probes {
    /// Loads the maps; a program is loaded when it is first attached.
    pub fn load(pid: u32, config: Config, capacities: Capacities, verbosity: u8) -> Result<Probes> {
        let mut ebpf = load_object(&config, capacities, log::level(verbosity))?;
        let log = log::Forwarder::start(&mut ebpf, verbosity);
        Ok(Probes {
            links: Vec::new(),
            points: Vec::new(),
            capacities,
            pid: NonZeroU32::new(pid).context("process 0 cannot be traced")?,
            events: take(&mut ebpf, "EVENTS")?,
            counters: take(&mut ebpf, "COUNTERS")?,
            live: take(&mut ebpf, "LIVE")?,
            streams: take(&mut ebpf, "STREAMS")?,
            allocating: take(&mut ebpf, "ALLOCATING")?,
            mapping: take(&mut ebpf, "MAPPING")?,
            control: take(&mut ebpf, "CONTROL")?,
            stack_tops: StackTops(take(&mut ebpf, "STACK_TOPS")?),
            _log: log,
            ebpf,
        })
    }

    /// Attaches functions of one module, and remembers the points also where that fails, with the reason.
    ///
    /// `file` is a path to the module that is valid now, for us.
    pub fn attach(&mut self, points: Vec<Point>, file: &Path) {
        for mut point in points {
            let index = self.points.len();
            if index >= MAX_POINTS as usize {
                log_refused(&point);
                continue;
            }
            if let Err(error) = self.attach_programs(&point, index, file) {
                point.error = Some(format!("{error:#}"));
            }
            self.points.push(point);
        }
    }

    fn attach_programs(&mut self, point: &Point, index: usize, file: &Path) -> Result<()> {
        let (entry, at_return) = point.programs();
        // The return first: an entry without its return would fill the in-flight map.
        for program in at_return.into_iter().chain([entry]) {
            let link = attach_one(&mut self.ebpf, program, point, index, file, self.pid)
                .with_context(|| format!("cannot probe {} in {}", point.symbol, file.display()))?;
            self.links.push(link);
        }
        Ok(())
    }

    /// Hands every waiting record to `each`; returns how many there were.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while let Some(record) = self.events.next() {
            each(&record);
            count += 1;
        }
        count
    }

    /// The counters of all attach points, summed over the CPUs.
    pub fn counts(&self) -> Result<Vec<Counts>> {
        (0..self.points.len())
            .map(|point| self.counts_of(point as u32))
            .collect()
    }

    fn counts_of(&self, point: u32) -> Result<Counts> {
        let mut counts = Counts::default();
        for outcome in 0..OUTCOMES {
            let values = self
                .counters
                .get(&(point * OUTCOMES + outcome), 0)
                .context("cannot read the counters")?;
            counts.0[outcome as usize] = values.iter().sum();
        }
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
        Ok(calls)
    }

    /// Tells the programs where the kernel's return-probe trampoline is in the target.
    pub fn set_trampoline(&mut self, address: u64) -> Result<()> {
        let control = self
            .control
            .get(&0, 0)
            .context("cannot read the control map")?;
        self.control
            .set(
                0,
                Control {
                    trampoline: address,
                    ..control
                },
                0,
            )
            .context("cannot write the control map")
    }

    pub fn capacities(&self) -> Capacities {
        self.capacities
    }

    /// Detaches everything; the maps stay readable. Returns how long it took.
    pub fn detach(&mut self) -> Duration {
        let start = Instant::now();
        detach::detach(std::mem::take(&mut self.links));
        start.elapsed()
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

/// Loads the object with everything set that has to be known before.
fn load_object(config: &Config, capacities: Capacities, log_level: u8) -> Result<Ebpf> {
    if OBJECT.is_empty() {
        bail!(
            "this binary was built without its BPF programs: build it with `cargo xtask build --release`"
        );
    }
    EbpfLoader::new()
        .override_global("CONFIG", config, true)
        .override_global("AYA_LOG_LEVEL", &log_level, false)
        .map_max_entries("EVENTS", capacities.ring_bytes)
        .map_max_entries("LIVE", capacities.blocks)
        .map_max_entries("STREAMS", capacities.streams)
        .map_max_entries("ALLOCATING", capacities.threads)
        .map_max_entries("MAPPING", capacities.threads)
        .map_max_entries("OPENING", capacities.threads)
        .load(OBJECT)
        .context("the kernel does not take the BPF maps")
}

fn take<T>(ebpf: &mut Ebpf, name: &str) -> Result<T>
where
    T: TryFrom<Map>,
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = ebpf
        .take_map(name)
        .with_context(|| format!("the BPF object has no map {name}"))?;
    T::try_from(map).with_context(|| format!("the BPF map {name} has another type"))
}

fn attach_one(
    ebpf: &mut Ebpf,
    program: &str,
    point: &Point,
    index: usize,
    file: &Path,
    pid: NonZeroU32,
) -> Result<UProbeLink> {
    let probe = loaded(ebpf, program)?;
    let attach_point = UProbeAttachPoint {
        location: UProbeAttachLocation::AbsoluteOffset(point.offset()),
        cookie: Some(point.cookie(index).0),
    };
    let id = probe
        .attach(attach_point, file, UProbeScope::OneProcess(pid))
        .map_err(explain)?;
    probe.take_link(id).map_err(|error| anyhow!(error))
}

/// The program, loaded into the kernel if it is not yet.
fn loaded<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the BPF object has no program {name}"))?;
    let probe: &mut UProbe = program
        .try_into()
        .with_context(|| format!("{name} is no uprobe program"))?;
    if probe.fd().is_err() {
        probe
            .load()
            .with_context(|| format!("the kernel does not take the BPF program {name}"))?;
    }
    Ok(probe)
}

/// Adds what an error number means here.
fn explain(error: aya::programs::ProgramError) -> anyhow::Error {
    let text = format!("{:#}", anyhow!(error));
    if text.contains("os error 22") {
        return anyhow!(
            "{text}: another tool may hold a probe with another reference counter at this place \
             (the kernel log then says `ref_ctr_offset mismatch`); stop that tool and attach again"
        );
    }
    anyhow!(text)
}

fn log_refused(point: &Point) {
    ::log::warn!(
        "no attach point left for {}: {} are in use",
        point.symbol,
        MAX_POINTS
    );
}
