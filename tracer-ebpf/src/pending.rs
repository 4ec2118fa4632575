//! Return addresses that are not where they were: the kernel puts its trampoline in the place of each that a return probe
//! waits for, and keeps the original.

use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_probe_read_kernel};
use tracer_common::event::{REPLACED, ReplacedReturn};

use crate::maps::{allocating, config, opening};

const NONE: ReplacedReturn = ReplacedReturn {
    slot: 0,
    return_address: 0,
};

/// Writes the pending return probes of the current thread, innermost first.
#[inline(always)]
pub unsafe fn write_pending(to: *mut [ReplacedReturn; REPLACED], tid: u32) {
    let to = to.cast::<ReplacedReturn>();
    let offsets = config().offsets;
    if offsets.utask == 0 {
        for (index, pending) in [allocation(tid), stream(tid), NONE, NONE]
            .into_iter()
            .enumerate()
        {
            unsafe { to.add(index).write(pending) };
        }
        return;
    }
    let task = unsafe { bpf_get_current_task() };
    let utask = kernel_word(task, offsets.utask);
    let mut instance = kernel_word(utask, offsets.return_instances);
    for index in 0..REPLACED {
        let pending = ReplacedReturn {
            slot: kernel_word(instance, offsets.slot),
            return_address: kernel_word(instance, offsets.return_address),
        };
        unsafe { to.add(index).write(pending) };
        instance = kernel_word(instance, offsets.next);
    }
}

/// A word of the kernel's memory; 0 where it cannot be read, as behind a null pointer: the helper writes zeroes then. Nothing
/// depends on its result, so that the verifier has one way to follow.
#[inline(always)]
pub fn kernel_word(base: u64, offset: u32) -> u64 {
    let mut word = 0u64;
    let from = (base + offset as u64) as *const _;
    unsafe { bpf_probe_read_kernel((&raw mut word).cast(), size_of::<u64>() as u32, from) };
    word
}

/// What we remember ourselves of the thread's allocating call, where the kernel does not describe itself.
#[inline(always)]
fn allocation(tid: u32) -> ReplacedReturn {
    match unsafe { allocating().get(tid) } {
        Some(call) => ReplacedReturn {
            slot: call.sp,
            return_address: call.return_address,
        },
        None => NONE,
    }
}

/// The same of the call that opens a stream.
#[inline(always)]
fn stream(tid: u32) -> ReplacedReturn {
    match unsafe { opening().get(tid) } {
        Some(call) => ReplacedReturn {
            slot: call.sp,
            return_address: call.return_address,
        },
        None => NONE,
    }
}
