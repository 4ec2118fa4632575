//! Registers and stack bytes in, frames out.
//!
//! A walk is a pure function of a [`StackCapture`], the [`ModuleTable`] and a [`Memory`] to read the JVM's metadata
//! from. Native frames are left by call frame information only (`cfi`), Java frames by what the JVM says about itself
//! ([`hotspot`]); nothing is guessed, and every end has its reason.

use std::time::Instant;

use tracer_common::event::ANCHOR_WORDS;

use crate::stack::{Frame, MethodTable, Stack};
use crate::target::modules::{Module, ModuleTable};

pub(crate) mod arch;
pub(crate) mod cfi;
pub(crate) mod cursor;
mod expression;
pub(crate) mod fixture;
pub mod hotspot;
pub mod memory;
mod native;
mod return_probe;
pub(crate) mod rule;
pub(crate) mod walk;

#[cfg(test)]
mod tests;

use arch::Arch;
use hotspot::oracle::Comparisons;
use hotspot::{HotSpot, JavaThreadName, JvmVersion, Look, Moment, UnsupportedJvm};
use memory::Memory;
use native::NativeUnwinder;
use return_probe::ReturnProbes;

/// Walks of one stack, each begun anew because code that it passed had gone. After that each is looked at when it is met.
const MAX_WALKS: usize = 4;

/// The registers that a walk starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// The probed instruction, or the return address at a return probe.
    pub ip: u64,
    pub sp: u64,
    /// `rbp` or `x29`.
    pub fp: u64,
    /// `x30` on aarch64.
    pub lr: u64,
}

/// What the kernel copied of a stack.
#[derive(Clone, Copy, Debug)]
pub struct StackCapture<'a> {
    pub registers: Registers,
    /// True when `ip` is a return address (capture at a function's return probe): look-ups use ip − 1.
    pub ip_is_return_address: bool,
    /// Bytes from `registers.sp` upwards.
    pub bytes: &'a [u8],
    /// Pages that could not be read, as bits from that of `registers.sp` on: what stands for them in `bytes` says nothing.
    pub missing: u16,
    /// When it was copied, or before: since then the target has gone on.
    pub taken: Instant,
    /// The cap was reached before the end of the stack.
    pub truncated: bool,
    /// Thread id as the target sees it.
    pub tid: u32,
    /// Return addresses that pending return probes have replaced.
    pub replaced: &'a [ReplacedReturn],
    /// The first words of the thread's `JavaFrameAnchor` at that moment; None where it was not copied.
    pub anchor: Option<[u64; ANCHOR_WORDS]>,
}

/// A return address that a return probe has replaced by the kernel's trampoline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplacedReturn {
    /// Address of the stack slot: the stack pointer at the function's entry.
    pub slot: u64,
    pub original: u64,
}

