//! Copies a stack into the ring. A record is private to its program until it is submitted, so there is no scratch space
//! that another thread could overwrite.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::bpf_get_current_comm;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_probe_read_user};
use tracer_common::config::{PAGE, STACK_CLASSES};
use tracer_common::event::{
    ANCHOR_WORDS, Captured, FLAG_STACK_LOST, FLAG_TRUNCATED, Freed, Header, kind,
};

use crate::maps::{anchors, config, events, is_to_be_woken};
use crate::pending::{kernel_word, pending};
use crate::probe::{Hit, user_word};

#[repr(C)]
struct Record<const PAGES: usize> {
    captured: Captured,
    stack: [[u8; PAGE as usize]; PAGES],
}

/// The ring had no room.
pub struct Full;

/// Registers and pending return probes of the thread that was hit, to be completed with `header` and `arguments`.
#[inline(always)]
pub fn captured(hit: &Hit, header: Header, arguments: [u64; 3]) -> Captured {
    let registers = hit.registers;
    let anchor = anchor(hit.tid);
    Captured {
        header,
        arguments,
        ip: registers.ip(),
        sp: registers.sp(),
        fp: registers.fp(),
        lr: registers.lr(),
        replaced: pending(hit.tid),
        anchor: anchor.unwrap_or([0; ANCHOR_WORDS]),
        comm: bpf_get_current_comm().unwrap_or([0; 16]),
        has_anchor: anchor.is_some() as u32,
        pages: 0,
        missing: 0,
    }
}

/// What the JVM has noted of the thread's last Java frame: it is true now, and will be another's when userspace looks.
#[inline(always)]
fn anchor(tid: u32) -> Option<[u64; ANCHOR_WORDS]> {
    let address = *unsafe { anchors().get(tid) }?;
    let mut words = [0u64; ANCHOR_WORDS];
    let size = size_of_val(&words) as u32;
    let to = (&raw mut words).cast();
    let failed = unsafe { bpf_probe_read_user(to, size, address as *const _) } != 0;
    if failed { None } else { Some(words) }
}

/// Sends the capture with the stack behind it, in the smallest record that holds what is used.
#[inline(never)]
pub fn send(captured: &mut Captured) -> Result<(), Full> {
    if !has_room(captured.header.kind) {
        return Err(Full);
    }
    let page = captured.sp & !(PAGE - 1);
    let extent = extent(captured, page);
    if fits(page, extent, STACK_CLASSES[0]) {
        return emit::<{ STACK_CLASSES[0] as usize }>(captured, extent);
    }
    if fits(page, extent, STACK_CLASSES[1]) {
        return emit::<{ STACK_CLASSES[1] as usize }>(captured, extent);
    }
    if fits(page, extent, STACK_CLASSES[2]) {
        return emit::<{ STACK_CLASSES[2] as usize }>(captured, extent);
    }
    if fits(page, extent, STACK_CLASSES[3]) {
        return emit::<{ STACK_CLASSES[3] as usize }>(captured, extent);
    }
    emit::<{ STACK_CLASSES[4] as usize }>(captured, extent)
}

/// How much of a stack is to be copied.
#[derive(Clone, Copy)]
struct Extent {
    pages: u32,
    /// The stack is known to go so far: a page that can't be read is a hole in it, and not its end.
    is_known: bool,
}

/// From `page` to the end of the stack, or to the cap; a stack that is longer, or may be, is marked.
#[inline(always)]
fn extent(captured: &mut Captured, page: u64) -> Extent {
    let cap = config().stack_pages;
    let end = thread_pointer();
    if end <= captured.sp {
        if is_mapped(page, cap) {
            captured.header.flags |= FLAG_TRUNCATED;
        }
        return Extent {
            pages: cap,
            is_known: false,
        };
    }
    let used = (end - page).div_ceil(PAGE);
    if used > cap as u64 {
        captured.header.flags |= FLAG_TRUNCATED;
    }
    Extent {
        pages: used.min(cap as u64) as u32,
        is_known: true,
    }
}

/// The C library keeps a thread's own data at the far end of its stack, and the thread pointer at that (glibc's
/// `allocate_stack`, musl's `pthread_create`). The main thread's is elsewhere, below its stack. 0 when it is not known.
#[inline(always)]
fn thread_pointer() -> u64 {
    match config().offsets.thread_pointer {
        0 => 0,
        offset => kernel_word(unsafe { bpf_get_current_task() }, offset),
    }
}

