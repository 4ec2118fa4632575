//! From a hit to its logic: is this the target, which attach point is it, what do the registers say.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_attach_cookie, bpf_ktime_get_ns};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tracer_common::cookie::Cookie;
use tracer_common::outcome::Outcome;

use crate::maps::{config, count};
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

#[inline(always)]
pub fn entered(ctx: &ProbeContext, logic: impl FnOnce(&ProbeContext, Hit)) -> u32 {
    if let Some(hit) = hit(ctx, Registers(ctx.regs)) {
        hit.count(Outcome::Seen);
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
