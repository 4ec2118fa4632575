//! From a hit to its logic: is this the target, which attach point is it, what do the registers say.

use core::ffi::c_void;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_attach_cookie, bpf_get_func_ip, bpf_ktime_get_ns};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tracer_common::config::group::PAIRS;
use tracer_common::cookie::Cookie;
use tracer_common::outcome::Outcome;

use crate::maps::{config, control, count, is_given_up};
use crate::registers::Registers;

/// One hit of a probe in the target.
#[derive(Clone, Copy)]
pub struct Hit {
    pub cookie: Cookie,
    pub registers: Registers,
    /// Thread, as the kernel's first namespace numbers it.
    pub tid: u32,
}

impl Hit {
    /// Counts a way out of the attach point that was hit.
    #[inline(always)]
    pub fn count(&self, outcome: Outcome) {
        count(self.cookie.point(), outcome);
    }
}

/// Whether the return of a call that was entered is of use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Return {
    Wanted,
    Unwanted,
}

/// An entry probe. Where the return has a probe of its own, that one fires in any case.
#[inline(always)]
pub fn entered<T>(
    ctx: &ProbeContext,
    group: u64,
    logic: impl FnOnce(&ProbeContext, Hit) -> T,
) -> u32 {
    if let Some(hit) = entry(ctx, group) {
        logic(ctx, hit);
    }
    0
}

#[inline(always)]
pub fn returned(ctx: &RetProbeContext, logic: impl FnOnce(&RetProbeContext, Hit)) -> u32 {
    if let Some(hit) = hit(ctx, Registers(ctx.regs)) {
        logic(ctx, hit);
    }
    0
}

/// A probe at a `ret`, which is no entry: the call was counted at its own.
#[inline(always)]
pub fn left(ctx: &ProbeContext, logic: impl FnOnce(&ProbeContext, Hit)) -> u32 {
    if let Some(hit) = hit(ctx, Registers(ctx.regs)) {
        logic(ctx, hit);
    }
    0
}

/// A session probe: one program for the entry and, where its result says so, the return.
///
/// Which of them it is the instruction pointer tells. At the entry it is that of the probe, which the kernel still knows
/// at the return (`bpf_get_func_ip`), where it is the return address.
#[inline(always)]
pub fn session(
    context: *mut c_void,
    group: u64,
    enter: impl FnOnce(&ProbeContext, Hit) -> Return,
    leave: impl FnOnce(&RetProbeContext, Hit),
) -> u32 {
    let ctx = ProbeContext::new(context);
    let probed = unsafe { bpf_get_func_ip(context) };
    if Registers(ctx.regs).ip() != probed {
        return returned(&RetProbeContext::new(context), leave);
    }
    match entry(&ctx, group).map(|hit| enter(&ctx, hit)) {
        Some(Return::Wanted) => SESSION_RETURN,
        Some(Return::Unwanted) | None => SESSION_NO_RETURN,
    }
}

/// What a session program answers at an entry (`uprobe_multi_link_handler`, Linux 6.13).
const SESSION_RETURN: u32 = 0;
const SESSION_NO_RETURN: u32 = 1;

/// A hit at an entry that is to be recorded.
#[inline(always)]
fn entry(ctx: &ProbeContext, group: u64) -> Option<Hit> {
    let hit = hit(ctx, Registers(ctx.regs))?;
    let is_off = control().recording & group == 0;
    if is_off || group == PAIRS && is_given_up(hit.cookie.pair()) {
        hit.count(Outcome::Counted);
        return None;
    }
    hit.count(Outcome::Seen);
    Some(hit)
}

#[inline(always)]
fn hit(ctx: &impl EbpfContext, registers: Registers) -> Option<Hit> {
    let thread = bpf_get_current_pid_tgid();
    // A vfork child runs in the target's memory, with its breakpoints.
    if (thread >> 32) as u32 != config().tgid {
        return None;
    }
    let cookie = Cookie(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    Some(Hit {
        cookie,
        registers,
        tid: thread as u32,
    })
}

#[inline(always)]
pub fn now() -> u64 {
    unsafe { bpf_ktime_get_ns() }
}

/// A word of the target's memory; 0 where it cannot be read.
#[inline(always)]
pub fn user_word(address: u64) -> u64 {
    unsafe { bpf_probe_read_user(address as *const u64) }.unwrap_or(0)
}
