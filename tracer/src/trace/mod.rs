//! A running trace: the target, its probes, and the accounts of what they see.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use jiff::Timestamp;

use crate::accounts::{Accounts, Maker, Rules, Scene, ThreadId};
use crate::capture::{Capture, Fill, TrapCost};
use crate::clock;
use crate::events::{self, Allocation, Event};
use crate::ledger::{Intervals, SiteId};
use crate::probes::{Calibration, Probes, Waiting};
use crate::settings::{Grouping, Settings};
use crate::snapshot::Mapped;
use crate::stack::{Frame, ModuleId, Stack, UnknownReason};
use crate::symbolize::NativeNames;
use crate::target::modules::{ModuleTable, maps};
use crate::target::process::Process;
use crate::target::{Pages, Tid};
use crate::unwind::memory::ProcessMemory;
use crate::unwind::{Jvm, Unwinder};

use govern::Keeper;

mod anchors;
mod attach;
mod course;
mod ends;
mod facts;
mod govern;
mod growth;
mod kill;
mod merge;
mod owners;
mod pairs;
mod present;
mod tally;
mod threads;

/// The target's mappings are read no more often than this, however many stacks lead into unknown code; but for some at
/// the beginning of each drain, since a library may be mapped right after the last look.
const MIN_REFRESH: Duration = Duration::from_millis(20);
const MAX_REFRESHES: u32 = 4;

/// Bytes of records that are copied out of the ring before they are booked.
const BATCH: u64 = 1 << 20;

/// How long the end of a very short run waits for the calibration.
const LAST_CALIBRATION: Duration = Duration::from_secs(2);

/// Attached probes and everything that is known through them. Dropping it detaches.
pub struct Trace {
    pub process: Process,
    settings: Settings,
    modules: ModuleTable,
    probes: Probes,
    accounts: Accounts<ProcessMemory>,
    memory: ProcessMemory,
    names: NativeNames,
    start: Start,
    /// Thread ids as the target sees them, where it lives in a pid namespace of its own.
    inner_tids: HashMap<u32, u32>,
    anchors: anchors::Anchors,
    threads: threads::Threads,
    ends: ends::Ends,
    high_water: BTreeMap<&'static str, Fill>,
    rss: u64,
    /// Whose the target's memory is.
    looks: owners::Looks,
    group: kill::Group,
    /// At so many open allocations the books are compared with the kernel's maps, where ends were lost.
    look_at: usize,
    /// Outstanding bytes of each site at the snapshot before.
    outstanding_before: Vec<i64>,
    /// What the sites held at some moments.
    course: course::Course,
    /// Which pages are resident, where growth is watched.
    pages: Option<Pages>,
    cost: Cost,
    keeper: Keeper,
    trampoline: Option<u64>,
    /// When the target's mappings were last looked at.
    refreshed: Instant,
    /// The same by the clock of events, in nanoseconds.
    refreshed_at: u64,
    /// Looks at the mappings in this drain that stacks asked for.
    extra_refreshes: u32,
    /// When each module was last seen where the table says, by the clock of events.
    seen_mapped: HashMap<ModuleId, u64>,
    /// What the reader has to know that no number says.
    notes: Vec<String>,
}

/// What tracing costs, as far as it is known yet.
#[derive(Default)]
struct Cost {
    calibration: Option<Calibration>,
    trap: Option<TrapCost>,
    detach_ms: Option<f64>,
}

/// How things were at the attach.
struct Start {
    /// When the first probe was live.
    time: Timestamp,
    instant: Instant,
    rss: u64,
    mappings: Vec<Mapped>,
    first_probe_ms: f64,
    all_probes_ms: f64,
}

/// What became of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Alive,
    Ended,
}