/// Does a record of `class` pages do? The pages above a stack are often not mapped, or guard another stack.
#[inline(always)]
fn fits(page: u64, extent: Extent, class: u32) -> bool {
    extent.pages <= class || !extent.is_known && !is_mapped(page, class)
}

#[inline(always)]
fn is_mapped(page: u64, pages: u32) -> bool {
    let mut byte = 0u8;
    let address = page + pages as u64 * PAGE;
    unsafe { bpf_probe_read_user((&raw mut byte).cast(), 1, address as *const _) == 0 }
}

#[inline(always)]
fn emit<const PAGES: usize>(captured: &mut Captured, extent: Extent) -> Result<(), Full> {
    let Some(mut entry) = events().reserve::<Record<PAGES>>(0) else {
        return Err(Full);
    };
    let record = entry.as_mut_ptr();
    unsafe {
        (captured.pages, captured.missing) =
            copy::<PAGES>(&raw mut (*record).stack, captured.sp, extent);
        (&raw mut (*record).captured).write(*captured);
    }
    entry.submit(wakeup());
    Ok(())
}

/// Blocks are many and may be sampled; streams and mappings are few and exact. The last quarter of the ring is theirs, and
/// that of what userspace alone keeps.
#[inline(always)]
fn has_room(kind: u32) -> bool {
    match kind {
        kind::ALLOCATED | kind::FREED => {
            events().query(BPF_RB_AVAIL_DATA as u64) < config().block_bytes as u64
        }
        _ => true,
    }
}

/// Sends the capture without its stack, for which there was no room: userspace has to know of the allocation all the same.
#[inline(always)]
pub fn send_without_stack(captured: &mut Captured) -> Result<(), Full> {
    captured.header.flags |= FLAG_STACK_LOST;
    (captured.pages, captured.missing) = (0, 0);
    match events().output::<Captured>(captured, wakeup()) {
        Ok(()) => Ok(()),
        Err(_) => Err(Full),
    }
}

/// Userspace comes by itself every few milliseconds while records come; a wake-up costs more than the rest of the program,
/// and is only worth it when the ring fills faster than that, and for the first record after a while.
#[inline(always)]
fn wakeup() -> u64 {
    let waiting = events().query(BPF_RB_AVAIL_DATA as u64);
    let urgent = config().wakeup_bytes as u64;
    (if waiting >= urgent || is_to_be_woken() {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    }) as u64
}

/// Copies page by page, since a read that touches a missing page fails as a whole; returns the pages copied, and which of
/// them are missing: those hold zeroes (`bpf_probe_read_user`).
#[inline(always)]
unsafe fn copy<const PAGES: usize>(
    stack: *mut [[u8; PAGE as usize]; PAGES],
    sp: u64,
    extent: Extent,
) -> (u16, u16) {
    let skipped = sp & (PAGE - 1);
    let first = PAGE - skipped;
    let bytes = stack.cast::<u8>();
    unsafe {
        let to = bytes.add(skipped as usize).cast();
        if bpf_probe_read_user(to, first as u32, sp as *const _) != 0 {
            return (0, 0);
        }
        let (mut pages, mut missing) = (1, 0);
        while pages < PAGES && pages < extent.pages as usize {
            let offset = pages * PAGE as usize;
            let from = sp - skipped + offset as u64;
            if bpf_probe_read_user(bytes.add(offset).cast(), PAGE as u32, from as *const _) != 0 {
                if !extent.is_known {
                    break;
                }
                missing |= 1 << pages;
            }
            pages += 1;
        }
        (pages as u16, missing)
    }
}

/// Sends the end of an allocation.
#[inline(always)]
pub fn send_freed(freed: &Freed) -> Result<(), Full> {
    let ring = events();
    if !has_room(freed.header.kind) {
        return Err(Full);
    }
    match ring.output::<Freed>(freed, wakeup()) {
        Ok(()) => Ok(()),
        Err(_) => Err(Full),
    }
}

/// The return address at a function's entry.
#[inline(always)]
pub fn return_address(hit: &Hit) -> u64 {
    match hit.registers.lr() {
        0 => user_word(hit.registers.sp()),
        lr => lr,
    }
}
