//! What one trap costs on this machine, measured on our own process with empty probes.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use tracer_common::config::Config;

use super::attach::Attacher;
use super::links::LinkKind;
use super::load::{self, Capacities};
use super::sys::Place;
use crate::capture::TrapCost;

// Two functions whose first instruction the kernel emulates and single-steps, as placement.rs tells them apart.
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
);

unsafe extern "C" {
    fn offheap_trap_emulated();
    fn offheap_trap_stepped();
}

const ROUNDS: usize = 9;
const CALLS: u32 = 200;

const PROGRAM: &str = "empty_enter";

/// Nanoseconds of one trap with an empty program, median over some rounds, with probes held by links of this kind.
///
/// Takes some hundred milliseconds, most of them to detach: run it beside other work.
pub fn calibrate(kind: LinkKind) -> Result<TrapCost> {
    let capacities = Capacities {
        ring_bytes: 1 << 16,
        blocks: 16,
        streams: 16,
        threads: 16,
        points: 1,
    };
    let ebpf = load::object(&Config::default(), capacities, 0)?;
    let mut attacher = Attacher::new(ebpf, kind, std::process::id(), 0)?;
    attacher.load(PROGRAM)?;
    let places = [place(offheap_trap_emulated)?, place(offheap_trap_stepped)?];
    attacher.attach(PROGRAM, Path::new("/proc/self/exe"), &places)?;
    let cost = TrapCost {
        emulated: measure(offheap_trap_emulated),
        single_step: measure(offheap_trap_stepped),
    };
    attacher.detach();
    Ok(cost)
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