impl Trace {
    /// Takes what waits now and books it. What comes in meanwhile is left for the next time, so that a target that is faster
    /// than we are can't keep us here. Says whether anything came.
    pub fn drain(&mut self) -> Result<bool> {
        let capacity = u64::from(self.probes.capacities().ring_bytes);
        let before = self.probes.waiting();
        let mut drained = 0;
        self.extra_refreshes = 0;
        while drained < before.backlog + capacity {
            let mut records: Vec<Bytes> = Vec::new();
            let bytes = self.probes.drain(BATCH, &mut records);
            self.book_all(records)?;
            self.make_room();
            drained += bytes;
            if bytes < BATCH {
                break;
            }
        }
        let Waiting { most, fullest, .. } = self.probes.waiting();
        // What has waited behind the ring was not in it at once.
        let in_ring = if most.used == before.most.used {
            drained
        } else {
            0
        };
        self.look_again_at_threads();
        self.note_fill("EVENTS", in_ring.max(fullest).min(capacity), capacity);
        if most.used > 0 {
            self.note_fill("BACKLOG", most.used, most.capacity);
        }
        Ok(drained > 0)
    }

    /// Lets go of stacks that are of no use any more, where they are many.
    fn make_room(&mut self) {
        let Some(moves) = self.accounts.make_room() else {
            return;
        };
        self.course.readings.renumber(|site| moves.to(site));
        let sites = &self.accounts.ledger.sites;
        let mut before = vec![0; sites.len()];
        for (index, bytes) in (0..).zip(&self.outstanding_before) {
            if let Some(sum) = before.get_mut(moves.to(SiteId(index)).0 as usize) {
                *sum += bytes;
            }
        }
        // Nothing was shown yet: nothing has grown since.
        if !self.outstanding_before.is_empty() {
            self.outstanding_before = before;
        }
        let used: HashSet<ThreadId> = sites.iter().filter_map(|(key, _)| key.thread).collect();
        self.threads.retain(|thread| used.contains(&thread));
    }

    /// Has the ring looked after while nobody drains it, by a thread that calls `prepare` first.
    pub fn relieve_ring(&mut self, prepare: fn()) -> Result<()> {
        let relieved = self.probes.relieve_ring(prepare);
        relieved.context("cannot look after the ring: no thread or descriptor is left")
    }

    /// The next record makes [`Trace::ring`] readable.
    pub fn ask_to_be_woken(&mut self) -> Result<()> {
        self.probes.ask_to_be_woken()
    }

    /// Becomes readable when [`Trace::drain`] is urgent.
    pub fn ring(&self) -> Result<std::os::fd::OwnedFd> {
        self.probes.ring().context("cannot watch the ring")
    }

    /// Walks the stacks of all records, then books one after the other.
    fn book_all(&mut self, records: Vec<Bytes>) -> Result<()> {
        let count = records.len();
        let events: Vec<Event> = records.into_iter().filter_map(events::parse).collect();
        self.accounts.malformed += (count - events.len()) as u64;
        let made: Vec<&Allocation> = events.iter().filter_map(Event::made).collect();
        let generation = self.modules.generation;
        let mut stacks = self.unwind_all(&made).into_iter();
        for event in events {
            let event = self.sized(event);
            let stack = event.made().and_then(|_| stacks.next());
            self.book(event, stack, generation)?;
        }
        Ok(())
    }

    fn book(&mut self, event: Event, walked: Option<Stack>, generation: u64) -> Result<()> {
        let maker = match (event.made(), walked) {
            (Some(made), Some(walked)) => Some(Maker {
                stack: self.checked(made, walked, generation)?,
                thread: self.thread(made),
            }),
            _ => None,
        };
        let scene = Scene {
            modules: &self.modules,
            points: &self.probes.points,
            inner_tids: &self.inner_tids,
        };
        self.accounts.book(event, maker, scene);
        Ok(())
    }

    /// Who made it, where sites are split by thread.
    fn thread(&mut self, made: &Allocation) -> Option<ThreadId> {
        if self.settings.grouping != Grouping::StackAndThread {
            return None;
        }
        let tid = made.tid;
        let (process, unwinder) = (&self.process, &mut self.accounts.unwinder);
        let java = || unwinder.thread_name(inner_tid(process, tid)?);
        let now = Instant::now();
        Some(self.threads.seen(process, tid, &made.comm, now, java))
    }

    /// Names of threads that have just begun.
    fn look_again_at_threads(&mut self) {
        let (process, unwinder) = (&self.process, &mut self.accounts.unwinder);
        let java = |tid| unwinder.thread_name(inner_tid(process, tid)?);
        self.threads.look_again(process, Instant::now(), java);
    }

