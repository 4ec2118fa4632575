//! What enlarges the process without malloc being hooked: the program break, and page faults.

use core::ffi::c_void;

use aya_ebpf::bindings::{bpf_perf_event_data, pt_regs};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tracer_common::config::group::GROWTH;
use tracer_common::config::{FAULT_PERIOD, FAULT_POINT, PAGE};
use tracer_common::cookie::{Cookie, Fields, NO_ARGUMENT};
use tracer_common::event::{Header, kind};
use tracer_common::outcome::Outcome;

use crate::capture::send;
use crate::mapping::{remember, returned_call, send_region, send_unmapped};
use crate::maps::{config, control, count_fault};
use crate::probe::{Hit, Return, now};
use crate::registers::Registers;

/// `PROT_READ | PROT_WRITE` and `MAP_PRIVATE | MAP_ANONYMOUS`: what a heap is mapped as.
const HEAP: [u64; 3] = [3, 0x22, u64::MAX];

/// Entry of `sbrk`.
#[inline(always)]
pub fn enter_break(_ctx: &ProbeContext, hit: Hit) -> Return {
    match hit.registers.argument(0) {
        // It only asks where the break is.
        0 => {
            hit.count(Outcome::Null);
            Return::Unwanted
        }
        increment => remember(&hit, [increment, 0, 0, 0]),
    }
}

/// Return of `sbrk`, with the break as it was.
#[inline(always)]
pub fn leave_break(_ctx: &RetProbeContext, hit: Hit) {
    let Some(call) = returned_call(&hit) else {
        return;
    };
    let (increment, old) = (call.arguments[0] as i64, hit.registers.result());
    if increment > 0 {
        send_region(&hit, kind::MAPPED, increment as u64, HEAP);
    } else if old == u64::MAX {
        hit.count(Outcome::Failed);
    } else {
        let size = increment.unsigned_abs();
        send_unmapped(&hit, old.wrapping_sub(size), size);
    }
}

/// One page fault in `FAULT_PERIOD`, of any process.
#[inline(always)]
pub fn page_fault(context: *mut c_void) {
    let thread = bpf_get_current_pid_tgid();
    if (thread >> 32) as u32 != config().tgid || control().recording & GROWTH == 0 {
        return;
    }
    // A fault in the kernel, as when a file is read into fresh memory, belongs to the system call's caller.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const pt_regs;
    let hit = Hit {
        cookie: FAULT,
        registers: Registers(registers),
        tid: thread as u32,
    };
    count_fault(Outcome::Seen);
    let header = Header {
        kind: kind::FAULTED,
        point: FAULT_POINT,
        tid: hit.tid,
        flags: 0,
        level: 0,
        address: fault_address(context) & !(PAGE - 1),
        size: PAGE * FAULT_PERIOD,
        time: now(),
    };
    match send(&hit, &header, [0; 3]) {
        Ok(()) => count_fault(Outcome::Recorded),
        Err(_) => count_fault(Outcome::Untracked),
    }
}

const FAULT: Cookie = Cookie::new(Fields {
    point: FAULT_POINT,
    key: NO_ARGUMENT,
    size: NO_ARGUMENT,
    count: NO_ARGUMENT,
    out: NO_ARGUMENT,
    window_bits: NO_ARGUMENT,
    mem_level: NO_ARGUMENT,
    leaf: 0,
    pair: 0,
    flags: 0,
});

/// Loads from a context must be at constant offsets.
#[inline(always)]
fn fault_address(context: *mut c_void) -> u64 {
    let address: u64;
    unsafe {
        core::arch::asm!(
            "{address} = *(u64 *)({context} + {offset})",
            address = out(reg) address,
            context = in(reg) context,
            offset = const core::mem::offset_of!(bpf_perf_event_data, addr),
        )
    };
    address
}