/// What is known about Java in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Jvm<'a> {
    /// No libjvm is mapped.
    None,
    Supported(&'a JvmVersion),
    /// Native frames only; [`UnsupportedJvm::Starting`] may pass.
    Unsupported(&'a UnsupportedJvm),
}

/// Turns captures of one process into stacks, and remembers what it learns on the way.
pub struct Unwinder<M> {
    arch: Arch,
    memory: M,
    native: NativeUnwinder,
    jvm: Option<Result<HotSpot, UnsupportedJvm>>,
    methods: MethodTable,
    /// Of the walk under way.
    frames: Vec<Frame>,
    /// Of the module table that the caches belong to.
    generation: Option<u64>,
}

impl<M: Memory> Unwinder<M> {
    /// An unwinder that knows no modules yet: call [`Unwinder::modules_changed`] before the first walk.
    pub fn new(memory: M) -> Self {
        Unwinder {
            arch: Arch::HOST,
            memory,
            native: NativeUnwinder::default(),
            jvm: None,
            methods: MethodTable::default(),
            frames: Vec::new(),
            generation: None,
        }
    }

    /// Takes note of what the target has mapped: to be called after each refresh of the table. Cheap where nothing has
    /// changed. Looks for a JVM until one is found that has finished starting.
    pub fn modules_changed(&mut self, modules: &ModuleTable) {
        if self.generation != Some(modules.generation) {
            self.generation = Some(modules.generation);
            self.native.modules_changed();
        }
        self.find_jvm(modules);
    }

    fn find_jvm(&mut self, modules: &ModuleTable) {
        if !matches!(self.jvm, None | Some(Err(UnsupportedJvm::Starting))) {
            return;
        }
        let libjvm = modules
            .modules
            .iter()
            .find(|module| hotspot::is_libjvm(module));
        self.jvm = libjvm.map(|module| detect(&self.memory, module));
    }

    /// The frames of `capture`, leaf first. To be called soon after the event: the JVM's metadata is read from the live
    /// target. Where the last frame is [`UnknownReason::NotMapped`](crate::stack::UnknownReason::NotMapped), the table
    /// may be older than the capture: refresh it and walk again.
    pub fn unwind(&mut self, modules: &ModuleTable, capture: &StackCapture<'_>) -> Stack {
        let moment = Moment::of(capture.taken, Instant::now());
        for _ in 0..MAX_WALKS {
            let stack = self.walk(modules, capture, moment);
            if self.wrong(moment.now).is_empty() {
                return stack;
            }
        }
        let look = Look::Now;
        self.walk(modules, capture, Moment { look, ..moment })
    }

    /// As [`Unwinder::unwind`], for several captures: what has to be looked at again in the target is read once for all.
    pub fn unwind_all(
        &mut self,
        modules: &ModuleTable,
        captures: &[StackCapture<'_>],
    ) -> Vec<Stack> {
        let now = Instant::now();
        let mut stacks = Vec::with_capacity(captures.len());
        for (stack, capture) in (0..).zip(captures) {
            let moment = Moment::of(capture.taken, now);
            stacks.push(self.walk(modules, capture, Moment { stack, ..moment }));
        }
        for wrong in self.wrong(now) {
            let index = wrong as usize;
            if let (Some(stack), Some(capture)) = (stacks.get_mut(index), captures.get(index)) {
                *stack = self.unwind(modules, capture);
            }
        }
        stacks
    }

    fn wrong(&mut self, now: Instant) -> Vec<u32> {
        match &mut self.jvm {
            Some(Ok(hotspot)) => hotspot.wrong(&self.memory, now),
            _ => Vec::new(),
        }
    }

    fn walk(&mut self, modules: &ModuleTable, capture: &StackCapture<'_>, moment: Moment) -> Stack {
        let (cursor, stack) = walk::first(capture, self.arch);
        self.frames.clear();
        let moment = match &mut self.jvm {
            Some(Ok(hotspot)) => hotspot.at(moment),
            _ => moment,
        };
        let java = hotspot::Walk {
            memory: &self.memory,
            methods: &mut self.methods,
            stack,
            frames: &mut self.frames,
            moment,
            tid: capture.tid,
            anchor: capture.anchor,
        };
        let mut walker = walk::Walker {
            modules,
            is_foreign: self.jvm.is_none(),
            native: &mut self.native,
            hotspot: self.jvm.as_mut().and_then(|jvm| jvm.as_mut().ok()),
            java,
            probes: ReturnProbes::new(modules, capture.replaced),
            call_wrapper: None,
            passed_java: false,
            entries: Vec::new(),
            is_in_java: false,
            has_resumed: false,
        };
        let end = walker.walk(cursor);
        walker.compare(end);
        walk::finish(&mut self.frames, end)
    }

    /// The Java name of the thread that the target knows as `tid`; None where it is none of the JVM's, or can't be read.
    pub fn thread_name(&mut self, tid: u32) -> Option<JavaThreadName> {
        let hotspot = self.jvm.as_mut()?.as_mut().ok()?;
        hotspot.thread_name(&self.memory, tid)
    }

    /// Java threads by the id that the target sees, with the address of each one's `JavaFrameAnchor`. None where they can't
    /// be found, or an anchor's words are not where the programs copy them.
    pub fn anchors(&mut self) -> Option<Vec<(u32, u64)>> {
        let hotspot = self.jvm.as_mut()?.as_mut().ok()?;
        hotspot.anchors(&self.memory)
    }

    /// The Java methods of all stacks so far.
    pub fn methods(&self) -> &MethodTable {
        &self.methods
    }

    /// How walks and the JVM's own notes agreed; None without a JVM whose frames can be walked.
    pub fn comparisons(&self) -> Option<&Comparisons> {
        let hotspot = self.jvm.as_ref()?.as_ref().ok()?;
        Some(&hotspot.comparisons)
    }

    pub fn jvm(&self) -> Jvm<'_> {
        match &self.jvm {
            None => Jvm::None,
            Some(Ok(hotspot)) => Jvm::Supported(&hotspot.version),
            Some(Err(reason)) => Jvm::Unsupported(reason),
        }
    }
}

fn detect(memory: &impl Memory, module: &Module) -> Result<HotSpot, UnsupportedJvm> {
    let bias = hotspot::load_bias(module).ok_or(UnsupportedJvm::Unreadable)?;
    HotSpot::detect(memory, module, bias)
}