    /// Names as they are now, of all threads that are still there.
    fn look_at_threads(&mut self) {
        let (process, unwinder) = (&self.process, &mut self.accounts.unwinder);
        let java = |tid| unwinder.thread_name(inner_tid(process, tid)?);
        self.threads.look(process, Instant::now(), java);
    }

    fn unwind_all(&mut self, made: &[&Allocation]) -> Vec<Stack> {
        for made in made.iter().filter(|made| made.stack.anchor.is_none()) {
            self.learn_anchor(made.tid);
        }
        if self.process.namespaces.other_pid != Some(false) {
            for made in made {
                self.learn_inner_tid(made.tid);
            }
        }
        let scene = Scene {
            modules: &self.modules,
            points: &self.probes.points,
            inner_tids: &self.inner_tids,
        };
        self.accounts.unwind_all(made, scene)
    }

    /// The stack that was walked when the mappings were of that generation; walked again where they say more now.
    fn checked(&mut self, made: &Allocation, walked: Stack, generation: u64) -> Result<Stack> {
        let mut stack = walked;
        // A stack before it in the ring has led to another look.
        if self.modules.generation != generation {
            stack = self.unwind_all(&[made]).pop().unwrap_or(stack);
        }
        // Code of a library that was mapped a moment ago, or that took the place of another.
        let time = made.key.time;
        let outdated =
            leads_nowhere(&stack) && self.may_refresh(time) || self.is_outdated(&stack, time);
        if outdated && self.refresh()? == Target::Alive {
            stack = self.unwind_all(&[made]).pop().unwrap_or(stack);
        }
        self.accounts.stacks.count(stack.end);
        self.ends.count(&stack);
        Ok(stack)
    }

    /// Whether a look at the mappings may tell more than the last did: something happened since. Stacks that lead nowhere
    /// may come one after the other, so there is a limit.
    fn may_refresh(&mut self, made: u64) -> bool {
        if made <= self.refreshed_at {
            return false;
        }
        self.extra_refreshes += 1;
        self.extra_refreshes <= MAX_REFRESHES || self.refreshed.elapsed() >= MIN_REFRESH
    }

    /// Whether the stack, made at that time, goes through a file that is not mapped any more where it was. One that was
    /// there later was there then.
    fn is_outdated(&mut self, stack: &Stack, made: u64) -> bool {
        let pid = self.process.pid.0;
        let (seen, modules) = (&mut self.seen_mapped, &self.modules);
        stack.frames.iter().any(|frame| match frame {
            Frame::Native { module, .. } => {
                seen.get(module).is_none_or(|seen| *seen < made) && {
                    seen.insert(*module, clock::monotonic());
                    modules.is_outdated(pid, *module)
                }
            }
            _ => false,
        })
    }

    fn learn_inner_tid(&mut self, tid: u32) {
        if !self.inner_tids.contains_key(&tid)
            && let Ok(inner) = self.process.ns_tid(Tid(tid))
        {
            self.inner_tids.insert(tid, inner.0);
        }
    }

    /// Looks at what the target has mapped since, and hooks it.
    pub fn refresh(&mut self) -> Result<Target> {
        self.refreshed = Instant::now();
        self.refreshed_at = clock::monotonic();
        if let Ok(rss) = self.process.rss() {
            self.rss = rss;
        }
        let new = match self.modules.refresh(self.process.pid.0) {
            Ok(new) => new,
            // Its memory goes before it has ended.
            Err(error) if error.kind() == ErrorKind::NotFound || self.process.ended() => {
                return Ok(Target::Ended);
            }
            Err(error) => {
                return Err(error).context(format!(
                    "cannot read the mappings of process {}",
                    self.process.pid
                ));
            }
        };
        // Also when something was only unmapped: what takes its place is no part of it.
        self.accounts.unwinder.modules_changed(&self.modules);
        self.hook_later(&new);
        self.names.freeze(&new, &self.modules);
        self.tell_trampoline()?;
        if self.accounts.cleaners.is_empty() {
            self.find_cleaners();
        }
        self.forget_lost_ends()?;
        // Threads come and go, and their ids are used again.
        self.inner_tids.clear();
        self.tell_anchors();
        Ok(Target::Alive)
    }

