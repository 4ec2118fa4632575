//! The malloc family: blocks enter `LIVE` when their call returns and leave it when `free` is entered.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use aya_log_ebpf::debug;
use tracer_common::config::Sampling;
use tracer_common::cookie::NO_ARGUMENT;
use tracer_common::event::{FLAG_AT_RETURN, FLAG_SPILLED, Freed, Header, kind};
use tracer_common::inflight::{Allocating, is_nested};
use tracer_common::live::LiveBlock;
use tracer_common::outcome::Outcome;
use tracer_common::product::saturating_product;
use tracer_common::sampling;

use crate::capture::{Full, return_address, send, send_freed, send_without_stack};
use crate::maps::{allocating, config, control, count, live, set_spilled, spilled};
use crate::probe::{Hit, Return, now, user_word};

/// Entry of `malloc`, `calloc`, `memalign` and the like.
#[inline(always)]
pub fn enter(ctx: &ProbeContext, hit: Hit) -> Return {
    let size = requested(&hit);
    let sampling = control().sampling;
    let choice = choose(size, sampling);
    if choice.is_some() && hit.cookie.leaf() {
        hit.count(choice.unwrap_or(Outcome::Unsampled));
        return Return::Unwanted;
    }
    if is_inside_another(ctx, &hit) {
        hit.count(Outcome::Nested);
        return Return::Unwanted;
    }
    let out = match hit.cookie.out() {
        NO_ARGUMENT => 0,
        argument => hit.registers.argument(argument),
    };
    remember(
        &hit,
        choice,
        Allocating {
            size,
            out,
            ..new_call(&hit, sampling)
        },
    )
}

/// Entry of `realloc` and `reallocarray`: the old block is taken out now, because its address may be handed out again
/// before the call returns, and put back if the call fails.
#[inline(always)]
pub fn enter_reallocate(ctx: &ProbeContext, hit: Hit) -> Return {
    let size = requested(&hit);
    let sampling = control().sampling;
    let choice = choose(size, sampling);
    if is_inside_another(ctx, &hit) {
        hit.count(Outcome::Nested);
        return Return::Unwanted;
    }
    let mut call = Allocating {
        size,
        ..new_call(&hit, sampling)
    };
    call.old_address = hit.registers.argument(hit.cookie.key());
    if let Some(old) = unsafe { live().get(call.old_address) } {
        call.old = *old;
        let _ = live().remove(call.old_address);
    }
    remember(&hit, choice, call)
}

/// Return of every allocating function.
#[inline(always)]
pub fn leave(ctx: &RetProbeContext, hit: Hit) {
    let Some(call) = allocating().get_ptr(hit.tid) else {
        return;
    };
    let call = unsafe { *call };
    if call.point != hit.cookie.point() || call.sp != hit.registers.entry_sp() {
        return;
    }
    let _ = allocating().remove(hit.tid);
    let address = result(&hit, &call);
    // realloc(p, 0) frees the block and returns null: the only null that is no failure.
    let failed = address == 0 && (call.size != 0 || call.old_address == 0);
    end_old(&hit, &call, failed);
    if call.skip == 1 {
        return;
    }
    if failed {
        return hit.count(Outcome::Failed);
    }
    // realloc(p, 0) has ended the old block and made no new one.
    hit.count(if address == 0 {
        Outcome::Recorded
    } else {
        record(ctx, &hit, address, &call)
    });
}

/// Entry of `free` and `cfree`.
#[inline(always)]
pub fn free(_ctx: &ProbeContext, hit: Hit) {
    let address = hit.registers.argument(hit.cookie.key());
    if address == 0 {
        return hit.count(Outcome::Null);
    }
    let Some(block) = live().get_ptr(address) else {
        if spilled() {
            return free_unknown(&hit, address);
        }
        return hit.count(Outcome::Unsampled);
    };
    let block = unsafe { *block };
    if live().remove(address).is_err() {
        return hit.count(Outcome::Unsampled);
    }
    hit.count(Outcome::Recorded);
    send_end(&hit, address, &block);
}

/// Bytes asked for; `u64::MAX` where count × size overflows, which makes the call fail.
#[inline(always)]
fn requested(hit: &Hit) -> u64 {
    let size = hit.registers.argument(hit.cookie.size());
    match hit.cookie.count() {
        NO_ARGUMENT => size,
        argument => saturating_product(size, hit.registers.argument(argument)),
    }
}

/// Why an allocation of `size` bytes is not recorded, or nothing if it is.
#[inline(always)]
fn choose(size: u64, sampling: Sampling) -> Option<Outcome> {
    let config = config();
    if size < config.min_size || size > config.max_size {
        // A size that overflowed must still be seen to fail.
        if size != u64::MAX {
            return Some(Outcome::OutOfRange);
        }
    }
    let interval = sampling.interval();
    if interval == 0 {
        return None;
    }
    let random = unsafe { bpf_get_prandom_u32() };
    if sampling::keep(size, interval, random) {
        None
    } else {
        Some(Outcome::Unsampled)
    }
}

