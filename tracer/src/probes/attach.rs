//! Attaches points: which program goes first, and who is to blame when a batch fails.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, Result, anyhow};
use aya::Ebpf;
use aya::programs::perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent};
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use aya::programs::{PerfEvent, UProbe};
use aya::util::online_cpus;

use tracer_common::config::FAULT_PERIOD;

use super::links::{self, Link, LinkKind};
use super::sys::Place;
use super::{Point, errors, load, multi};
use crate::functions::Group;
use crate::functions::pairs::PairId;

/// The programs in the order in which they go live.
///
/// Returns before entries: an entry without its return fills the in-flight map. Ends before beginnings: what is recorded
/// is never freed unseen. zlib first: it costs least and tells most.
const ORDER: [&str; 28] = [
    "stream_return",
    "stream_close",
    "stream_open",
    "stream_session",
    "stream_enter",
    "object_return",
    "object_exit",
    "object_close",
    "object_refer",
    "object_open",
    "object_session",
    "object_enter",
    "break_return",
    "map_return",
    "remap_return",
    "unmap_enter",
    "break_session",
    "break_enter",
    "remap_session",
    "remap_enter",
    "map_session",
    "map_enter",
    "allocate_return",
    "free_enter",
    "reallocate_session",
    "reallocate_enter",
    "allocate_session",
    "allocate_enter",
];

const FAULT_PROGRAM: &str = "page_fault";

/// Which programs go to which of the points, by their index, in the order to attach them.
pub fn plan(points: &[Point], from: usize, links: LinkKind) -> Vec<(&'static str, Vec<usize>)> {
    let has = |point: &Point, program| {
        let (entry, at_return) = point.programs(links);
        entry == program || at_return == Some(program)
    };
    let members = |program| {
        let indices = points.iter().enumerate().skip(from);
        indices
            .filter(|(_, point)| point.error.is_none() && has(point, program))
            .map(|(index, _)| index)
            .collect()
    };
    ORDER
        .into_iter()
        .map(|program| (program, members(program)))
        .filter(|(_, members): &(_, Vec<usize>)| !members.is_empty())
        .collect()
}

/// Attaches `members` in batches of `size`; a batch that fails is attached one by one, to find the ones to blame.
pub fn in_batches<E>(
    members: &[usize],
    size: usize,
    attach: &mut impl FnMut(&[usize]) -> Result<(), E>,
) -> Vec<(usize, E)> {
    let mut failed = Vec::new();
    for batch in members.chunks(size) {
        match (attach(batch), batch) {
            (Ok(()), _) => {}
            (Err(error), &[one]) => failed.push((one, error)),
            (Err(_), _) => failed.extend(in_batches(batch, 1, attach)),
        }
    }
    failed
}

/// Whose functions a link is for: what is given up is given up with all its links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub group: Group,
    /// Of pairs, the first one of the preset.
    pub preset: Option<PairId>,
}

impl Owner {
    pub fn of(group: Group) -> Owner {
        Owner {
            group,
            preset: None,
        }
    }
}

/// The points at these places, by what they are given up with.
pub fn by_owner(points: &[Point], members: Vec<usize>) -> BTreeMap<Owner, Vec<usize>> {
    let mut owners: BTreeMap<Owner, Vec<usize>> = BTreeMap::new();
    for index in members {
        let function = &points[index].function;
        let owner = Owner {
            preset: function.pair.map(|of| of.preset),
            ..Owner::of(function.group)
        };
        owners.entry(owner).or_default().push(index);
    }
    owners
}

/// The programs of either kind, and what they are attached with.
pub struct Attacher {
    ebpf: Ebpf,
    kind: LinkKind,
    /// None where perf links are in use; their programs are aya's.
    multi: Option<multi::Programs>,
    links: Vec<(Owner, Link)>,
    /// Links that are being closed.
    closing: Vec<JoinHandle<()>>,
    pid: NonZeroU32,
    verbosity: u8,
}

impl Attacher {
    /// `ebpf` must still have all its maps.
    pub fn new(ebpf: Ebpf, kind: LinkKind, pid: u32, verbosity: u8) -> Result<Attacher> {
        let multi = match kind {
            LinkKind::Session | LinkKind::Multi => Some(multi::Programs::new(&ebpf, load::OBJECT)?),
            LinkKind::Perf => None,
        };
        Ok(Attacher {
            kind,
            multi,
            ebpf,
            links: Vec::new(),
            closing: Vec::new(),
            pid: NonZeroU32::new(pid).context("process 0 cannot be traced")?,
            verbosity,
        })
    }

    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    pub fn kind(&self) -> LinkKind {
        self.kind
    }