    /// The programs recognise calls inside calls by the kernel's trampoline; it is mapped at the first return.
    fn tell_trampoline(&mut self) -> Result<()> {
        match self.modules.return_probe() {
            Some(address) if self.trampoline != Some(address) => {
                self.trampoline = Some(address);
                self.probes.set_trampoline(address)
            }
            _ => Ok(()),
        }
    }

    /// The threads of the JVM that end what the program forgot.
    fn find_cleaners(&mut self) {
        if matches!(self.accounts.unwinder.jvm(), Jvm::None) {
            return;
        }
        for tid in self.process.threads().unwrap_or_default() {
            let name = self.process.thread_comm(tid).unwrap_or_default();
            if crate::accounts::CLEANERS.contains(&name.as_str()) {
                self.accounts.cleaners.insert(tid.0);
            }
        }
    }

    fn note_fill(&mut self, name: &'static str, used: u64, capacity: u64) {
        let fill = self
            .high_water
            .entry(name)
            .or_insert(Fill { used, capacity });
        fill.used = fill.used.max(used);
    }

    /// Everything that is outstanding now, as a capture, with the owners of the resident memory.
    pub fn capture(&mut self) -> Result<Capture> {
        self.look_at_owners();
        let mut capture = self.view()?;
        self.tell_owners(&mut capture);
        Ok(capture)
    }

    /// The same without the owners, which take some time to look at: for who asks again and again.
    pub fn view(&mut self) -> Result<Capture> {
        let state = self.tally()?;
        self.present(state)
    }

    /// The same for a look in between: growth is still told since the capture before.
    pub fn look(&mut self) -> Result<Capture> {
        let before = self.outstanding_before.clone();
        let capture = self.view();
        self.outstanding_before = before;
        capture
    }

    /// Mean sampling interval of malloc now, in bytes; 0 is exact.
    pub fn sample_bytes(&self) -> u64 {
        self.accounts.rules.intervals.last()
    }

    /// Detaches: what is counted from here on is final, no call is under way in it.
    pub fn stop(&mut self) -> Result<()> {
        self.refresh()?;
        self.govern()?;
        self.cost.detach_ms = Some(self.probes.detach().as_secs_f64() * 1000.0);
        // What the target does from here on is seen by nobody.
        self.look_at_owners();
        Ok(())
    }

    /// The last capture, after [`Trace::stop`].
    pub fn finish(mut self) -> Result<Capture> {
        self.measure_traps(LAST_CALIBRATION);
        if let Some(calibration) = self.cost.calibration.take() {
            calibration.end();
        }
        let mut capture = self.view()?;
        self.tell_owners(&mut capture);
        Ok(capture)
    }

    fn rules(settings: &Settings) -> Rules {
        Rules {
            intervals: Intervals::new(settings.sampling.bytes()),
        }
    }

    fn new_accounts(process: &Process, settings: &Settings) -> Result<Accounts<ProcessMemory>> {
        let memory = open_memory(process)?;
        Ok(Accounts::new(Unwinder::new(memory), Trace::rules(settings)))
    }
}

/// The thread as the target sees it; None once it has ended.
fn inner_tid(process: &Process, tid: u32) -> Option<u32> {
    match process.namespaces.other_pid {
        Some(false) => Some(tid),
        _ => Some(process.ns_tid(Tid(tid)).ok()?.0),
    }
}

/// Does the walk come to an address where nothing is known to be mapped? It may have gone on from there by the JVM's note.
fn leads_nowhere(stack: &Stack) -> bool {
    let is_nowhere = |frame: &Frame| {
        matches!(
            frame,
            Frame::Unknown {
                reason: UnknownReason::NotMapped,
                ..
            }
        )
    };
    stack.frames.iter().any(is_nowhere)
}

fn open_memory(process: &Process) -> Result<ProcessMemory> {
    let pid = process.pid;
    ProcessMemory::open(pid.0).with_context(|| format!("cannot read the memory of process {pid}"))
}

/// The target's mappings now; none when it has ended.
fn mappings(process: &Process) -> Option<Vec<Mapped>> {
    let text = maps::read(process.pid.0).ok()?;
    let mapped = maps::parse(&text).map(|m| Mapped {
        start: m.start,
        end: m.end,
        accessible: m.accessible,
    });
    Some(mapped.collect())
}