#[inline(always)]
fn new_call(hit: &Hit, sampling: Sampling) -> Allocating {
    Allocating {
        sp: hit.registers.sp(),
        return_address: return_address(hit),
        size: 0,
        out: 0,
        old_address: 0,
        old: LiveBlock {
            time: 0,
            size: 0,
            point: 0,
            level: 0,
            tid: 0,
        },
        point: hit.cookie.point(),
        skip: 0,
        level: sampling.level(),
    }
}

/// Is the thread inside an allocating call already? An entry that a call left behind is counted and will be replaced.
#[inline(always)]
fn is_inside_another(ctx: &ProbeContext, hit: &Hit) -> bool {
    let Some(outer) = allocating().get_ptr(hit.tid) else {
        return false;
    };
    let (outer_sp, outer_return, outer_point, outer_skip, old_address, old) = unsafe {
        (
            (*outer).sp,
            (*outer).return_address,
            (*outer).point,
            (*outer).skip,
            (*outer).old_address,
            (*outer).old,
        )
    };
    if is_nested(
        outer_sp,
        outer_return,
        user_word(outer_sp),
        control().trampoline,
        hit.registers.sp(),
    ) {
        return true;
    }
    debug!(
        ctx,
        "thread {} left a call of attach point {} without returning", hit.tid, outer_point
    );
    if outer_skip == 0 {
        count(outer_point, Outcome::Abandoned);
    }
    if old.time != 0 {
        // Whether the abandoned realloc freed the block is not known; it was reachable, so it counts as outstanding.
        let _ = live().insert(old_address, old, 0);
    }
    false
}

#[inline(always)]
fn remember(hit: &Hit, choice: Option<Outcome>, call: Allocating) -> Return {
    let call = Allocating {
        skip: choice.is_some() as u16,
        ..call
    };
    if allocating().insert(hit.tid, call, 0).is_ok() {
        if let Some(outcome) = choice {
            hit.count(outcome);
        }
        return Return::Wanted;
    }
    if call.old.time != 0 {
        let _ = live().insert(call.old_address, call.old, 0);
    }
    hit.count(Outcome::InFlightFull);
    Return::Unwanted
}

/// The new block's address, or 0.
#[inline(always)]
fn result(hit: &Hit, call: &Allocating) -> u64 {
    if call.out == 0 {
        return hit.registers.result();
    }
    match hit.registers.result() as u32 {
        0 => user_word(call.out),
        _ => 0,
    }
}

/// A realloc has returned: its old block is gone, or back if the call failed.
#[inline(always)]
fn end_old(hit: &Hit, call: &Allocating, failed: bool) {
    if call.old_address == 0 {
        return;
    }
    let tracked = call.old.time != 0;
    if tracked && failed {
        let _ = live().insert(call.old_address, call.old, 0);
    } else if tracked {
        send_end(hit, call.old_address, &call.old);
    } else if !failed && spilled() && send_unknown(hit, call.old_address).is_err() {
        hit.count(Outcome::LifetimeLost);
    }
}

#[inline(always)]
fn record(ctx: &RetProbeContext, hit: &Hit, address: u64, call: &Allocating) -> Outcome {
    let block = LiveBlock {
        time: now(),
        size: call.size,
        point: hit.cookie.point() as u16,
        level: call.level,
        tid: hit.tid,
    };
    let mut flags = FLAG_AT_RETURN;
    if live().insert(address, block, 0).is_err() {
        set_spilled();
        hit.count(Outcome::Spilled);
        flags |= FLAG_SPILLED;
        debug!(
            ctx,
            "no room for block {:x} of {} bytes", address, block.size
        );
    }
    let header = Header {
        kind: kind::ALLOCATED,
        point: hit.cookie.point(),
        tid: hit.tid,
        flags,
        level: block.level,
        address,
        size: block.size,
        time: block.time,
    };
    if send(hit, &header, [0; 3]).is_ok() {
        return Outcome::Recorded;
    }
    if flags & FLAG_SPILLED != 0 && send_without_stack(hit, &header, [0; 3]).is_err() {
        return Outcome::Untracked;
    }
    hit.count(Outcome::StackLost);
    Outcome::Recorded
}

#[inline(always)]
fn send_end(hit: &Hit, address: u64, block: &LiveBlock) {
    let (point, tid) = (hit.cookie.point(), hit.tid);
    let header = Header {
        kind: kind::FREED,
        point,
        tid,
        flags: 0,
        level: block.level,
        address,
        size: block.size,
        time: block.time,
    };
    if send_freed(&Freed {
        header,
        now: now(),
        comm: [0; 16],
    })
    .is_err()
    {
        hit.count(Outcome::LifetimeLost);
    }
}

/// The map has been full before: userspace may know the block.
#[inline(always)]
fn free_unknown(hit: &Hit, address: u64) {
    hit.count(match send_unknown(hit, address) {
        Ok(()) => Outcome::Unsampled,
        Err(_) => Outcome::Untracked,
    });
}

#[inline(always)]
fn send_unknown(hit: &Hit, address: u64) -> Result<(), Full> {
    let header = Header {
        kind: kind::FREED_UNKNOWN,
        point: hit.cookie.point(),
        tid: hit.tid,
        flags: 0,
        level: 0,
        address,
        size: 0,
        time: 0,
    };
    send_freed(&Freed {
        header,
        now: now(),
        comm: [0; 16],
    })
}
