//! `mmap`, `mremap` and `munmap`: every call is sent to userspace, which keeps the regions.
//!
//! Regions are cut, joined and moved, so they are no map of the kernel's; when an event is lost, userspace reads the
//! target's mappings again, which is the truth about them.

use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tracer_common::event::{FLAG_AT_RETURN, Freed, Header, kind};
use tracer_common::inflight::Mapping;
use tracer_common::outcome::Outcome;

use crate::capture::{return_address, send, send_freed};
use crate::maps::mapping;
use crate::probe::{Hit, Return, now};

/// System calls report failure as −errno, the C library as −1: the last page is never a valid address.
const LAST_PAGE: u64 = 0xffff_ffff_ffff_f000;

#[inline(always)]
pub fn enter_map(_ctx: &ProbeContext, hit: Hit) -> Return {
    let r = hit.registers;
    remember(
        &hit,
        [r.argument(1), r.argument(2), r.argument(3), r.argument(4)],
    )
}

#[inline(always)]
pub fn enter_remap(_ctx: &ProbeContext, hit: Hit) -> Return {
    let r = hit.registers;
    remember(
        &hit,
        [r.argument(0), r.argument(1), r.argument(2), r.argument(3)],
    )
}

#[inline(always)]
pub fn leave_map(_ctx: &RetProbeContext, hit: Hit) {
    if let Some(call) = returned_call(&hit) {
        let [length, protection, flags, descriptor] = call.arguments;
        send_region(&hit, kind::MAPPED, length, [protection, flags, descriptor]);
    }
}

#[inline(always)]
pub fn leave_remap(_ctx: &RetProbeContext, hit: Hit) {
    if let Some(call) = returned_call(&hit) {
        let [old_address, old_length, new_length, flags] = call.arguments;
        send_region(
            &hit,
            kind::REMAPPED,
            new_length,
            [old_address, old_length, flags],
        );
    }
}

#[inline(always)]
pub fn unmap(_ctx: &ProbeContext, hit: Hit) {
    let (address, size) = (hit.registers.argument(0), hit.registers.argument(1));
    send_unmapped(&hit, address, size);
}

#[inline(always)]
pub fn send_unmapped(hit: &Hit, address: u64, size: u64) {
    let header = Header {
        kind: kind::UNMAPPED,
        point: hit.cookie.point(),
        tid: hit.tid,
        flags: 0,
        level: 0,
        address,
        size,
        time: now(),
    };
    match send_freed(&Freed {
        header,
        now: header.time,
        comm: [0; 16],
    }) {
        Ok(()) => hit.count(Outcome::Recorded),
        Err(_) => hit.count(Outcome::Untracked),
    }
}

#[inline(always)]
pub fn remember(hit: &Hit, arguments: [u64; 4]) -> Return {
    let call = Mapping {
        sp: hit.registers.sp(),
        return_address: return_address(hit),
        arguments,
        point: hit.cookie.point(),
        _pad: 0,
    };
    if mapping().insert(hit.tid, call, 0).is_err() {
        hit.count(Outcome::InFlightFull);
        return Return::Unwanted;
    }
    Return::Wanted
}

/// The call that returns here; none if it was never remembered or an abandoned one stands in its place.
#[inline(always)]
pub fn returned_call(hit: &Hit) -> Option<Mapping> {
    let call = unsafe { *mapping().get_ptr(hit.tid)? };
    if call.point != hit.cookie.point() || call.sp != hit.registers.entry_sp() {
        return None;
    }
    let _ = mapping().remove(hit.tid);
    Some(call)
}

#[inline(always)]
pub fn send_region(hit: &Hit, kind: u32, size: u64, arguments: [u64; 3]) {
    let address = hit.registers.result();
    if address >= LAST_PAGE {
        return hit.count(Outcome::Failed);
    }
    let header = Header {
        kind,
        point: hit.cookie.point(),
        tid: hit.tid,
        flags: FLAG_AT_RETURN,
        level: 0,
        address,
        size,
        time: now(),
    };
    match send(hit, &header, arguments) {
        Ok(()) => hit.count(Outcome::Recorded),
        Err(_) => hit.count(Outcome::Untracked),
    }
}
