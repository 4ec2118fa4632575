//! What one trap costs on this machine: nanoseconds with an empty program, the median over some rounds, measured on our own
//! process.

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tracer_common::config::Config;

use super::attach::{Attacher, Owner};
use super::links::LinkKind;
use super::load::{self, Capacities};
use super::sys::Place;
use crate::capture::TrapCost;
use crate::functions::Group;

// Functions whose first instruction the kernel emulates and single-steps, as placement.rs tells them apart; the third one
// is as the first, and gets a probe at its return, too.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl offheap_trap_emulated",
    ".type offheap_trap_emulated, @function",
    "offheap_trap_emulated: push rbp; pop rbp; ret",
    ".size offheap_trap_emulated, . - offheap_trap_emulated",
    ".globl offheap_trap_stepped",
    ".type offheap_trap_stepped, @function",
    "offheap_trap_stepped: test rdi, rdi; ret",
    ".size offheap_trap_stepped, . - offheap_trap_stepped",
    ".globl offheap_trap_returned",
    ".type offheap_trap_returned, @function",
    "offheap_trap_returned: push rbp; pop rbp; ret",
    ".size offheap_trap_returned, . - offheap_trap_returned",
);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl offheap_trap_emulated",
    ".type offheap_trap_emulated, %function",
    "offheap_trap_emulated: nop; ret",
    ".size offheap_trap_emulated, . - offheap_trap_emulated",
    ".globl offheap_trap_stepped",
    ".type offheap_trap_stepped, %function",
    "offheap_trap_stepped: add x0, x0, #1; ret",
    ".size offheap_trap_stepped, . - offheap_trap_stepped",
    ".globl offheap_trap_returned",
    ".type offheap_trap_returned, %function",
    "offheap_trap_returned: nop; ret",
    ".size offheap_trap_returned, . - offheap_trap_returned",
);

unsafe extern "C" {
    fn offheap_trap_emulated();
    fn offheap_trap_stepped();
    fn offheap_trap_returned();
}

const ROUNDS: usize = 9;
const CALLS: u32 = 200;

const ENTRY: &str = "empty_enter";

/// A calibration under way.
pub struct Calibration {
    thread: JoinHandle<()>,
    result: Receiver<Result<TrapCost>>,
}

impl Calibration {
    /// Begins to measure, on a thread of its own: what takes long is to attach and to detach.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn begin(kind: LinkKind) -> io::Result<Calibration> {
        let (sender, result) = mpsc::channel();
        let measure = move || {
            let measured = attach(kind).map(|attacher| (measured(), attacher));
            let (cost, attacher) = match measured {
                Ok((cost, attacher)) => (Ok(cost), Some(attacher)),
                Err(error) => (Err(error), None),
            };
            // Nobody may be waiting any more.
            let _ = sender.send(cost);
            if let Some(mut attacher) = attacher {
                attacher.detach();
            }
        };
        let thread = Builder::new().name("calibrate".into()).spawn(measure)?;
        Ok(Calibration { thread, result })
    }

    /// What was measured, as soon as it is, or at the latest after `patience`; not known until then.
    pub fn wait(&self, patience: Duration) -> Option<Result<TrapCost>> {
        self.result.recv_timeout(patience).ok()
    }

    /// Waits until our own process has no probe any more: it must not end while one is being detached.
    pub fn end(self) {
        // A thread that has panicked has dropped its links.
        let _ = self.thread.join();
    }
}

/// Empty probes on the functions above, held by links of this kind.
fn attach(kind: LinkKind) -> Result<Attacher> {
    let capacities = Capacities {
        ring_bytes: 1 << 16,
        blocks: 16,
        streams: 16,
        threads: 16,
        points: 1,
    };
    let ebpf = load::object(&Config::default(), capacities, 0)?;
    let mut attacher = Attacher::new(ebpf, kind, std::process::id(), 0)?;
    let alone = [place(offheap_trap_emulated)?, place(offheap_trap_stepped)?];
    let returned = [place(offheap_trap_returned)?];
    let mut add = |program, places: &[Place]| {
        attacher.load(program)?;
        let owner = Owner::of(Group::Malloc);
        attacher.attach(program, owner, Path::new("/proc/self/exe"), places)
    };
    add(ENTRY, &alone)?;
    match kind {
        LinkKind::Session => add("empty_session", &returned)?,
        LinkKind::Multi | LinkKind::Perf => {
            add("empty_return", &returned)?;
            add(ENTRY, &returned)?;
        }
    }
    Ok(attacher)
}

fn measured() -> TrapCost {
    let emulated = measure(offheap_trap_emulated);
    TrapCost {
        emulated,
        single_step: measure(offheap_trap_stepped),
        at_return: (measure(offheap_trap_returned) - emulated).max(0.0),
    }
}

fn place(function: unsafe extern "C" fn()) -> Result<Place> {
    Ok(Place {
        offset: file_offset(function as usize as u64)?,
        cookie: 0,
    })
}

fn measure(function: unsafe extern "C" fn()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| nanoseconds_per_call(function))
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn nanoseconds_per_call(function: unsafe extern "C" fn()) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        // SAFETY: the function above takes nothing, returns nothing and keeps the stack as it was.
        unsafe { function() };
    }
    start.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

/// Offset of one of our own functions in our own file.
fn file_offset(address: u64) -> Result<u64> {
    let maps = procfs::process::Process::myself()?.maps()?;
    let map = maps
        .into_iter()
        .find(|map| (map.address.0..map.address.1).contains(&address))
        .context("our own code is not mapped")?;
    Ok(address - map.address.0 + map.offset)
}
