//! Objects of pairs of functions: one opens them, another closes them.
//!
//! What names an object is the result of the opening call, one of its arguments, or what it stores where an argument
//! points to. A call of which the return is seen is remembered by its place on the stack, so that calls inside it, of any
//! function, are told apart from it.

use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tracer_common::cookie::{NO_ARGUMENT, pair};
use tracer_common::event::{FLAG_AT_RETURN, FLAG_REPLACED, FLAG_SPILLED, Header, kind};
use tracer_common::inflight::{Opening, OpeningKey, is_same_opening};
use tracer_common::live::{LiveObject, ObjectKey};
use tracer_common::outcome::Outcome;

use crate::capture::send;
use crate::maps::{add, calls, objects, set_spilled, spilled};
use crate::probe::{Hit, Return, now, user_word};
use crate::stream::send_closed;

/// Entry of a function that opens the object that an argument names.
#[inline(always)]
pub fn open(_ctx: &ProbeContext, hit: Hit) {
    match named(&hit, argument(&hit)) {
        None => hit.count(Outcome::Failed),
        Some(object) => record(&hit, object, 0, hit.registers.sp(), 0),
    }
}

/// Entry of a function whose return tells which object it has opened, or whether it has.
#[inline(always)]
pub fn enter(_ctx: &ProbeContext, hit: Hit) -> Return {
    let key = opening(&hit, hit.registers.sp());
    let argument = match hit.cookie.key() {
        NO_ARGUMENT => 0,
        register => hit.registers.argument(register),
    };
    let call = Opening {
        began: now(),
        argument,
    };
    if calls().get_ptr(&key).is_some() {
        // Its thread jumped out of it, and came to the same place again.
        hit.count(Outcome::Abandoned);
    }
    if calls().insert(key, call, 0).is_err() {
        hit.count(Outcome::InFlightFull);
        return Return::Unwanted;
    }
    Return::Wanted
}

/// Return of such a function.
#[inline(always)]
pub fn leave(_ctx: &RetProbeContext, hit: Hit) {
    end(&hit, hit.registers.entry_sp(), FLAG_AT_RETURN);
}

/// The `ret` of such a function: the return address is still on top of the stack.
#[inline(always)]
pub fn exit(_ctx: &ProbeContext, hit: Hit) {
    end(&hit, hit.registers.sp(), 0);
}

/// Entry of a function that closes an object.
#[inline(always)]
pub fn close(_ctx: &ProbeContext, hit: Hit) {
    let Some(object) = named(&hit, argument(&hit)) else {
        return hit.count(Outcome::Null);
    };
    let key = name(&hit, object);
    let mut time = 0;
    match objects().get_ptr_mut(&key) {
        Some(open) => {
            let references = unsafe { &raw mut (*open).references };
            add(references.cast(), -1);
            if unsafe { references.read_volatile() } > 0 {
                return hit.count(Outcome::Referenced);
            }
            time = unsafe { (*open).time };
        }
        None if !spilled() => return hit.count(Outcome::Unsampled),
        None => {}
    }
    let tracked = time != 0 && objects().remove(&key).is_ok();
    send_closed(&hit, object, time, tracked);
}

/// Entry of a function that takes one more reference to an object.
#[inline(always)]
pub fn refer(_ctx: &ProbeContext, hit: Hit) {
    let Some(object) = named(&hit, argument(&hit)) else {
        return hit.count(Outcome::Null);
    };
    match objects().get_ptr_mut(&name(&hit, object)) {
        Some(open) => {
            add(unsafe { (&raw mut (*open).references).cast() }, 1);
            hit.count(Outcome::Referenced);
        }
        None => hit.count(Outcome::Unsampled),
    }
}

#[inline(always)]
fn name(hit: &Hit, object: u64) -> ObjectKey {
    ObjectKey {
        object,
        pair: hit.cookie.pair(),
    }
}

#[inline(always)]
fn opening(hit: &Hit, sp: u64) -> OpeningKey {
    OpeningKey {
        sp,
        tid: hit.tid,
        point: hit.cookie.point(),
    }
}

/// What the argument says of the object, at a function's entry.
#[inline(always)]
fn argument(hit: &Hit) -> u64 {
    behind(hit, hit.registers.argument(hit.cookie.key()))
}

#[inline(always)]
fn behind(hit: &Hit, argument: u64) -> u64 {
    match hit.cookie.has(pair::INDIRECT) {
        true if argument == 0 => 0,
        true => user_word(argument),
        false => argument,
    }
}

/// The object that a value names; none where it is what functions give when they fail.
#[inline(always)]
fn named(hit: &Hit, value: u64) -> Option<u64> {
    if hit.cookie.has(pair::NARROW) {
        return ((value as i32) >= 0).then_some(value & 0xffff_ffff);
    }
    (value != 0 && value != u64::MAX).then_some(value)
}

/// A call has returned that was entered with the stack pointer at `sp`.
#[inline(always)]
fn end(hit: &Hit, sp: u64, flags: u16) {
    let key = opening(hit, sp);
    let Some(call) = calls().get_ptr(&key) else {
        return;
    };
    let call = unsafe { *call };
    let _ = calls().remove(&key);
    let result = hit.registers.result();
    let status = result as u32;
    if hit.cookie.has(pair::IF_ZERO) && status != 0
        || hit.cookie.has(pair::IF_NOT_ZERO) && status == 0
    {
        return hit.count(Outcome::Failed);
    }
    let value = match hit.cookie.key() {
        NO_ARGUMENT => result,
        _ => behind(hit, call.argument),
    };
    match named(hit, value) {
        None => hit.count(Outcome::Failed),
        Some(object) => record(hit, object, call.began, sp, flags),
    }
}

#[inline(always)]
fn record(hit: &Hit, object: u64, began: u64, sp: u64, flags: u16) {
    let (point, tid) = (hit.cookie.point(), hit.tid);
    let key = name(hit, object);
    let mut header = Header {
        kind: kind::OBJECT,
        point,
        tid,
        flags,
        level: 0,
        address: object,
        size: 0,
        time: now(),
    };
    let mut replaced = 0;
    if let Some(open) = objects().get_ptr_mut(&key) {
        let seen = unsafe { *open };
        // An opening function that has called another one: the object is counted already.
        let inside = began != 0 && seen.time >= began;
        if seen.tid == tid && (inside || is_same_opening(seen.sp, seen.point, sp, point)) {
            return hit.count(Outcome::Nested);
        }
        if hit.cookie.has(pair::COUNTED) {
            add(unsafe { (&raw mut (*open).references).cast() }, 1);
            return hit.count(Outcome::Referenced);
        }
        header.flags |= FLAG_REPLACED;
        replaced = seen.time;
    }
    let value = LiveObject {
        time: header.time,
        began,
        sp,
        references: 1,
        point,
        tid,
    };
    if objects().insert(key, value, 0).is_err() {
        set_spilled();
        hit.count(Outcome::Spilled);
        header.flags |= FLAG_SPILLED;
    }
    if send(hit, &header, [0, 0, replaced]).is_ok() {
        return hit.count(Outcome::Recorded);
    }
    if header.flags & FLAG_SPILLED != 0 {
        return hit.count(Outcome::Untracked);
    }
    hit.count(Outcome::StackLost);
    hit.count(Outcome::Recorded);
}
