//! offheap's BPF programs: what runs in the kernel when the target calls a hooked function.
//!
//! Each program is two lines over the logic of a file; `probe` runs it only in the target, and counts the hit. Nothing
//! here is kept in per-CPU scratch space: uprobe programs can be preempted.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use core::ffi::c_void;

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{perf_event, uprobe, uretprobe};
use aya_ebpf::programs::{PerfEventContext, ProbeContext, RetProbeContext};
use tracer_common::config::group::{GROWTH, MALLOC, MMAP, PAIRS, ZLIB};

mod allocation;
mod capture;
mod growth;
mod mapping;
mod maps;
mod object;
mod pending;
mod probe;
mod registers;
mod stream;

use probe::{entered, left, returned, session};

#[uprobe]
pub fn allocate_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, MALLOC, allocation::enter)
}

#[uprobe]
pub fn reallocate_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, MALLOC, allocation::enter_reallocate)
}

#[uretprobe]
pub fn allocate_return(ctx: RetProbeContext) -> u32 {
    returned(&ctx, allocation::leave)
}

#[uprobe]
pub fn free_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, MALLOC, allocation::free)
}

#[uprobe]
pub fn map_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, MMAP, mapping::enter_map)
}

#[uprobe]
pub fn remap_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, MMAP, mapping::enter_remap)
}

#[uretprobe]
pub fn map_return(ctx: RetProbeContext) -> u32 {
    returned(&ctx, mapping::leave_map)
}

#[uretprobe]
pub fn remap_return(ctx: RetProbeContext) -> u32 {
    returned(&ctx, mapping::leave_remap)
}

#[uprobe]
pub fn unmap_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, MMAP, mapping::unmap)
}

#[uprobe]
pub fn break_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, GROWTH, growth::enter_break)
}

#[uretprobe]
pub fn break_return(ctx: RetProbeContext) -> u32 {
    returned(&ctx, growth::leave_break)
}

#[perf_event]
pub fn page_fault(ctx: PerfEventContext) -> u32 {
    growth::page_fault(ctx.as_ptr());
    0
}

#[uprobe]
pub fn stream_open(ctx: ProbeContext) -> u32 {
    entered(&ctx, ZLIB, stream::open)
}

#[uprobe]
pub fn stream_close(ctx: ProbeContext) -> u32 {
    entered(&ctx, ZLIB, stream::close)
}

#[uprobe]
pub fn stream_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, ZLIB, stream::enter)
}

#[uretprobe]
pub fn stream_return(ctx: RetProbeContext) -> u32 {
    returned(&ctx, stream::leave)
}

#[uprobe]
pub fn object_open(ctx: ProbeContext) -> u32 {
    entered(&ctx, PAIRS, object::open)
}

#[uprobe]
pub fn object_close(ctx: ProbeContext) -> u32 {
    entered(&ctx, PAIRS, object::close)
}

#[uprobe]
pub fn object_refer(ctx: ProbeContext) -> u32 {
    entered(&ctx, PAIRS, object::refer)
}

#[uprobe]
pub fn object_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, PAIRS, object::enter)
}

#[uretprobe]
pub fn object_return(ctx: RetProbeContext) -> u32 {
    returned(&ctx, object::leave)
}

/// At the `ret` of a function that must not see a return probe.
#[uprobe]
pub fn object_exit(ctx: ProbeContext) -> u32 {
    left(&ctx, object::exit)
}

/// Programs for entry and return of a function in one, which Linux 6.13 and later take. The result is theirs to give, and
/// aya's macros have none.
macro_rules! session {
    ($($program:ident: $group:expr, $enter:expr, $leave:expr;)+) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "uprobe")]
        pub extern "C" fn $program(context: *mut c_void) -> u32 {
            session(context, $group, $enter, $leave)
        }
    )+};
}

session! {
    allocate_session: MALLOC, allocation::enter, allocation::leave;
    reallocate_session: MALLOC, allocation::enter_reallocate, allocation::leave;
    map_session: MMAP, mapping::enter_map, mapping::leave_map;
    remap_session: MMAP, mapping::enter_remap, mapping::leave_remap;
    break_session: GROWTH, growth::enter_break, growth::leave_break;
    stream_session: ZLIB, stream::enter, stream::leave;
    object_session: PAIRS, object::enter, object::leave;
}

/// An empty probe, to measure what a trap costs.
#[uprobe]
pub fn empty_enter(_ctx: ProbeContext) -> u32 {
    0
}

/// The same at a return.
#[uretprobe]
pub fn empty_return(_ctx: RetProbeContext) -> u32 {
    0
}

/// The same at an entry that asks for the return, and there.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub extern "C" fn empty_session(_context: *mut c_void) -> u32 {
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
