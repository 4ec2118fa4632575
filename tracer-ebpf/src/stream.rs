//! zlib streams, keyed by their `z_stream`.
//!
//! The key is an argument of every function of zlib, so entry probes are enough. Only where zlib's own symbols are
//! stripped, the JDK's JNI functions stand in for them, and their `init` returns the key.

use aya_ebpf::helpers::bpf_get_current_comm;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tracer_common::event::{FLAG_AT_RETURN, FLAG_REPLACED, FLAG_SPILLED, Freed, Header, kind};
use tracer_common::inflight::{Mapping, is_same_opening};
use tracer_common::live::LiveStream;
use tracer_common::outcome::Outcome;

use crate::capture::{return_address, send, send_freed};
use crate::maps::{opening, set_spilled, spilled, streams};
use crate::probe::{Hit, Return, now};

/// Entry of `deflateInit2_`, `inflateInit2_` and the like.
#[inline(always)]
pub fn open(_ctx: &ProbeContext, hit: Hit) {
    let stream = hit.registers.argument(hit.cookie.key());
    if stream == 0 {
        return hit.count(Outcome::Failed);
    }
    let window_bits = hit.registers.argument(hit.cookie.window_bits()) as i32;
    let mem_level = hit.registers.argument(hit.cookie.mem_level()) as i32;
    record(&hit, stream, window_bits, mem_level, 0);
}

/// Entry of a function that returns the stream.
#[inline(always)]
pub fn enter(_ctx: &ProbeContext, hit: Hit) -> Return {
    let call = Mapping {
        sp: hit.registers.sp(),
        return_address: return_address(&hit),
        arguments: [0; 4],
        point: hit.cookie.point(),
        _pad: 0,
    };
    if opening().insert(hit.tid, call, 0).is_err() {
        hit.count(Outcome::InFlightFull);
        return Return::Unwanted;
    }
    Return::Wanted
}

/// Return of a function that returns the stream.
#[inline(always)]
pub fn leave(_ctx: &RetProbeContext, hit: Hit) {
    let Some(call) = opening().get_ptr(hit.tid) else {
        return;
    };
    let (sp, point) = unsafe { ((*call).sp, (*call).point) };
    if point != hit.cookie.point() || sp != hit.registers.entry_sp() {
        return;
    }
    let _ = opening().remove(hit.tid);
    match hit.registers.result() {
        0 => hit.count(Outcome::Failed),
        stream => record(&hit, stream, 0, 0, FLAG_AT_RETURN),
    }
}

/// Entry of `deflateEnd`, `inflateEnd` and the like.
#[inline(always)]
pub fn close(_ctx: &ProbeContext, hit: Hit) {
    let address = hit.registers.argument(hit.cookie.key());
    let mut time = 0;
    match streams().get_ptr(address) {
        Some(stream) => time = unsafe { (*stream).time },
        None if !spilled() => return hit.count(Outcome::Unsampled),
        None => {}
    }
    let tracked = time != 0 && streams().remove(address).is_ok();
    send_closed(&hit, address, time, tracked);
}

/// Says that a stream or an object was closed: one that was opened at `time` and is out of its map now, or one that
/// userspace may know of.
#[inline(always)]
pub fn send_closed(hit: &Hit, address: u64, time: u64, tracked: bool) {
    let header = Header {
        kind: kind::CLOSED,
        point: hit.cookie.point(),
        tid: hit.tid,
        flags: 0,
        level: 0,
        address,
        size: 0,
        time,
    };
    let sent = send_freed(&Freed {
        header,
        now: now(),
        comm: bpf_get_current_comm().unwrap_or([0; 16]),
    })
    .is_ok();
    hit.count(match (tracked, sent) {
        (true, _) => Outcome::Recorded,
        (false, true) => Outcome::Unsampled,
        (false, false) => Outcome::Untracked,
    });
    if tracked && !sent {
        hit.count(Outcome::LifetimeLost);
    }
}

#[inline(always)]
fn record(hit: &Hit, address: u64, window_bits: i32, mem_level: i32, flags: u16) {
    let (point, tid, sp) = (hit.cookie.point(), hit.tid, hit.registers.sp());
    let mut header = Header {
        kind: kind::OPENED,
        point,
        tid,
        flags,
        level: 0,
        address,
        size: 0,
        time: now(),
    };
    let mut replaced = 0;
    if let Some(open) = streams().get_ptr(address) {
        let open = unsafe { *open };
        if open.tid == tid && is_same_opening(open.sp, open.point, sp, point) {
            return hit.count(Outcome::Nested);
        }
        header.flags |= FLAG_REPLACED;
        replaced = open.time;
    }
    let stream = LiveStream {
        time: header.time,
        sp,
        point,
        tid,
        window_bits,
        mem_level,
    };
    if streams().insert(address, stream, 0).is_err() {
        set_spilled();
        hit.count(Outcome::Spilled);
        header.flags |= FLAG_SPILLED;
    }
    let arguments = [window_bits as i64 as u64, mem_level as i64 as u64, replaced];
    if send(hit, &header, arguments).is_ok() {
        return hit.count(Outcome::Recorded);
    }
    if header.flags & FLAG_SPILLED != 0 {
        return hit.count(Outcome::Untracked);
    }
    hit.count(Outcome::StackLost);
    hit.count(Outcome::Recorded);
}