    /// Loads a program into the kernel unless it is there.
    pub fn load(&mut self, program: &'static str) -> Result<()> {
        if let Some(multi) = &mut self.multi {
            return multi.load(program, self.verbosity);
        }
        let verbosity = self.verbosity;
        let probe = self.probe(program)?;
        match probe.fd() {
            Ok(_) => Ok(()),
            Err(_) => probe
                .load()
                .map_err(|error| errors::program(program, error, verbosity)),
        }
    }

    /// Attaches a loaded program to all places. Where it fails, some may be attached if perf links are in use.
    pub fn attach(
        &mut self,
        program: &str,
        owner: Owner,
        file: &Path,
        places: &[Place],
    ) -> Result<()> {
        if let Some(multi) = &self.multi {
            let pid = i32::try_from(self.pid.get())?;
            let link = multi
                .attach(program, file, places, pid)
                .map_err(errors::link)?;
            self.links.push((owner, Link::Multi(link)));
            return Ok(());
        }
        for place in places {
            let point = UProbeAttachPoint {
                location: UProbeAttachLocation::AbsoluteOffset(place.offset),
                cookie: Some(place.cookie),
            };
            let scope = UProbeScope::OneProcess(self.pid);
            let probe = self.probe(program)?;
            let id = probe.attach(point, file, scope).map_err(errors::attach)?;
            let link = probe.take_link(id).map_err(|error| anyhow!(error))?;
            self.links.push((owner, Link::Perf(link)));
        }
        Ok(())
    }

    /// Has one page fault in [`FAULT_PERIOD`] recorded, on every CPU. Faults of other processes are counted by the kernel
    /// only, and looked at by the program as rarely.
    pub fn watch_faults(&mut self) -> Result<()> {
        self.load_fault()?;
        let program = fault_program(&mut self.ebpf)?;
        let event = PerfEventConfig::Software(SoftwareEvent::PageFaults);
        let cpus = online_cpus().map_err(|(what, error)| anyhow!("{what}: {error}"))?;
        for cpu in cpus {
            let scope = PerfEventScope::AllProcessesOneCpu { cpu };
            let id = program.attach(event, scope, SamplePolicy::Period(FAULT_PERIOD), false)?;
            self.links.push((
                Owner::of(Group::Growth),
                Link::Fault(program.take_link(id)?),
            ));
        }
        Ok(())
    }

    fn load_fault(&mut self) -> Result<()> {
        let program = fault_program(&mut self.ebpf)?;
        let loaded = program.load();
        loaded.map_err(|error| errors::program(FAULT_PROGRAM, error, self.verbosity))
    }

    /// Loads every program that links of this kind may want; returns how many there are, and why the others are not.
    pub fn load_all(&mut self) -> (usize, Vec<anyhow::Error>) {
        let sessions = self.kind == LinkKind::Session;
        let wanted = ORDER
            .into_iter()
            .filter(|name| sessions || !name.ends_with("_session"));
        let wanted: Vec<&str> = wanted.collect();
        let mut failed: Vec<_> = wanted
            .iter()
            .filter_map(|name| self.load(name).err())
            .collect();
        failed.extend(self.load_fault().err());
        (wanted.len() + 1 - failed.len(), failed)
    }

    fn probe(&mut self, name: &str) -> Result<&mut UProbe> {
        self.ebpf
            .program_mut(name)
            .with_context(|| format!("the BPF object has no program {name}"))?
            .try_into()
            .with_context(|| format!("{name} is no uprobe program"))
    }

    /// The programs that are loaded.
    pub fn programs(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        let loaded = |name: &'static str| match &self.multi {
            Some(multi) => multi.loaded(name),
            None => {
                let program: Result<&UProbe, _> = self.ebpf.program(name)?.try_into();
                Some(program.ok()?.fd().ok()?.as_fd())
            }
        };
        let found = ORDER.into_iter().map(|name| (name, loaded(name)));
        found.filter_map(|(name, fd)| Some((name, fd?))).collect()
    }

    /// Closes the links that are of no use any more, on a thread of its own: it takes the kernel's time and not ours.
    pub fn give_up(&mut self, is_given_up: impl Fn(Owner) -> bool) {
        let links = std::mem::take(&mut self.links);
        let (closed, kept) = links
            .into_iter()
            .partition(|(owner, _)| is_given_up(*owner));
        self.links = kept;
        let close = move || close(closed);
        // Where no thread can be had, they were closed as they were dropped.
        self.closing.extend(Builder::new().spawn(close).ok());
    }

    /// Closes all links; when it returns, the target no longer takes a trap.
    pub fn detach(&mut self) {
        close(std::mem::take(&mut self.links));
        for thread in self.closing.drain(..) {
            // A thread that has panicked has dropped its links.
            let _ = thread.join();
        }
    }
}

fn fault_program(ebpf: &mut Ebpf) -> Result<&mut PerfEvent> {
    let program = ebpf
        .program_mut(FAULT_PROGRAM)
        .with_context(|| format!("the BPF object has no program {FAULT_PROGRAM}"))?;
    Ok(program.try_into()?)
}

