//! Events in, accounts out: unwinds each captured stack and books it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::capture::SiteKind;
use crate::events::{Allocation, AllocationKey, End, Event};
use crate::functions::Direction;
use crate::ledger::{Freed, Ledger, SiteId, Space, Weight};
use crate::probes::Point;
use crate::regions::Regions;
use crate::stack::{Frame, Marker, Stack, StackEnd};
use crate::target::modules::ModuleTable;
use crate::unwind::memory::Memory;
use crate::unwind::{Registers, ReplacedReturn, StackCapture, Unwinder};

/// libc's `PROT_NONE`.
const PROT_NONE: u32 = 0;

/// Threads of the JVM that end what the program forgot: JDK 9 and later, JDK 8 and `finalize` methods.
pub const CLEANERS: [&str; 2] = ["Common-Cleaner", "Finalizer"];

/// Who mapped a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub site: SiteId,
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// Mapped without access: reserved until the target's mappings say otherwise.
    pub reserved: bool,
}

/// An open stream's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    pub direction: Direction,
    pub window_bits: i32,
    pub mem_level: i32,
}

/// A stream whose `z_stream` was set up again without having been ended: its memory can never be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    pub time: u64,
    pub site: SiteId,
    pub parameters: Parameters,
}

/// How allocations become sites.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Mean sampling interval of the malloc family in bytes; 0 is exact.
    pub interval: u64,
    /// Sites are split by thread.
    pub by_thread: bool,
}

/// What was seen of stacks.
#[derive(Clone, Debug, Default)]
pub struct StackCounts {
    pub taken: u64,
    pub complete: u64,
    /// Incomplete ones by where they ended.
    pub ends: BTreeMap<StackEnd, u64>,
}

/// All books of a run.
pub struct Accounts<M> {
    pub ledger: Ledger,
    pub regions: Regions<Origin>,
    pub parameters: HashMap<AllocationKey, Parameters>,
    pub orphans: Vec<Orphan>,
    pub unwinder: Unwinder<M>,
    pub stacks: StackCounts,
    /// Records that made no sense.
    pub malformed: u64,
    /// Threads that end what the program forgot.
    pub cleaners: HashSet<u32>,
    rules: Rules,
}

/// What the accounts know of the target when they book an event.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub modules: &'a ModuleTable,
    pub points: &'a [Point],
    /// Thread ids as the target sees them, by thread ids as the kernel sees them; the same where there is none.
    pub inner_tids: &'a HashMap<u32, u32>,
}

/// Where a thread's stack was seen to end: the next copy need not go further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackTop {
    Known {
        tid: u32,
        top: u64,
    },
    /// What was known is wrong: a copy ended before the thread's first frame.
    Wrong {
        tid: u32,
    },
}

impl<M: Memory> Accounts<M> {
    pub fn new(unwinder: Unwinder<M>, rules: Rules) -> Accounts<M> {
        Accounts {
            ledger: Ledger::default(),
            regions: Regions::default(),
            parameters: HashMap::new(),
            orphans: Vec::new(),
            unwinder,
            stacks: StackCounts::default(),
            malformed: 0,
            cleaners: HashSet::new(),
            rules,
        }
    }

    /// Books one event. Returns what it taught about the thread's stack.
    pub fn book(&mut self, event: Event, scene: Scene<'_>) -> Option<StackTop> {
        match event {
            Event::Allocated(block) => self.allocated(&block, scene),
            Event::Mapped { protection, region } => self.mapped(protection, &region, scene),
            Event::Remapped {
                old_address,
                old_length,
                keeps_old,
                region,
            } => {
                let old = if keeps_old {
                    (old_address, 0)
                } else {
                    (old_address, old_length)
                };
                self.remapped(old, &region, scene)
            }
            Event::Opened {
                stream,
                window_bits,
                mem_level,
                replaced,
            } => {
                let direction = direction(scene, stream.point);
                self.opened(
                    &stream,
                    Parameters {
                        direction,
                        window_bits,
                        mem_level,
                    },
                    replaced,
                    scene,
                )
            }
            Event::Unmapped { address, length } => {
                self.regions.unmap(address, length);
                None
            }
            Event::Freed(end) => self.freed(end),
            Event::FreedUnknown(end) => {
                let by = self.freed_by(end.tid);
                self.ledger.end_unknown(
                    Space::Blocks,
                    end.key.address,
                    end.now,
                    self.rules.interval,
                    by,
                );
                None
            }
            Event::Closed { end, comm } => self.closed(end, &comm),
        }
    }

    fn allocated(&mut self, block: &Allocation, scene: Scene<'_>) -> Option<StackTop> {
        let (site, top) = self.site_of(SiteKind::Malloc, block, scene);
        let weight = Weight::of(block.size, self.rules.interval);
        if block.spilled {
            self.ledger
                .begin_spilled(Space::Blocks, block.key, block.size, site, weight);
        } else {
            self.ledger.begin(block.key, block.size, site, weight);
        }
        top
    }

    fn mapped(
        &mut self,
        protection: u32,
        region: &Allocation,
        scene: Scene<'_>,
    ) -> Option<StackTop> {
        let (site, top) = self.site_of(SiteKind::Mmap, region, scene);
        let origin = Origin {
            site,
            time: region.key.time,
            reserved: protection == PROT_NONE,
        };
        self.regions.map(region.key.address, region.size, origin);
        self.ledger.add(site, region.size, Weight::ONE);
        top
    }

    fn remapped(
        &mut self,
        old: (u64, u64),
        region: &Allocation,
        scene: Scene<'_>,
    ) -> Option<StackTop> {
        let (site, top) = self.site_of(SiteKind::Mmap, region, scene);
        let origin = Origin {
            site,
            time: region.key.time,
            reserved: false,
        };
        self.regions
            .remap(old, region.key.address, region.size, origin);
        let grown = region.size.saturating_sub(old.1);
        if grown > 0 {
            self.ledger.add(site, grown, Weight::ONE);
        }
        top
    }

    fn opened(
        &mut self,
        stream: &Allocation,
        parameters: Parameters,
        replaced: Option<u64>,
        scene: Scene<'_>,
    ) -> Option<StackTop> {
        if let Some(time) = replaced {
            self.orphan(AllocationKey {
                address: stream.key.address,
                time,
            });
        }
        let kind = kind_of(parameters.direction);
        let (site, top) = self.site_of(kind, stream, scene);
        if stream.spilled {
            self.ledger
                .begin_spilled(Space::Streams, stream.key, 0, site, Weight::ONE);
        } else {
            self.ledger.begin(stream.key, 0, site, Weight::ONE);
        }
        self.parameters.insert(stream.key, parameters);
        top
    }

    /// The stream was set up again without having been ended.
    fn orphan(&mut self, key: AllocationKey) {
        if let (Some(site), Some(parameters)) =
            (self.ledger.site_of(key), self.parameters.remove(&key))
        {
            self.orphans.push(Orphan {
                time: key.time,
                site,
                parameters,
            });
            self.ledger.forget(key);
        }
    }

    fn freed(&mut self, end: End) -> Option<StackTop> {
        let by = self.freed_by(end.tid);
        self.ledger
            .end(end.key, Weight::of(end.size, self.rules.interval), by);
        None
    }

    fn closed(&mut self, end: End, comm: &[u8; 16]) -> Option<StackTop> {
        let name = comm.split(|&byte| byte == 0).next().unwrap_or_default();
        let by = match CLEANERS.iter().any(|cleaner| cleaner.as_bytes() == name) {
            true => Freed::ByCleaner,
            false => Freed::ByProgram,
        };
        if end.key.time == 0 {
            self.ledger
                .end_unknown(Space::Streams, end.key.address, end.now, 0, by);
        } else {
            self.ledger.end(end.key, Weight::ONE, by);
            self.parameters.remove(&end.key);
        }
        None
    }

    fn freed_by(&self, tid: u32) -> Freed {
        if self.cleaners.contains(&tid) {
            Freed::ByCleaner
        } else {
            Freed::ByProgram
        }
    }

    fn site_of(
        &mut self,
        kind: SiteKind,
        made: &Allocation,
        scene: Scene<'_>,
    ) -> (SiteId, Option<StackTop>) {
        let (stack, top) = self.unwind(made, scene);
        let tid = self.rules.by_thread.then_some(made.tid);
        (self.ledger.site(kind, stack, tid), top)
    }

    fn unwind(&mut self, made: &Allocation, scene: Scene<'_>) -> (Stack, Option<StackTop>) {
        let raw = &made.stack;
        let replaced = raw.replaced.map(|r| ReplacedReturn {
            slot: r.slot,
            original: r.return_address,
        });
        let known = replaced.iter().filter(|r| r.slot != 0).count();
        let mut ordered = replaced;
        ordered.sort_by_key(|r| r.slot == 0);
        let capture = StackCapture {
            registers: Registers {
                ip: raw.ip,
                sp: raw.sp,
                fp: raw.fp,
                lr: raw.lr,
            },
            ip_is_return_address: raw.at_return,
            bytes: &raw.bytes,
            truncated: raw.truncated,
            tid: scene.inner_tids.get(&made.tid).copied().unwrap_or(made.tid),
            replaced: &ordered[..known],
        };
        let mut stack = self.unwinder.unwind(scene.modules, &capture);
        if raw.at_return
            && let Some(point) = scene.points.get(made.point as usize)
        {
            stack.frames.insert(
                0,
                Frame::Native {
                    module: point.module,
                    offset: point.entry,
                },
            );
        }
        self.count(stack.end);
        let top = self.learn(made, stack.end);
        (stack, top)
    }

    fn count(&mut self, end: StackEnd) {
        self.stacks.taken += 1;
        match end {
            StackEnd::Root => self.stacks.complete += 1,
            end => *self.stacks.ends.entry(end).or_default() += 1,
        }
    }

    fn learn(&self, made: &Allocation, end: StackEnd) -> Option<StackTop> {
        let tid = made.tid;
        match end {
            StackEnd::Root => self.unwinder.root().map(|sp| StackTop::Known {
                tid,
                top: sp.saturating_add(ROOT_FRAME),
            }),
            StackEnd::Truncated if !made.stack.truncated => Some(StackTop::Wrong { tid }),
            _ => None,
        }
    }

    /// The site of allocations whose stack never arrived.
    pub fn lost_site(&mut self, kind: SiteKind, point: Option<&Point>) -> SiteId {
        let leaf = point.map(|point| Frame::Native {
            module: point.module,
            offset: point.entry,
        });
        let frames = leaf
            .into_iter()
            .chain([Frame::Marker(Marker::StackLost)])
            .collect();
        self.ledger.site(
            kind,
            Stack {
                frames,
                end: StackEnd::Lost,
            },
            None,
        )
    }
}

/// Bytes above the stack pointer of a thread's first frame that its unwind information may refer to.
const ROOT_FRAME: u64 = 256;

/// The kind of site that a stream makes.
pub fn kind_of(direction: Direction) -> SiteKind {
    match direction {
        Direction::Deflate => SiteKind::Deflate,
        Direction::Inflate => SiteKind::Inflate,
    }
}

fn direction(scene: Scene<'_>, point: u32) -> Direction {
    let function = scene.points.get(point as usize).map(|point| point.function);
    function
        .and_then(|function| function.direction)
        .unwrap_or(Direction::Deflate)
}