fn close(links: Vec<(Owner, Link)>) {
    links::close(links.into_iter().map(|(_, link)| link).collect());
}

/// The group whose functions a program is for.
pub fn group(program: &str) -> Group {
    match program.split('_').next() {
        Some("stream") => Group::Zlib,
        Some("object") => Group::Pairs,
        Some("map" | "remap" | "unmap") => Group::Mmap,
        Some("break" | "page") => Group::Growth,
        _ => Group::Malloc,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::FUNCTIONS;
    use crate::functions::pairs::Pairs;
    use crate::functions::resolve::Found;
    use crate::stack::ModuleId;

    const KINDS: [LinkKind; 3] = [LinkKind::Session, LinkKind::Multi, LinkKind::Perf];

    fn points() -> Vec<Point> {
        let pairs = Pairs::select(&["all".into()], &["x=o(arg0)/c(arg0)/r(arg0)".into()], &[]);
        let pairs = pairs.unwrap();
        let mut functions = FUNCTIONS.to_vec();
        let wanted = pairs.in_file("/lib/libc.so.6");
        for symbol in ["o", "c", "r", "fopen", "dlopen", "dlclose"] {
            functions.extend(wanted.of(symbol));
        }
        let found = functions.into_iter().map(|function| Found {
            function,
            symbol: function.name.into(),
            offset: 0,
            code: vec![0x53, 0xc3],
            leaf: false,
        });
        found.map(|found| Point::new(ModuleId(0), found)).collect()
    }

    /// A program belongs to the group of the functions that it is attached to.
    #[test]
    fn programs_have_their_group() {
        for (point, links) in points()
            .iter()
            .flat_map(|point| KINDS.map(|links| (point, links)))
        {
            let (entry, at_return) = point.programs(links);
            for program in at_return.into_iter().chain([entry]) {
                assert_eq!(group(program), point.function.group, "{program}");
            }
        }
    }

    /// Every program of every function of the table is attached, once.
    #[test]
    fn the_plan_is_complete() {
        let points = points();
        for links in KINDS {
            let mut planned: Vec<(usize, &str)> = Vec::new();
            for (program, members) in plan(&points, 0, links) {
                planned.extend(members.into_iter().map(|index| (index, program)));
            }
            let mut wanted: Vec<(usize, &str)> = Vec::new();
            for (index, point) in points.iter().enumerate() {
                let (entry, at_return) = point.programs(links);
                wanted.extend(at_return.into_iter().chain([entry]).map(|p| (index, p)));
            }
            planned.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(planned, wanted, "{links}");
        }
    }

    /// No entry goes live before its return, and no allocation before the frees.
    #[test]
    fn the_plan_is_in_order() {
        let at = |program| ORDER.iter().position(|&name| name == program);
        for (point, links) in points()
            .iter()
            .flat_map(|point| KINDS.map(|links| (point, links)))
        {
            let (entry, at_return) = point.programs(links);
            assert!(at(entry).is_some(), "{entry}");
            if let Some(at_return) = at_return {
                assert!(at(at_return).is_some(), "{at_return}");
                assert!(at(at_return) < at(entry), "{at_return} after {entry}");
            }
        }
        for (end, beginning) in [
            ("stream_close", "stream_open"),
            ("stream_close", "stream_enter"),
            ("stream_close", "stream_session"),
            ("object_close", "object_open"),
            ("object_close", "object_enter"),
            ("object_close", "object_session"),
            ("object_refer", "object_open"),
            ("unmap_enter", "map_enter"),
            ("unmap_enter", "map_session"),
            ("free_enter", "allocate_enter"),
            ("free_enter", "allocate_session"),
        ] {
            assert!(at(end) < at(beginning), "{end} after {beginning}");
        }
    }

    /// Points that were attached by an earlier call, or have failed, are left alone.
    #[test]
    fn the_plan_leaves_out_what_is_done() {
        let mut points = points();
        let last = points.len() - 1;
        points[last - 1].error = Some("no room".into());
        let planned: Vec<usize> = plan(&points, last - 1, LinkKind::Multi)
            .into_iter()
            .flat_map(|(_, members)| members)
            .collect();
        assert!(!planned.is_empty());
        assert!(planned.iter().all(|&index| index == last), "{planned:?}");
    }

    /// One point that cannot be attached takes no other one with it, and is the only one to be blamed.
    #[test]
    fn the_culprit_is_found() {
        let mut attached = Vec::new();
        let failed = in_batches(&[3, 4, 5, 6], 3, &mut |batch: &[usize]| {
            if batch.contains(&4) {
                return Err(batch.len());
            }
            attached.extend_from_slice(batch);
            Ok(())
        });
        assert_eq!(failed, [(4, 1)]);
        assert_eq!(attached, [3, 5, 6]);
    }
}
